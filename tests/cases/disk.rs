//! A store that cannot take a record for a while, or for good, while a run goes on.
//!
//! On Linux alone, where a test can have a small disk of its own.

#![cfg(target_os = "linux")]

use nix::unistd::geteuid;
use record::{Browser, Status};
use rusqlite::Connection;
use std::{fs, process::Command, thread, time::Duration};
use tests::{Faults, HARNESS, wait};

fn statuses(faults: &Faults, file: &str) -> Vec<(String, Status)> {
    let records = harness::store::read_lines(&faults.path(file)).unwrap();
    records.into_iter().map(|record| (record.cell.case, record.outcome.status)).collect()
}

#[test]
fn a_store_that_is_locked_for_a_while_loses_nothing() {
    const CASES: [&str; 3] = ["first", "waits", "well again"];
    let faults = Faults::with(&CASES);
    let harness = faults.start(Browser::Chrome);
    let other = Connection::open(faults.path("records.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The second cell takes 12 seconds, and the store waits 10 before it says that it is locked.
    thread::sleep(Duration::from_secs(25));
    assert_eq!(faults.records().len(), 1, "nothing is stored past the lock");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(wait(harness).code(), Some(0));
    let expected = CASES.map(|case| (case.to_owned(), Status::Pass));
    assert_eq!(statuses(&faults, "records.jsonl"), expected);
    faults.assert_nothing_is_left();
}

/// Mounts a disk of its own for the store, fills it during the second cell, and makes room only after
/// the run has ended.
const FULL_DISK: &str = r#"
    set -eu
    mkdir disk
    mount -t tmpfs -o size=1m tmpfs disk
    "$HARNESS" "$@" --db disk/records.sqlite --records records.jsonl &
    while ! test -s records.jsonl; do sleep 0.1; done
    dd if=/dev/zero of=disk/filler bs=1k || true
    code=0
    wait $! || code=$?
    echo $code > full.code
    cp disk/records.sqlite.jsonl full.jsonl
    rm disk/filler
    code=0
    "$HARNESS" run --resume latest --db disk/records.sqlite || code=$?
    echo $code > resumed.code
    cp disk/records.sqlite.jsonl resumed.jsonl
"#;

#[test]
fn a_disk_that_is_full_ends_the_run_which_goes_on_when_there_is_room() {
    const CASES: [&str; 3] = ["first", "waits and says much", "well again"];
    let faults = Faults::with(&CASES);
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let run = faults.command(Browser::Chrome, &["wasm"]);
    let stored = ["--db", "records.sqlite", "--records", "records.jsonl"];
    let args = run.get_args().filter(|arg| stored.iter().all(|other| arg != other));
    let output = unshare
        .args(["sh", "-c", FULL_DISK, "sh"])
        .args(args)
        .env("HARNESS", &*HARNESS)
        .env("TMPDIR", faults.path("tmp"))
        .current_dir(faults.path("."))
        .output()
        .expect("util-linux has unshare");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let code = |file: &str| fs::read_to_string(faults.path(file)).unwrap().trim().to_owned();

    assert_eq!(code("full.code"), "3", "{said}");
    assert!(said.contains("no record can be stored"), "{said}");
    assert!(said.contains("No space left on device") || said.contains("disk is full"), "{said}");
    assert_eq!(statuses(&faults, "full.jsonl"), [("first".to_owned(), Status::Pass)]);

    assert_eq!(code("resumed.code"), "0", "{said}");
    let expected = CASES.map(|case| (case.to_owned(), Status::Pass));
    assert_eq!(statuses(&faults, "resumed.jsonl"), expected);
    faults.assert_nothing_is_left();
}
