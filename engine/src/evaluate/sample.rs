//! What a model is given once.

use crate::{
    answers::{Labelled, Right, labelled},
    error::{Error, Result},
    packing::Weights,
    preprocess::{Given, Processor},
    published::{Inputs, Published},
    weights::Folder,
};
use pollster::block_on;
use record::Question;
use std::path::Path;

/// What a model is given once.
#[derive(Debug)]
pub struct Sample {
    pub(super) inputs: Inputs,
    /// What is known to be said in it.
    pub(super) said: Option<String>,
    /// What is right about it.
    pub(super) right: Option<Right>,
}

impl Sample {
    /// Everything that a pass takes.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

/// Makes samples for one model of what a person has.
pub struct Samples<'a> {
    published: &'a Published,
    processor: Processor,
}

impl<'a> Samples<'a> {
    /// For this model.
    ///
    /// # Errors
    /// When the files beside its weights do not say how inputs are made.
    pub fn of(weights: &'a Weights) -> Result<Samples<'a>> {
        let Weights { published, folder, .. } = weights;
        let processor = block_on(Processor::of(published, folder))?;
        Ok(Samples { published, processor })
    }

    /// One of texts, and of files in `folder`, in which `said` is said, if that is known.
    ///
    /// # Errors
    /// When a file cannot be read, or the class does not take what is given.
    pub fn sample(
        &self,
        folder: &Path,
        question: &Question,
        said: Option<String>,
    ) -> Result<Sample> {
        let class = self.published.class;
        let given = block_on(Given::read(class, question, &Folder::new(folder)))?;
        Ok(Sample { inputs: self.processor.inputs(&given)?, said, right: None })
    }
}

/// The samples of a case: those that have right answers, else its inputs, as one.
///
/// # Errors
/// When the folder is no case, or its samples are malformed.
pub fn own_samples(weights: &Weights) -> Result<Vec<Sample>> {
    let Some(file) = &weights.samples else { return Ok(vec![own_inputs(weights)?]) };
    let own = |Labelled { inputs, right }| Sample { inputs, said: None, right: Some(right) };
    Ok(block_on(labelled(&weights.folder, file))?.into_iter().map(own).collect())
}

/// The inputs of a case, as one sample.
///
/// # Errors
/// When the folder is no case.
pub fn own_inputs(weights: &Weights) -> Result<Sample> {
    let message = "nothing is given, and the model is no case with inputs of its own";
    let inputs = weights.inputs().ok_or_else(|| Error::input("input", message))?;
    Ok(Sample { inputs: inputs.clone(), said: None, right: None })
}
