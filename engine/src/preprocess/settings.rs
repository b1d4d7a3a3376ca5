//! The files that say how inputs are prepared, as Hugging Face publishes them; all are optional.

use crate::{
    error::{Error, Result},
    published::{Config, whole},
    weights::Source,
};
use serde_json::{Map, Value};

/// An object of a file, whose complaints name that file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub file: &'static str,
    config: Config,
}

/// What the files of a model say; sections of absent files are empty and give defaults.
#[derive(Debug)]
pub(super) struct Settings {
    /// How images are prepared: `preprocessor_config.json`, or its place in `processor_config.json`.
    pub images: Section,
    /// How sounds are prepared: from the same files.
    pub audio: Section,
    /// `processor_config.json`: what ties text and images together.
    pub processor: Section,
    /// `tokenizer_config.json`.
    pub tokenizer: Section,
    /// `special_tokens_map.json`, which says again what some tokenizer_config.json leave out.
    pub special: Section,
    /// `generation_config.json`.
    pub generation: Section,
}

impl Settings {
    pub(super) async fn read(source: &dyn Source) -> Result<Settings> {
        let own = Section::open(source, "preprocessor_config.json").await?;
        let processor = Section::open(source, "processor_config.json").await?;
        // transformers 5 writes one file with an object a modality, and prefers it.
        let nested = |names: &[&str]| -> Result<Section> {
            for name in names {
                if let Some(config) = processor.read(|config| config.object(name))? {
                    return Ok(Section { file: processor.file, config });
                }
            }
            Ok(own.clone())
        };
        Ok(Settings {
            images: nested(&["image_processor", "video_processor"])?,
            audio: nested(&["feature_extractor", "audio_processor"])?,
            processor,
            tokenizer: Section::open(source, "tokenizer_config.json").await?,
            special: Section::open(source, "special_tokens_map.json").await?,
            generation: Section::open(source, "generation_config.json").await?,
        })
    }
}

impl Section {
    /// The object in a file; an empty one where there is no such file.
    pub(super) async fn open(source: &dyn Source, file: &'static str) -> Result<Section> {
        let value = match whole(source, file).await? {
            None => Value::Object(Map::new()),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::malformed(file, error.to_string()))?,
        };
        let wrong = |_| Error::malformed(file, "is not a JSON object");
        Ok(Section { file, config: Config::new(value).map_err(wrong)? })
    }

    /// Takes something from the object; what is wrong with it is said of this file.
    pub(super) fn read<T>(&self, take: impl FnOnce(&Config) -> Result<T>) -> Result<T> {
        take(&self.config).map_err(|error| match error {
            Error::Config { field, message } => {
                Error::malformed(self.file, format!("{field}: {message}"))
            }
            other => other,
        })
    }

    /// Whether the object says anything about a field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.config.get(field).is_some()
    }

    /// A token, which files spell as a string or as an object with `content`.
    pub(super) fn token(&self, field: &str) -> Result<Option<String>> {
        self.read(|config| match config.get(field) {
            Some(Value::Object(_)) => Ok(Some(config.part(field)?.text_or("content", "")?.into())),
            Some(_) => Ok(Some(config.text_or(field, "")?.into())),
            None => Ok(None),
        })
    }
}
