//! What comes out of packages: where it is kept, and whether it is what it should be.

use anyhow::{Context, Result, ensure};
use directories::ProjectDirs;
use sha2::{Digest, Sha256};
use std::{
    env,
    io::{Read, Write},
    path::PathBuf,
};

/// The user's cache, which FEWBIT_CACHE replaces: all of it can be fetched again.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("FEWBIT_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let folders = ProjectDirs::from("", "", "fewbit")
        .context("this user has no home folder; name one for what is fetched in FEWBIT_CACHE")?;
    Ok(folders.cache_dir().to_owned())
}

/// One file of a package.
pub(crate) struct Member {
    /// Its path in the package; it is kept under its last part.
    pub path: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: &'static str,
}

impl Member {
    /// The last part of its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// Copies it, and refuses it if its size or hash is another; `progress` is told how many of its
    /// bytes are copied.
    pub fn copy(
        &self,
        source: impl Read,
        mut target: impl Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let Member { path, bytes, sha256 } = self;
        // One byte more than expected is enough to see that a file has grown.
        let mut source = source.take(bytes + 1);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut copied = 0;
        loop {
            let count =
                source.read(&mut buffer).with_context(|| format!("cannot unpack {path}"))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            target.write_all(&buffer[..count]).with_context(|| format!("cannot write {path}"))?;
            copied += count as u64;
            progress(copied.min(*bytes));
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(
            copied == *bytes && found == *sha256,
            "{path} has {copied} bytes with SHA-256 {found} instead of {bytes} bytes with {sha256}"
        );
        Ok(())
    }
}
