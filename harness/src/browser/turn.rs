//! Sessions that have to wait for each other.
//!
//! Safari takes one session at a time on a machine, whoever asks. A lock on a file keeps harnesses
//! from meeting there; it ends with the process that holds it, however that ends.

use anyhow::{Context, Result, bail};
use std::{
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, Instant},
};
use tokio::time;

/// Waits at most `limit` until no other process has a session of `browser`. The session is this
/// process's until the file is dropped.
pub(super) async fn take(browser: &str, folder: &Path, limit: Duration) -> Result<File> {
    let path = folder.join(format!("fewbit-{browser}.lock"));
    let shown = path.display();
    let file = File::create(&path).with_context(|| format!("cannot make {shown}"))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {shown}"));
            }
            Err(TryLockError::WouldBlock) if started.elapsed() > limit => bail!(
                "{browser} takes one session at a time, and another harness has had it for \
                 {limit:?}; wait for that run to end ({shown} is its lock)"
            ),
            Err(TryLockError::WouldBlock) => time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_until_the_first_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let take = |limit| take("safari", folder.path(), Duration::from_millis(limit));
        let first = take(0).await.unwrap();
        let error = take(150).await.unwrap_err().to_string();
        assert!(error.contains("one session at a time"), "{error}");
        drop(first);
        // A process that is being started elsewhere holds the file, too, until it runs its program.
        take(60_000).await.unwrap();
    }
}
