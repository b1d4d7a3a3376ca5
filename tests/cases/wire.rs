//! Edge and Safari over the wire: the harness drives them through a WebDriver server that speaks as
//! their drivers do (`src/bin/driver_double.rs`), since neither can be had on every machine.

use record::{Browser, Record, Status};
use serde_json::{Value, json};
use std::{
    env::consts::{EXE_EXTENSION, EXE_SUFFIX},
    fs,
    path::Path,
    process::Command,
};
use tests::Faults;

const CASES: [&str; 5] = ["answers", "hangs", "loses its window", "script times out", "throws"];

const DOUBLE: &str = env!("CARGO_BIN_EXE_driver_double");

/// A run of `browser` whose driver is the double, and whose Edge says that it is `version`.
fn command(faults: &Faults, browser: Browser, version: &str) -> Command {
    let folder = faults.path("double");
    fs::create_dir_all(&folder).unwrap();
    for name in ["msedgedriver", "safaridriver"] {
        let driver = folder.join(name).with_extension(EXE_EXTENSION);
        // A run may be the second one in its folder.
        if !driver.exists() {
            fs::hard_link(DOUBLE, &driver)
                .or_else(|_| fs::copy(DOUBLE, &driver).map(drop))
                .unwrap();
        }
    }
    write_edge(&folder.join(EDGE), version);
    let mut command = faults.command(browser, &["webgpu"]);
    command.env("PATH", &folder).env("DOUBLE_FOLDER", &folder).args(["--timeout", "2"]);
    command
}

/// The file name of Edge.
const EDGE: &str = if cfg!(windows) { "msedge.exe" } else { "microsoft-edge" };

/// An Edge that tells its version.
#[cfg(unix)]
fn write_edge(path: &Path, version: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\necho Microsoft Edge {version}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An Edge that lies beside the folder of its version.
#[cfg(windows)]
fn write_edge(path: &Path, version: &str) {
    fs::write(path, "").unwrap();
    let _ = fs::create_dir(path.with_file_name(version));
}

/// The capabilities of each session that was asked for.
fn asked(faults: &Faults) -> Vec<Value> {
    let log = fs::read_to_string(faults.path("double/sessions.jsonl")).unwrap_or_default();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["capabilities"]["alwaysMatch"].clone()).collect()
}

fn every_end_is_a_record(browser: Browser) -> (Faults, Vec<Record>) {
    let faults = Faults::with(&CASES);
    let status = command(&faults, browser, "156.0.3210.9").status().unwrap();
    assert_eq!(status.code(), Some(1));
    for (case, status, said) in [
        ("answers", Status::Pass, ""),
        ("hangs", Status::Timeout, "no answer within 2 s"),
        ("loses its window", Status::Crash, "the browser is gone"),
        ("script times out", Status::Error, "the page: "),
        ("throws", Status::Error, "undefined is not a function"),
    ] {
        let outcome = faults.record(case).outcome;
        assert_eq!(outcome.status, status, "{case}: {outcome:?}");
        assert!(outcome.message.unwrap_or_default().contains(said), "{case}");
    }
    // After a crash, a script that the driver gave up and a timeout on WebGPU, where a shader may still
    // run, the next cell has a new session.
    assert_eq!(asked(&faults).len(), 4);
    let records = faults.records();
    assert_eq!(records.len(), CASES.len());
    assert!(records.iter().all(|record| record.environment.engine.commit == "double"));
    assert_eq!(faults.processes(&[]), [0; 0]);
    (faults, records)
}

#[test]
fn edge_is_asked_for_edge_and_every_end_is_a_record() {
    let (faults, records) = every_end_is_a_record(Browser::Edge);
    let browser = &records[0].environment.browser;
    assert_eq!((browser.name.as_str(), browser.headless), ("msedge", true));
    assert_eq!(browser.version, "156.0.3210.1");
    assert_eq!(browser.driver, format!("msedgedriver{EXE_SUFFIX}"));
    assert_eq!(browser.driver_version, "156.0.3210.1");
    for asked in asked(&faults) {
        let keys: Vec<&String> = asked.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["browserName", "ms:edgeOptions"]);
        assert_eq!(asked["browserName"], "MicrosoftEdge");
        let binary = faults.path("double").join(EDGE);
        assert_eq!(asked["ms:edgeOptions"]["binary"], json!(binary));
        let args = asked["ms:edgeOptions"]["args"].as_array().unwrap();
        assert!(args.contains(&json!("--headless=new")), "{args:?}");
        assert_eq!(args.iter().map(|arg| arg.as_str().unwrap()).collect::<Vec<_>>(), browser.flags);
    }
}

#[test]
fn safari_is_asked_for_safari_and_every_end_is_a_record() {
    let (faults, records) = every_end_is_a_record(Browser::Safari);
    let browser = &records[0].environment.browser;
    assert_eq!((browser.name.as_str(), browser.version.as_str()), ("Safari", "26.0"));
    assert_eq!(browser.driver, format!("safaridriver{EXE_SUFFIX}"));
    assert_eq!(browser.driver_version, "26.0");
    assert!(!browser.headless, "Safari always shows its window");
    for asked in asked(&faults) {
        assert_eq!(asked, json!({"browserName": "safari"}));
    }
}

/// The driver is slow to say that nothing has come, and by then the time of the cell is over.
#[test]
fn an_answer_that_came_while_nobody_looked_counts() {
    let faults = Faults::with(&["answers late"]);
    let status = command(&faults, Browser::Edge, "156.0.3210.9").status().unwrap();
    let outcome = faults.record("answers late").outcome;
    assert_eq!((status.code(), outcome.status), (Some(0), Status::Pass), "{outcome:?}");
}

#[test]
fn refused_sessions_say_what_to_do() {
    for (browser, remedy) in [
        (Browser::Edge, "name that in EDGEWEBDRIVER"),
        (Browser::Safari, "run `safaridriver --enable` once"),
    ] {
        let faults = Faults::with(&["answers"]);
        let mut command = command(&faults, browser, "156.0.3210.9");
        let status = command.env("DOUBLE_REFUSES", "1").status().unwrap();
        assert_eq!(status.code(), Some(3));
        let outcome = faults.record("answers").outcome;
        assert_eq!(outcome.status, Status::Infra, "{outcome:?}");
        let message = outcome.message.unwrap_or_default();
        assert!(message.contains("session not created") && message.contains(remedy), "{message}");
    }
}

#[test]
fn an_edge_that_its_driver_cannot_drive_is_not_started() {
    let faults = Faults::with(&["answers"]);
    let mut command = command(&faults, Browser::Edge, "155.0.3100.2");
    assert_eq!(command.status().unwrap().code(), Some(2), "nothing is run without a browser");
    assert_eq!(command.arg("--keep-going").status().unwrap().code(), Some(3));
    let message = faults.record("answers").outcome.message.unwrap_or_default();
    let said = "msedgedriver 156.0.3210.1 does not drive edge 155.0.3100.2; put the msedgedriver";
    assert!(message.contains(said), "{message}");
    assert_eq!(asked(&faults).len(), 0);
}

/// Without turns the second session is refused: Safari is paired with the first.
#[test]
fn two_harnesses_take_turns_with_safari() {
    let faults = [Faults::with(&["answers", "hangs"]), Faults::with(&["answers", "hangs"])];
    // One machine has one Safari and one folder for temporary files.
    let machine = faults[0].path(".");
    let runs = faults.each_ref().map(|faults| {
        let mut run = command(faults, Browser::Safari, "");
        run.env("DOUBLE_FOLDER", machine.join("double"));
        for variable in ["TMPDIR", "TMP", "TEMP"] {
            run.env(variable, machine.join("tmp"));
        }
        run.spawn().unwrap()
    });
    for run in runs {
        assert_eq!(tests::wait(run).code(), Some(1));
    }
    for faults in faults {
        let statuses: Vec<_> = faults.records().iter().map(|r| r.outcome.status).collect();
        assert_eq!(statuses, [Status::Pass, Status::Timeout]);
    }
}
