//! What breaks on the GPU under the real engine costs its cell and the session, and no other cell.

use record::{Browser, Status};
use tests::Faults;

const CASES: [&str; 4] = ["first", "loses-its-gpu", "never-ends", "well again"];
/// What goes wrong in the decode alone; the text of the first and the last is right.
const DECODES: [&str; 5] =
    ["right", "keeps-its-position", "keeps-its-token", "loses-a-dispatch", "right again"];

fn faults_of_the_gpu_are_records_in(browser: Browser) {
    let faults = Faults::of_the_gpu(&CASES);
    let mut command = faults.command(browser, &["webgpu"]);
    let status = command.args(["--timeout", "60", "--repeat", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    for case in ["first", "well again"] {
        let outcome = faults.record(case).outcome;
        assert_eq!(outcome.status, Status::Pass, "{case}: {outcome:?}");
    }
    let lost = faults.record("loses-its-gpu").outcome;
    assert_eq!(lost.status, Status::Crash, "{lost:?}");
    assert!(lost.message.unwrap().contains("the GPU device was lost"));
    let endless = faults.record("never-ends").outcome;
    // Some browsers end a shader themselves, by taking the device away.
    assert!(matches!(endless.status, Status::Timeout | Status::Crash), "{endless:?}");
    faults.assert_nothing_is_left();
}

/// The decode that is timed is judged: what goes wrong in it alone fails the cell, at 4 bits.
fn faults_of_the_decode_fail_their_cell_in(browser: Browser) {
    let faults = Faults::of_the_gpu(&DECODES);
    let status = faults.command(browser, &["webgpu"]).args(["--repeat", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    for case in DECODES {
        let outcome = faults.record(case).outcome;
        match case.starts_with("right") {
            true => assert_eq!(outcome.status, Status::Pass, "{case}: {outcome:?}"),
            false => {
                assert_eq!(outcome.status, Status::Fail, "{case}: {outcome:?}");
                assert!(outcome.reason.unwrap().contains("decode"), "{case}");
            }
        }
    }
}

#[test]
fn faults_of_the_decode_fail_their_cell_in_chrome() {
    faults_of_the_decode_fail_their_cell_in(Browser::Chrome);
}

#[test]
fn faults_of_the_decode_fail_their_cell_in_firefox() {
    faults_of_the_decode_fail_their_cell_in(Browser::Firefox);
}

#[test]
fn faults_of_the_gpu_are_records_in_chrome() {
    faults_of_the_gpu_are_records_in(Browser::Chrome);
}

#[test]
fn faults_of_the_gpu_are_records_in_firefox() {
    faults_of_the_gpu_are_records_in(Browser::Firefox);
}

/// Kernels that are wrong cost no cell: their ops take other kernels, or the CPU, and records say so.
fn broken_kernels_give_way_in(browser: Browser) {
    let faults = Faults::of_kernels(&["first"]);
    let mut command = faults.command(browser, &["webgpu"]);
    let status = command.args(["--repeat", "1"]).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let record = faults.record("first");
    assert_eq!(record.outcome.status, Status::Pass, "{:?}", record.outcome);
    let engine = &record.environment.engine;
    let hosted: Vec<&str> = engine.hosted.iter().map(|hosted| hosted.op.as_str()).collect();
    assert_eq!(hosted, ["layer_norm", "rms_norm"], "{engine:?}");
    // A software adapter has them in narrow workgroups.
    let plain = |name: &str| name.replace(" SOFTWARE=1", "");
    let refused = |kernel: &str| engine.refused.iter().any(|one| plain(&one.kernel) == kernel);
    assert!(refused("norm") && refused("norm RMS=1"), "{engine:?}");
    let adapter = record.environment.adapter.as_ref().unwrap();
    let subgroups = adapter.features.iter().any(|feature| feature == "subgroups");
    assert_eq!(refused("softmax SUBGROUPS=1"), subgroups, "{engine:?}");
    assert!(!refused("softmax") && !refused("attention_alone CAUSAL=1"), "{engine:?}");
}

#[test]
fn broken_kernels_give_way_in_chrome() {
    broken_kernels_give_way_in(Browser::Chrome);
}

#[test]
fn broken_kernels_give_way_in_firefox() {
    broken_kernels_give_way_in(Browser::Firefox);
}
