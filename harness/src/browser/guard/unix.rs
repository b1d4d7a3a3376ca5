//! A POSIX session, and a search for the processes that left it.

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
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The variables that say where temporary files go.
pub(super) const TEMPORARY: &[&str] = &["TMPDIR"];

/// The session that this process leads, and all that was started in it.
pub(super) struct Tree {
    folder: PathBuf,
    display: Option<Child>,
}

impl Tree {
    pub(super) fn new(folder: &Path) -> Result<Tree> {
        setsid().context("leading a new session")?;
        // Browsers start helpers that outlive their parents; those come to this process when they
        // are orphaned, which can then take note of their end.
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_child_subreaper(true).context("adopting orphans")?;
        Ok(Tree { folder: folder.to_owned(), display: None })
    }

    /// Starts an X server without a screen, on which `command` will show itself; it takes the first
    /// free number and prints it.
    pub(super) fn start_display(&mut self, command: &mut Command, log: &File) -> Result<()> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"])
            .envs(TEMPORARY.iter().map(|variable| (variable, &self.folder)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("starting Xvfb")?;
        let mut number = String::new();
        let told = server.stdout.take().context("Xvfb has no stdout")?;
        BufReader::new(told).read_line(&mut number).context("reading what Xvfb prints")?;
        ensure!(!number.trim().is_empty(), "Xvfb ended as it started");
        command.env("DISPLAY", format!(":{}", number.trim())).env_remove("WAYLAND_DISPLAY");
        self.display = Some(server);
        Ok(())
    }

    pub(super) fn spawn(&mut self, mut command: Command) -> io::Result<Child> {
        command.spawn()
    }

    /// Ends everything but this process.
    pub(super) fn kill(&mut self) {
        end_display(&mut self.display);
        kill_all(&self.folder, Some(std::process::id()));
        reap();
    }
}

/// Kills every process that has `folder` in its arguments or environment.
pub(super) fn sweep(folder: &Path) {
    kill_all(folder, None);
}

/// Asks the X server to end, which removes its lock file and its socket; SIGKILL would leave them.
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

/// Kills every process of POSIX session `session` and every one that has `folder` in its arguments
/// or environment, as browsers move some of their processes into sessions of their own. Repeats
/// until none is left, since a dying process can still start another.
fn kill_all(folder: &Path, session: Option<u32>) {
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

/// The processes that [`kill_all`] is about, without this one.
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
