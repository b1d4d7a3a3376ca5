//! What is kept of an evaluation: how far a model is from its reference on a text or on other samples, and what it
//! takes. Files of other engines have the same form.

use super::Measure;
use record::{Answers, Fidelity, Likeness, Precision, Words};
use serde::{Deserialize, Serialize};

/// A model in a precision beside its reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Name and version of the engine, such as `llama.cpp 0.3.36`.
    pub engine: String,
    /// The model, as it was named.
    pub model: String,
    /// The model that it is compared with, in f32.
    pub reference: String,
    /// How its numbers are stored; none if the engine is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// What another engine calls that, such as `Q4_K_M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Bits of a stored weight, scales included.
    pub bpw: f64,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// The key-value cache.
    pub cache: Cache,
    /// The text or the samples that both were given.
    pub text: Text,
    /// What both expect to follow, if they write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// What their outputs have in common, if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likeness: Option<Likeness>,
    /// Words that they wrote down wrongly, if they were to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Words>,
    /// Answers that are right, where somebody knows what is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// How each matrix is stored, in the order of the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrices: Vec<StoredMatrix>,
}

/// How a key-value cache is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Its bits: `32`, `k8v4`, or what another engine calls them.
    pub format: String,
    /// Whether it has all tokens in 16 bits or more.
    pub is_whole: bool,
    /// Bytes that each token takes.
    pub token_bytes: u64,
    /// Tokens that it keeps, if it drops others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The name of its file or folder.
    pub name: String,
    /// Tokens that are read at a time, each in the light of those before it; 0 if samples are read one by one.
    #[serde(default)]
    pub context: usize,
}

/// How a matrix is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredMatrix {
    /// Its name, as it was published.
    pub name: String,
    /// Rows and columns.
    pub shape: Vec<usize>,
    /// Its format, such as `q4 symmetric g32`.
    pub format: String,
    /// Bits of a number, scales apart.
    pub bits: u32,
    /// The same with them.
    pub bpw: f64,
}

impl Evaluation {
    /// Whether another engine made it.
    pub fn is_peer(&self) -> bool {
        self.precision.is_none()
    }

    /// How its numbers are stored, in words.
    pub fn name(&self) -> String {
        match (&self.precision, &self.format) {
            (Some(precision), _) => precision.to_string(),
            (None, Some(format)) => format.clone(),
            (None, None) => "format not named".to_owned(),
        }
    }

    /// The same in fewer letters.
    pub(super) fn label(&self) -> String {
        self.name().replacen("-bit", "", 1)
    }

    /// Bytes of weights and of the cache of a text of so many tokens.
    pub(super) fn bytes(&self, tokens: u64) -> [u64; 2] {
        let kept = self.cache.tokens.map_or(tokens, |most| tokens.min(most));
        [self.weights_bytes, self.cache.token_bytes.saturating_mul(kept)]
    }

    /// What its loss is measured in.
    pub(super) fn measure(&self) -> Measure {
        match self.fidelity {
            Some(_) => Measure::Divergence,
            None => Measure::Distance,
        }
    }

    /// How far it is from its reference; no number if nobody has measured it.
    pub fn loss(&self) -> f64 {
        match (&self.fidelity, &self.likeness) {
            (Some(fidelity), _) => fidelity.kl,
            (None, Some(likeness)) => likeness.distance(),
            (None, None) => f64::NAN,
        }
    }

    /// Tokens that were compared, or samples.
    pub fn compared(&self) -> usize {
        let samples = self.likeness.as_ref().map(|it| it.samples);
        self.fidelity.as_ref().map(|it| it.tokens).or(samples).unwrap_or(0)
    }

    /// Whether both were measured in one way, so that their losses can be compared.
    pub(super) fn is_on_text_of(&self, other: &Evaluation) -> bool {
        let measured = |it: &Evaluation| (it.text.clone(), it.compared(), it.measure());
        self.reference == other.reference && measured(self) == measured(other)
    }

    /// Whether the other has the same weights and a whole cache, so that it shows what the weights cost alone.
    pub(super) fn differs_in_cache_from(&self, other: &Evaluation) -> bool {
        let weights = |it: &Evaluation| {
            let precision = it.precision.clone()?;
            let Precision { bits, scheme, group_size, quantizer, plan, .. } = precision;
            Some((it.model.clone(), bits, scheme, group_size, quantizer, plan))
        };
        other.cache.is_whole && !self.is_peer() && weights(self) == weights(other)
    }
}
