//! Texts of a case's prompts: continued freely, for speed and for what the bits cost, and under forced
//! decoding where the continuation is known.

use super::{passes, yardstick};
use crate::{
    case::Case,
    device::Device,
    embedder::Embedder,
    error::Result,
    generate::{Options, Prompt, generate, prompts, stop_tokens},
    models::{Decoder, Rows},
    ops::{self, Sampling},
    published::Inputs,
    stats,
};
use record::{Correctness, Event, Memory, RunRequest, Timing};
use std::cell::Cell;

/// New tokens where neither the case nor the request says how many.
const DEFAULT_NEW_TOKENS: usize = 16;

/// New tokens of a text before those that are timed.
const WARM_UP_TOKENS: usize = 3;

/// Continues the prompts of a case.
pub(super) struct Texts<'a> {
    pub(super) device: &'a Device,
    pub(super) decoder: &'a dyn Decoder,
    pub(super) case: &'a Case,
    pub(super) request: &'a RunRequest,
    pub(super) embedder: &'a dyn Embedder,
}

/// Bytes of the largest key-value cache that a cell has: that of its texts, or that of all prompts at once.
pub(super) fn cache_bytes(decoder: &dyn Decoder, case: &Case, request: &RunRequest) -> Result<u64> {
    let ids = case.inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
    let prompts = prompts(decoder, &case.inputs)?;
    let texts =
        prompts.into_iter().take(written(case, ids.batch)).enumerate().map(|(row, prompt)| {
            let (prompt, limit) = begun(decoder, case, request, (row, prompt));
            decoder.cache_bytes(1, prompt.ids.len() + limit)
        });
    Ok(texts.chain([decoder.cache_bytes(ids.batch, ids.tokens)]).max().unwrap_or(0))
}

/// How many of a case's prompts are continued: texts are what it asks for, and without any the first prompt shows
/// the speed.
fn written(case: &Case, prompts: usize) -> usize {
    case.expected.generated.len().clamp(1, prompts)
}

/// What a text begins with, and how many tokens are generated behind it, at most.
fn begun(
    decoder: &dyn Decoder,
    case: &Case,
    request: &RunRequest,
    (row, prompt): (usize, Prompt),
) -> (Prompt, usize) {
    let expected = case.expected.generated.get(row);
    // A decoder behind an encoder may be given more tokens to score than its text begins
    // with: then the text begins with the first of them.
    let length = match expected {
        Some(text) if !text.starts_with(&prompt.given) => 1,
        _ => prompt.given.len(),
    };
    let known = expected.map(|text| text.len() - length.min(text.len()));
    let limit = case.new_tokens.or(known).unwrap_or(DEFAULT_NEW_TOKENS);
    let limit = request.max_new_tokens.map_or(limit, |most| limit.min(most as usize));
    let prompt = prompt.of_length(length);
    let limit = limit.min(prompt.room(decoder));
    (prompt, limit)
}

impl Texts<'_> {
    /// Continues each prompt; gives the first text.
    pub(super) async fn run(
        &self,
        timing: &mut Timing,
        memory: &mut Memory,
        correctness: &mut Correctness,
    ) -> Result<Vec<u32>> {
        let expected = &self.case.expected.generated;
        let prompts = prompts(self.decoder, &self.case.inputs)?;
        let tokens: usize = prompts.iter().map(|prompt| prompt.given.len()).sum();
        timing.prefill_tps = Some(tokens as f64 / (timing.median_ms / 1e3).max(1e-9));
        let (mut matched, mut forced, mut wanted) = (0, 0, 0);
        let (mut steps, mut decode_ms) = (0, 0.0);
        let (mut yardsticks, mut first_text) = (Vec::new(), Vec::new());
        let rows = written(self.case, prompts.len());
        for (row, prompt) in prompts.into_iter().take(rows).enumerate() {
            let (prompt, limit) = begun(self.decoder, self.case, self.request, (row, prompt));
            let known = expected.get(row).map(|text| &text[prompt.length.min(text.len())..]);
            let generation = &self.case.published.generation;
            let count = Cell::new(0);
            let options = Options {
                max_new_tokens: limit,
                sampling: Sampling::Greedy,
                // A known continuation ends where it ends, and one of a known length there.
                stop_tokens: match (known, self.case.new_tokens) {
                    (None, None) => stop_tokens(self.decoder, generation),
                    _ => Vec::new(),
                },
                suppressed: generation.suppressed.clone(),
            };
            let emit = |id| {
                count.set(count.get() + 1);
                self.embedder.emit(Event::Token { id, count: count.get() });
            };
            let now = || self.embedder.now();
            let (device, decoder) = (self.device, self.decoder);
            if row == 0 && matches!(device, Device::Gpu(_)) {
                // What a step dispatches and a prompt does not is compiled by now.
                let first =
                    Options { max_new_tokens: limit.min(WARM_UP_TOKENS), ..options.clone() };
                generate(device, decoder, &prompt.inputs, &prompt.ids, &first, &now, &|_| ())
                    .await?;
            }
            passes::spin_up(device).await?;
            yardsticks.extend(yardstick::read(device, self.embedder));
            let text =
                generate(device, decoder, &prompt.inputs, &prompt.ids, &options, &now, &emit);
            let text = text.await?;
            yardsticks.extend(yardstick::read(device, self.embedder));
            steps += text.decode_steps;
            decode_ms += text.decode_ms;
            memory.kv_bytes = memory.kv_bytes.max(text.kv_bytes);
            if let Some(known) = known.map(|known| &known[..limit.min(known.len())]) {
                let new = &text.ids[prompt.ids.len()..];
                wanted += known.len();
                matched += new.iter().zip(known).take_while(|(a, b)| a == b).count();
                forced += self.agreeing(&prompt.inputs, &prompt.ids, known).await?;
            }
            if row == 0 {
                first_text = text.ids;
            }
        }
        if steps > 0 {
            timing.decode_tps = Some(steps as f64 / (decode_ms / 1e3).max(1e-9));
            if !yardsticks.is_empty() {
                timing.decode_yardstick_ms = vec![stats::median(&yardsticks)];
            }
        }
        if wanted > 0 {
            correctness.generated_match = Some(matched as f64 / wanted as f64);
            correctness.top1_agreement = Some(forced as f64 / wanted as f64);
        }
        Ok(first_text)
    }

    /// How many tokens of a known continuation are the most likely ones, each behind the right ones.
    async fn agreeing(&self, inputs: &Inputs, prompt: &[u32], known: &[u32]) -> Result<usize> {
        if known.is_empty() {
            return Ok(0);
        }
        let ids = [prompt, &known[..known.len() - 1]].concat();
        let state = self.decoder.begin(self.device, inputs, ids.len())?;
        let input = self.device.upload_u32(&[1, ids.len()], ids);
        let rows = Rows { last: false, mask: None };
        let logits = self.decoder.prefill(self.device, &state, inputs, &input, rows)?;
        let (first, vocabulary) = (Some(prompt.len() - 1), self.decoder.vocabulary());
        let suppressed = &self.case.published.generation.suppressed;
        let logits = match suppressed.addend(self.device, logits.rows(), vocabulary, first) {
            Some(addend) => {
                let logits = logits.reshape(addend.shape());
                ops::add(self.device, &logits, &addend)
            }
            None => logits,
        };
        let chosen = self.device.read_u32(&ops::argmax(self.device, &logits)).await?;
        let chosen = &chosen[prompt.len() - 1..];
        Ok(chosen.iter().zip(known).filter(|(a, b)| a == b).count())
    }
}
