//! Browsers, drivers and the harness itself are killed in the middle of a cell: the run goes on where
//! it can, and nothing stays behind.

use nix::sys::signal::Signal;
use record::{Browser, Status};
use tests::{Faults, signal, wait};

/// The second cell waits for half a minute, long enough to be hit.
const CASES: [&str; 3] = ["first", "waits", "well again"];

/// What the first process of each browser is called, by who built it.
const CHROME: &[&str] = &["chromium", "chrome"];
const FIREFOX: &[&str] = &["firefox", "firefox-esr", "firefox-bin"];

fn killing(browser: Browser, processes: &[&str], expected: Status) {
    let faults = Faults::with(&CASES);
    let harness = faults.start(browser);
    faults.kill(processes);
    let status = wait(harness);
    let outcome = faults.record("waits").outcome;
    assert_eq!(outcome.status, expected, "{outcome:?}");
    assert_eq!(outcome.stage.as_deref(), Some("measure"));
    for case in ["first", "well again"] {
        let outcome = faults.record(case).outcome;
        assert_eq!(outcome.status, Status::Pass, "{case}: {outcome:?}");
    }
    assert_eq!(status.code(), Some(if expected == Status::Infra { 3 } else { 1 }));
    faults.assert_nothing_is_left();
}

#[test]
fn a_killed_chrome_is_a_crash() {
    killing(Browser::Chrome, CHROME, Status::Crash);
}

#[test]
fn a_killed_firefox_is_a_crash() {
    killing(Browser::Firefox, FIREFOX, Status::Crash);
}

#[test]
fn a_killed_chromedriver_is_no_fault_of_the_model() {
    killing(Browser::Chrome, &["chromedriver"], Status::Infra);
}

#[test]
fn a_killed_geckodriver_is_no_fault_of_the_model() {
    killing(Browser::Firefox, &["geckodriver"], Status::Infra);
}

#[test]
fn a_killed_harness_leaves_nothing_behind() {
    for browser in [Browser::Chrome, Browser::Firefox] {
        let faults = Faults::with(&CASES);
        let harness = faults.start(browser);
        assert!(faults.processes(&[]).len() > 3, "a guard, a driver and a browser run");
        signal(harness.id(), Signal::SIGKILL);
        wait(harness);
        faults.assert_nothing_is_left();
    }
}

#[test]
fn an_interrupted_run_is_rendered_and_leaves_nothing_behind() {
    for how in [Signal::SIGINT, Signal::SIGTERM] {
        let faults = Faults::with(&CASES);
        let harness = faults.start(Browser::Chrome);
        signal(harness.id(), how);
        assert_eq!(wait(harness).code(), Some(130));
        assert_eq!(faults.records().len(), 1);
        assert!(faults.path("matrix.html").exists() && faults.path("report.html").exists());
        faults.assert_nothing_is_left();
    }
}

/// Whoever develops the engine builds while a run goes on.
#[test]
fn a_harness_that_is_built_anew_meanwhile_still_opens_sessions() {
    let faults = Faults::with(&CASES);
    let copy = faults.path("harness");
    std::fs::copy(&*tests::HARNESS, &copy).unwrap();
    let harness = faults.start_program(&copy, Browser::Chrome);
    std::fs::remove_file(&copy).unwrap();
    faults.kill(CHROME);
    wait(harness);
    let statuses: Vec<_> = faults.records().iter().map(|record| record.outcome.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Crash, Status::Pass]);
    faults.assert_nothing_is_left();
}
