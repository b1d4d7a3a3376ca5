//! The process between the harness and a driver: it ends the driver and all its browsers.
//!
//! `harness guard [--display] FOLDER -- PROGRAM ARGS…` runs the program with its temporary files in the
//! scratch folder, and ends it and all that came of it as soon as its stdin closes. A pipe closes
//! however the harness ends, by SIGKILL or TerminateProcess too, so no other clean-up is needed. Its
//! stdout tells the harness what it sees:
//!
//! ```text
//! started 4711
//! exited signal: 9 (SIGKILL)
//! ```
//!
//! What holds the processes together is each system's own: `unix.rs` has a POSIX session and a search
//! for what left it, `windows.rs` has job objects. With `--display` an X server without a screen is
//! started first, for a browser that has no headless mode.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use system::Tree;

/// Name of the file in the scratch folder that takes what the driver prints.
pub const LOG: &str = "driver.log";

enum Seen {
    HarnessLeft,
    DriverExited(String),
}

/// Runs `command` until it exits or stdin closes; then nothing of it is left.
pub fn run(folder: &Path, command: &[OsString], needs_display: bool) -> Result<()> {
    let mut tree = Tree::new(folder)?;
    let log = File::create(folder.join(LOG)).context("creating the driver's log")?;
    let (program, args) = command.split_first().context("no program to guard")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    for variable in system::TEMPORARY {
        command.env(variable, folder);
    }
    if needs_display {
        tree.start_display(&mut command, &log)?;
    }
    // Moved, as Windows removes no folder with a file in it that is open.
    command.stdout(log.try_clone()?).stderr(log);
    let mut child =
        tree.spawn(command).with_context(|| format!("starting {}", program.display()))?;
    tell(&format!("started {}", child.id()));

    let (sender, seen) = mpsc::channel();
    let left = sender.clone();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = left.send(Seen::HarnessLeft);
    });
    thread::spawn(move || {
        let exit = child.wait().map_or_else(|error| error.to_string(), |exit| exit.to_string());
        let _ = sender.send(Seen::DriverExited(exit));
    });
    loop {
        match seen.recv().context("both watchers are gone")? {
            Seen::DriverExited(exit) => {
                // Without its driver a browser is of no use; the log stays until the harness has
                // read it.
                tell(&format!("exited {exit}"));
                tree.kill();
            }
            Seen::HarnessLeft => {
                tree.kill();
                remove(folder);
                return Ok(());
            }
        }
    }
}

/// Does what a guard that was killed could not do any more.
pub fn clean_up(folder: &Path) {
    system::sweep(folder);
    remove(folder);
}

/// The harness may be gone, which is no reason to stop cleaning up.
fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Removes the scratch folder; a file that a killed process left half written is no obstacle. Windows
/// keeps files of a process for a moment longer than the process.
fn remove(folder: &Path) {
    for _ in 0..40 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
