//! wptreport.json, as wptrunner writes it and wpt.fyi reads it: one file a browser, a test for each
//! cell, and subtests for what the cell's verdict is made of.
//!
//! A cell that ran is `OK`, and its subtests say whether it was right; `unsupported` is
//! `PRECONDITION_FAILED`, and `infra` is `SKIP`, as it says nothing about the browser.

use super::reason;
use anyhow::Result;
use record::{Axis, Browser, Record, Status, Tolerances, Verdict};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

#[derive(Serialize)]
struct Report<'a> {
    run_info: RunInfo<'a>,
    /// Milliseconds since 1970.
    time_start: i64,
    time_end: i64,
    results: Vec<Test>,
}

#[derive(Serialize)]
struct RunInfo<'a> {
    product: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    browser_channel: Option<&'a str>,
    browser_version: &'a str,
    os: &'static str,
    os_version: &'a str,
    revision: &'a str,
    headless: bool,
}

#[derive(Serialize)]
struct Test {
    test: String,
    subsuite: &'static str,
    status: &'static str,
    message: Option<String>,
    /// Milliseconds.
    duration: u64,
    /// Only where it is not `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'static str>,
    known_intermittent: Vec<&'static str>,
    subtests: Vec<Subtest>,
}

#[derive(Serialize)]
struct Subtest {
    name: &'static str,
    status: &'static str,
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'static str>,
    known_intermittent: Vec<&'static str>,
}

/// Each file with its text: `path` itself for one browser, with the browser's name before the
/// extension for several.
pub fn render(records: &[Record], path: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut products: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let cell = &record.cell;
        products.entry((cell.browser, cell.axis(Axis::Channel))).or_default().push(record);
    }
    let several = products.len() > 1;
    products
        .into_iter()
        .map(|((browser, channel), records)| {
            let mut path = path.to_owned();
            if several {
                let extension = path.extension().and_then(|extension| extension.to_str());
                let name = records[0].cell.browser_name();
                path.set_extension(format!("{name}.{}", extension.unwrap_or("json")));
            }
            Ok((path, serde_json::to_string(&report(browser, channel, &records))?))
        })
        .collect()
}

fn report<'a>(browser: Browser, channel: Option<&'a str>, records: &[&'a Record]) -> Report<'a> {
    // Those that had no session know no version.
    let told = records.iter().find(|record| !record.environment.browser.version.is_empty());
    let environment = &told.unwrap_or(&records[0]).environment;
    let times = || records.iter().filter_map(|record| start_and_end(record));
    Report {
        run_info: RunInfo {
            product: browser.name(),
            browser_channel: channel,
            browser_version: &environment.browser.version,
            os: os(&environment.host.os),
            os_version: &environment.host.os,
            revision: &environment.engine.commit,
            headless: environment.browser.headless,
        },
        time_start: times().map(|(start, _)| start).min().unwrap_or(0),
        time_end: times().map(|(_, end)| end).max().unwrap_or(0),
        results: records.iter().map(|record| test(record)).collect(),
    }
}

fn start_and_end(record: &Record) -> Option<(i64, i64)> {
    let start: jiff::Timestamp = record.started_at.parse().ok()?;
    let start = start.as_millisecond();
    Some((start, start + record.duration_ms as i64))
}

/// The names that run information of the web platform tests has.
fn os(name: &str) -> &'static str {
    let name = name.to_lowercase();
    match () {
        () if name.contains("windows") => "win",
        () if name.contains("mac") || name.contains("darwin") => "mac",
        () => "linux",
    }
}

fn test(record: &Record) -> Test {
    let cell = &record.cell;
    let status = harness_status(record.outcome.status);
    let (test, subtests) = expectations(record);
    // Variants of a web platform test are told apart by its query.
    let varied = cell.variations().map(|(axis, value)| format!("{axis}={value}"));
    let query = varied.collect::<Vec<_>>().join("&");
    Test {
        test: format!(
            "/fewbit/{}/{}/{}/{}{}{query}",
            cell.class,
            cell.case,
            record.cell.precision.to_string().replace(' ', "-"),
            cell.backend,
            if query.is_empty() { "" } else { "?" }
        ),
        subsuite: "",
        status,
        message: (record.outcome.status != Status::Pass).then(|| reason(record)),
        duration: record.duration_ms as u64,
        expected: test.filter(|expected| *expected != status),
        known_intermittent: intermittent(record),
        subtests: subtests_of(record, subtests),
    }
}

const fn harness_status(status: Status) -> &'static str {
    match status {
        Status::Pass | Status::Flaky | Status::Fail => "OK",
        Status::Unsupported => "PRECONDITION_FAILED",
        Status::Timeout => "TIMEOUT",
        Status::Crash => "CRASH",
        Status::Error => "ERROR",
        Status::Infra | Status::Skip => "SKIP",
    }
}

/// What was expected of the test, and of the subtests that fail.
fn expectations(record: &Record) -> (Option<&'static str>, Option<&'static str>) {
    let known = record.expectation.as_ref();
    let expected = known.and_then(|known| known.status.first()).copied().unwrap_or(Status::Pass);
    match known.map(|known| known.verdict) {
        Some(Verdict::Expected) => (None, None),
        _ if matches!(
            record.outcome.status,
            Status::Infra | Status::Skip | Status::Unsupported
        ) =>
        {
            (None, None)
        }
        _ => (Some(harness_status(expected)), Some("PASS")),
    }
}

/// The statuses of earlier attempts of a cell that passed in the end.
fn intermittent(record: &Record) -> Vec<&'static str> {
    let mut statuses: Vec<_> = match record.outcome.status {
        Status::Flaky => record.earlier.iter().map(|a| harness_status(a.status)).collect(),
        _ => Vec::new(),
    };
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn subtests_of(record: &Record, expected: Option<&'static str>) -> Vec<Subtest> {
    let status = record.outcome.status;
    if !matches!(status, Status::Pass | Status::Flaky | Status::Fail) {
        return Vec::new();
    }
    let found = record.outcome.correctness.unwrap_or_default();
    let bounds = Tolerances::of(&record.cell.precision);
    let mut subtests = Vec::new();
    let mut add = |name, passes: bool, expected: Option<&'static str>, message: Option<String>| {
        let status = if passes { "PASS" } else { "FAIL" };
        let expected = expected.filter(|expected| *expected != status);
        subtests.push(Subtest { name, status, message, expected, known_intermittent: Vec::new() });
    };
    if let Some(error) = found.kernel_rel_l2 {
        let bound = bounds.kernel_rel_l2;
        add("kernel error", error <= bound, expected, over(error, bound));
    }
    if let (Some(error), Some(bound)) = (found.reference_rel_l2, bounds.reference_rel_l2) {
        add("reference", error <= bound, expected, over(error, bound));
    }
    if let (Some(share), true) = (found.generated_match, bounds.generation_is_exact) {
        let message = (share != 1.0).then(|| format!("{share} of the tokens before they differ"));
        add("generation", share == 1.0, expected, message);
    }
    // A cell can fail by what is none of these, such as an output that is not finite.
    let passes = status != Status::Fail;
    let known = record.expectation.as_ref();
    let was_to_fail = known.is_some_and(|known| {
        known.verdict == Verdict::NewlyPassing && known.status.contains(&Status::Fail)
    });
    let expected = if was_to_fail { Some("FAIL") } else { expected };
    add("verdict", passes, expected, (!passes).then(|| reason(record)));
    subtests
}

fn over(error: f64, bound: f64) -> Option<String> {
    // Not `error > bound`: an error that is no number is over every bound.
    let is_within = error <= bound;
    (!is_within).then(|| format!("{error:e} is over {bound:e} (relative, L2)"))
}
