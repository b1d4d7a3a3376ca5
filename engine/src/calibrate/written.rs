//! What a model writes about a sample, and what it expects in a text that another has written.

use super::{Opened, Token};
use crate::{
    error::{Error, Result},
    generate::{Prompt, prompts, stop_tokens},
    models::{Decoder, Rows, State},
    published::{GenerationConfig, Inputs, Suppressed},
    stats::argmax,
    tensor::Tensor,
};
use pollster::block_on;

/// A model with one sample before it.
pub(crate) struct Writer<'a> {
    opened: &'a Opened,
    decoder: &'a dyn Decoder,
    inputs: Inputs,
    prompt: Vec<u32>,
    /// What it has heard or seen, and room for a text.
    state: State,
    /// Tokens that it writes at most.
    most: usize,
    stop: Vec<u32>,
    suppressed: Suppressed,
}

/// What was written behind a prompt.
pub(crate) struct Text {
    ids: Vec<u32>,
    /// What was expected where each of them came.
    logits: Vec<f32>,
    vocabulary: usize,
}

impl Text {
    /// Its tokens.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What was expected here beside what another expects, token by token.
    pub(crate) fn compared(&self, other: &[f32]) -> Vec<Token> {
        let own = self.logits.chunks_exact(self.vocabulary);
        let pairs = own.zip(other.chunks_exact(self.vocabulary)).zip(&self.ids);
        pairs.map(|((own, other), id)| Token::of(own, other, Some(*id as usize))).collect()
    }
}

impl<'a> Writer<'a> {
    /// The model before each sequence of `inputs`, as it is published to generate.
    pub(crate) fn each(
        opened: &'a Opened,
        inputs: &Inputs,
        published: &'a GenerationConfig,
        most: usize,
    ) -> Result<impl Iterator<Item = Result<Writer<'a>>>> {
        let decoder = opened.decoder().expect("a model that writes");
        let prompts = prompts(decoder, inputs)?.into_iter();
        Ok(prompts.map(move |prompt| Writer::new(opened, decoder, prompt, published, most)))
    }

    fn new(
        opened: &'a Opened,
        decoder: &'a dyn Decoder,
        prompt: Prompt,
        published: &GenerationConfig,
        most: usize,
    ) -> Result<Writer<'a>> {
        let most = most.min(prompt.room(decoder));
        if prompt.ids.is_empty() || most == 0 {
            let message = "the prompt is empty, or takes all positions of the model";
            return Err(Error::input(decoder.prompt_input(), message));
        }
        let state = decoder.begin(&opened.device, &prompt.inputs, prompt.ids.len() + most)?;
        Ok(Writer {
            opened,
            decoder,
            inputs: prompt.inputs,
            prompt: prompt.ids,
            state,
            most,
            stop: stop_tokens(decoder, published),
            suppressed: published.suppressed.clone(),
        })
    }

    /// The most likely text.
    pub(crate) fn write(&self) -> Result<Text> {
        let vocabulary = self.decoder.vocabulary();
        let mut text = Text { ids: Vec::new(), logits: Vec::new(), vocabulary };
        let mut row = self.read(&self.prompt, true)?;
        self.state.cache.advance(&self.opened.device, self.prompt.len());
        loop {
            let id = self.chosen(&row, text.ids.is_empty());
            text.ids.push(id);
            text.logits.extend(row);
            if self.stop.contains(&id) || text.ids.len() == self.most {
                self.rewind();
                return Ok(text);
            }
            let input = self.opened.device.upload_u32(&[1, 1], vec![id]);
            let rows = Rows { last: true, mask: None };
            row = self.take(self.decoder.step(&self.opened.device, &self.state, &input, rows))?;
            self.state.cache.advance(&self.opened.device, 1);
        }
    }

    /// What it expects where each token of a text of another model comes.
    pub(crate) fn forced(&self, text: &Text) -> Result<Vec<f32>> {
        let own = self.decoder.vocabulary();
        if own != text.vocabulary {
            let message = format!("has {own} tokens, and the reference {}", text.vocabulary);
            return Err(Error::config("vocab_size", message));
        }
        let ids = [&self.prompt[..], &text.ids[..text.ids.len() - 1]].concat();
        let logits = self.read(&ids, false)?;
        self.rewind();
        Ok(logits[(self.prompt.len() - 1) * own..].to_vec())
    }

    /// A prompt and the text behind it.
    pub(crate) fn whole(&self, text: &Text) -> Vec<u32> {
        [&self.prompt[..], &text.ids].concat()
    }

    /// Bytes of the cache a token.
    pub(crate) fn token_bytes(&self) -> u64 {
        self.state.cache.bytes() / (self.prompt.len() + self.most) as u64
    }

    /// Logits of a text from its beginning.
    fn read(&self, ids: &[u32], last: bool) -> Result<Vec<f32>> {
        let Opened { device, .. } = self.opened;
        let input = device.upload_u32(&[1, ids.len()], ids.to_vec());
        let rows = Rows { last, mask: None };
        self.take(self.decoder.prefill(device, &self.state, &self.inputs, &input, rows)?)
    }

    fn take(&self, logits: Tensor) -> Result<Vec<f32>> {
        Ok(block_on(self.opened.device.take(vec![logits]))?.remove(0))
    }

    /// What it has heard stays, what it has written is forgotten.
    fn rewind(&self) {
        self.state.cache.step().set(&self.opened.device, 0, 0);
    }

    /// The most likely token that is not suppressed.
    fn chosen(&self, logits: &[f32], is_first: bool) -> u32 {
        let mut logits = logits.to_vec();
        let first = if is_first { &self.suppressed.first[..] } else { &[] };
        for id in self.suppressed.always.iter().chain(first) {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        argmax(&logits) as u32
    }
}
