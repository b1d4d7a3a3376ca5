//! Compressed copies of the larger files of the page, which the server hands to browsers that take
//! them: `engine_bg.wasm.br` and `engine_bg.wasm.gz` beside `engine_bg.wasm`.
//!
//! They are made once, as a page is loaded many times; Brotli's last tenth would take ten times as long. Browsers take
//! Brotli from their own machine and over https, and gzip from everywhere.

use anyhow::{Context, Result};
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Of smaller files a copy saves nothing that could be noticed.
const SMALLEST: usize = 10_000;

/// What the names of copies end in, as the server knows them.
const BROTLI: &str = "br";
const GZIP: &str = "gz";

/// Puts copies beside `file`, if they are worth it.
pub(super) fn copies(file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() < SMALLEST {
        return Ok(());
    }
    write(&brotli(file), |target| {
        let good = BrotliEncoderParams { quality: 9, ..Default::default() };
        brotli::BrotliCompress(&mut bytes.as_slice(), target, &good).map(drop)
    })?;
    write(&copy(file, GZIP), |target| {
        let mut encoder = GzEncoder::new(target, Compression::best());
        encoder.write_all(&bytes)?;
        encoder.finish().map(drop)
    })
}

/// The copy of `file` that is sent to whoever takes it.
pub(super) fn brotli(file: &Path) -> PathBuf {
    copy(file, BROTLI)
}

/// Whether `file` is a copy that lies beside its original.
pub(crate) fn is_copy(file: &Path) -> bool {
    let is_one = file.extension().is_some_and(|end| end == BROTLI || end == GZIP);
    is_one && file.with_extension("").is_file()
}

fn copy(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(context)?);
    content(&mut file).and_then(|()| file.flush()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn copies_hold_what_the_original_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("engine.wasm");
        let text = "the engine, over and over; ".repeat(1000);
        fs::write(&file, &text).unwrap();
        copies(&file).unwrap();
        assert!(fs::metadata(brotli(&file)).unwrap().len() < 1000);
        assert!(!is_copy(&file));

        let mut unpacked = String::new();
        let copy = File::open(folder.path().join("engine.wasm.br")).unwrap();
        brotli::Decompressor::new(copy, 4096).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        unpacked.clear();
        let gzip = File::open(folder.path().join("engine.wasm.gz")).unwrap();
        flate2::read::GzDecoder::new(gzip).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        assert!(is_copy(&folder.path().join("engine.wasm.gz")));
        // A file of such a name that is nobody's copy is a file like any other.
        fs::remove_file(&file).unwrap();
        assert!(!is_copy(&folder.path().join("engine.wasm.gz")));
    }

    #[test]
    fn small_files_stay_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.js");
        fs::write(&file, "small").unwrap();
        copies(&file).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
