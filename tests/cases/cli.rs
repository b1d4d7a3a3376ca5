//! The program as scripts see it: what goes to stdout, and how it exits.

use record::{Browser, Cell, Record, Status};
use std::{fs, process::Command};
use tests::{Faults, HARNESS};

/// Runs the program; returns its exit code, stdout and stderr.
fn harness(faults: &Faults, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(&*HARNESS);
    let output = command.args(args).current_dir(faults.path(".")).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_plan_is_printed_as_text_and_as_json() {
    let faults = Faults::with(&["one", "two"]);
    let options = ["plan", "--cases", "cases", "--bits", "4", "2", "--backends", "wasm", "native"];
    let (code, stdout, _) = harness(&faults, &options);
    assert_eq!(code, 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 12);
    assert_eq!((lines[0], lines[11]), ("one 4-bit wasm chrome", "two 2-bit native host"));

    let (code, stdout, _) = harness(&faults, &[&["--json"], &options[..]].concat());
    assert_eq!(code, 0);
    let cells: Vec<Cell> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cells.iter().map(ToString::to_string).collect::<Vec<_>>(), lines);
}

#[test]
fn bad_usage_exits_with_2_and_says_what_to_do() {
    let faults = Faults::with(&["one"]);
    fs::create_dir(faults.path("empty")).unwrap();
    for (args, said) in [
        (&["plan", "--models", "gpt2"][..], "unknown model \"gpt2\"; known: bert t5"),
        (&["plan", "--models", "brt"], "; did you mean \"bert\"?"),
        (&["plan", "--browsers", "chorme"], "; did you mean \"chrome\"?"),
        (
            &["run", "--cases", "cases", "--output-report", "empty", "--db", "db"],
            "empty cannot be written; name another file with --output-report",
        ),
        (
            &["run", "--cases", "cases", "--junit", "cases/one/case.json/j.xml", "--db", "db"],
            "name another file with --junit",
        ),
        (&["plan", "--cases", "empty"], "neither a model, nor a case folder, nor a folder of such"),
        (&["plan", "--cases", "absent"], "reading the folder absent"),
        (&["plan", "--bits", "7"], "unknown bit-width \"7\"; known: 32 16 8 4 3 2 adaptive"),
        (
            &["run", "--cases", "cases", "--bundle", "empty", "--db", "db"],
            "empty has no index.html",
        ),
        (&["run", "--cases", "cases", "--browsers", "host", "--db", "db"], "give no cell"),
        (&["report", "--db", "db"], "no run is stored yet"),
        (&["report", "--records", "absent"], "opening absent"),
        (&["report", "--db", "db", "--run", "x"], "no run \"x\""),
    ] {
        let (code, stdout, stderr) = harness(&faults, args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn a_variable_with_a_bad_value_is_named() {
    let faults = Faults::with(&["one"]);
    let mut plan = Command::new(&*HARNESS);
    let plan = plan.args(["plan", "--cases", "cases"]).env("FEWBIT_BITS", "4,7");
    let output = plan.current_dir(faults.path(".")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("FEWBIT_BITS: bits is \"7\": unknown bit-width"), "{stderr}");
}

/// The folder of the report goes while the run works, so that only the page cannot be written.
#[test]
fn a_page_that_cannot_be_written_after_all_has_an_exit_code_of_its_own() {
    let faults = Faults::with(&["first", "waits"]);
    let mut run = faults.command(Browser::Chrome, &["wasm"]);
    let run =
        run.args(["--output-report", "pages/report.html", "--junit", "j.xml"]).spawn().unwrap();
    while faults.records().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::remove_dir(faults.path("pages")).unwrap();
    fs::write(faults.path("pages"), "no folder").unwrap();
    assert_eq!(tests::wait(run).code(), Some(4));
    let log = fs::read_to_string(faults.path("harness.log")).unwrap();
    let (summary, error) = (log.find(": 2 pass"), log.find("pages/report.html"));
    assert!(summary.is_some() && summary < error, "{log}");
    assert!(faults.path("matrix.html").exists() && faults.path("j.xml").exists());
    assert_eq!(faults.records().len(), 2);
}

#[test]
fn a_run_in_two_browsers_at_once_can_be_rendered_again_from_either_store() {
    let faults = Faults::with(&["one", "two"]);
    let mut run = faults.command(Browser::Chrome, &["wasm"]);
    run.args(["--browsers", "firefox", "--jobs", "2"]);
    let status = run.status().unwrap();
    assert_eq!(status.code(), Some(0));
    let records = faults.records();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.outcome.status == Status::Pass));
    let matrix = fs::read(faults.path("matrix.html")).unwrap();

    let (code, stdout, _) = harness(&faults, &["report", "--list", "--db", "records.sqlite"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with(&records[0].run_id) && stdout.ends_with("4 records\n"), "{stdout}");
    for store in [["--db", "records.sqlite"], ["--records", "records.jsonl"]] {
        let output =
            ["report", "--output-matrix", "again/m.html", "--output-report", "again/r.html"];
        let (code, _, stderr) = harness(&faults, &[&output[..], &store].concat());
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(fs::read(faults.path("again/m.html")).unwrap(), matrix, "{store:?}");
        fs::remove_dir_all(faults.path("again")).unwrap();
    }
}

#[test]
fn with_json_every_line_on_stdout_is_an_object_and_records_are_among_them() {
    let faults = Faults::with(&["one"]);
    let output = faults
        .command(Browser::Chrome, &["wasm"])
        .args(["--json", "--quiet"])
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    let record: Record = serde_json::from_value(lines[0].clone()).unwrap();
    assert_eq!(record, faults.record("one"));
    assert_eq!(lines[1]["counts"]["pass"], 1);
}

#[test]
fn parts_of_a_plan_are_merged_into_the_whole() {
    let faults = Faults::with(&["one", "three", "two"]);
    for shard in ["1/2", "2/2"] {
        let mut run = faults.command(Browser::Chrome, &["wasm"]);
        assert_eq!(run.args(["--shard", shard]).status().unwrap().code(), Some(0));
        let merged = ["merge", "records.jsonl", "--db", "merged.sqlite", "--records", "merged"];
        let (code, stdout, stderr) = harness(&faults, &merged);
        match shard {
            "1/2" => assert!(code == 2 && stderr.contains("part 2/2 is not"), "{stderr}"),
            _ => assert!(code == 0 && stdout.contains("3 cells of 1 files"), "{stdout}{stderr}"),
        }
    }
    let merged = harness::store::read_lines(&faults.path("merged")).unwrap();
    assert!(merged.iter().all(|record| record.run_id == merged[0].run_id));
    let mut cases: Vec<_> = merged.iter().map(|record| record.cell.case.as_str()).collect();
    cases.sort_unstable();
    assert_eq!(cases, ["one", "three", "two"]);
}
