//! What breaks in a page becomes the record of its cell, and the next cell runs as if nothing had
//! happened.

use record::{Browser, Status};
use tests::Faults;

const CASES: [&str; 9] = [
    "answers",
    "breaks-later",
    "exhausts-memory",
    "hangs",
    "reads files",
    "speaks-nonsense",
    "still answers",
    "traps",
    "well at last",
];

fn faults_are_records_in(browser: Browser) {
    let faults = Faults::with(&CASES);
    // A name that must be encoded on its way through an URL, and a file in a folder.
    tests::write_case(&faults.path("cases/reads files/a folder"));
    let status = faults.command(browser, &["wasm"]).args(["--timeout", "3"]).status().unwrap();

    let expected = [
        ("answers", Status::Pass, ""),
        ("breaks-later", Status::Error, "thrown outside of any call"),
        ("exhausts-memory", Status::Error, "RangeError"),
        ("hangs", Status::Timeout, "no answer within 3 s"),
        ("reads files", Status::Pass, "10 files"),
        ("speaks-nonsense", Status::Error, "unheard of"),
        ("still answers", Status::Pass, ""),
        ("traps", Status::Error, "RuntimeError"),
        ("well at last", Status::Pass, ""),
    ];
    let records = faults.records();
    assert_eq!(records.len(), expected.len());
    for (case, status, said) in expected {
        let record = faults.record(case);
        assert_eq!(record.outcome.status, status, "{case}: {:?}", record.outcome);
        let outcome = &record.outcome;
        let text = outcome.message.as_ref().or(outcome.reason.as_ref());
        assert!(text.map_or("", String::as_str).contains(said), "{case}: {outcome:?}");

        let environment = record.environment;
        let has_version = environment.browser.driver_version.contains('.');
        // WebKitWebDriver does not tell: it is a part of the browser's own build.
        assert!(has_version || browser == Browser::Webkitgtk);
        assert!(environment.browser.version.contains('.') && environment.browser.headless);
        assert_eq!(environment.engine.commit, "faults");
        assert!(record.repro.starts_with("cargo harness run --browsers"), "{}", record.repro);
    }
    assert_eq!(faults.record("hangs").outcome.stage.as_deref(), Some("forward"));
    assert_eq!(status.code(), Some(1));
    for file in ["matrix.html", "report.html"] {
        assert!(faults.path(file).metadata().unwrap().len() > 0, "{file} is empty");
    }
    faults.assert_nothing_is_left();
}

#[test]
fn faults_are_records_in_chrome() {
    faults_are_records_in(Browser::Chrome);
}

#[test]
fn faults_are_records_in_firefox() {
    faults_are_records_in(Browser::Firefox);
}

#[test]
#[cfg(target_os = "linux")]
fn faults_are_records_in_webkitgtk() {
    faults_are_records_in(Browser::Webkitgtk);
}

/// Chrome ends a tab whose script fills its heap; other browsers have no such limit below what the
/// machine has.
#[test]
fn a_tab_out_of_memory_is_a_crash() {
    let faults = Faults::with(&["answers", "fills-the-tab", "still answers"]);
    // A busy machine takes its time over four gigabytes.
    let status = faults.command(Browser::Chrome, &["wasm"]).args(["--timeout", "600"]).status();
    assert_eq!(status.unwrap().code(), Some(1));
    let records = faults.records();
    let statuses: Vec<_> = records.iter().map(|record| record.outcome.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Crash, Status::Pass]);
    assert_eq!(records[1].outcome.stage.as_deref(), Some("load"));
    faults.assert_nothing_is_left();
}

#[test]
fn a_page_that_says_no_is_unsupported_and_a_wrong_op_is_an_error() {
    let faults = Faults::with(&["answers", "traps"]);
    let status = faults.command(Browser::Chrome, &["webnn", "webgpu"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    for record in faults.records() {
        let outcome = record.outcome;
        let found = (outcome.status, outcome.stage.as_deref(), outcome.message.as_deref());
        let expected = match record.cell.backend.name() {
            "webnn" => (Status::Unsupported, Some("probe"), Some("no navigator.ml")),
            _ => (Status::Error, Some("self-test"), Some("op matvec q4: all zeros")),
        };
        assert_eq!(found, expected);
    }
    assert_eq!(faults.records().len(), 4);
}

#[test]
fn what_passes_at_a_second_attempt_is_flaky_and_fails_no_run() {
    let faults = Faults::with(&["stumbles", "traps"]);
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    let status = command.args(["--retries", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(1), "a trap stays an error at the second attempt");
    let flaky = faults.record("stumbles");
    assert_eq!((flaky.outcome.status, flaky.attempts), (Status::Flaky, 2));
    assert_eq!(flaky.earlier[0].status, Status::Fail);
    assert_eq!(flaky.earlier[0].reason.as_deref(), Some("it stumbled"));
    let broken = faults.record("traps");
    assert_eq!((broken.outcome.status, broken.attempts), (Status::Error, 2));

    let faults = Faults::with(&["stumbles"]);
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    assert_eq!(command.args(["--retries", "1"]).status().unwrap().code(), Some(0));
}

#[test]
fn a_run_ends_with_its_time_and_keeps_what_it_has() {
    let faults = Faults::with(&["first", "waits"]);
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    let status = command.args(["--run-timeout", "8"]).status().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(faults.records().len(), 1);
    assert!(faults.path("matrix.html").exists());
    faults.assert_nothing_is_left();
}

#[test]
fn jobs_share_the_cells_of_a_browser() {
    let faults = Faults::with(&["waits", "well", "well again"]);
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    assert_eq!(command.args(["--jobs", "2"]).status().unwrap().code(), Some(0));
    let order: Vec<_> = faults.records().into_iter().map(|record| record.cell.case).collect();
    assert_eq!(order, ["well", "well again", "waits"], "the others do not wait for the first");
    faults.assert_nothing_is_left();
}

#[test]
fn a_browser_that_is_not_there_counts_against_no_model() {
    let faults = Faults::with(&["answers", "traps"]);
    std::fs::write(faults.path("matrix.html"), "of another run").unwrap();
    // A browser that was named must be there, or nothing runs.
    let status = faults.command(Browser::Safari, &["wasm"]).status().unwrap();
    assert_eq!((status.code(), faults.records().len()), (Some(2), 0));

    let mut command = faults.command(Browser::Safari, &["wasm"]);
    assert_eq!(command.arg("--keep-going").status().unwrap().code(), Some(3));
    // Pages that say nothing take the place of no others.
    assert_eq!(std::fs::read_to_string(faults.path("matrix.html")).unwrap(), "of another run");
    assert!(faults.path("report.html").exists());
    let records = faults.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.outcome.status, Status::Infra, "{:?}", record.outcome);
    }
}

#[test]
fn a_bundle_that_does_not_load_says_so() {
    let faults = Faults::with(&["answers"]);
    std::fs::write(faults.path("web/pkg/engine/engine.js"), "this is no module").unwrap();
    let status =
        faults.command(Browser::Chrome, &["wasm"]).args(["--timeout", "5"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let outcome = faults.record("answers").outcome;
    assert_eq!((outcome.status, outcome.stage.as_deref()), (Status::Error, Some("self-test")));
    assert!(outcome.message.unwrap().contains("SyntaxError"));
}

#[test]
fn rounds_visit_every_cell_before_any_is_visited_again() {
    let faults = Faults::with(&["measures", "stumbles", "traps"]);
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    let status = command.args(["--rounds", "3", "--retries", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let records = faults.records();
    let visits: Vec<_> =
        records.iter().map(|record| (record.cell.case.as_str(), record.rounds)).collect();
    let expected =
        [("measures", 1), ("stumbles", 1), ("traps", 1), ("measures", 2), ("stumbles", 2)];
    assert_eq!(visits[..5], expected, "what failed is not visited again");
    assert_eq!(visits[5..], [("measures", 3), ("stumbles", 3)]);
    let timing = records[5].outcome.timing.as_ref().unwrap();
    // The trap between the first two visits ended the worker that counts.
    assert_eq!((&timing.samples_ms[..], timing.median_ms), (&[1.0, 1.0, 2.0][..], 1.0));
    assert_eq!(records[6].outcome.status, Status::Flaky, "it stumbled in the first round");
}
