//! What stays of a run: the store and its commands, known failures, and files for machines.

use record::{Browser, Memory, Record, Status, Verdict};
use std::{
    fs,
    process::{Command, Output},
};
use tests::{Faults, HARNESS};

fn harness(faults: &Faults, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(&*HARNESS);
    command.args(args).args(["--db", "records.sqlite"]).current_dir(faults.path("."));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Runs both cases, one of which traps; returns the exit code.
fn run(faults: &Faults, options: &[&str]) -> i32 {
    let mut command = faults.command(Browser::Chrome, &["wasm"]);
    let status = command.args(options).env("GITHUB_STEP_SUMMARY", faults.path("step.md")).status();
    status.unwrap().code().unwrap()
}

#[test]
fn a_known_failure_is_learnt_expected_and_forgotten() {
    let faults = Faults::with(&["answers", "traps"]);
    assert_eq!(run(&faults, &[]), 1);

    // What failed once is known from then on, and fails no run.
    let (code, stdout, _) = harness(&faults, &["update-expectations"]);
    assert_eq!(
        (code, stdout.starts_with("added bert traps 4-bit wasm chrome: ")),
        (0, true),
        "{stdout}"
    );
    let files =
        ["--junit", "j.xml", "--wptreport", "w.json", "--summary", "s.md", "--csv", "r.csv"];
    let expectations = ["--expectations", "expectations.toml"];
    assert_eq!(run(&faults, &[&expectations[..], &files].concat()), 0);
    let known = faults.records().pop().unwrap();
    assert_eq!(known.outcome.status, Status::Error);
    assert_eq!(known.expectation.unwrap().verdict, Verdict::Expected);
    let read = |name: &str| fs::read_to_string(faults.path(name)).unwrap();
    assert!(read("j.xml").contains("<skipped message=\"known: in run"), "{}", read("j.xml"));
    assert!(read("w.json").contains("/fewbit/bert/answers/4-bit/wasm"));
    assert!(read("s.md").contains("## Fewbit: 1 pass, 1 error (1 expected)"), "{}", read("s.md"));
    assert_eq!(read("r.csv").lines().count(), 3);
    assert_eq!(read("step.md").matches("## Fewbit").count(), 2);

    // What passes against the expectation is shown; an entry that nothing meets is named.
    let mut entries = read("expectations.toml").replace("\"traps\"", "\"answers\"");
    entries += "\n[[expect]]\ncase = \"no such case\"\nstatus = \"crash\"\nreason = \"none\"\n";
    fs::write(faults.path("expectations.toml"), entries).unwrap();
    assert_eq!(run(&faults, &expectations), 1);
    let log = read("harness.log");
    assert!(log.contains("1 pass, 1 error, 1 newly passing"), "{log}");
    assert!(log.contains("expectation entry 2 (no such case: none)"), "{log}");
    let (_, stdout, _) = harness(&faults, &["update-expectations"]);
    assert!(
        stdout.contains("removed bert answers") && stdout.contains("added bert traps"),
        "{stdout}"
    );
    assert!(read("expectations.toml").contains("no such case"));
    assert!(read("expectations.toml").starts_with("# Known failures."));

    // The files can be made again from the store.
    let (code, _, stderr) =
        harness(&faults, &["report", "--run", "latest~1", "--junit", "again.xml"]);
    assert_eq!((code, read("again.xml")), (0, read("j.xml")), "{stderr}");
    faults.assert_nothing_is_left();
}

#[test]
fn runs_are_shown_compared_exported_and_forgotten() {
    let faults = Faults::with(&["answers", "traps"]);
    run(&faults, &[]);
    fs::copy(faults.path("records.jsonl"), faults.path("first.jsonl")).unwrap();
    fs::remove_dir_all(faults.path("cases/traps")).unwrap();
    tests::write_case(&faults.path("cases/new one"));
    run(&faults, &[]);

    let (code, stdout, _) = harness(&faults, &["history", "--case", "answers", "--limit", "9"]);
    assert_eq!((code, stdout.lines().count()), (0, 2), "{stdout}");
    let (code, _, stderr) = harness(&faults, &["history", "--case", "absent"]);
    assert!(code == 2 && stderr.contains("no stored record is like that"), "{stderr}");

    for before in ["latest~1", "first.jsonl"] {
        let (code, stdout, stderr) =
            harness(&faults, &["compare", before, "latest", "--fail-on", "regressed"]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("new             new one 4-bit wasm chrome  pass"), "{stdout}");
        let gone = stdout.lines().find(|line| line.starts_with("gone            traps 4-bit wasm"));
        assert!(gone.is_some_and(|line| line.ends_with("  was error")), "{stdout}");
        let counts = "0 regressed, 0 improved, 0 status changed, 1 new, 1 gone, 0 incomparable, \
                      0 cannot tell, 1 same\n";
        assert!(stdout.ends_with(counts), "{stdout}");
    }
    assert_eq!(harness(&faults, &["compare", "--fail-on", "gone"]).0, 1);
    // Runs of other cases cannot be compared, and that is no change either.
    let other = fs::read_to_string(faults.path("first.jsonl")).unwrap();
    let other = other.replace("\"answers\"", "\"other\"").replace("\"traps\"", "\"others\"");
    fs::write(faults.path("other.jsonl"), other).unwrap();
    let (code, _, stderr) = harness(&faults, &["compare", "other.jsonl", "first.jsonl"]);
    assert!(code == 2 && stderr.contains("have no cell in common"), "{stderr}");

    // A gate holds beside an equal run, and breaks where the verdict or the size of a cell got worse.
    let gate = ["gate", "--baseline", "first.jsonl", "--junit", "gate.xml"];
    let (code, stdout, stderr) = harness(&faults, &gate);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("0 of 4 gates broke; 1 cells in common, 2 in one run alone"),
        "{stdout}"
    );
    let first = fs::read_to_string(faults.path("first.jsonl")).unwrap();
    let sized = |name: &str, weights_bytes| {
        let sized = |line: &str| {
            let mut record: Record = serde_json::from_str(line).unwrap();
            record.outcome.memory = Some(Memory { weights_bytes, ..Memory::default() });
            serde_json::to_string(&record).unwrap() + "\n"
        };
        fs::write(faults.path(name), first.lines().map(sized).collect::<String>()).unwrap();
    };
    sized("small.jsonl", 1000);
    sized("larger.jsonl", 1050);
    let larger =
        ["gate", "--baseline", "small.jsonl", "larger.jsonl", "--junit", "gate.xml"].to_vec();
    let (code, stdout, stderr) = harness(&faults, &larger);
    assert!(
        code == 1 && stdout.contains("broken       sizes: 1 of 1 cells grew"),
        "{stdout}{stderr}"
    );
    assert!(fs::read_to_string(faults.path("gate.xml")).unwrap().contains("<failure"));
    let budget = [&larger[..], &["--max-growth", "6"]].concat();
    assert_eq!(harness(&faults, &budget).0, 0);
    fs::write(faults.path("harness.toml"), "[profile.default]\nmax-growth = 6\n").unwrap();
    assert_eq!(harness(&faults, &larger).0, 0, "a budget of the project's file");
    fs::remove_file(faults.path("harness.toml")).unwrap();

    // What was claimed is held against the records of all runs.
    let (code, _, stderr) = harness(&faults, &["report", "--output-claims", "claims.html"]);
    assert_eq!(code, 0, "{stderr}");
    let claims = fs::read_to_string(faults.path("claims.html")).unwrap();
    assert!(claims.contains("Of 102 numbers, ") && claims.contains("saved at 4 bits beside 16"));

    let (code, jsonl, _) = harness(&faults, &["export", "--format", "jsonl", "--all"]);
    let records: Vec<Record> =
        jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, records), (0, faults.records()));
    assert_eq!(harness(&faults, &["export", "--format", "csv"]).1.lines().count(), 3);
    assert_eq!(harness(&faults, &["export", "--format", "parquet", "--output", "r.parquet"]).0, 0);
    assert!(fs::read(faults.path("r.parquet")).unwrap().starts_with(b"PAR1"));

    let (_, would, _) = harness(&faults, &["gc", "--keep", "1", "--dry-run"]);
    assert!(would.starts_with("would remove ") && would.lines().count() == 1, "{would}");
    assert_eq!(harness(&faults, &["report", "--list"]).1.lines().count(), 2);
    assert_eq!(harness(&faults, &["gc", "--keep", "1"]).0, 0);
    assert_eq!(harness(&faults, &["report", "--list"]).1.lines().count(), 1);
    assert_eq!(harness(&faults, &["gc"]).0, 2);

    // A damaged store is noticed by any command, and what it held is there again.
    let bytes = fs::read(faults.path("records.sqlite")).unwrap();
    fs::write(faults.path("records.sqlite"), &bytes[..bytes.len() / 2]).unwrap();
    let (code, stdout, stderr) = harness(&faults, &["report", "--list"]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stderr}");
    assert!(stderr.contains("was damaged") && stderr.contains("it is kept as"), "{stderr}");
}
