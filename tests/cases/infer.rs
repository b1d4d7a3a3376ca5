//! Questions to committed models, on the host's GPU and in a page.

use record::{Class, Finding, Inference};
use safetensors::SafeTensors;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tests::{HARNESS, root};

/// Copies a committed model without what makes it a case.
fn model(class: &str, name: &str, folder: &Path) -> PathBuf {
    let target = folder.join(name);
    fs::create_dir(&target).unwrap();
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        let source = root().join("tests/zoo").join(class).join(name).join(file);
        if source.exists() {
            fs::copy(source, target.join(file)).unwrap();
        }
    }
    target
}

/// The ids of the first row of a tensor in a file of a case.
fn ids(case: &str, file: &str, tensor: &str) -> Vec<u32> {
    let bytes = fs::read(root().join("tests/zoo").join(case).join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(tensor).unwrap();
    let all = tensor.data().as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id) as u32);
    all.take(tensor.shape()[1]).collect()
}

fn words(ids: &[u32]) -> String {
    ids.iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}

fn infer(args: &[&str]) -> Output {
    Command::new(&*HARNESS).arg("infer").args(args).output().unwrap()
}

/// The same question on the host's GPU and in Chrome; fails unless both answer it alike.
fn ask(args: &[&str]) -> Inference {
    let places = [&["--backend", "native"][..], &["--browser", "chrome", "--backend", "wasm"]];
    let answers = places.map(|place| {
        let output = infer(&[args, place, &["--json", "--quiet", "--bits", "32"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{place:?}: {stdout}{stderr}");
        serde_json::from_str::<Inference>(stdout.lines().last().unwrap()).unwrap()
    });
    let [host, page] = answers;
    assert_eq!(host.findings, page.findings);
    assert!(host.adapter.is_some() && page.adapter.is_none());
    page
}

#[test]
fn a_text_is_continued_as_transformers_does() {
    let folder = tempfile::tempdir().unwrap();
    let case = "llama/llama-bias";
    let model = model("llama", "llama-bias", folder.path());
    // A vocabulary of numbers: word w7 is token 7.
    let vocabulary: serde_json::Map<_, _> =
        (0..96).map(|id| (format!("w{id}"), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let prompt = ids(case, "inputs.safetensors", "input_ids");
    let text = ids(case, "expected.safetensors", "generated_ids");
    let new = &text[prompt.len()..];
    let count = new.len().to_string();
    let model = model.to_str().unwrap();
    let args = ["--model", model, "--text", &words(&prompt), "--max-new-tokens", &count];
    let answer = ask(&args);
    assert_eq!((answer.class, &answer.chat_template), (Some(Class::Llama), &None));
    let wanted = Finding::Text { text: format!(" {}", words(new)), ids: new.to_vec(), empty: None };
    assert_eq!(answer.findings, [wanted]);

    // The same prompt, of which a template writes the first half.
    let (first, second) = prompt.split_at(prompt.len() / 2);
    let template = format!("{} {{{{ messages[0].content }}}}", words(first));
    let settings = serde_json::json!({"chat_template": template});
    fs::write(folder.path().join("llama-bias/tokenizer_config.json"), settings.to_string())
        .unwrap();
    let chat = ask(&["--model", model, "--text", &words(second), "--max-new-tokens", &count]);
    assert_eq!(chat.chat_template.as_deref(), Some("tokenizer_config.json"));
    assert_eq!(chat.findings, answer.findings);

    let args = [&args[..], &["--raw"]].concat();
    let output = infer(&[&args[..], &["--bits", "32", "--backend", "wasm"]].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, format!("{}\n", words(new)), "pieces make the text");
}

#[test]
fn a_recording_is_heard_alike_on_the_host_and_in_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let model = model("whisper", "whisper-suppressed", folder.path());
    // One second in 40 frames is what so small a model hears.
    let settings = r#"{"chunk_length": 1, "hop_length": 400, "feature_size": 80}"#;
    fs::write(model.join("preprocessor_config.json"), settings).unwrap();
    let sound = folder.path().join("sound.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&sound, spec).unwrap();
    for i in 0..12_000 {
        let second = i as f32 / 16_000.0;
        writer.write_sample((8000.0 * (second * second * 9000.0).sin()) as i16).unwrap();
    }
    writer.finalize().unwrap();
    let (model, sound) = (model.to_str().unwrap(), sound.to_str().unwrap());
    let answer = ask(&["--model", model, "--input", sound, "--max-new-tokens", "8"]);
    let mp3 = "engine/src/preprocess/fixtures/processors/formats/short.mp3";
    let mp3 = root().join(mp3).to_str().unwrap().to_owned();
    ask(&["--model", model, "--input", &mp3, "--max-new-tokens", "8"]);
    let [Finding::Text { ids, .. }] = &answer.findings[..] else { panic!("{answer:?}") };
    assert!([1, 50, 90].contains(&ids[0]), "the others are suppressed at first: {ids:?}");
    assert!(ids.iter().all(|id| *id < 4 || id % 3 != 1), "never chosen: {ids:?}");
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = model("vit", "vit-labels", folder.path());
    let model = model.to_str().unwrap();
    for (args, code, said) in [
        (
            &["--model", "absent", "--text", "x"][..],
            2,
            "absent is no folder, no .gguf file and no model",
        ),
        (&["--model", model, "--text", "x", "--backend", "webgpu"], 2, "add --browser"),
        (&["--model", model, "--input", "absent.png"], 2, "no file absent.png"),
        (&["--model", model, "--backend", "wasm"], 1, "vit takes images"),
        (&["--model", model, "--text", "x", "--backend", "wasm"], 1, "vit does not take them"),
    ] {
        let output = infer(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
