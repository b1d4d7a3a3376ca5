//! How much two models have in common where neither writes: by what comes out of a pass; and how well both write down
//! what was said.

use crate::number;
use serde::{Deserialize, Serialize};

/// What the outputs of two models have in common, over the same inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Likeness {
    /// Inputs that both were given.
    pub samples: usize,
    /// Their outputs by name.
    pub outputs: Vec<OutputLikeness>,
    /// Where each input becomes a point: Spearman's correlation of the cosines of all pairs of points, so whether both
    /// find the same things alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<f64>,
    /// Where things are found in pictures: how they agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub things: Option<Things>,
}

/// What one output of two models has in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputLikeness {
    /// Hugging Face's name of it.
    pub name: String,
    /// Rows that were compared: a row is what the last axis holds.
    pub rows: usize,
    /// Mean cosine of the rows of both.
    #[serde(deserialize_with = "number")]
    pub cosine: f64,
    /// That of the rows that differ most.
    #[serde(deserialize_with = "number")]
    pub least: f64,
    /// Length of the difference of all rows as a share of that of the reference's.
    #[serde(deserialize_with = "number")]
    pub error: f64,
    /// Where a row holds logits: for which share both choose the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
}

/// Things that a reference finds in pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Things {
    /// How many.
    pub count: usize,
    /// Mean overlap (intersection over union) of their boxes with the nearest of the model; 0 where it finds nothing.
    #[serde(deserialize_with = "number")]
    pub iou: f64,
    /// For which share the nearest has the same label.
    #[serde(deserialize_with = "number")]
    pub same_label: f64,
}

/// Words that were written down wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// Recordings or texts.
    pub samples: usize,
    /// Words that were to be written down.
    pub words: usize,
    /// Whether these are known to have been said; else they are what the reference has written.
    pub are_known: bool,
    /// Words to change, insert or leave out in what the model has written.
    pub errors: usize,
    /// The same of the reference.
    pub reference_errors: usize,
    /// In which the model's word error rate lies by 95%, as samples are drawn anew.
    pub interval: [f64; 2],
    /// The same of the reference.
    pub reference_interval: [f64; 2],
}

impl Likeness {
    /// How far outputs are from those of the reference, in one figure: 1 less the mean cosine of the output that
    /// differs most.
    pub fn distance(&self) -> f64 {
        let distances = self.outputs.iter().map(|output| 1.0 - output.cosine);
        distances.fold(0.0, |most, own| if own > most || own.is_nan() { own } else { most })
    }
}

impl Words {
    /// Errors a word of the model, and of the reference.
    pub fn rates(&self) -> [f64; 2] {
        [self.errors, self.reference_errors].map(|errors| errors as f64 / self.words.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_that_of_the_output_that_differs_most() {
        let output = |cosine| OutputLikeness { cosine, ..OutputLikeness::default() };
        let likeness = |cosines: &[f64]| Likeness {
            outputs: cosines.iter().copied().map(output).collect(),
            ..Likeness::default()
        };
        assert!((likeness(&[0.9, 0.75, 1.0]).distance() - 0.25).abs() < 1e-12);
        assert!(likeness(&[0.9, f64::NAN, 0.5]).distance().is_nan());
        assert!(likeness(&[]).distance() == 0.0);
    }

    #[test]
    fn what_is_no_number_is_read_back_as_such() {
        let output = OutputLikeness { cosine: f64::NAN, ..OutputLikeness::default() };
        let likeness = Likeness { outputs: vec![output], ..Likeness::default() };
        let text = serde_json::to_string(&likeness).unwrap();
        let read: Likeness = serde_json::from_str(&text).unwrap();
        assert!(read.outputs[0].cosine.is_nan() && !text.contains("rank"), "{text}");
    }
}
