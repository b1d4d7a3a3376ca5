//! The prompts of a batch, one text each.

use crate::{
    error::Result,
    models::Decoder,
    published::{GenerationConfig, Inputs},
};

/// What one text begins with.
pub(crate) struct Prompt {
    /// Its inputs, without those of the others.
    pub inputs: Inputs,
    /// Its tokens as they were given, padding included.
    pub given: Vec<u32>,
    /// Its tokens. Padding is cut off rather than masked: a text begins where its prompt does.
    pub ids: Vec<u32>,
    /// How many of the given tokens it begins with, padding included.
    pub length: usize,
    mask: Option<Vec<bool>>,
}

/// A prompt for each sequence of `inputs`.
pub(crate) fn prompts(decoder: &dyn Decoder, inputs: &Inputs) -> Result<Vec<Prompt>> {
    let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
    let mask = decoder.prompt_mask(inputs, &ids)?;
    let prompt = |row: usize| {
        let at = row * ids.tokens..(row + 1) * ids.tokens;
        let given = ids.values[at.clone()].to_vec();
        let mask = mask.as_ref().map(|mask| mask[at].iter().map(|keep| *keep != 0.0).collect());
        let inputs = decoder.row(inputs, row, ids.batch);
        Prompt { inputs, ids: Vec::new(), length: 0, given, mask }.of_length(ids.tokens)
    };
    Ok((0..ids.batch).map(prompt).collect())
}

impl Prompt {
    /// The same with the first `length` of its given tokens alone.
    pub(crate) fn of_length(mut self, length: usize) -> Prompt {
        let keep = |at: usize| self.mask.as_ref().is_none_or(|mask| mask[at]);
        self.length = length;
        self.ids = (0..length).filter(|at| keep(*at)).map(|at| self.given[at]).collect();
        self
    }

    /// New tokens that the decoder's positions have room for.
    pub(crate) fn room(&self, decoder: &dyn Decoder) -> usize {
        decoder.positions().saturating_sub(self.ids.len())
    }
}

/// Tokens that end a text: those the publisher names, and otherwise those of the configuration.
pub(crate) fn stop_tokens(decoder: &dyn Decoder, published: &GenerationConfig) -> Vec<u32> {
    published.stop_tokens.clone().unwrap_or_else(|| decoder.stop_tokens().to_vec())
}
