//! JUnit XML: a suite for each browser and backend, a test case for each cell.
//!
//! Attempts before the last are told as nextest does: `flakyFailure` under a cell that passed in the
//! end, `rerunFailure` under one that did not. A known failure is skipped and says why.

use super::reason;
use anyhow::{Context, Result};
use quick_junit::{
    FlakyOrRerun, NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestRerun, TestSuite,
};
use record::{Attempt, Axis, Record, Status, Verdict};
use std::{collections::BTreeMap, time::Duration};

/// The whole report.
pub fn render(records: &[Record]) -> Result<String> {
    let mut suites: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let cell = &record.cell;
        let place = (cell.browser, cell.axis(Axis::Channel), cell.backend);
        suites.entry(place).or_default().push(record);
    }
    let mut report = Report::new("fewbit");
    report.set_time(time_of(records));
    report.timestamp = records.first().and_then(|record| record.started_at.parse().ok());
    for ((_, _, backend), records) in suites {
        let browser = records[0].cell.browser_name();
        let mut suite = TestSuite::new(format!("{browser} {backend}"));
        suite.set_time(time_of(records.iter().copied()));
        suite.timestamp = records[0].started_at.parse().ok();
        suite.add_test_cases(records.into_iter().map(test_case));
        report.add_test_suite(suite);
    }
    report.to_string().context("writing JUnit XML")
}

/// Text without the two characters that XML forbids and `quick-junit` lets through; it sees to the
/// others.
fn text(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn time_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Duration {
    records.into_iter().map(|record| millis(record.duration_ms)).sum()
}

fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

fn test_case(record: &Record) -> TestCase {
    let mut status = status(record);
    let reruns = record.earlier.iter().map(rerun);
    status.add_reruns(reruns);
    let name = format!("{} {}", record.cell.title(), record.cell.precision);
    let mut case = TestCase::new(text(&name), status);
    case.set_classname(record.cell.class.name()).set_time(millis(record.duration_ms));
    case.timestamp = record.started_at.parse().ok();
    case.add_property(Property::new("status", record.outcome.status.name()));
    if let Some(expectation) = &record.expectation {
        case.add_property(Property::new("expectation", expectation.verdict.name()));
    }
    case.add_property(Property::new("repro", text(&record.repro)));
    case
}

fn status(record: &Record) -> TestCaseStatus {
    let verdict = record.expectation.as_ref();
    if let Some(known) = verdict.filter(|known| known.verdict == Verdict::Expected)
        && !matches!(record.outcome.status, Status::Pass | Status::Flaky)
    {
        let mut status = TestCaseStatus::skipped();
        let link = known.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
        status.set_type("expected").set_message(text(&format!("known: {}{link}", known.reason)));
        return status;
    }
    let mut status = match record.outcome.status {
        Status::Pass | Status::Flaky => return TestCaseStatus::success(),
        Status::Unsupported | Status::Skip => TestCaseStatus::skipped(),
        Status::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        // That no session could be had is nobody's failure, and still nothing was tested.
        Status::Timeout | Status::Crash | Status::Error | Status::Infra => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    status.set_type(record.outcome.status.name()).set_message(text(&reason(record)));
    if let Some(message) = &record.outcome.message {
        status.set_description(text(message));
    }
    if matches!(status, TestCaseStatus::NonSuccess { .. }) {
        status.set_rerun_kind(FlakyOrRerun::Rerun);
    }
    status
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let kind = match attempt.status {
        Status::Fail => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut rerun = TestRerun::new(kind);
    rerun.set_type(attempt.status.name()).set_time(millis(attempt.duration_ms));
    if let Some(reason) = &attempt.reason {
        rerun.set_message(text(reason));
    }
    rerun
}
