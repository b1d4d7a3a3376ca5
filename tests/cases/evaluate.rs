//! What few bits cost is measured, kept and drawn.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tests::{HARNESS, root};

/// What a harness in `folder` is told to do.
fn harness(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(&*HARNESS);
    command.args(words).args(["--db", "r.sqlite"]).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Cases have inputs of their own, on which every class can be compared.
#[test]
fn models_that_read_no_text_are_compared_by_their_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |case: &str, more: &[&str]| {
        let words = [&["evaluate", case, "--no-setup"][..], more].concat();
        let output = harness(folder.path(), &words);
        assert!(output.status.success(), "{case}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let seen = evaluate("detr-basic-learned", &["--bits", "8", "2"]);
    assert!(seen.contains("pred_boxes cosine 0.9"), "{seen}");
    let heard = evaluate("whisper-80-tied", &["--bits", "8"]);
    assert!(heard.contains("tokens: divergence 0.0"), "{heard}");
    let said_on = evaluate("llama-gqa", &["--bits", "8"]);
    assert!(said_on.contains("tokens: divergence 0.0"), "{said_on}");
    let output = harness(folder.path(), &["report", "--output-precision", "precision.html"]);
    assert!(output.status.success(), "{}", said(&output));
    let html = fs::read_to_string(folder.path().join("precision.html")).unwrap();
    for wanted in [
        "its own inputs, 1 samples",
        "distance, 1 − cosine",
        "tokens that the reference has written",
        "logits</small>",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    for (words, why) in [
        (vec!["evaluate", "llama-gqa", "--input", "a.wav"], "llama reads no pictures"),
        (vec!["evaluate", "vit-labels", "--text", "r.sqlite"], "vit takes images: --input"),
        (vec!["evaluate", "vit-labels", "--input", "absent"], "reading absent"),
    ] {
        let output = harness(folder.path(), &words);
        assert!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
    }
}

/// Models that have learnt a task are asked for answers, and a packed one is held to what its case knows.
#[test]
fn trained_models_say_how_often_they_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let harness = |words: &[&str]| {
        let output = harness(folder.path(), words);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let few = ["--samples", "40", "--no-setup"];
    let lines = harness(&[&["evaluate", "vit-shapes", "--bits", "32", "2"], &few[..]].concat());
    let found: Vec<(f64, f64)> = lines.lines().map(shares).collect();
    let [(whole, reference), (two, same)] = found[..] else { panic!("{lines}") };
    assert!(whole == reference && reference == same && two < whole - 5.0, "{lines}");

    let command = Command::new(&*HARNESS)
        .args(["quantize", "vit-shapes", "--bits", "2", "--quantizer", "gptq", "-o", "packed"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(command.status.success(), "{}", said(&command));
    let packed = ["evaluate", "./packed", "--reference", "vit-shapes"];
    let (better, reference) = shares(&harness(&[&packed, &few[..]].concat()));
    assert!(reference == whole && better > two, "{better} {two}");
    harness(&["report", "--output-precision", "precision.html"]);
    let html = fs::read_to_string(folder.path().join("precision.html")).unwrap();
    assert!(html.contains("answers right <small>") && html.contains("its held-out samples"));
}

/// Percent of right answers in a line: of the model, and of its reference.
fn shares(line: &str) -> (f64, f64) {
    let (before, after) = line.split_once(" answers right, ").expect("a share");
    let own = before.rsplit("; ").next().unwrap();
    let [own, reference] = [own, after].map(|text| text.split('%').next().unwrap().parse());
    (own.unwrap(), reference.unwrap())
}

/// A committed model, with a vocabulary of numbers: word w7 is token 7.
#[test]
fn evaluations_are_kept_and_become_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(root().join("tests/zoo/llama/llama-gqa").join(file), model.join(file)).unwrap();
    }
    let vocabulary: serde_json::Map<_, _> =
        (0..96).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let words: Vec<String> = (0..64).map(|at| format!("w{}", at * at % 96)).collect();
    fs::write(folder.path().join("text.txt"), words.join(" ")).unwrap();
    let harness = |words: &[&str]| harness(folder.path(), words);
    let page = || fs::read_to_string(folder.path().join("precision.html")).unwrap();
    let report = ["report", "--output-precision", "precision.html"];

    let output = harness(&report);
    assert!(output.status.success(), "{}", said(&output));
    assert!(page().contains("No evaluations yet"));
    assert!(said(&output).contains("no run is stored"), "{}", said(&output));

    let evaluate = ["evaluate", "./model", "--text", "text.txt", "--context", "16", "--no-setup"];
    let precisions = ["--bits", "4", "adaptive", "--kv-bits", "32", "4"];
    let output = harness(&[&evaluate[..], &precisions].concat());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("kept in ").count(), 4, "{}", said(&output));
    let kept = || fs::read_dir(folder.path().join("r.sqlite.evaluations")).unwrap().count();
    assert_eq!(kept(), 4);
    let output = harness(&[&evaluate[..], &["--bits", "4"]].concat());
    assert!(output.status.success() && kept() == 4, "{}", said(&output));

    let file = fs::read_dir(folder.path().join("r.sqlite.evaluations")).unwrap().next();
    fs::write(file.unwrap().unwrap().path().with_file_name("0.json"), "{}").unwrap();
    let output = harness(&report);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("0.json is left out"), "{}", said(&output));
    let html = page();
    for wanted in [
        "Fewest bits whose divergence stays below",
        "text.txt, 64 tokens in contexts of 16",
        "<th scope=\"row\">adaptive",
        "<th scope=\"col\">q</th><th scope=\"col\">k</th>",
        "adaptive kv=4: ",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
}
