//! Artefacts: weights as a plan made them, in one safetensors file that is loaded word for word.
//!
//! ```text
//! __metadata__
//!   fewbit.version    "1"
//!   fewbit.precision  the precision that was asked for, as cells have it (JSON)
//!   fewbit.config     config.json of the model (JSON)
//!   fewbit.plan       the plan (JSON): entries in the order in which they are loaded
//!   fewbit.sha256     the checksum of each tensor's bytes by its name (JSON)
//! tensors             of each entry that has bytes of its own, in the order of the plan
//!   NAME.codes        I32 [G · N, words]: a matrix's codes, a row of words a row
//!   NAME.scales       I32 [words]: its scales, where the format has some
//!   NAME              F32: anything else
//! ```
//! The words are those that a device holds ([`crate::quant`]); they are called I32 as every reader of
//! safetensors knows that type. Sources in the plan say which files the weights were made of, so the
//! table of the model's tensors is here as well, and a class declares itself to an artefact as it does
//! to the checkpoint that was packed.

use super::{Dtype, MAX_TENSORS, TensorInfo};
use crate::error::{Error, Result};
use record::Precision;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The version that this program writes and reads.
pub const VERSION: &str = "1";

/// What an artefact's header says besides its tensors.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "fewbit.version")]
    pub(super) version: Option<String>,
    #[serde(rename = "fewbit.precision", default)]
    precision: String,
    #[serde(rename = "fewbit.config", default)]
    config: String,
    #[serde(rename = "fewbit.plan", default)]
    plan: String,
    #[serde(rename = "fewbit.sha256", default)]
    sums: String,
}

/// Packed weights in a file.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// Name of the file.
    pub file: String,
    /// The precision that was asked for when it was packed.
    pub precision: Precision,
    /// Its plan, as JSON.
    pub plan: String,
    /// SHA-256 of each tensor in the file, in hexadecimal.
    sums: BTreeMap<String, String>,
    words: BTreeMap<String, TensorInfo>,
}

/// What a plan says of the checkpoint that it was made for.
#[derive(Deserialize)]
struct Sources {
    entries: Vec<Made>,
    #[serde(default)]
    skipped: Vec<TensorInfo>,
}

#[derive(Deserialize)]
struct Made {
    sources: Vec<TensorInfo>,
}

/// An artefact with the configuration and the table of tensors of the model that it was made of.
pub(super) struct Opened {
    pub(super) artefact: Artefact,
    pub(super) config: Value,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

impl Artefact {
    pub(super) fn open(file: &str, metadata: Metadata, packed: Vec<TensorInfo>) -> Result<Opened> {
        let version = metadata.version.unwrap_or_default();
        if version != VERSION {
            let message = format!(
                "it is an artefact of version {version}, this program reads {VERSION}; pack it again \
                 with harness pack-weights"
            );
            return Err(Error::malformed(file, message));
        }
        let Sources { entries, skipped } = parse(file, "plan", &metadata.plan)?;
        let made_of = entries.into_iter().flat_map(|entry| entry.sources);
        let mut tensors = BTreeMap::new();
        for info in made_of.chain(skipped) {
            let known = tensors.entry(info.name.clone()).or_insert_with(|| info.clone());
            if *known != info {
                let message = format!("the plan has two tensors {}", info.name);
                return Err(Error::malformed(file, message));
            }
            if tensors.len() > MAX_TENSORS {
                let message = format!("the plan has more than {MAX_TENSORS} tensors");
                return Err(Error::malformed(file, message));
            }
        }
        let artefact = Artefact {
            file: file.to_owned(),
            precision: parse(file, "precision", &metadata.precision)?,
            plan: metadata.plan,
            sums: parse(file, "sha256", &metadata.sums)?,
            words: packed.into_iter().map(|info| (info.name.clone(), info)).collect(),
        };
        let config = parse(file, "config", &metadata.config)?;
        Ok(Opened { artefact, config, tensors })
    }

    /// A tensor of the file that must have this type and shape, and its checksum.
    ///
    /// # Errors
    /// When it is missing or another one.
    pub fn tensor(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<(&TensorInfo, &str)> {
        let found = self.words.get(name).zip(self.sums.get(name));
        let found = found.filter(|(info, _)| info.dtype == dtype && info.shape == shape);
        found.map(|(info, sum)| (info, sum.as_str())).ok_or_else(|| {
            let message = format!(
                "is not in {} as {dtype} {shape:?} with a checksum; pack it again",
                self.file
            );
            Error::tensor(name, message)
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(file: &str, field: &str, json: &'a str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|error| Error::malformed(file, format!("fewbit.{field}: {error}")))
}
