//! The process between the harness and a driver: it ends the driver and all its browsers.
//!
//! `harness guard [--display] FOLDER -- PROGRAM ARGS…` leads a POSIX session of its own, runs the program in it
//! with TMPDIR at the scratch folder, and ends everything in there as soon as its stdin closes. A
//! pipe closes however the harness ends, by SIGKILL too, so no other clean-up is needed. Its stdout
//! tells the harness what it sees. With `--display` it first starts Xvfb, an X server without a screen,
//! for a browser that has no headless mode:
//!
//! ```text
//! started 4711
//! exited signal: 9 (SIGKILL)
//! ```

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// Name of the file in the scratch folder that takes what the driver prints.
pub const LOG: &str = "driver.log";

enum Seen {
    HarnessLeft,
    DriverExited(String),
}

/// Runs `command` until it exits or stdin closes; then nothing of it is left.
pub fn run(folder: &Path, command: &[OsString], needs_display: bool) -> Result<()> {
    setsid().context("leading a new session")?;
    // Browsers start helpers that outlive their parents; those come to this process when they are
    // orphaned, which can then take note of their end.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).context("adopting orphans")?;
    let log = File::create(folder.join(LOG)).context("creating the driver's log")?;
    let (program, args) = command.split_first().context("no program to guard")?;
    let mut command = Command::new(program);
    command.args(args).env("TMPDIR", folder).stdin(Stdio::null());
    let mut display = None;
    if needs_display {
        let (server, name) = start_display(folder, &log)?;
        command.env("DISPLAY", name).env_remove("WAYLAND_DISPLAY");
        display = Some(server);
    }
    let mut child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
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
    let own_session = Some(std::process::id());
    loop {
        match seen.recv().context("both watchers are gone")? {
            Seen::DriverExited(exit) => {
                // Without its driver a browser is of no use; the log stays until the harness has
                // read it.
                tell(&format!("exited {exit}"));
                end_display(&mut display);
                sweep(folder, own_session);
                reap();
            }
            Seen::HarnessLeft => {
                end_display(&mut display);
                sweep(folder, own_session);
                reap();
                remove(folder);
                return Ok(());
            }
        }
    }
}

/// Starts an X server without a screen; it takes the first free number and prints it.
fn start_display(folder: &Path, log: &File) -> Result<(Child, String)> {
    let mut server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"])
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()
        .context("starting Xvfb")?;
    let mut number = String::new();
    let told = server.stdout.take().context("Xvfb has no stdout")?;
    BufReader::new(told).read_line(&mut number).context("reading what Xvfb prints")?;
    ensure!(!number.trim().is_empty(), "Xvfb ended as it started");
    Ok((server, format!(":{}", number.trim())))
}

/// Asks the X server to end, which removes its lock file and its socket; the sweep would leave them.
fn end_display(display: &mut Option<Child>) {
    let Some(mut server) = display.take() else { return };
    let _ = kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM);
    for _ in 0..100 {
        if matches!(server.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Takes note of every child that has ended, so that none stays behind as a zombie where the first
/// process of the machine, or of the container, does not do it.
fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

/// The harness may be gone, which is no reason to stop cleaning up.
fn tell(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Kills every process of POSIX session `session` and every one that has `folder` in its arguments
/// or environment, as browsers move some of their processes into sessions of their own. Repeats
/// until none is left, since a dying process can still start another.
pub fn sweep(folder: &Path, session: Option<u32>) {
    for _ in 0..100 {
        let found = processes(folder, session);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // It may be gone since it was listed.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that [`sweep`] is about, without this one.
fn processes(folder: &Path, session: Option<u32>) -> Vec<u32> {
    // Where the processes cannot be listed there are none to find.
    let Ok(mut system) = System::new() else { return Vec::new() };
    let what = ProcessRefreshKind::nothing()
        .with_cmd(UpdateKind::Always)
        .with_environ(UpdateKind::Always)
        .without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let folder = folder.as_os_str().as_encoded_bytes();
    let mentions = |texts: &[OsString]| {
        texts.iter().any(|text| {
            text.as_encoded_bytes().windows(folder.len()).any(|window| window == folder)
        })
    };
    let is_ours = |process: &sysinfo::Process| {
        let in_session =
            session.is_some() && process.session_id().map(sysinfo::Pid::as_u32) == session;
        in_session || mentions(process.cmd()) || mentions(process.environ())
    };
    let alive = |process: &sysinfo::Process| {
        !matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead)
    };
    system
        .processes()
        .iter()
        .map(|(pid, process)| (pid.as_u32(), process))
        .filter(|(pid, process)| *pid != std::process::id() && alive(process) && is_ours(process))
        .map(|(pid, _)| pid)
        .collect()
}

/// Removes the scratch folder; a file that a killed process left half written is no obstacle.
pub fn remove(folder: &Path) {
    for _ in 0..10 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
