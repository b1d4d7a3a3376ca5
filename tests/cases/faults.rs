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
        ("traps", Status::Error, "unreachable"),
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
        assert!(environment.browser.driver_version.contains('.'));
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
fn a_browser_that_is_not_there_counts_against_no_model() {
    let faults = Faults::with(&["answers", "traps"]);
    let status = faults.command(Browser::Safari, &["wasm"]).status().unwrap();
    assert_eq!(status.code(), Some(3));
    let records = faults.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.outcome.status, Status::Infra, "{:?}", record.outcome);
    }
}

#[test]
fn a_bundle_that_does_not_load_says_so() {
    let faults = Faults::with(&["answers"]);
    std::fs::write(faults.path("web/pkg/engine.js"), "this is no module").unwrap();
    let status =
        faults.command(Browser::Chrome, &["wasm"]).args(["--timeout", "5"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let outcome = faults.record("answers").outcome;
    assert_eq!((outcome.status, outcome.stage.as_deref()), (Status::Error, Some("self-test")));
    assert!(outcome.message.unwrap().contains("SyntaxError"));
}
