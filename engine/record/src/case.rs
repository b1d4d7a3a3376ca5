//! What a case folder says of itself.

use crate::{Class, names::names};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

names! {
    /// Who computed the outputs that are expected of a case.
    "reference" Reference {
        /// Hugging Face's transformers, in f32.
        Transformers = "transformers",
        /// This engine on the CPU, with weights and products in f32.
        EngineF32 = "engine f32",
        /// The same with weights rounded to 16 bits, as those in f32 have no room.
        EngineF16 = "engine f16",
    }
}

impl Reference {
    /// What reports call it.
    pub const fn title(self) -> &'static str {
        match self {
            Reference::Transformers => "transformers, f32",
            Reference::EngineF32 => "this engine, f32",
            Reference::EngineF16 => "this engine, f16",
        }
    }
}

/// `case.json`: which class a case is of, and what goes in and should come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseManifest {
    /// The class that loads the model.
    pub class: Class,
    /// What goes in.
    pub inputs: CaseInputs,
    /// The file with what the f32 model gives; none where the weights are made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Who computed that, where it was not transformers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Weights that no file holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<SeededWeights>,
    /// Whether nobody has trained the model: it shows that kernels are right, and nothing about what bits cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrained: bool,
    /// The file with samples that the model was not trained on, and the right answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<String>,
}

/// What goes into a case: a file, or what each input is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CaseInputs {
    /// The name of a file of tensors, named as the arguments of the class's `forward()`.
    File(String),
    /// Seeded numbers under such names.
    Seeded(BTreeMap<String, SeededInput>),
}

/// An input that is described instead of given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SeededInput {
    /// Bell-shaped numbers of variance 1, in this shape.
    Normal(Vec<usize>),
    /// Ids from 0 up, all below a bound.
    Ids {
        /// Of the tensor.
        shape: Vec<usize>,
        /// The bound.
        below: u32,
    },
    /// One row of integers: a number and how often it comes.
    Runs(Vec<(i64, usize)>),
}

/// Weights that are computed from a seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeededWeights {
    /// The file that lists their names and shapes.
    pub tensors: String,
    /// Where the numbers begin.
    pub seed: u64,
}

impl CaseManifest {
    /// What contradicts itself in it.
    pub fn problem(&self) -> Option<&'static str> {
        match (&self.expected, &self.weights, &self.inputs) {
            (_, _, CaseInputs::Seeded(inputs)) if inputs.is_empty() => {
                Some("it describes no inputs")
            }
            (None, None, _) => Some("it names no file as expected"),
            (Some(_), Some(_), _) => Some("it expects outputs of weights that are made up"),
            _ => None,
        }
    }

    /// The files that it names, each with what they are there for.
    pub fn files(&self) -> Vec<(&'static str, &str)> {
        let mut files = Vec::new();
        if let CaseInputs::File(inputs) = &self.inputs {
            files.push(("inputs", inputs.as_str()));
        }
        files.extend(self.expected.as_deref().map(|expected| ("expected", expected)));
        files.extend(self.weights.as_ref().map(|weights| ("tensors", weights.tensors.as_str())));
        files.extend(self.samples.as_deref().map(|samples| ("samples", samples)));
        files
    }

    /// Whose the expected outputs are; none where there are none.
    pub fn reference(&self) -> Option<Reference> {
        self.expected.as_ref().map(|_| self.reference.unwrap_or(Reference::Transformers))
    }
}
