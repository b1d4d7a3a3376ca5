//! Texts as what a user says in a chat, for models that were trained to answer.
//!
//! A chat template is a Jinja text that writes the messages of a chat as one prompt. It lies in
//! `chat_template.jinja`, in `chat_template.json`, in `tokenizer_config.json` or in a GGUF file, and
//! is looked for in this order. `template.rs` renders it as transformers does.

mod template;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

use super::{Given, Processor, gguf, settings::Section};
use crate::{
    error::{Error, Result},
    published::{Published, whole},
    weights::Source,
};
use record::{Chat, Class};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const FILE: &str = "chat_template.jinja";
/// Special tokens that a template may write, by the names that they have there.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// How a model was taught to be spoken to.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    /// The file that it is from.
    pub file: String,
    class: Class,
    source: String,
    /// Special tokens by their roles.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// The template of a model that continues texts, if it has one.
    ///
    /// # Errors
    /// When a file is malformed, or has several templates and none is the default.
    pub async fn find(published: &Published, source: &dyn Source) -> Result<Option<ChatTemplate>> {
        let class = published.class;
        if !matches!(class, Class::Llama | Class::Qwen2 | Class::Llava | Class::LlavaNext) {
            return Ok(None);
        }
        let tokenizer = Section::open(source, "tokenizer_config.json").await?;
        let special = Section::open(source, "special_tokens_map.json").await?;
        let mut tokens = BTreeMap::new();
        if let Some(metadata) = &published.checkpoint.metadata {
            tokens = gguf::special_tokens(metadata, &TOKENS)?;
        }
        for name in TOKENS {
            let token = tokenizer.token(name)?;
            if let Some(token) = token.map_or_else(|| special.token(name), |t| Ok(Some(t)))? {
                tokens.insert(name.to_owned(), token);
            }
        }
        let found = |file: &str, source: String| {
            let tokens = tokens.clone();
            Some(ChatTemplate { file: file.to_owned(), class, source, tokens })
        };
        if let Some(bytes) = whole(source, FILE).await? {
            let text = String::from_utf8(bytes);
            return Ok(found(FILE, text.map_err(|_| Error::malformed(FILE, "is not UTF-8"))?));
        }
        let processor = Section::open(source, "chat_template.json").await?;
        for section in [processor, tokenizer] {
            if let Some(text) = section.read(|config| default(config.get("chat_template")))? {
                return Ok(found(section.file, text));
            }
        }
        let Some(metadata) = &published.checkpoint.metadata else { return Ok(None) };
        let text = metadata.text("tokenizer.chat_template")?;
        Ok(text.and_then(|text| found(metadata.file(), text.to_owned())))
    }

    /// Makes prompts of the texts: each is what a user says first.
    ///
    /// # Errors
    /// When the template cannot be rendered, refuses the chat or leaves a part of it out.
    pub fn apply(&self, chat: &Chat, processor: &Processor, given: &mut Given) -> Result<()> {
        let token = processor.image_token().unwrap_or_default();
        let names_images = |text: &String| !token.is_empty() && text.contains(token);
        // Where no text says where the images belong, they go before the first.
        let mut images = match given.texts.iter().any(names_images) {
            true => 0,
            false => given.images.len(),
        };
        for text in &mut given.texts {
            let images = std::mem::take(&mut images);
            let prompt = |in_parts| self.prompt(chat, text, [token].repeat(images), in_parts);
            // Templates that know of images take what is said in parts, the others as a text; some
            // take both.
            *text = match images {
                0 => prompt(false).or_else(|error| prompt(true).map_err(|_| error))?,
                _ => prompt(true).or_else(|_| prompt(false))?,
            };
        }
        let bos = self.tokens.get("bos_token");
        let begins = |text: &String| bos.is_some_and(|bos| text.starts_with(bos));
        // As in transformers: the template of a tokenizer writes all special tokens, and that of a
        // processor may leave the first to the tokenizer.
        given.has_special_tokens = match self.class {
            Class::Llava | Class::LlavaNext => given.texts.first().is_some_and(begins),
            _ => true,
        };
        Ok(())
    }

    /// The prompt of one chat, whose user shows an image for each of `images`, named by these tokens.
    fn prompt(&self, chat: &Chat, text: &str, images: Vec<&str>, in_parts: bool) -> Result<String> {
        let content = |images: &[&str], text: &str| match in_parts {
            false => Value::from(format!("{}{text}", images.concat())),
            true => {
                let images = images.iter().map(|_| json!({"type": "image"}));
                images.chain([json!({"type": "text", "text": text})]).collect()
            }
        };
        let mut messages = Vec::new();
        if let Some(system) = &chat.system {
            messages.push(json!({"role": "system", "content": content(&[], system)}));
        }
        messages.push(json!({"role": "user", "content": content(&images, text)}));
        let wrong = |what: String| {
            Error::input("text", format!("the chat template of {} {what}", self.file))
        };
        let prompt = template::render(&self.source, &messages.into(), &self.tokens, &chat.now)
            .map_err(|error| wrong(format!("refuses it: {error}")))?;
        let said = chat.system.iter().map(String::as_str).chain([text]);
        match said.map(str::trim).find(|said| !prompt.contains(said)) {
            Some(said) => Err(wrong(format!("leaves out {said:?}"))),
            None if images.iter().any(|token| prompt.matches(token).count() != images.len()) => {
                Err(wrong("leaves out the images".to_owned()))
            }
            None => Ok(prompt),
        }
    }
}

/// The template of a field that holds one, or several by name.
fn default(field: Option<&Value>) -> Result<Option<String>> {
    let wrong = |message: &str| Error::config("chat_template", message);
    let text = match field {
        None => return Ok(None),
        Some(Value::Array(named)) => {
            let default = named.iter().find(|template| template["name"] == "default");
            let default = default.ok_or_else(|| wrong("has none that is named default"))?;
            default["template"].as_str()
        }
        Some(one) => one.as_str(),
    };
    text.map(|text| Some(text.to_owned())).ok_or_else(|| wrong("is no text"))
}
