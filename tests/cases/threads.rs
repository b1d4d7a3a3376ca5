//! Cells on one thread of a page and on several, where a machine has at least two processors.

use record::{Axis, Record, Status};
use std::process::Command;
use tests::{HARNESS, root};

/// Prompts so many and long that every layer is worth two threads.
#[test]
fn a_page_computes_the_same_on_one_thread_and_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(&*HARNESS)
        .args(["run", "--no-setup", "--browsers", "chrome", "firefox", "--backends", "wasm"])
        .args(["--bits", "4", "--repeat", "1", "--prompt-tokens", "100", "--batch", "4"])
        .args(["--threads", "1", "2", "1000", "--cases"])
        .arg(root().join("tests/zoo/llama/llama-gqa"))
        .args(["--db", "records.sqlite", "--records", "records.jsonl"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = harness::store::read_lines(&folder.path().join("records.jsonl")).unwrap();
    assert_eq!(records.len(), 6);
    for of_browser in records.chunks(3) {
        let [one, two, many] = of_browser else { panic!("three cells a browser") };
        for (record, threads) in [(one, 1), (two, 2)] {
            assert_eq!(record.outcome.status, Status::Pass, "{:?}", record.outcome.reason);
            assert_eq!(record.outcome.timing.as_ref().unwrap().threads, Some(threads));
            assert_eq!(record.cell.axis(Axis::Threads), Some(threads.to_string().as_str()));
            assert!(record.repro.contains(&format!("--threads {threads}")), "{}", record.repro);
        }
        let numbers = |record: &Record| {
            (record.outcome.checksum.clone(), record.outcome.generated_ids.clone())
        };
        assert!(one.outcome.checksum.is_some());
        assert_eq!(numbers(one), numbers(two));
        assert_eq!(many.outcome.status, Status::Unsupported);
        let reason = many.outcome.reason.as_ref().unwrap();
        assert!(reason.contains("1000 threads where there are"), "{reason}");
    }
}
