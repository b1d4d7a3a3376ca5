//! Limits on memory, in a page and on the host: bits become fewer until weights and cache fit, what cannot fit is refused,
//! and a model that is there is lowered without asking for a file.

use record::{Memory, MemoryLimit, Record, Status};
use std::process::Command;
use tests::{HARNESS, root};

/// The records of a run of one case with real browsers' WASM and the host.
fn run(options: &[&str]) -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&*HARNESS)
        .args(["run", "--no-setup", "--browsers", "chrome", "--backends", "wasm", "native"])
        .args(["--repeat", "1", "--db", "records.sqlite", "--records", "records.jsonl", "--cases"])
        .arg(root().join("tests/zoo/llama/llama-gqa"))
        .args(options)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    harness::store::read_lines(&folder.path().join("records.jsonl")).unwrap()
}

fn memory(record: &Record) -> Memory {
    assert_eq!(record.outcome.status, Status::Pass, "{:?}", record.outcome.reason);
    record.outcome.memory.unwrap()
}

fn taken(record: &Record) -> u64 {
    let memory = memory(record);
    memory.weights_bytes + memory.kv_bytes
}

#[test]
fn weights_and_cache_fit_or_are_refused_with_the_size_that_would_do() {
    let whole = run(&["--bits", "adaptive", "4"]);
    let limit = MemoryLimit { bytes: taken(&whole[1]) * 9 / 10 };
    let limited = run(&["--bits", "adaptive", "4", "--memory-limit", &limit.to_string()]);
    assert_eq!(limited.len(), 4);
    for (record, whole) in limited.iter().zip(&whole) {
        assert_eq!(record.cell.precision.limit, Some(limit));
        assert!(record.repro.contains(&format!("--memory-limit {limit}")), "{}", record.repro);
        if record.cell.precision.mix().is_some() {
            // The case is small, and so are the steps between its widths.
            assert!(taken(record) <= limit.bytes && taken(record) * 100 >= limit.bytes * 95);
            assert!(memory(record).bpw < memory(whole).bpw);
        } else if taken(whole) > limit.bytes {
            assert_eq!(record.outcome.status, Status::Unsupported);
            let least = MemoryLimit { bytes: taken(whole) };
            let reason = record.outcome.reason.as_ref().unwrap();
            assert!(reason.contains(&format!("take {least}")), "{reason}: not {least}");
        }
    }
    let fixed = limited.iter().filter(|it| it.outcome.status == Status::Unsupported).count();
    assert_eq!(fixed, 2, "4 bits do not fit, on either backend");
}

#[test]
fn a_model_that_is_there_is_lowered_without_a_request() {
    let whole = run(&["--bits", "8"]);
    let limit = MemoryLimit { bytes: taken(&whole[0]) * 3 / 4 };
    for record in run(&["--bits", "8", "--lower-to", &limit.to_string()]) {
        let before = memory(&record);
        let lowered = record.outcome.lowered.as_ref().expect("it was lowered");
        assert_eq!(lowered.limit, limit);
        assert!(lowered.weights_bytes + before.kv_bytes <= limit.bytes);
        assert!(lowered.weights_bytes < before.weights_bytes && lowered.bpw < before.bpw);
        assert!(lowered.matrices > 0);
        assert!(lowered.correctness.kernel_rel_l2.unwrap() < 1e-3);
        assert!(lowered.correctness.kl > record.outcome.correctness.unwrap().kl, "bits cost");
        let is_page = record.environment.browser.name == "chrome";
        assert_eq!(lowered.fetched_bytes, is_page.then_some(0));
        assert!(record.repro.contains(&format!("--lower-to {limit}")), "{}", record.repro);
    }
}

/// What a limit makes of a model's weights is told without running it.
#[test]
fn a_plan_of_weights_keeps_to_the_limit() {
    let plan = |options: &[&str]| {
        let output = Command::new(&*HARNESS)
            .args(["plan", "--json", "--no-setup", "--weights", "llama-gqa", "--memory-limit"])
            .args(options)
            .current_dir(root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.stdout, said)
    };
    let bytes = |limit: &str| {
        let (stdout, said) = plan(&[limit, "--bits", "adaptive"]);
        let plan: serde_json::Value = serde_json::from_slice(&stdout).expect(&said);
        plan["bytes"]["device"].as_u64().unwrap()
    };
    assert!(bytes("off") > 50_000);
    assert!((47_500..=50_000).contains(&bytes("0.05")));
    let refused = String::from_utf8(plan(&["0.05", "--bits", "8"]).0).unwrap();
    assert!(refused.contains("the smallest limit that would do"), "{refused}");
}
