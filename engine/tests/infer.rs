//! Questions to models as they are published, in this process.
#![cfg(not(target_arch = "wasm32"))]

use record::{
    Answer, Backend, Bits, CaseFile, Chat, Empty, Finding, Generation, InferRequest, Inference,
    Precision, Question, Request,
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

fn ask(folder: &Path, texts: &[&str], change: impl FnOnce(&mut InferRequest)) -> Inference {
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        CaseFile { name, bytes: 0 }
    });
    let mut request = InferRequest {
        precision: Precision::of(Bits::Fixed(16)),
        backend: Backend::Wasm,
        threads: None,
        model_url: folder.to_str().unwrap().to_owned(),
        model_files: files.collect(),
        input_url: folder.to_str().unwrap().to_owned(),
        input_files: Vec::new(),
        question: Question {
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..Question::default()
        },
        chat: Chat::default(),
        generation: Generation {
            max_new_tokens: 4,
            temperature: 0.0,
            top_k: 50,
            top_p: 1.0,
            seed: 0,
        },
    };
    change(&mut request);
    match engine::answer_blocking(Request::Infer(Box::new(request)), &mut |_| {}) {
        Answer::Infer(inference) => *inference,
        _ => panic!("a question is answered with an inference"),
    }
}

/// The tokens of the only answer, and why it is empty.
fn answer(said: &Inference) -> (&[u32], Option<Empty>) {
    match &said.findings[..] {
        [Finding::Text { ids, empty, .. }] => (ids, *empty),
        findings => panic!("{findings:?} {:?}", said.error),
    }
}

/// A Mistral is loaded by the class of LLaMA, though its name does not begin so.
#[test]
fn the_table_says_the_class_and_not_the_beginning_of_a_name() {
    let name =
        |name: &'static str| move |config: &mut Value| config["architectures"] = json!([name]);
    let mistral = published("llama/llama-gqa", name("MistralForCausalLM"));
    let said = ask(mistral.path(), &["a few bits"], |_| {});
    assert_eq!(said.error, None);
    assert_eq!(said.class, Some(record::Class::Llama));
    assert!(matches!(&said.findings[..], [Finding::Text { ids, .. }] if ids.len() == 4));

    let unknown = published("llama/llama-gqa", name("LlamaForSequenceClassification"));
    let error = ask(unknown.path(), &["a few bits"], |_| {}).error.unwrap();
    assert!(error.contains("LlamaForSequenceClassification is none of those"), "{error}");
}

#[test]
fn a_chat_template_makes_the_prompt_unless_it_is_not_wanted() {
    let model = published("llama/llama-gqa", |_| {});
    let plain = ask(model.path(), &["a few bits"], |_| {});
    assert_eq!((&plain.error, &plain.chat_template), (&None, &None));
    let whole = ask(model.path(), &["enough a few bits are"], |_| {});
    let rule = |request: &mut InferRequest| request.chat.system = Some("enough".to_owned());
    let error = ask(model.path(), &["a few bits"], rule).error.unwrap();
    assert!(error.contains("no chat template is used"), "{error}");

    let template = "{% for message in messages %}{{ message.content + ' ' }}{% endfor %}are";
    let file = json!({"chat_template": template}).to_string();
    fs::write(model.path().join("tokenizer_config.json"), file).unwrap();
    let ruled = ask(model.path(), &["a few bits"], rule);
    assert_eq!(ruled.chat_template.as_deref(), Some("tokenizer_config.json"));
    assert_eq!(answer(&ruled), answer(&whole));
    assert_ne!(answer(&ruled), answer(&plain), "or nothing could be told from them");
    let raw = ask(model.path(), &["a few bits"], |request| request.chat.raw = true);
    assert_eq!((raw.chat_template.as_ref(), answer(&raw)), (None, answer(&plain)));
}

#[test]
fn an_empty_answer_says_why_it_is_empty() {
    let model = published("llama/llama-gqa", |config| config["eos_token_id"] = json!(null));
    let positions = |request: &mut InferRequest| request.question.texts = vec!["a ".repeat(128)];
    let none = |request: &mut InferRequest| request.generation.max_new_tokens = 0;
    // Of the vocabulary of the model, the tokenizer knows the first tokens alone.
    let wordless = ask(model.path(), &["a few bits"], |_| {});
    let (ids, empty) = answer(&wordless);
    assert_eq!((ids.len(), empty), (4, Some(Empty::SpecialTokens)), "{ids:?}");
    assert_eq!(
        answer(&ask(model.path(), &["a few bits"], none)),
        (&[][..], Some(Empty::NoNewTokens))
    );
    assert_eq!(answer(&ask(model.path(), &[], positions)), (&[][..], Some(Empty::NoRoom)));

    let settings = json!({"eos_token_id": ids[0]}).to_string();
    fs::write(model.path().join("generation_config.json"), settings).unwrap();
    let ended = ask(model.path(), &["a few bits"], |_| {});
    assert_eq!(answer(&ended), (&ids[..1], Some(Empty::EndOfText)));
}

#[test]
fn several_texts_are_compared_pair_by_pair() {
    let model = published("bert/bert-base-tiny", |_| {});
    let said = ask(model.path(), &["a few bits", "enough bits", "a few bits"], |_| {});
    let [Finding::Similarities { scale, rows }, Finding::Embeddings { name, rows: points }] =
        &said.findings[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!((&**scale, &**name, rows.len()), ("cosine", "sentence_embedding", 3));
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for (row, a) in rows.iter().zip(points) {
        for (similarity, b) in row.iter().zip(points) {
            assert!((similarity - cosine(a, b)).abs() < 1e-6, "{rows:?}");
        }
    }
    // Padding makes nothing of a sentence: the same text is the same point.
    assert!(rows[0][2] > 0.99999 && rows[0][1] < 0.9999, "{rows:?}");
}
