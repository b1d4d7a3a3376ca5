//! The guard by itself: however it, the harness or the driver ends, nothing of what it guards is left.

use std::{
    fs::{self, File, TryLockError},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tests::HARNESS;

/// A guard, and under it a driver that started a browser.
struct Guarded {
    folder: TempDir,
    scratch: PathBuf,
    guard: Child,
}

impl Guarded {
    fn start() -> Guarded {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut guard = Command::new(&*HARNESS);
        guard.arg("guard").arg(&scratch).arg("--").arg(env!("CARGO_BIN_EXE_offspring"));
        guard.args(["driver", "browser"].map(|name| folder.path().join(name)));
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let guarded = Guarded { folder, scratch, guard };
        guarded.wait_until("both run", || guarded.lives("driver") && guarded.lives("browser"));
        guarded
    }

    /// Whether the driver or the browser runs: a lock ends with the process that holds it.
    fn lives(&self, name: &str) -> bool {
        let Ok(file) = File::open(self.folder.path().join(name)) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "it never came to this: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn assert_nothing_is_left(&self) {
        self.wait_until("both have ended", || !self.lives("driver") && !self.lives("browser"));
        assert!(!self.scratch.exists(), "the scratch folder is still there");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[test]
fn all_ends_with_the_harness() {
    let mut guarded = Guarded::start();
    // What the system does with the pipe of a harness that ends, whatever ends it.
    drop(guarded.guard.stdin.take());
    guarded.guard.wait().unwrap();
    guarded.assert_nothing_is_left();
}

#[test]
fn all_ends_with_a_guard_that_is_killed() {
    let mut guarded = Guarded::start();
    guarded.guard.kill().unwrap();
    guarded.guard.wait().unwrap();
    harness::browser::guard::clean_up(&guarded.scratch);
    guarded.assert_nothing_is_left();
}

#[test]
fn the_browser_ends_with_its_driver() {
    let mut guarded = Guarded::start();
    let mut lines = BufReader::new(guarded.guard.stdout.take().unwrap()).lines();
    let started = lines.next().unwrap().unwrap();
    assert!(started.starts_with("started "), "{started}");

    fs::write(guarded.folder.path().join("driver.end"), "").unwrap();
    let exited = lines.next().unwrap().unwrap();
    assert!(exited.starts_with("exited exit ") && exited.ends_with(": 0"), "{exited}");
    guarded.wait_until("the browser has ended", || !guarded.lives("browser"));
    assert!(guarded.scratch.join(harness::browser::guard::LOG).exists(), "the log is gone");

    drop(guarded.guard.stdin.take());
    guarded.guard.wait().unwrap();
    guarded.assert_nothing_is_left();
}
