//! Questions to models as they are published, in this process.
#![cfg(not(target_arch = "wasm32"))]

use record::{
    Answer, Backend, Bits, CaseFile, Finding, Generation, InferRequest, Inference, Precision,
    Question, Request,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Words that a model of a small vocabulary knows.
fn tokenizer() -> Value {
    let words = ["a", "few", "bits", "are", "enough", "<unk>"];
    let vocabulary: serde_json::Map<_, _> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    })
}

/// A committed case without what makes it one, and with a tokenizer.
fn published(case: &str, config: impl Fn(&mut Value)) -> tempfile::TempDir {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case);
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(zoo.join("config.json")).unwrap();
    let mut value = serde_json::from_str(&text).unwrap();
    config(&mut value);
    fs::write(folder.path().join("config.json"), value.to_string()).unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    fs::copy(zoo.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn ask(folder: &Path, texts: &[&str]) -> Inference {
    let file = |name: &str| CaseFile { name: name.to_owned(), bytes: 0 };
    let request = InferRequest {
        precision: Precision::of(Bits::Fixed(16)),
        backend: Backend::Wasm,
        model_url: folder.to_str().unwrap().to_owned(),
        model_files: vec![file("config.json"), file("model.safetensors"), file("tokenizer.json")],
        input_url: folder.to_str().unwrap().to_owned(),
        input_files: Vec::new(),
        question: Question {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..Question::default()
        },
        generation: Generation {
            max_new_tokens: 4,
            temperature: 0.0,
            top_k: 50,
            top_p: 1.0,
            seed: 0,
        },
    };
    match engine::answer_blocking(Request::Infer(Box::new(request)), &mut |_| {}) {
        Answer::Infer(inference) => *inference,
        _ => panic!("a question is answered with an inference"),
    }
}

/// A Mistral is loaded by the class of LLaMA, though its name does not begin so.
#[test]
fn the_table_says_the_class_and_not_the_beginning_of_a_name() {
    let name =
        |name: &'static str| move |config: &mut Value| config["architectures"] = json!([name]);
    let mistral = published("llama/llama-gqa", name("MistralForCausalLM"));
    let said = ask(mistral.path(), &["a few bits"]);
    assert_eq!(said.error, None);
    assert_eq!(said.class, Some(record::Class::Llama));
    assert!(matches!(&said.findings[..], [Finding::Text { ids, .. }] if ids.len() == 4));

    let unknown = published("llama/llama-gqa", name("LlamaForSequenceClassification"));
    let error = ask(unknown.path(), &["a few bits"]).error.unwrap();
    assert!(error.contains("LlamaForSequenceClassification is none of those"), "{error}");
}
