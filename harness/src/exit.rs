//! How `harness` ends: the exit codes that scripts and CI can rely on.

use record::Status;
use std::process::ExitCode;

/// The exit codes of `harness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went as asked: every cell passed, is unsupported here or was skipped.
    Ok = 0,
    /// Some cell failed: its status is `fail`, `error`, `crash` or `timeout`.
    CellFailed = 1,
    /// Nothing was run: the command line, the cases or the set-up need a change.
    Usage = 2,
    /// No cell failed, but some could not be run because no browser session could be had.
    NoSession = 3,
    /// Stopped by Ctrl-C or SIGTERM; what was recorded until then is stored and rendered.
    Interrupted = 130,
}

impl Exit {
    /// The exit of a run whose cells ended so.
    pub fn of(statuses: impl IntoIterator<Item = Status>) -> Exit {
        let mut exit = Exit::Ok;
        for status in statuses {
            match status {
                Status::Fail | Status::Error | Status::Crash | Status::Timeout => {
                    return Exit::CellFailed;
                }
                Status::Infra => exit = Exit::NoSession,
                Status::Pass | Status::Unsupported | Status::Skip => {}
            }
        }
        exit
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_cell_outweighs_a_missing_browser() {
        assert_eq!(Exit::of([]), Exit::Ok);
        assert_eq!(Exit::of([Status::Pass, Status::Unsupported, Status::Skip]), Exit::Ok);
        assert_eq!(Exit::of([Status::Infra, Status::Pass]), Exit::NoSession);
        for status in [Status::Fail, Status::Error, Status::Crash, Status::Timeout] {
            assert_eq!(Exit::of([Status::Infra, status]), Exit::CellFailed);
        }
    }
}
