//! Browsers, drivers and the harness itself are killed in the middle of a cell: the run goes on where
//! it can, and nothing stays behind.
//!
//! On Unix alone, as these tests send signals; what holds on every system is in `guard.rs`.

#![cfg(unix)]

use nix::sys::signal::Signal;
use record::{Attempt, Browser, Record, Status};
use tests::{Faults, signal, wait};

/// The second cell waits for some seconds, long enough to be hit.
const CASES: [&str; 3] = ["first", "waits", "well again"];

/// What the first process of each browser is called, by who built it.
const CHROME: &[&str] = &["chromium", "chrome"];
const FIREFOX: &[&str] = &["firefox", "firefox-esr", "firefox-bin"];

/// Kills one of `processes` during the second cell, which gets no retries. Whatever happens to that
/// cell, the others pass, and nothing stays behind.
fn killing(browser: Browser, processes: &[&str]) -> (Record, Option<i32>) {
    let faults = Faults::with(&CASES);
    let harness = faults.start(browser);
    faults.kill(processes);
    let status = wait(harness);
    for case in ["first", "well again"] {
        let outcome = faults.record(case).outcome;
        assert_eq!(outcome.status, Status::Pass, "{case}: {outcome:?}");
    }
    faults.assert_nothing_is_left();
    (faults.record("waits"), status.code())
}

fn a_killed_browser_is_a_crash(browser: Browser, processes: &[&str]) {
    let (record, code) = killing(browser, processes);
    assert_eq!(record.outcome.status, Status::Crash, "{record:?}");
    assert_eq!(record.outcome.stage.as_deref(), Some("measure"));
    assert_eq!((record.attempts, code), (1, Some(1)));
}

/// It says nothing about the model, so the cell is run once more.
fn a_killed_driver_is_replaced(browser: Browser, driver: &str) {
    let (record, code) = killing(browser, &[driver]);
    assert_eq!(record.outcome.status, Status::Pass, "{record:?}");
    let [Attempt { status: Status::Infra, reason: Some(reason), .. }] = &record.earlier[..] else {
        panic!("{:?}", record.earlier);
    };
    assert!(reason.contains(driver), "{reason}");
    assert_eq!((record.attempts, code), (2, Some(0)));
}

#[test]
fn a_killed_chrome_is_a_crash() {
    a_killed_browser_is_a_crash(Browser::Chrome, CHROME);
}

#[test]
fn a_killed_firefox_is_a_crash() {
    a_killed_browser_is_a_crash(Browser::Firefox, FIREFOX);
}

/// Its X server, which has to end as well, is among what must not be left.
#[test]
#[cfg(target_os = "linux")]
fn a_killed_minibrowser_is_a_crash() {
    a_killed_browser_is_a_crash(Browser::Webkitgtk, &["MiniBrowser"]);
}

#[test]
fn a_killed_chromedriver_is_replaced() {
    a_killed_driver_is_replaced(Browser::Chrome, "chromedriver");
}

#[test]
fn a_killed_geckodriver_is_replaced() {
    a_killed_driver_is_replaced(Browser::Firefox, "geckodriver");
}

/// What the kernel does to a tab when memory runs out.
fn a_killed_tab_is_a_crash(browser: Browser, is_tab: &str) {
    let faults = Faults::with(&CASES);
    let harness = faults.start(browser);
    let tabs = faults.processes_with(is_tab);
    assert!(!tabs.is_empty(), "no process has {is_tab}");
    for tab in tabs {
        signal(tab, Signal::SIGKILL);
    }
    assert_eq!(wait(harness).code(), Some(1));
    let statuses: Vec<_> = faults.records().iter().map(|record| record.outcome.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Crash, Status::Pass]);
    faults.assert_nothing_is_left();
}

#[test]
fn a_killed_tab_of_chrome_is_a_crash() {
    a_killed_tab_is_a_crash(Browser::Chrome, "--type=renderer");
}

#[test]
fn a_killed_tab_of_firefox_is_a_crash() {
    a_killed_tab_is_a_crash(Browser::Firefox, "-isForBrowser");
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_tab_of_webkitgtk_is_a_crash() {
    a_killed_tab_is_a_crash(Browser::Webkitgtk, "WebKitWebProcess");
}

/// It runs and does not answer, which says nothing about the model.
fn a_stopped_driver_is_replaced(browser: Browser, driver: &str) {
    let faults = Faults::with(&CASES);
    let harness = faults.start(browser);
    let pid = *faults.processes(&[driver]).first().expect("a driver runs");
    signal(pid, Signal::SIGSTOP);
    assert_eq!(wait(harness).code(), Some(0));
    let record = faults.record("waits");
    assert_eq!(record.outcome.status, Status::Pass, "{record:?}");
    let [Attempt { status: Status::Infra, reason: Some(reason), .. }] = &record.earlier[..] else {
        panic!("{:?}", record.earlier);
    };
    assert!(reason.contains(&format!("{driver} runs and does not answer")), "{reason}");
    assert_eq!(faults.records().len(), CASES.len());
    faults.assert_nothing_is_left();
}

#[test]
fn a_stopped_chromedriver_is_replaced() {
    a_stopped_driver_is_replaced(Browser::Chrome, "chromedriver");
}

#[test]
fn a_stopped_geckodriver_is_replaced() {
    a_stopped_driver_is_replaced(Browser::Firefox, "geckodriver");
}

/// The driver is well: the browser is what does not answer, so that is the verdict.
#[test]
fn a_stopped_browser_is_a_timeout() {
    for (browser, processes) in [(Browser::Chrome, CHROME), (Browser::Firefox, FIREFOX)] {
        let faults = Faults::with(&CASES);
        let harness = faults.start(browser);
        let pid = *faults.processes(processes).first().expect("a browser runs");
        signal(pid, Signal::SIGSTOP);
        assert_eq!(wait(harness).code(), Some(1));
        let statuses: Vec<_> =
            faults.records().iter().map(|record| record.outcome.status).collect();
        assert_eq!(statuses, [Status::Pass, Status::Timeout, Status::Pass], "{browser}");
        faults.assert_nothing_is_left();
    }
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

#[test]
fn a_killed_run_goes_on_and_loses_nothing() {
    let faults = Faults::with(&CASES);
    let harness = faults.start(Browser::Chrome);
    signal(harness.id(), Signal::SIGKILL);
    wait(harness);
    assert_eq!(faults.records().len(), 1);

    let mut resume = std::process::Command::new(&*tests::HARNESS);
    resume.args(["run", "--resume", "latest", "--db", "records.sqlite"]);
    resume.current_dir(faults.path("."));
    // Less time than the cell needs: options of the second command line go over those of the first.
    let output = resume.args(["--timeout", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let records = faults.records();
    let found: Vec<_> =
        records.iter().map(|record| (record.cell.case.as_str(), record.outcome.status)).collect();
    let expected =
        [("first", Status::Pass), ("waits", Status::Timeout), ("well again", Status::Pass)];
    assert_eq!(found, expected);
    assert!(records.iter().all(|record| record.run_id == records[0].run_id), "it is one run");
    faults.assert_nothing_is_left();
}
