//! Job objects, which end their processes when the last handle to them is closed.
//!
//! This process is in a job that it alone has a handle to. What a process of a job starts is in the job
//! as well, so the driver and all that comes of it end with this process, however it ends. To end them
//! before, so that their files can be removed, the driver is in a second job inside the first.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io,
    mem::ManuallyDrop,
    os::windows::io::AsRawHandle,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};
use win32job::{ExtendedLimitInfo, Job, JobError};

/// The variables that say where temporary files go.
pub(super) const TEMPORARY: &[&str] = &["TMP", "TEMP"];

/// The jobs of this process and of the driver.
pub(super) struct Tree {
    /// Never closed by this process, which that would end.
    all: ManuallyDrop<Job>,
    driver: Option<Job>,
}

impl Tree {
    pub(super) fn new(_folder: &Path) -> Result<Tree> {
        let all = job().and_then(|job| job.assign_current_process().map(|()| job));
        let all = ManuallyDrop::new(all.context("making a job object for this process")?);
        Ok(Tree { all, driver: None })
    }

    /// X servers are for browsers that Windows does not have.
    pub(super) fn start_display(&mut self, _command: &mut Command, _log: &File) -> Result<()> {
        bail!("--display is for systems with an X server, which Windows is not");
    }

    pub(super) fn spawn(&mut self, mut command: Command) -> io::Result<Child> {
        let driver = job().map_err(io::Error::other)?;
        // A driver starts its browser when it is asked for a session, long after it is in the job.
        let child = command.spawn()?;
        driver.assign_process(child.as_raw_handle() as isize).map_err(io::Error::other)?;
        self.driver = Some(driver);
        Ok(child)
    }

    /// Ends everything but this process, and waits until it has ended: as long as a process lives, the
    /// files that it has open cannot be removed.
    pub(super) fn kill(&mut self) {
        drop(self.driver.take());
        for _ in 0..100 {
            if self.all.query_process_id_list().is_ok_and(|processes| processes.len() <= 1) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A new job; what is in it ends when the job is dropped.
fn job() -> Result<Job, JobError> {
    let mut limits = ExtendedLimitInfo::new();
    limits.limit_kill_on_job_close();
    Job::create_with_limit_info(&limits)
}

/// What a guard watched over ended with it.
pub(super) fn sweep(_folder: &Path) {}
