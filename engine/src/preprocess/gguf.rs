//! The `tokenizer.json` that the metadata of a GGUF file stands for.
//!
//! Model `gpt2` is byte-level BPE with merges in the file; `tokenizer.ggml.pre` names how text is
//! split before, and the splits here are those of the `tokenizer.json` that these models were
//! published with. Model `llama` is SentencePiece's BPE: the file has scores instead of merges, and
//! merges follow from them as `transformers` derives them (`generate_merges`).

use crate::{
    error::{Error, Result},
    weights::gguf::{Metadata, Value},
};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};

/// Longest token of a SentencePiece vocabulary; every way to cut one in two is looked up.
const MAX_PIECE: usize = 256;

/// Splits of Llama 3 and Qwen 2, as their `tokenizer.json` spell them.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The `tokenizer.json`, and the id to pad with.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<(Json, u32)> {
    let keys = Keys(metadata);
    let tokens = keys.tokens()?;
    let mut vocab = Map::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if vocab.insert(token.to_string(), id.into()).is_some() {
            return Err(keys.wrong("tokens", format!("has {token:?} twice")));
        }
    }
    let model = keys.text("model")?.ok_or_else(|| keys.wrong("model", "is missing"))?;
    let pre = keys.text("pre")?.unwrap_or("default");
    let mut json = match model {
        "gpt2" => byte_level(pre, vocab, keys.merges()?)?,
        "llama" => sentencepiece(&keys, &tokens, vocab)?,
        other => {
            let message =
                format!("GGUF tokenizers of model {other:?}; put a tokenizer.json beside");
            return Err(Error::unsupported(message));
        }
    };
    json["version"] = "1.0".into();
    json["added_tokens"] = keys.added(&tokens)?;
    // llama.cpp's defaults, for files that do not say.
    let bos = model == "llama" || split(pre) == Some(Split::Llama3);
    json["post_processor"] = template(
        keys.special("bos_token_id", "add_bos_token", bos, &tokens)?,
        keys.special("eos_token_id", "add_eos_token", false, &tokens)?,
    );
    let pad = match keys.id("padding_token_id", &tokens)? {
        Some(pad) => Some(pad),
        None => keys.id("eos_token_id", &tokens)?,
    };
    Ok((json, pad.unwrap_or(0)))
}

/// The files that say of a folder of weights what the metadata say of a GGUF file: its tokenizer, its special
/// tokens and its chat template.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn as_files(metadata: &Metadata) -> Result<Vec<(&'static str, Vec<u8>)>> {
    const ROLES: [&str; 5] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token"];
    if metadata.get("tokenizer.ggml.tokens").is_none() {
        return Ok(Vec::new());
    }
    let (tokenizer, _) = tokenizer_json(metadata)?;
    let mut config = json!({});
    for (role, token) in special_tokens(metadata, &ROLES)? {
        config[role] = token.into();
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        config["chat_template"] = template.into();
    }
    let file = |name, json: Json| (name, json.to_string().into_bytes());
    Ok(vec![file("tokenizer.json", tokenizer), file("tokenizer_config.json", config)])
}

/// Special tokens by the names that transformers has for their roles, such as `bos_token`; none where
/// the file has no vocabulary.
pub(super) fn special_tokens(
    metadata: &Metadata,
    names: &[&str],
) -> Result<BTreeMap<String, String>> {
    let mut special = BTreeMap::new();
    if metadata.get("tokenizer.ggml.tokens").is_none() {
        return Ok(special);
    }
    let keys = Keys(metadata);
    let tokens = keys.tokens()?;
    for name in names {
        // Three have names of their own in GGUF files, one of them misspelt.
        let key = match *name {
            "unk_token" => "unknown_token_id".to_owned(),
            "sep_token" => "seperator_token_id".to_owned(),
            "pad_token" => "padding_token_id".to_owned(),
            name => format!("{name}_id"),
        };
        if let Some(id) = keys.id(&key, &tokens)? {
            special.insert((*name).to_owned(), tokens[id as usize].to_owned());
        }
    }
    Ok(special)
}

#[derive(Clone, Copy, PartialEq)]
enum Split {
    Gpt2,
    Digits,
    Llama3,
    Qwen2,
}

fn split(pre: &str) -> Option<Split> {
    Some(match pre {
        "gpt2" | "gpt-2" | "default" => Split::Gpt2,
        "smollm" | "starcoder" => Split::Digits,
        "llama-bpe" | "llama3" | "llama-v3" => Split::Llama3,
        "qwen2" | "deepseek-r1-qwen" => Split::Qwen2,
        _ => return None,
    })
}

fn byte_level(pre: &str, vocab: Map<String, Json>, merges: Json) -> Result<Json> {
    let split = split(pre).ok_or_else(|| {
        Error::unsupported(format!(
            "GGUF tokenizers split as {pre:?} (known: default gpt-2 smollm starcoder llama-bpe \
             qwen2); put a tokenizer.json beside"
        ))
    })?;
    let bytes = |use_regex: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
               "use_regex": use_regex})
    };
    let pattern = |regex: &str| {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
               "invert": false})
    };
    let steps = match split {
        Split::Gpt2 => vec![bytes(true)],
        Split::Digits => vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)],
        Split::Llama3 => vec![pattern(LLAMA3), bytes(false)],
        Split::Qwen2 => vec![pattern(QWEN2), bytes(false)],
    };
    Ok(json!({
        "normalizer": if split == Split::Qwen2 { json!({"type": "NFC"}) } else { Json::Null },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "decoder": bytes(true),
        "model": {"type": "BPE", "vocab": vocab, "merges": merges,
                  "ignore_merges": split == Split::Llama3},
    }))
}

fn sentencepiece(keys: &Keys, tokens: &[&str], vocab: Map<String, Json>) -> Result<Json> {
    let prefix = keys.0.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "},
                                      "content": "▁"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = keys.id("unknown_token_id", tokens)?.map(|id| tokens[id as usize]);
    Ok(json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "vocab": vocab, "merges": keys.merges_of_scores(tokens)?,
                  "unk_token": unknown, "fuse_unk": true, "byte_fallback": true},
    }))
}

/// What surrounds a text: `<s>` before, `</s>` after, or nothing.
fn template(bos: Option<(u32, &str)>, eos: Option<(u32, &str)>) -> Json {
    let mut single = Vec::new();
    let mut special = Map::new();
    let mut add = |token: Option<(u32, &str)>, single: &mut Vec<Json>| {
        if let Some((id, token)) = token {
            single.push(json!({"SpecialToken": {"id": token, "type_id": 0}}));
            let entry = json!({"id": token, "ids": [id], "tokens": [token]});
            special.insert(token.to_string(), entry);
        }
    };
    add(bos, &mut single);
    single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
    add(eos, &mut single);
    let mut pair = single.clone();
    pair.push(json!({"Sequence": {"id": "B", "type_id": 1}}));
    json!({"type": "TemplateProcessing", "single": single, "pair": pair,
           "special_tokens": special})
}

/// The keys below `tokenizer.ggml`.
struct Keys<'a>(&'a Metadata);

impl<'a> Keys<'a> {
    fn wrong(&self, key: &str, message: impl std::fmt::Display) -> Error {
        Error::malformed(self.0.file(), format!("key tokenizer.ggml.{key}: {message}"))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.0.text(&format!("tokenizer.ggml.{key}"))
    }

    fn strings(&self, key: &str) -> Result<Vec<&'a str>> {
        let array = self.0.array(&format!("tokenizer.ggml.{key}"))?;
        let array = array.ok_or_else(|| self.wrong(key, "is missing"))?;
        let strings = array.strings().ok_or_else(|| self.wrong(key, "is not text"))?;
        strings
            .map(std::str::from_utf8)
            .collect::<Result<_, _>>()
            .map_err(|_| self.wrong(key, "is not UTF-8"))
    }

    fn tokens(&self) -> Result<Vec<&'a str>> {
        self.strings("tokens")
    }

    /// Merges as pairs.
    fn merges(&self) -> Result<Json> {
        let pairs = self.strings("merges")?.into_iter().map(|merge| {
            let (left, right) = merge
                .split_once(' ')
                .filter(|(left, right)| !left.is_empty() && !right.is_empty())
                .ok_or_else(|| self.wrong("merges", format!("{merge:?} is not a pair")))?;
            Ok(json!([left, right]))
        });
        pairs.collect::<Result<Vec<_>>>().map(Json::Array)
    }

    /// One number per token.
    fn numbers(&self, key: &str, tokens: &[&str]) -> Result<Option<Vec<Value>>> {
        let Some(array) = self.0.array(&format!("tokenizer.ggml.{key}"))? else {
            return Ok(None);
        };
        if array.len() != tokens.len() {
            let message = format!("has {} entries for {} tokens", array.len(), tokens.len());
            return Err(self.wrong(key, message));
        }
        let numbers = array.numbers().ok_or_else(|| self.wrong(key, "is not numbers"))?;
        Ok(Some(numbers.collect()))
    }

    /// Every way to make a token of two others, best score first.
    fn merges_of_scores(&self, tokens: &[&str]) -> Result<Json> {
        let scores = self.numbers("scores", tokens)?;
        let scores = scores.ok_or_else(|| self.wrong("scores", "is missing"))?;
        let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(i, &t)| (t, i)).collect();
        let mut merges = Vec::new();
        for (token, score) in tokens.iter().zip(scores) {
            let Value::Float(score) = score else {
                return Err(self.wrong("scores", "is not floating point"));
            };
            if score.is_nan() {
                return Err(self.wrong("scores", format!("has a NaN at {token:?}")));
            }
            if token.len() > MAX_PIECE {
                let message = format!("has one of {} bytes, more than {MAX_PIECE}", token.len());
                return Err(self.wrong("tokens", message));
            }
            let first = merges.len();
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                    merges.push((score, (l, r), left, right));
                }
            }
            merges[first..].sort_by_key(|(_, ids, _, _)| *ids);
        }
        let length = |text: &str| text.chars().count();
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| length(b.2).cmp(&length(a.2)))
                .then_with(|| length(b.3).cmp(&length(a.3)))
        });
        Ok(merges.into_iter().map(|(_, _, left, right)| json!([left, right])).collect())
    }

    /// Tokens that are found in text before it is split: unknown (2) and control (3) ones are
    /// special, user-defined (4) ones are not (`llama_token_type`).
    fn added(&self, tokens: &[&str]) -> Result<Json> {
        let types = self.numbers("token_type", tokens)?.unwrap_or_default();
        let added = types.iter().enumerate().filter_map(|(id, kind)| {
            let special = match kind {
                Value::Unsigned(2 | 3) => true,
                Value::Unsigned(4) => false,
                _ => return None,
            };
            Some(json!({"id": id, "content": tokens[id], "special": special, "normalized": false,
                        "single_word": false, "lstrip": false, "rstrip": false}))
        });
        Ok(added.collect())
    }

    /// An id that has a token.
    fn id(&self, key: &str, tokens: &[&str]) -> Result<Option<u32>> {
        match self.0.unsigned(&format!("tokenizer.ggml.{key}"))? {
            None => Ok(None),
            Some(id) => match u32::try_from(id) {
                Ok(id) if (id as usize) < tokens.len() => Ok(Some(id)),
                _ => Err(self.wrong(key, format!("{id} is beyond {} tokens", tokens.len()))),
            },
        }
    }

    /// The token that `key` names, where `flag` (or its default) says to add it.
    fn special<'t>(
        &self,
        key: &str,
        flag: &str,
        default: bool,
        tokens: &[&'t str],
    ) -> Result<Option<(u32, &'t str)>> {
        let add = self.0.bool(&format!("tokenizer.ggml.{flag}"))?.unwrap_or(default);
        let id = self.id(key, tokens)?.filter(|_| add);
        Ok(id.map(|id| (id, tokens[id as usize])))
    }
}
