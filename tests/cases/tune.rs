//! Kernels that were chosen by measurement are as right as those that the rules choose, and the record says which they
//! were. Nothing here depends on what is faster.

use record::{Axis, Record, Status};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output},
};
use tests::HARNESS;

const CASE: [&str; 6] = ["--models", "llama-bias", "--bits", "4", "--backends", "native"];

fn harness(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(&*HARNESS);
    command.args(words).args(CASE).arg("--no-setup").current_dir(folder);
    let output = command.env("FEWBIT_CACHE", folder.join("cache")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    output
}

/// The records of a run with kernels chosen in these ways.
fn run(folder: &Path, name: &str, tuning: &[&str]) -> Vec<Record> {
    let file = format!("{name}.jsonl");
    let words = ["run", "--repeat", "1", "--db", "db", "--records", &file, "--tuning"];
    harness(folder, &[&words, tuning].concat());
    harness::store::read_lines(&folder.join(file)).unwrap()
}

#[test]
fn a_tuned_cell_is_as_right_as_one_by_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    // Nothing is known yet: the cell says so, and runs by the rules.
    let [unknown] = &run(folder, "unknown", &["fixed"])[..] else { panic!("a cell") };
    assert_eq!(unknown.outcome.status, Status::Pass);
    let tuning = unknown.outcome.tuning.as_ref().unwrap();
    assert_eq!((&tuning.hash, tuning.entries.len()), (&None, 0));
    assert!(tuning.note.as_ref().unwrap().contains("harness tune"), "{tuning:?}");

    let records = run(folder, "all", &["off", "auto", "fixed"]);
    let [off, auto, fixed] = &records[..] else { panic!("{} records", records.len()) };
    assert_eq!(off.cell.axis(Axis::Tuning), None);
    assert_eq!(off.outcome.tuning, None);
    for (mode, record) in [("auto", auto), ("fixed", fixed)] {
        assert_eq!(record.cell.axis(Axis::Tuning), Some(mode));
        assert_eq!(
            record.outcome.status, off.outcome.status,
            "{mode}: {:?}",
            record.outcome.reason
        );
        assert!(record.outcome.correctness.unwrap().kernel_rel_l2.unwrap() < 1e-3);
        let tuning = record.outcome.tuning.as_ref().unwrap();
        assert_eq!(tuning.note, None, "{mode}");
        assert!(tuning.browser.starts_with("host") && !tuning.adapter.is_empty(), "{mode}");
        assert!(record.repro.contains(&format!("--tuning {mode}")), "{}", record.repro);
    }
    assert_eq!(off.outcome.status, Status::Pass);
    let [measured, known] = [auto, fixed].map(|record| record.outcome.tuning.as_ref().unwrap());
    assert!(measured.entries.iter().any(|entry| entry.tried.len() > 1), "{measured:?}");
    assert_eq!(measured.hash.as_ref().map(String::len), Some(64));
    assert_eq!(measured.hash, known.hash, "what was measured is what is known");
    assert_eq!(auto.outcome.checksum, fixed.outcome.checksum);
    assert_eq!(fixed.outcome.generated_ids, off.outcome.generated_ids);
}

/// Every visit to a cell runs with what the first has found.
#[test]
fn visits_to_a_tuned_cell_do_not_mix_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["run", "--repeat", "1", "--rounds", "2", "--db", "db", "--records", "r.jsonl"];
    harness(folder.path(), &[&words[..], &["--tuning", "auto"]].concat());
    let records = harness::store::read_lines(&folder.path().join("r.jsonl")).unwrap();
    let hashes: Vec<_> =
        records.iter().map(|record| record.outcome.tuning.as_ref().unwrap().hash.clone()).collect();
    assert_eq!((records.len(), records[1].rounds), (2, 2));
    assert!(hashes[0].is_some() && hashes[0] == hashes[1]);
}

#[test]
fn what_is_measured_is_printed_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let output = harness(folder, &["--json", "--quiet", "tune", "--budget", "3"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = lines.iter().find(|line| line["tuning"]["hash"].is_string()).expect("a tuning");
    assert_eq!(found["status"], "pass");
    assert!(found["tuning"]["entries"].as_array().is_some_and(|entries| !entries.is_empty()));

    let output = harness(folder, &["tune", "--budget", "1"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("µs picked") && printed.contains("project 1×"), "{printed}");
    let [fixed] = &run(folder, "fixed", &["fixed"])[..] else { panic!("a cell") };
    assert!(fixed.outcome.tuning.as_ref().unwrap().hash.is_some());
}
