//! The letters of a CTC model: `vocab.json`, as `Wav2Vec2CTCTokenizer` reads it.

use super::settings::Section;
use crate::{
    error::{Error, Result},
    published::whole,
    weights::Source,
};
use std::collections::BTreeMap;

/// Letters by their ids.
#[derive(Clone, Debug)]
pub(super) struct Letters {
    tokens: BTreeMap<u32, String>,
    delimiter: String,
    special: [String; 4],
}

impl Letters {
    /// Reads the vocabulary, where there is one.
    pub(super) async fn read(source: &dyn Source, config: &Section) -> Result<Option<Letters>> {
        let Some(bytes) = whole(source, "vocab.json").await? else { return Ok(None) };
        let vocabulary: BTreeMap<String, u32> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::malformed("vocab.json", error.to_string()))?;
        let token = |field, default: &str| -> Result<String> {
            Ok(config.token(field)?.unwrap_or_else(|| default.to_owned()))
        };
        let special = [
            token("pad_token", "<pad>")?,
            token("bos_token", "<s>")?,
            token("eos_token", "</s>")?,
            token("unk_token", "<unk>")?,
        ];
        Ok(Some(Letters {
            tokens: vocabulary.into_iter().map(|(token, id)| (id, token)).collect(),
            delimiter: token("word_delimiter_token", "|")?,
            special,
        }))
    }

    /// The text of ids that [`crate::ctc::greedy`] found, repetitions apart already.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let tokens = ids.iter().filter_map(|id| self.tokens.get(id));
        let spelled = tokens.filter(|token| !self.special.contains(token));
        let text: String =
            spelled.map(|t| if *t == self.delimiter { " " } else { t.as_str() }).collect();
        text.trim().to_owned()
    }
}
