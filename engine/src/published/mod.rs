//! What was published: the files of a model, and what they say before anything is loaded.
//!
//! A model is a folder as Hugging Face has it or a GGUF file. [`Published`] opens either: the table of
//! its tensors, its configuration (`config.rs`), the class that loads it ([`crate::architectures`]) and
//! how its publisher wants it to generate (`generation.rs`). What goes into it are named inputs
//! (`inputs.rs`). Nothing here knows devices, precisions or models: a case is this and expected numbers,
//! and a question to a model opens the same.

mod config;
mod generation;
mod inputs;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod seeded;
pub(crate) mod tiling;

pub use config::Config;
pub use generation::{GenerationConfig, Suppressed};
pub use inputs::{Ids, Images, Inputs};

use crate::{
    architectures,
    error::{Error, Result},
    weights::{Checkpoint, Source},
};
use record::Class;
use serde_json::Value;

/// Largest file that is read whole: tokenizers have megabytes, nobody has more.
const MAX_WHOLE_BYTES: u64 = 64 << 20;

/// A model as it was published, its weights apart.
#[derive(Clone, Debug)]
pub struct Published {
    /// The class that loads it.
    pub class: Class,
    /// Its `config.json`, or what its GGUF file says in place of one.
    pub config: Config,
    /// The table of its tensors.
    pub checkpoint: Checkpoint,
    /// How it is meant to generate.
    pub generation: GenerationConfig,
}

impl Published {
    /// Opens the model among `files`.
    ///
    /// # Errors
    /// When a file is missing or malformed, or no class loads the model.
    pub async fn open(source: &dyn Source, files: &[String]) -> Result<Published> {
        Published::of(Checkpoint::open(source, files).await?, source).await
    }

    /// The model whose tensors are `checkpoint`.
    ///
    /// # Errors
    /// As [`Published::open`].
    pub async fn of(checkpoint: Checkpoint, source: &dyn Source) -> Result<Published> {
        let config = match (source.size("config.json"), &checkpoint.config) {
            (Some(_), packed) => {
                let config = json(source, "config.json").await?;
                if let (Some(artefact), Some(packed)) = (&checkpoint.artefact, packed)
                    && *packed != config
                {
                    let message =
                        "it was packed of a model with another config.json; pack this one";
                    return Err(Error::malformed(&artefact.file, message));
                }
                config
            }
            (None, Some(config)) => config.clone(),
            (None, None) => {
                let message = "is not there, and the weights carry no configuration".to_owned();
                return Err(Error::Read { file: "config.json".to_owned(), message });
            }
        };
        let config = Config::new(config)?;
        let class = architectures::named(config.architecture()?)?.class;
        let generation = GenerationConfig::read(source, &config).await?;
        Ok(Published { class, config, checkpoint, generation })
    }
}

/// A whole file, where it is there.
pub(crate) async fn whole(source: &dyn Source, file: &str) -> Result<Option<Vec<u8>>> {
    match source.size(file) {
        None => Ok(None),
        Some(bytes) if bytes <= MAX_WHOLE_BYTES => Ok(Some(source.read(file, 0..bytes).await?)),
        Some(bytes) => Err(Error::malformed(file, format!("{bytes} bytes are too many"))),
    }
}

/// A JSON file that must be there.
pub(crate) async fn json(source: &dyn Source, file: &str) -> Result<Value> {
    let bytes = whole(source, file).await?.ok_or_else(|| {
        let message = "is not in the folder".to_owned();
        Error::Read { file: file.to_owned(), message }
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Error::malformed(file, error.to_string()))
}
