//! `generation_config.json`: how the publisher of a model wants it to generate.

use super::{Config, json};
use crate::{
    error::{Error, Result},
    weights::Source,
};

const FILE: &str = "generation_config.json";

/// What of it is followed here; sampling is the user's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationConfig {
    /// Tokens that end a text; where it has none, those of config.json do.
    pub stop_tokens: Option<Vec<u32>>,
    /// Tokens that are not chosen.
    pub suppressed: Suppressed,
}

/// Tokens that are not chosen however likely they are. Whisper has such: brackets and notes would
/// describe a sound where its words are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Never.
    pub always: Vec<u32>,
    /// Not as the first new token.
    pub first: Vec<u32>,
}

impl GenerationConfig {
    /// Reads it; models from before it was a file of its own have its fields in config.json.
    pub async fn read(source: &dyn Source, config: &Config) -> Result<GenerationConfig> {
        match source.size(FILE) {
            None => GenerationConfig::of(config),
            Some(_) => {
                let own = Config::new(json(source, FILE).await?)
                    .map_err(|_| Error::malformed(FILE, "is not a JSON object"))?;
                GenerationConfig::of(&own).map_err(|error| match error {
                    Error::Config { field, message } => {
                        Error::malformed(FILE, format!("{field}: {message}"))
                    }
                    other => other,
                })
            }
        }
    }

    fn of(config: &Config) -> Result<GenerationConfig> {
        Ok(GenerationConfig {
            stop_tokens: config.get("eos_token_id").is_some().then(|| config.stop_tokens()),
            suppressed: Suppressed {
                always: config.tokens("suppress_tokens")?,
                first: config.tokens("begin_suppress_tokens")?,
            },
        })
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::Memory;
    use serde_json::json;

    fn read(file: Option<&str>) -> Result<GenerationConfig> {
        let config = Config::new(json!({"suppress_tokens": [1], "eos_token_id": 2})).unwrap();
        let source = match file {
            Some(text) => Memory::new().with(FILE, text),
            None => Memory::new(),
        };
        pollster::block_on(GenerationConfig::read(&source, &config))
    }

    #[test]
    fn the_file_goes_before_config_json() {
        let own = read(Some(r#"{"begin_suppress_tokens": [7, 8], "suppress_tokens": null}"#));
        let own = own.unwrap();
        assert_eq!(own.suppressed, Suppressed { always: vec![], first: vec![7, 8] });
        assert_eq!(own.stop_tokens, None);
        let old = read(None).unwrap();
        assert_eq!(old.suppressed.always, [1]);
        assert_eq!(old.stop_tokens, Some(vec![2]));
    }

    #[test]
    fn what_is_no_list_of_tokens_is_named() {
        for file in [r#"{"suppress_tokens": 5}"#, r#"{"begin_suppress_tokens": [-1]}"#, "[]"] {
            let error = read(Some(file)).unwrap_err().to_string();
            assert!(error.starts_with("generation_config.json is malformed"), "{error}");
        }
    }
}
