//! Sources that need no network: a folder on disk, and files held in memory.

use super::{LocalFuture, Source};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, ops::Range};

/// Files held in memory: what tests read, and what a page has already fetched.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// A source without files.
    pub const fn new() -> Memory {
        Memory { files: BTreeMap::new() }
    }

    /// Adds a file, or replaces one of the same name.
    pub fn with(mut self, file: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Memory {
        self.files.insert(file.into(), bytes.into());
        self
    }
}

impl Source for Memory {
    fn size(&self, file: &str) -> Option<u64> {
        self.files.get(file).map(|bytes| bytes.len() as u64)
    }

    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let bytes = self.files.get(file).ok_or_else(|| absent(file))?;
            let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
            start
                .ok()
                .zip(end.ok())
                .and_then(|(start, end)| bytes.get(start..end))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| short(file, &range, bytes.len() as u64))
        })
    }
}

/// A folder on disk. Names are paths below it, with `/` between their parts; where symbolic links
/// inside it lead is their owner's business.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct Folder {
    path: std::path::PathBuf,
}

#[cfg(not(target_arch = "wasm32"))]
impl Folder {
    /// The folder at this path; nothing is read yet.
    pub fn new(path: impl Into<std::path::PathBuf>) -> Folder {
        Folder { path: path.into() }
    }

    /// Names of the files directly in the folder, sorted: what [`super::Checkpoint::open`] takes.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn files(&self) -> Result<Vec<String>> {
        let failed = |e: std::io::Error| Error::Read {
            file: self.path.display().to_string(),
            message: e.to_string(),
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Following links matters: caches of models are folders of symbolic links.
            if entry.path().is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn locate(&self, file: &str) -> Option<std::path::PathBuf> {
        let path = std::path::Path::new(file);
        let inside = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        (inside && !file.is_empty()).then(|| self.path.join(path))
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for Folder {
    fn size(&self, file: &str) -> Option<u64> {
        let metadata = std::fs::metadata(self.locate(file)?).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        use std::io::{Read, Seek, SeekFrom};
        Box::pin(async move {
            let path = self.locate(file).ok_or_else(|| Error::Read {
                file: file.into(),
                message: "names must stay inside the folder: no '..' and no leading '/'".into(),
            })?;
            let failed =
                |e: std::io::Error| Error::Read { file: file.into(), message: e.to_string() };
            // The size is compared first, so that a range beyond the file costs no memory.
            let size = self.size(file).ok_or_else(|| absent(file))?;
            if range.start > range.end || range.end > size {
                return Err(short(file, &range, size));
            }
            let length =
                usize::try_from(range.end - range.start).map_err(|_| short(file, &range, size))?;
            let mut bytes = vec![0; length];
            let mut handle = std::fs::File::open(path).map_err(failed)?;
            handle.seek(SeekFrom::Start(range.start)).map_err(failed)?;
            handle.read_exact(&mut bytes).map_err(failed)?;
            Ok(bytes)
        })
    }
}

fn absent(file: &str) -> Error {
    Error::Read { file: file.into(), message: "there is no such file".into() }
}

fn short(file: &str, range: &Range<u64>, size: u64) -> Error {
    Error::Read {
        file: file.into(),
        message: format!(
            "bytes {}..{} were asked for, the file has {size}",
            range.start, range.end
        ),
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_reads_ranges_and_stays_inside() {
        let folder = Folder::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        assert!(folder.files().unwrap().contains(&"lib.rs".to_string()));
        let start = pollster::block_on(folder.read("lib.rs", 0..3)).unwrap();
        assert_eq!(start, b"//!");
        let size = folder.size("lib.rs").unwrap();
        let beyond = pollster::block_on(folder.read("lib.rs", 0..size + 1)).unwrap_err();
        assert!(beyond.to_string().contains("were asked for"), "{beyond}");
        for name in ["../Cargo.toml", "weights/../lib.rs", "/etc/hostname", ""] {
            assert_eq!(folder.size(name), None, "{name}");
            assert!(pollster::block_on(folder.read(name, 0..1)).is_err(), "{name}");
        }
    }

    #[test]
    fn memory_refuses_ranges_beyond_the_file() {
        let memory = Memory::new().with("a", [1, 2, 3]);
        assert_eq!(pollster::block_on(memory.read("a", 1..3)).unwrap(), [2, 3]);
        assert!(pollster::block_on(memory.read("a", 1..4)).is_err());
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = pollster::block_on(memory.read("a", 3..1));
        assert!(reversed.is_err());
        assert!(pollster::block_on(memory.read("b", 0..0)).is_err());
    }
}
