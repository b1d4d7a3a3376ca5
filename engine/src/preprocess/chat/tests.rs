//! Templates against transformers, on the chats that `fixtures/chat/make.py` wrote, and where they lie.

use super::*;
use crate::{published::Config, weights::Memory};
use pollster::block_on;
use serde::Deserialize;

const EXPECTED: &str = include_str!("../fixtures/chat/expected.json");
const TOKENIZER: &[u8] = include_bytes!("../fixtures/chat/tokenizer.json");

#[derive(Deserialize)]
struct Expected {
    now: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    chat: String,
    messages: Value,
    prompt: Option<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Option<Vec<i64>>,
}

fn expected() -> Expected {
    serde_json::from_str(EXPECTED).unwrap()
}

fn source(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/preprocess/fixtures/chat");
    std::fs::read_to_string(format!("{folder}/{name}.jinja")).unwrap()
}

fn tokens() -> BTreeMap<String, String> {
    let token = |name: &str, token: &str| (name.to_owned(), token.to_owned());
    BTreeMap::from([token("bos_token", "<s>"), token("eos_token", "</s>")])
}

fn template(class: Class, source: String) -> ChatTemplate {
    ChatTemplate { file: FILE.to_owned(), class, source, tokens: tokens() }
}

fn processor(class: Class) -> Processor {
    let memory = Memory::new().with("tokenizer.json", TOKENIZER);
    block_on(Processor::open(class, &Config::new(json!({})).unwrap(), &memory)).unwrap()
}

fn given(text: &str) -> Given {
    Given { texts: vec![text.to_owned()], ..Given::default() }
}

#[test]
fn prompts_are_those_of_transformers() {
    let Expected { now, cases } = expected();
    assert_eq!(cases.iter().filter(|case| case.prompt.is_none()).count(), 2);
    for Case { template, chat, messages, prompt } in cases {
        let rendered = template::render(&source(&template), &messages, &tokens(), &now);
        match (rendered, prompt) {
            (Ok(text), Some(prompt)) => assert_eq!(text, prompt.text, "{template}, {chat}"),
            (Err(error), None) => assert!(error.to_string().contains("not known here"), "{error}"),
            (Ok(text), None) => panic!("{template}, {chat} is not refused: {text:?}"),
            (Err(error), Some(_)) => panic!("{template}, {chat}: {error}"),
        }
    }
}

/// The whole way of a question: the text of the user and of `--system` to ids, the first token once.
#[test]
fn tokens_are_those_of_transformers() {
    let Expected { now, cases } = expected();
    let processor = processor(Class::Llama);
    let mut met = 0;
    for case in cases {
        let texts: Vec<&str> = case.messages.as_array().unwrap().iter().map(text).collect();
        let (system, user) = match (&*case.chat, &texts[..]) {
            ("one", [user]) => (None, user),
            ("ruled", [system, user]) => (Some((*system).to_owned()), user),
            _ => continue,
        };
        let Some(ids) = case.prompt.and_then(|prompt| prompt.ids) else { continue };
        let mut given = given(user);
        let chat = Chat { system, now: now.clone(), raw: false };
        template(Class::Llama, source(&case.template))
            .apply(&chat, &processor, &mut given)
            .unwrap();
        let inputs = processor.inputs(&given).unwrap();
        assert_eq!(inputs.ints["input_ids"].1, ids, "{}, {}", case.template, case.chat);
        met += 1;
    }
    assert_eq!(met, 13);
}

fn text(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

#[test]
fn pictures_go_where_the_template_puts_them() {
    let processor = processor(Class::Llava);
    let shown = |source: &str, text: &str| {
        let image = super::super::Image { width: 1, height: 1, rgb: vec![0; 3] };
        let mut given = Given { images: vec![image.clone(), image], ..given(text) };
        let chat = Chat { system: Some("Be brief.".to_owned()), ..Chat::default() };
        template(Class::Llava, source.to_owned()).apply(&chat, &processor, &mut given).unwrap();
        (given.texts.remove(0), given.has_special_tokens)
    };
    let in_parts = source("pictures");
    let wanted = "Be brief. USER: <image>\n<image>\nWhat? ASSISTANT:";
    assert_eq!(shown(&in_parts, "What?"), (wanted.to_owned(), false));
    let wanted = "Be brief. USER: <image> and <image>? ASSISTANT:";
    assert_eq!(shown(&in_parts, "<image> and <image>?").0, wanted);
    // A template that knows texts alone has them in its text, and this one the first token too.
    let as_text =
        "{{ bos_token }}{% for m in messages %}{{ m.role + ' ' + m.content }}\n{% endfor %}";
    let wanted = "<s>system Be brief.\nuser <image><image>What?\n";
    assert_eq!(shown(as_text, "What?"), (wanted.to_owned(), true));
}

#[test]
fn what_a_template_does_not_take_is_said() {
    let processor = processor(Class::Llama);
    let refusal = |source: &str, system: Option<&str>| {
        let chat = Chat { system: system.map(str::to_owned), ..Chat::default() };
        let template = template(Class::Llama, source.to_owned());
        template.apply(&chat, &processor, &mut given("Why?")).unwrap_err().to_string()
    };
    let alone = "{{ messages[-1].content }}";
    let forever = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let refusing = source("refusing");
    for (source, system, said) in [
        (&*refusing, Some("Be brief."), "a system text is not known here"),
        (alone, Some("Be brief."), "chat_template.jinja leaves out \"Be brief.\""),
        ("nothing", None, "leaves out \"Why?\""),
        ("{{ messages[0].content }", None, "chat_template.jinja refuses it: syntax error"),
        (forever, None, "ran out of fuel"),
    ] {
        let error = refusal(source, system);
        assert!(error.starts_with("input text: the chat template of "), "{error}");
        assert!(error.contains(said), "{error}");
    }
}

/// A GGUF file without tensors: a template, and a vocabulary of two tokens.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let pair = |key: &str, kind: u32, value: Vec<u8>| {
        [text(key), kind.to_le_bytes().to_vec(), value].concat()
    };
    let (strings, number) = (8u32.to_le_bytes(), |number: u32| number.to_le_bytes().to_vec());
    let tokens = [&strings[..], &2u64.to_le_bytes(), &text("<a>"), &text("<b>")].concat();
    let pairs = [
        pair("tokenizer.chat_template", 8, text("of a GGUF")),
        pair("tokenizer.ggml.tokens", 9, tokens),
        pair("tokenizer.ggml.bos_token_id", 4, number(1)),
        pair("tokenizer.ggml.unknown_token_id", 4, number(0)),
    ];
    let sizes = [0u64.to_le_bytes(), (pairs.len() as u64).to_le_bytes()].concat();
    [b"GGUF".to_vec(), number(3), sizes, pairs.concat()].concat()
}

fn find(class: Class, files: &[(&str, &str)], with_gguf: bool) -> Result<Option<ChatTemplate>> {
    let memory = Memory::new().with("m.gguf", gguf());
    let memory = files.iter().fold(memory, |memory, (name, text)| memory.with(*name, *text));
    let header = block_on(crate::weights::gguf::read(&memory, "m.gguf")).unwrap();
    let checkpoint = crate::weights::Checkpoint {
        metadata: with_gguf.then_some(header.metadata),
        ..Default::default()
    };
    let (config, generation) = (Config::new(json!({})).unwrap(), Default::default());
    let published = Published { class, config, checkpoint, generation };
    block_on(ChatTemplate::find(&published, &memory))
}

#[test]
fn templates_are_found_wherever_they_lie() {
    let jinja = ("chat_template.jinja", "of a file");
    let json = ("chat_template.json", r#"{"chat_template": "of a processor"}"#);
    let one = (
        "tokenizer_config.json",
        r#"{"chat_template": "of a tokenizer",
        "bos_token": {"content": "<c>"}, "eos_token": null}"#,
    );
    let several = (
        "tokenizer_config.json",
        r#"{"chat_template": [
        {"name": "tool_use", "template": "for tools"}, {"name": "default", "template": "usual"}]}"#,
    );
    let special = ("special_tokens_map.json", r#"{"eos_token": "<d>"}"#);
    for (files, with_gguf, file, source) in [
        (&[jinja, json, one][..], true, "chat_template.jinja", "of a file"),
        (&[json, one], true, "chat_template.json", "of a processor"),
        (&[one], true, "tokenizer_config.json", "of a tokenizer"),
        (&[several], false, "tokenizer_config.json", "usual"),
        (&[], true, "m.gguf", "of a GGUF"),
    ] {
        let found = find(Class::Qwen2, files, with_gguf).unwrap().unwrap();
        assert_eq!((&*found.file, &*found.source), (file, source));
    }
    assert!(find(Class::Llama, &[], false).unwrap().is_none());
    assert!(find(Class::T5, &[jinja], true).unwrap().is_none(), "it does not continue texts");

    let own = find(Class::Llama, &[one, special], true).unwrap().unwrap().tokens;
    let own: Vec<_> = own.iter().map(|(name, token)| (&**name, &**token)).collect();
    assert_eq!(own, [("bos_token", "<c>"), ("eos_token", "<d>"), ("unk_token", "<a>")]);

    let nameless =
        ("tokenizer_config.json", r#"{"chat_template": [{"name": "a", "template": ""}]}"#);
    let number = ("chat_template.json", r#"{"chat_template": 5}"#);
    for (file, said) in [
        (nameless, "tokenizer_config.json is malformed: chat_template: has none that is named"),
        (number, "chat_template.json is malformed: chat_template: is no text"),
    ] {
        let error = find(Class::Llama, &[file], false).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
