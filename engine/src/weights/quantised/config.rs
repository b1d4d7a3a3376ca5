//! What `quantization_config` says.

use super::super::Source;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More than any configuration has.
const MAX_BYTES: u64 = 64 << 20;

/// How the parts of a layer are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::weights) enum Method {
    /// Codes along inputs, zeros less one.
    Gptq,
    /// The same with zeros as they are.
    GptqV2,
    /// Codes along outputs, eight of them in an order of their own.
    Awq,
    /// Codes of distant groups side by side.
    Hqq,
}

/// What is said of all quantised layers of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum Config {
    /// GPTQ and AWQ.
    Words(Words),
    /// HQQ: each layer says the rest itself.
    Hqq,
}

/// How codes are packed into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) struct Words {
    pub(super) method: Method,
    /// 8, 4, 3 or 2.
    pub(super) bits: u8,
    /// Inputs that share a scale; none where all of them do.
    pub(super) group: Option<usize>,
    /// Whether all zeros are the middle code.
    pub(super) symmetric: bool,
    /// Whether groups may be of inputs that are no neighbours.
    pub(super) is_scattered: bool,
}

impl Config {
    /// What the configurations among `files` say, if they say it.
    ///
    /// # Errors
    /// When they cannot be read, or weights are quantised in a way that nobody here knows.
    pub(in crate::weights) async fn read(
        source: &dyn Source,
        files: &[String],
    ) -> Result<Option<Config>> {
        let config = json(source, files, "config.json").await?.unwrap_or_default();
        let said = [&config["quantization_config"], &config["text_config"]["quantization_config"]];
        match said.into_iter().find(|said| said.is_object()) {
            Some(said) => Config::of(said).map(Some),
            // Where AutoGPTQ wrote it before transformers knew it.
            None => match json(source, files, "quantize_config.json").await? {
                Some(said) => Config::of(&said).map(Some),
                None => Ok(None),
            },
        }
    }

    pub(super) fn of(said: &Value) -> Result<Config> {
        let text = |field: &str| said[field].as_str().map(str::to_lowercase);
        let unknown = |what: String| {
            Err(Error::unsupported(format!(
                "weights quantised {what}; use the model as it was before that, or one in GPTQ, AWQ, HQQ or GGUF"
            )))
        };
        let method = match text("quant_method").as_deref() {
            None | Some("gptq") => match text("checkpoint_format").as_deref() {
                None | Some("gptq") => Method::Gptq,
                Some("gptq_v2") => Method::GptqV2,
                Some(other) => return unknown(format!("by gptq in the format {other}")),
            },
            Some("awq") => match text("version").as_deref() {
                None | Some("gemm") => Method::Awq,
                Some(other) => return unknown(format!("by awq in the version {other}")),
            },
            Some("hqq") => return Ok(Config::Hqq),
            Some(other) => return unknown(format!("by {other}")),
        };
        if said["is_marlin_format"] == true {
            return unknown("by gptq in the format marlin".to_owned());
        }
        if said["dynamic"].as_object().is_some_and(|layers| !layers.is_empty()) {
            return unknown("in another way in each layer (dynamic)".to_owned());
        }
        let field = |name: &str| format!("quantization_config.{name}");
        let bits = match (method, said["bits"].as_u64()) {
            (Method::Awq, Some(4)) => 4,
            (Method::Gptq | Method::GptqV2, Some(bits @ (2 | 3 | 4 | 8))) => bits as u8,
            _ => {
                let known = if method == Method::Awq { "4" } else { "2, 3, 4 and 8" };
                let message = format!("{} is none of the widths there are: {known}", said["bits"]);
                return Err(Error::config(field("bits"), message));
            }
        };
        let group = match said["group_size"].as_i64() {
            Some(-1) => None,
            Some(group @ 1..=0xff_ffff) => Some(group as usize),
            _ => {
                let message = format!("{} is neither a size nor -1", said["group_size"]);
                return Err(Error::config(field("group_size"), message));
            }
        };
        Ok(Config::Words(Words {
            method,
            bits,
            group,
            symmetric: method != Method::Awq && said["sym"] == true,
            is_scattered: said["desc_act"] == true,
        }))
    }
}

/// A JSON file, where it is there.
async fn json(source: &dyn Source, files: &[String], file: &str) -> Result<Option<Value>> {
    let is_there = files.iter().any(|name| name == file);
    match source.size(file).filter(|_| is_there) {
        None => Ok(None),
        Some(bytes) if bytes > MAX_BYTES => {
            Err(Error::malformed(file, format!("{bytes} bytes are too many")))
        }
        Some(bytes) => {
            let value = serde_json::from_slice(&source.read(file, 0..bytes).await?);
            value.map(Some).map_err(|error| Error::malformed(file, error.to_string()))
        }
    }
}
