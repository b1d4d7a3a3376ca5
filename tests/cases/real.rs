//! The engine itself in real browsers: the committed cases at full width, and model files that
//! somebody broke.

use record::{Bits, Record, Status};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{HARNESS, root};

/// Runs the harness with the real page and gives its exit code and records.
fn run(folder: &Path, args: &[&str]) -> (i32, Vec<Record>) {
    let mut command = Command::new(&*HARNESS);
    command.arg("run").args(args).args(["--db", "records.sqlite", "--records", "records.jsonl"]);
    let status = command.current_dir(folder).status().expect("the harness starts");
    let records = harness::store::read_lines(&folder.join("records.jsonl")).expect("records");
    (status.code().expect("no signal"), records)
}

/// Every class equals transformers at f32, in both browsers and on both backends.
#[test]
fn the_committed_cases_pass_at_full_width() {
    let folder = tempfile::tempdir().unwrap();
    let (code, records) = run(folder.path(), &["--bits", "32", "--repeat", "1"]);
    for record in &records {
        let outcome = &record.outcome;
        assert_eq!(outcome.status, Status::Pass, "{}: {:?}", record.cell, outcome.reason);
        assert_eq!(record.cell.precision.bits, Bits::Fixed(32));
        let correctness = outcome.correctness.unwrap();
        assert!(correctness.reference_rel_l2.unwrap() <= 1e-4, "{}", record.cell);
        assert!(correctness.generated_match.is_none_or(|share| share == 1.0), "{}", record.cell);
    }
    assert_eq!(code, 0);
    let cases = |class: fs::DirEntry| fs::read_dir(class.path()).into_iter().flatten().count();
    let zoo = fs::read_dir(root().join("tests/zoo")).unwrap().map(Result::unwrap);
    let folders = zoo.filter(|entry| entry.path().is_dir() && entry.file_name() != "recipes");
    assert_eq!(records.len(), 4 * folders.map(cases).sum::<usize>());
}

/// A page that loads packed weights computes what it computes with weights that it packs itself, to the
/// last bit, and does so by the same plan.
#[test]
fn packed_weights_give_the_same_numbers_in_the_page() {
    packed_weights_are_the_same("4");
}

/// So it is with widths that are mixed by rule.
#[test]
fn packed_weights_of_mixed_widths_give_the_same_numbers_in_the_page() {
    packed_weights_are_the_same("adaptive");
}

fn packed_weights_are_the_same(bits: &str) {
    let folder = tempfile::tempdir().unwrap();
    let zoo =
        ["llama/llama-gqa", "clap/clap-fused"].map(|case| root().join("tests/zoo").join(case));
    let mut cases = Vec::new();
    for case in &zoo {
        let packed = folder.path().join(case.file_name().unwrap()).with_extension("packed");
        let mut pack = Command::new(&*HARNESS);
        pack.arg("pack-weights").arg(case).args(["--bits", bits, "-o"]).arg(&packed);
        assert!(pack.status().expect("the harness starts").success());
        cases.extend([packed.display().to_string(), case.display().to_string()]);
    }
    let options = ["--bits", bits, "--browsers", "chrome", "--repeat", "1", "--cases"];
    let cases: Vec<&str> = options.into_iter().chain(cases.iter().map(String::as_str)).collect();
    let (code, records) = run(folder.path(), &cases);
    assert_eq!((code, records.len()), (0, 2 * zoo.len() * 2));
    for packed in records.iter().filter(|record| record.cell.case.ends_with(".packed")) {
        let name = packed.cell.case.trim_end_matches(".packed");
        let is_same = |record: &&Record| {
            record.cell.case == name && record.cell.backend == packed.cell.backend
        };
        let direct = &records.iter().find(is_same).expect("its other half").outcome;
        let outcome = &packed.outcome;
        assert_eq!(outcome.status, Status::Pass, "{}: {:?}", packed.cell, outcome.reason);
        assert_eq!(outcome.plan_hash, direct.plan_hash, "{}", packed.cell);
        assert!(outcome.plan_hash.is_some());
        assert_eq!(outcome.correctness, direct.correctness, "{}", packed.cell);
        assert_eq!(outcome.generated_ids, direct.generated_ids, "{}", packed.cell);
    }
}

/// Classes that read no text are measured on the inputs of their case. The plan that was written is the one that a
/// page carries out, within the budget, and another program can pack by it.
#[test]
fn a_mix_by_measured_harm_runs_in_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let harness = |words: &[&str]| {
        let mut command = Command::new(&*HARNESS);
        let output = command.args(words).arg("--no-setup").current_dir(folder.path()).output();
        let output = output.expect("the harness starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (mixed, again) = (folder.path().join("mixed"), folder.path().join("again"));
    let case = root().join("tests/zoo/vit/vit-labels").display().to_string();
    let quantize = ["quantize", &case, "--bits", "adaptive", "--bpw", "4.2", "-o", "mixed"];
    let (is_made, said) = harness(&quantize);
    assert!(is_made, "{said}");
    let (is_made, said) = harness(&quantize);
    assert!(!is_made && said.contains("is there already"), "{said}");
    let pack = ["pack-weights", &case, "--bits", "adaptive", "-o", "again", "--plan"];
    let (is_made, said) = harness(&[&pack[..], &["mixed/precision-plan.json"]].concat());
    assert!(is_made, "{said}");
    let bytes = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(bytes(&mixed) == bytes(&again), "one plan makes one file");
    let options =
        ["--bits", "adaptive", "--browsers", "chrome", "--repeat", "1", "--cases", "mixed"];
    let (code, records) = run(folder.path(), &options);
    assert_eq!((code, records.len()), (0, 2));
    for record in records {
        let outcome = &record.outcome;
        assert_eq!(outcome.status, Status::Pass, "{}: {:?}", record.cell, outcome.reason);
        let bpw = outcome.memory.unwrap().bpw;
        assert!((3.5..=4.2).contains(&bpw), "{bpw}");
        assert!(outcome.plan.iter().filter(|entry| entry.format.starts_with('q')).count() > 1);
    }
    let (is_made, said) = harness(&[
        "quantize",
        &case,
        "--bits",
        "4",
        "--quantizer",
        "gptq",
        "--bpw",
        "3",
        "-o",
        "none",
    ]);
    assert!(!is_made && said.contains("--bits adaptive meets a budget"), "{said}");
    let (is_made, said) = harness(&["quantize", &case, "--bits", "adaptive", "-o", "none"]);
    assert!(!is_made && said.contains("need a budget"), "{said}");
    let (is_made, said) =
        harness(&["quantize", &case, "--bits", "adaptive", "--bpw", "1", "-o", "none"]);
    assert!(!is_made && said.contains("bits a weight") && !folder.path().join("none").exists());
}

/// Copies a case with another `model.safetensors`.
fn broken(cases: &Path, name: &str, model: &[u8]) {
    let folder = cases.join(name);
    tests::copy_folder(&root().join("tests/zoo/llama/llama-bias"), &folder);
    fs::write(folder.join("model.safetensors"), model).unwrap();
}

/// Twenty-two malformed files are each refused in the page by a message that names the file or the
/// tensor, and a sound case that comes after them still passes.
#[test]
fn broken_models_are_refused_in_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let cases: PathBuf = folder.path().join("cases");
    let model = fs::read(root().join("tests/zoo/llama/llama-bias/model.safetensors")).unwrap();
    let header = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let cuts = [0, 1, 7, 8, 9, 100, 8 + header - 1, 8 + header, 8 + header + 3, model.len() / 2];
    for cut in cuts.into_iter().chain([model.len() - 4, model.len() - 1]) {
        broken(&cases, &format!("cut-{cut}"), &model[..cut]);
    }
    let text = std::str::from_utf8(&model[8..8 + header]).unwrap();
    let rewritten = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is in the header");
        let text = text.replacen(from, to, 1);
        let length = (text.len() as u64).to_le_bytes();
        [&length[..], text.as_bytes(), &model[8 + header..]].concat()
    };
    for (name, from, to) in [
        ("unknown-type", "\"F32\"", "\"F33\""),
        ("narrow-type", "\"F32\"", "\"F16\""),
        ("integer-type", "\"F32\"", "\"I32\""),
        ("absurd-shape", "\"shape\":[", "\"shape\":[1152921504606846976,"),
        ("extra-axis", "\"shape\":[", "\"shape\":[2,"),
        ("overlap", "\"data_offsets\":[0,", "\"data_offsets\":[4,"),
        ("no-json", "{", "["),
        ("other-name", "model.norm.weight", "model.norm.wait"),
    ] {
        broken(&cases, name, &rewritten(from, to));
    }
    let mut giant = model.clone();
    giant[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    broken(&cases, "giant-header", &giant);
    let mut infinite = model.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    broken(&cases, "not-a-number", &infinite);
    broken(&cases, "sound", &model);

    let options = ["--bits", "4", "--browsers", "chrome", "--backends", "wasm", "--cases", "cases"];
    let (code, records) = run(folder.path(), &options);
    assert_eq!((code, records.len()), (1, 23));
    for record in &records {
        let outcome = &record.outcome;
        if record.cell.case == "sound" {
            assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
            continue;
        }
        assert_eq!(outcome.status, Status::Error, "{}", record.cell);
        assert_eq!(outcome.stage.as_deref(), Some("load"), "{}", record.cell);
        let message = outcome.message.as_deref().unwrap();
        let named = message.contains("model.safetensors") || message.starts_with("tensor ");
        assert!(named, "{}: {message}", record.cell);
    }
}
