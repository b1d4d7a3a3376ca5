//! How far a model is from another, by what both expect to follow in a text.

use crate::number;
use serde::{Deserialize, Serialize};

/// What two models have in common, over all tokens of a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Tokens that were compared: each is told what precedes it in its own sequence.
    pub tokens: usize,
    /// Mean Kullback-Leibler divergence of the model from the reference, in nats.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// What it is below for 99 of 100 tokens.
    #[serde(deserialize_with = "number")]
    pub kl_p99: f64,
    /// Share of tokens for which both expect the same one most.
    #[serde(deserialize_with = "number")]
    pub top1: f64,
    /// Perplexity of the model.
    #[serde(deserialize_with = "number")]
    pub perplexity: f64,
    /// Perplexity of the reference.
    #[serde(deserialize_with = "number")]
    pub reference_perplexity: f64,
    /// The same for equal stretches of the sequences, from their first tokens to their last; none where nobody
    /// looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_position: Vec<Stretch>,
}

/// What two models have in common over the tokens that stand in one part of each sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Position of its first token in a sequence.
    pub first: usize,
    /// Position behind its last one.
    pub end: usize,
    /// Tokens that were compared there, in all sequences.
    pub tokens: usize,
    /// Mean divergence, in nats.
    #[serde(deserialize_with = "number")]
    pub kl: f64,
    /// Perplexity of the model.
    #[serde(deserialize_with = "number")]
    pub perplexity: f64,
    /// Perplexity of the reference.
    #[serde(deserialize_with = "number")]
    pub reference_perplexity: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_read_back_as_such() {
        let stretch = Stretch { end: 8, tokens: 8, kl: f64::NAN, ..Stretch::default() };
        let written = Fidelity { kl: f64::NAN, by_position: vec![stretch], ..Fidelity::default() };
        let text = serde_json::to_string(&written).unwrap();
        let read: Fidelity = serde_json::from_str(&text).unwrap();
        assert!(read.kl.is_nan() && read.by_position[0].kl.is_nan());
        assert_eq!((read.tokens, read.by_position[0].end), (0, 8));
        let plain = text.replace("null", "0.5");
        let read: Fidelity = serde_json::from_str(&plain).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), plain);
    }
}
