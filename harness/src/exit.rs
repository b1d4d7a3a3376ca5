//! How `harness` ends: the exit codes that scripts and CI can rely on.

use record::{Record, Status, Verdict};
use std::process::ExitCode;

/// The exit codes of `harness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went as asked: every cell passed, is unsupported here or was skipped.
    Ok = 0,
    /// Some cell failed: its status is `fail`, `error`, `crash` or `timeout`, and that was not expected.
    /// For `compare`: some cell changed in a way that `--fail-on` names; for `gate`: a budget broke; for `bench --against`, some op or
    /// class is slower.
    CellFailed = 1,
    /// Nothing was run: the command line, the cases or the set-up need a change.
    Usage = 2,
    /// No cell failed, but some could not be run because no browser session could be had, or could
    /// not be stored.
    Infra = 3,
    /// All was run and is stored, and some file could not be written: a page, JUnit XML, a summary.
    /// Whether a cell failed is in the summary, as 0 and 1 promise files as well.
    Output = 4,
    /// Stopped by Ctrl-C or SIGTERM; what was recorded until then is stored and rendered.
    Interrupted = 130,
}

impl Exit {
    /// The exit of a run with these records.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Exit {
        let mut exit = Exit::Ok;
        for record in records {
            let verdict = record.expectation.as_ref().map(|expectation| expectation.verdict);
            match record.outcome.status {
                _ if verdict == Some(Verdict::Expected) => {}
                Status::Fail | Status::Error | Status::Crash | Status::Timeout => {
                    return Exit::CellFailed;
                }
                Status::Infra => exit = Exit::Infra,
                Status::Pass | Status::Flaky | Status::Unsupported | Status::Skip => {}
            }
        }
        exit
    }

    /// The worse of two: what is wrong outweighs what could not be had.
    pub fn or(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Ok => 0,
            Exit::Infra => 1,
            _ => 2,
        };
        if rank(other) > rank(self) { other } else { self }
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
    use crate::sample::record;
    use record::Expectation;

    fn exit_of(statuses: &[Status]) -> Exit {
        let records: Vec<_> = statuses.iter().map(|status| record("r", *status)).collect();
        Exit::of(&records)
    }

    #[test]
    fn a_failed_cell_outweighs_a_missing_browser() {
        assert_eq!(exit_of(&[]), Exit::Ok);
        assert_eq!(exit_of(&[Status::Pass, Status::Unsupported, Status::Skip]), Exit::Ok);
        assert_eq!(exit_of(&[Status::Infra, Status::Pass]), Exit::Infra);
        for status in [Status::Fail, Status::Error, Status::Crash, Status::Timeout] {
            assert_eq!(exit_of(&[Status::Infra, status]), Exit::CellFailed);
        }
    }

    #[test]
    fn of_two_exits_the_worse_one_is_kept() {
        assert_eq!(Exit::Ok.or(Exit::Infra), Exit::Infra);
        assert_eq!(Exit::Infra.or(Exit::CellFailed), Exit::CellFailed);
        assert_eq!(Exit::CellFailed.or(Exit::Infra), Exit::CellFailed);
        assert_eq!(Exit::Infra.or(Exit::Ok), Exit::Infra);
    }

    #[test]
    fn an_expected_failure_fails_no_run() {
        for (verdict, exit) in
            [(Verdict::Expected, Exit::Ok), (Verdict::Unexpected, Exit::CellFailed)]
        {
            let mut record = record("r", Status::Fail);
            let (status, reason) = (vec![Status::Fail], "known".into());
            record.expectation = Some(Expectation { verdict, status, reason, link: None });
            assert_eq!(Exit::of([&record]), exit);
        }
    }
}
