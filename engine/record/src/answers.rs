//! How often a model is right, where somebody knows what is.

use serde::{Deserialize, Serialize};

/// Right answers about samples that no training has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Inputs that both models were given.
    pub samples: usize,
    /// What there was to be right about: one answer a sample, or the things in its picture.
    pub answers: usize,
    /// Answers of the model that are right.
    pub right: usize,
    /// The same of the reference.
    pub reference_right: usize,
    /// In which the model's share lies by 95%, as samples are drawn anew.
    pub interval: [f64; 2],
    /// The same of the reference.
    pub reference_interval: [f64; 2],
}

impl Answers {
    /// The share that is right, of the model and of the reference.
    pub fn shares(&self) -> [f64; 2] {
        [self.right, self.reference_right].map(|right| right as f64 / self.answers.max(1) as f64)
    }
}

/// Right answers of one cell about labelled samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Samples that it was given.
    pub samples: usize,
    /// What there was to be right about: one answer a sample, or the things in its picture.
    pub answers: usize,
    /// Answers that are right.
    pub right: usize,
    /// In which their share lies by 95%, as samples are drawn anew.
    pub interval: [f64; 2],
}

impl Answered {
    /// The share that is right.
    pub fn share(&self) -> f64 {
        self.right as f64 / self.answers.max(1) as f64
    }
}
