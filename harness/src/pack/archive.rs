//! Folders as archives, the same bytes from the same files, and their checksums.

use crate::folders::files;
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use tar::{Builder, HeaderMode};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Writes `folder` with its name into a `.tar.gz`.
pub(super) fn tar_gz(folder: &Path, archive: &Path) -> Result<PathBuf> {
    let context = || format!("cannot write {}", archive.display());
    let file = BufWriter::new(File::create(archive).with_context(context)?);
    let mut tar = Builder::new(GzEncoder::new(file, Compression::best()));
    // Neither times nor owners: only whether a file can be run.
    tar.mode(HeaderMode::Deterministic);
    for (path, name) in members(folder)? {
        tar.append_path_with_name(&path, &name).with_context(context)?;
    }
    let gzip = tar.into_inner().with_context(context)?;
    gzip.finish().and_then(|mut file| file.flush()).with_context(context)?;
    Ok(archive.to_owned())
}

/// Writes `folder` with its name into a `.zip`.
pub(super) fn zip(folder: &Path, archive: &Path) -> Result<PathBuf> {
    let context = || format!("cannot write {}", archive.display());
    let file = BufWriter::new(File::create(archive).with_context(context)?);
    let mut zip = ZipWriter::new(file);
    // Without a time of its own a file has the earliest that the format knows.
    let options = SimpleFileOptions::default().compression_level(Some(9));
    for (path, name) in members(folder)? {
        zip.start_file(&name, options).with_context(context)?;
        io::copy(&mut File::open(&path)?, &mut zip).with_context(context)?;
    }
    zip.finish().with_context(context)?.flush().with_context(context)?;
    Ok(archive.to_owned())
}

/// Writes `ARCHIVE.sha256`, which `sha256sum --check` reads, and gives the sum.
pub(super) fn checksum(archive: &Path) -> Result<String> {
    let context = || format!("reading {}", archive.display());
    let mut hash = Sha256::new();
    io::copy(&mut File::open(archive).with_context(context)?, &mut hash).with_context(context)?;
    let sum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let path = archive.with_file_name(format!("{name}.sha256"));
    fs::write(&path, format!("{sum}  {name}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(sum)
}

/// Every file below `folder` and its name in an archive, sorted by it.
fn members(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let above = folder.parent().unwrap_or(folder);
    let name = |path: PathBuf| {
        let parts = path.strip_prefix(above)?.iter().map(|part| part.to_string_lossy());
        Ok((path.clone(), parts.collect::<Vec<_>>().join("/")))
    };
    files(folder)?.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("pack/share")).unwrap();
        fs::write(root.path().join("pack/harness"), "the program").unwrap();
        fs::write(root.path().join("pack/share/page"), "the page").unwrap();
        root
    }

    #[test]
    fn a_tar_holds_the_folder_and_is_the_same_each_time() {
        let root = folder();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let program = root.path().join("pack/harness");
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = tar_gz(&root.path().join("pack"), &root.path().join("1.tar.gz")).unwrap();
        let mut tar = tar::Archive::new(GzDecoder::new(File::open(&path).unwrap()));
        let read = |entry: io::Result<tar::Entry<_>>| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let is_program = entry.header().mode().unwrap() & 0o111 != 0;
            (entry.path().unwrap().to_string_lossy().into_owned(), text, is_program)
        };
        let entries: Vec<_> = tar.entries().unwrap().map(read).collect();
        assert_eq!(entries[0], ("pack/harness".into(), "the program".into(), cfg!(unix)));
        assert_eq!(entries[1], ("pack/share/page".into(), "the page".into(), false));

        let again = tar_gz(&root.path().join("pack"), &root.path().join("2.tar.gz")).unwrap();
        assert_eq!(fs::read(path).unwrap(), fs::read(again).unwrap());
    }

    #[test]
    fn a_zip_holds_the_folder() {
        let root = folder();
        let path = zip(&root.path().join("pack"), &root.path().join("1.zip")).unwrap();
        let mut zip = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        let mut text = String::new();
        zip.by_name("pack/share/page").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), zip.len()), ("the page", 2));
    }

    #[test]
    fn the_sum_stands_beside_the_archive() {
        let root = tempfile::tempdir().unwrap();
        let archive = root.path().join("fewbit.tar.gz");
        fs::write(&archive, "hello").unwrap();
        let sum = checksum(&archive).unwrap();
        assert_eq!(sum, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        let text = fs::read_to_string(root.path().join("fewbit.tar.gz.sha256")).unwrap();
        assert_eq!(text, format!("{sum}  fewbit.tar.gz\n"));
    }
}
