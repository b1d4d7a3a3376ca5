//! From a prompt to a text: one pass over the prompt, then one a token.
//!
//! On a GPU the pass for a token, its sampling and its bookkeeping are recorded once and replayed
//! (`recorded.rs`); `passes.rs` records whole passes of a model for who measures them.
//! Tokens stay on the device and are fetched several at a time: how many grows while a fetch stays
//! quick, since some browsers answer one only every few milliseconds.

mod passes;
mod prompts;
mod recorded;
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod tests;

pub(crate) use passes::{Kind, Pass, Passes};
pub(crate) use prompts::{Prompt, prompts, stop_tokens};
pub(crate) use recorded::{ForcedSteps, RecordedStep};
#[cfg(test)]
pub(crate) use recorded::{PLANTED, Planted, RECORDED};

use crate::{
    device::{Device, Gpu},
    error::{Error, Result},
    models::{Decoder, Inputs, Rows, State},
    ops::{self, Sampling},
    published::Suppressed,
    tensor::Tensor,
};
use std::collections::VecDeque;

/// Most tokens that are generated before the host looks at them.
const MAX_BATCH: usize = 32;
/// Batches grow while the last one took less, and shrink where it took more.
const QUICK_MS: f64 = 150.0;
/// Added to a logit, leaves no chance: large and finite, since shader compilers may assume that
/// there is no infinity.
const UNLIKELY: f32 = -1e30;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most new tokens.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens that end the text; they belong to it.
    pub stop_tokens: Vec<u32>,
    /// Tokens that are not chosen.
    pub suppressed: Suppressed,
}

impl Suppressed {
    /// Addends `[rows, V]` on the logits of consecutive positions, of which the one numbered `first`,
    /// if it is among them, is followed by the first new token. None if no token is suppressed there.
    pub(crate) fn addend(
        &self,
        device: &Device,
        rows: usize,
        vocabulary: usize,
        first: Option<usize>,
    ) -> Option<Tensor> {
        let tokens = |row| match first == Some(row) {
            true => [&self.always[..], &self.first].concat(),
            false => self.always.clone(),
        };
        let mut values = vec![0.0; rows * vocabulary];
        for (row, values) in values.chunks_exact_mut(vocabulary).enumerate() {
            // As in transformers, ids beyond the vocabulary mean nothing.
            for token in tokens(row).into_iter().filter(|token| (*token as usize) < vocabulary) {
                values[token as usize] = UNLIKELY;
            }
        }
        let any = values.iter().any(|value| *value != 0.0);
        any.then(|| device.keep(&[rows, vocabulary], values))
    }
}

/// What was generated, and how long it took.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// The prompt and the new tokens.
    pub ids: Vec<u32>,
    /// From the prompt to the first new token.
    pub prefill_ms: f64,
    /// From the first new token to the last.
    pub decode_ms: f64,
    /// Passes that `decode_ms` holds.
    pub decode_steps: usize,
    /// Bytes of the key-value cache.
    pub kv_bytes: u64,
}

/// Continues the prompt of one sequence, whose other inputs (audio, image, source text) are in
/// `inputs`; `emit` hears each token as soon as the host knows it.
pub async fn generate(
    device: &Device,
    decoder: &dyn Decoder,
    inputs: &Inputs,
    prompt: &[u32],
    options: &Options,
    now: &dyn Fn() -> f64,
    emit: &dyn Fn(u32),
) -> Result<Generation> {
    if prompt.is_empty() || prompt.iter().any(|id| *id as usize >= decoder.vocabulary()) {
        return Err(Error::input("input_ids", "the prompt is empty or beyond the vocabulary"));
    }
    let mut ids = prompt.to_vec();
    if options.max_new_tokens == 0 {
        return Ok(Generation { ids, ..Generation::default() });
    }
    let start = now();
    let state = decoder.begin(device, inputs, prompt.len() + options.max_new_tokens)?;
    let input = device.upload_u32(&[1, prompt.len()], prompt.to_vec());
    let rows = Rows { last: true, mask: None };
    let logits = decoder.prefill(device, &state, inputs, &input, rows)?;
    let addend = |first| options.suppressed.addend(device, 1, decoder.vocabulary(), first);
    let first = choose(device, &logits, addend(Some(0)).as_ref(), options.sampling, &state);
    let first = device.read_u32(&first).await?[0];
    state.cache.advance(device, prompt.len());
    let prefill_ms = now() - start;

    let limit = prompt.len() + options.max_new_tokens;
    let mut text = Text { ids: &mut ids, options, addend: addend(None), limit, emit };
    let start = now();
    let mut decode_steps = 0;
    if text.push(&[first]) {
        decode_steps = match device {
            Device::Cpu(_) => on_cpu(device, decoder, &state, first, &mut text),
            Device::Gpu(gpu) => on_gpu(device, gpu, decoder, &state, first, &mut text, now).await?,
        };
    }
    let decode_ms = now() - start;
    Ok(Generation { ids, prefill_ms, decode_ms, decode_steps, kv_bytes: state.cache.bytes() })
}

/// The text so far.
struct Text<'a> {
    ids: &'a mut Vec<u32>,
    options: &'a Options,
    /// On the logits of all but the first new token.
    addend: Option<Tensor>,
    limit: usize,
    emit: &'a dyn Fn(u32),
}

impl Text<'_> {
    /// Appends tokens up to the end of the text; says whether it goes on.
    fn push(&mut self, tokens: &[u32]) -> bool {
        for token in tokens {
            self.ids.push(*token);
            (self.emit)(*token);
            if self.ids.len() >= self.limit || self.options.stop_tokens.contains(token) {
                return false;
            }
        }
        true
    }

    fn left(&self) -> usize {
        self.limit - self.ids.len()
    }

    /// The token that follows `input`.
    fn step(
        &self,
        device: &Device,
        decoder: &dyn Decoder,
        state: &State,
        input: &Tensor,
    ) -> Tensor {
        let logits = decoder.step(device, state, input, Rows { last: true, mask: None });
        choose(device, &logits, self.addend.as_ref(), self.options.sampling, state)
    }
}

fn on_cpu(
    device: &Device,
    decoder: &dyn Decoder,
    state: &State,
    first: u32,
    text: &mut Text<'_>,
) -> usize {
    let mut token = first;
    let mut steps = 0;
    loop {
        let input = device.upload_u32(&[1, 1], vec![token]);
        let chosen = text.step(device, decoder, state, &input);
        state.cache.advance(device, 1);
        steps += 1;
        token = chosen.u32s()[0];
        if !text.push(&[token]) {
            return steps;
        }
    }
}

async fn on_gpu(
    device: &Device,
    gpu: &Gpu,
    decoder: &dyn Decoder,
    state: &State,
    first: u32,
    text: &mut Text<'_>,
    now: &dyn Fn() -> f64,
) -> Result<usize> {
    let input = device.upload_u32(&[1, 1], vec![first]);
    let step = RecordedStep::record(device, gpu, state, input, text.left(), |input| {
        let chosen = text.step(device, decoder, state, input);
        (chosen.clone(), chosen)
    });
    let limit = text.left();
    let (mut batch, mut most, mut submitted, mut done) = (1usize, 2, 0, 0);
    let mut under_way = VecDeque::new();
    loop {
        let start = now();
        // Two batches at a time, so that the GPU does not wait while the host looks at a token.
        while submitted < limit && under_way.len() < 2 {
            let count = batch.min(most).min(limit - submitted);
            for _ in 0..count {
                step.replay();
            }
            submitted += count;
            batch = batch.saturating_mul(2);
            let reading = gpu.begin_read(&[step.emitted()]);
            let is_last = reading.is_none();
            under_way.push_back((count, reading));
            if is_last {
                break;
            }
        }
        let (count, reading) = under_way.pop_front().expect("tokens are left");
        let tokens = match reading {
            Some(reading) => gpu.finish_read(reading).await?,
            None => gpu.read(&[step.emitted()]).await?,
        };
        state.cache.step().follow(count);
        let goes_on = text.push(&tokens[0][done..done + count]);
        done += count;
        if !goes_on {
            return Ok(done);
        }
        let is_quick = now() - start < QUICK_MS;
        most = if is_quick { (most * 2).min(MAX_BATCH) } else { (most / 2).max(1) };
    }
}

/// One token of the logits of a last position.
fn choose(
    device: &Device,
    logits: &Tensor,
    addend: Option<&Tensor>,
    sampling: Sampling,
    state: &State,
) -> Tensor {
    let logits = logits.reshape(&[1, logits.count()]);
    let logits = match addend {
        Some(addend) => ops::add(device, &logits, addend),
        None => logits,
    };
    ops::sample(device, &logits, sampling, state.cache.step())
}
