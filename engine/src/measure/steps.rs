//! The decode that is timed, judged: tokens are forced through the recorded step, so that replay,
//! positions on the device, sampling and the cache all stand behind each logit that is compared.

use crate::{
    device::Device,
    error::Result,
    generate::ForcedSteps,
    models::{Decoder, Rows},
    ops,
    published::Inputs,
    tensor::Tensor,
    testing::uniform,
};

/// Steps that are judged, fewer where positions end.
pub(super) const STEPS: usize = 8;
/// Of a longer prompt, its beginning is enough to stand behind.
const MAX_PROMPT: usize = 64;
/// Tokens of a cache, at most, for which a prompt is so long that it fills it.
const MOST_KEPT: usize = 512;

/// What steps did beside their logits.
pub(super) struct Steps {
    /// The token that was forced on each step.
    pub(super) forced: Vec<u32>,
    /// The token that each step chose.
    pub(super) chosen: Vec<u32>,
    /// The tokens that the device counted as emitted; none where the host counts.
    pub(super) emitted: Option<Vec<u32>>,
}

/// The same, not yet fetched.
pub(super) struct OnDevice {
    forced: Vec<u32>,
    chosen: Vec<Tensor>,
    emitted: Option<Tensor>,
}

impl OnDevice {
    /// What is to be fetched.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.chosen.iter().chain(&self.emitted)
    }

    /// What [`OnDevice::tensors`] hold.
    pub(super) fn fetched(&self, mut words: Vec<Vec<u32>>) -> Steps {
        let emitted = self.emitted.is_some().then(|| words.pop().unwrap_or_default());
        let chosen = words.into_iter().flatten().collect();
        Steps { forced: self.forced.clone(), chosen, emitted }
    }
}

/// A prompt and the tokens that are forced behind it.
struct Script {
    inputs: Inputs,
    prompt: Vec<u32>,
    tokens: Vec<u32>,
}

/// The first sequence of `inputs`, and tokens unlike each other: one that comes twice in a row would
/// hide that the second was never written.
fn script(decoder: &dyn Decoder, inputs: &Inputs) -> Result<Script> {
    let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
    // A prompt in which tokens stand for pictures cannot be cut; one that fills all positions is, so
    // that there is one for a step.
    let longest = match (decoder.placeholder(), decoder.kept()) {
        (Some(_), _) => ids.tokens,
        // Behind it places are taken again, if it does not take the reference minutes.
        (None, Some(kept @ MAX_PROMPT..=MOST_KEPT)) => kept,
        (None, _) => MAX_PROMPT,
    };
    let length = ids.tokens.min(longest).min(decoder.positions().saturating_sub(1)).max(1);
    let steps = STEPS.min(decoder.positions().saturating_sub(length)).max(1);
    let prompt = ids.values[..length].to_vec();
    let vocabulary = decoder.vocabulary() as u32;
    let mut tokens: Vec<u32> = Vec::new();
    for (i, draw) in uniform(8, steps).into_iter().enumerate() {
        let mut token = (draw * vocabulary as f32) as u32 % vocabulary;
        let is_taken = |token| {
            tokens.get(i.wrapping_sub(1)) == Some(&token) || decoder.placeholder() == Some(token)
        };
        // Of a vocabulary of one or two, nothing else may be left.
        for _ in 0..2 {
            if is_taken(token) {
                token = (token + 1) % vocabulary;
            }
        }
        tokens.push(token);
    }
    Ok(Script { inputs: decoder.row(inputs, 0, ids.batch), prompt, tokens })
}

/// The logits of each step, computed as decoding computes them, and what else it did.
pub(super) fn one_by_one(
    device: &Device,
    decoder: &dyn Decoder,
    inputs: &Inputs,
) -> Result<(Vec<(String, Tensor)>, OnDevice)> {
    let Script { inputs, prompt, tokens } = script(decoder, inputs)?;
    let capacity = prompt.len() + tokens.len();
    let state = decoder.begin(device, &inputs, capacity)?;
    let rows = Rows { last: true, mask: None };
    let input = device.upload_u32(&[1, prompt.len()], prompt.clone());
    decoder.prefill(device, &state, &inputs, &input, rows)?;
    state.cache.advance(device, prompt.len());
    let ForcedSteps { logits, chosen, emitted } =
        ForcedSteps::run(device, decoder, &state, &tokens);
    let logits = logits.into_iter().enumerate().map(|(at, logits)| (name(at), logits)).collect();
    Ok((logits, OnDevice { forced: tokens, chosen, emitted }))
}

/// The same logits from one pass over the prompt and all tokens.
pub(super) fn at_once(
    device: &Device,
    decoder: &dyn Decoder,
    inputs: &Inputs,
) -> Result<Vec<(String, Tensor)>> {
    let Script { inputs, prompt, tokens } = script(decoder, inputs)?;
    let ids = [&prompt[..], &tokens].concat();
    let state = decoder.begin(device, &inputs, ids.len())?;
    let input = device.upload_u32(&[1, ids.len()], ids.clone());
    let logits =
        decoder.prefill(device, &state, &inputs, &input, Rows { last: false, mask: None })?;
    let vocabulary = logits.columns();
    let logits = logits.reshape(&[ids.len(), vocabulary]);
    let row = |at: usize| {
        let row = device.upload_u32(&[1], vec![(prompt.len() + at) as u32]);
        (name(at), ops::gather_rows(device, &logits, &row).reshape(&[1, vocabulary]))
    };
    Ok((0..tokens.len()).map(row).collect())
}

/// Under which the logits of a step are compared.
pub(super) fn name(step: usize) -> String {
    format!("decode_logits[{step}]")
}

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests {
    use super::*;
    use crate::{
        generate::tests::{Chain, devices},
        stats::argmax,
    };

    /// A prompt of so many tokens.
    fn inputs(tokens: usize) -> Inputs {
        let mut inputs = Inputs::default();
        let ids = (0..tokens as i64).map(|at| at % 3).collect();
        inputs.ints.insert("input_ids".to_owned(), (vec![1, tokens], ids));
        inputs
    }

    /// What is forced on a chain that the test has changed: the prompt's length, and the tokens.
    fn scripted(tokens: usize, change: impl Fn(&mut Chain)) -> (usize, Vec<u32>) {
        let mut chain = Chain::new(&Device::cpu());
        change(&mut chain);
        let script = script(&chain, &inputs(tokens)).unwrap();
        (script.prompt.len(), script.tokens)
    }

    #[test]
    fn forced_tokens_are_unlike_the_one_before_and_stand_for_no_picture() {
        for vocabulary in 3..60 {
            for placeholder in [None, Some(0), Some(1), Some(vocabulary as u32 - 1)] {
                let (_, tokens) = scripted(3, |chain| {
                    (chain.vocabulary, chain.placeholder) = (vocabulary, placeholder);
                });
                assert_eq!(tokens.len(), STEPS);
                assert!(tokens.iter().all(|token| (*token as usize) < vocabulary), "{tokens:?}");
                assert!(tokens.windows(2).all(|pair| pair[0] != pair[1]), "{tokens:?}");
                assert!(tokens.iter().all(|token| Some(*token) != placeholder), "{tokens:?}");
            }
        }
        let many = scripted(3, |chain| chain.vocabulary = 1000).1;
        assert!(many.iter().any(|token| *token > 500) && many.iter().any(|token| *token < 500));
        // Of two tokens one is left beside a picture's.
        let few = |placeholder| {
            let script =
                scripted(1, |chain| (chain.vocabulary, chain.placeholder) = (2, placeholder));
            script.1
        };
        assert!(few(None).windows(2).all(|pair| pair[0] != pair[1]));
        assert!(few(Some(0)).len() == STEPS);
    }

    #[test]
    fn a_script_has_room_for_a_step_and_cuts_long_texts_alone() {
        let lengths = |tokens, positions, placeholder| {
            let script = scripted(tokens, |chain| {
                (chain.positions, chain.placeholder) = (positions, placeholder);
            });
            (script.0, script.1.len())
        };
        assert_eq!(lengths(3, 160, None), (3, STEPS));
        assert_eq!(lengths(100, 160, None), (MAX_PROMPT, STEPS));
        assert_eq!(lengths(100, 160, Some(1)), (100, STEPS), "pictures cannot be cut");
        assert_eq!(lengths(3, 8, None), (3, 5));
        assert_eq!(lengths(8, 8, None), (7, 1), "positions are all taken");
        assert_eq!(lengths(1, 1, None), (1, 1));
    }

    /// What is judged of a decode is what one pass over all tokens gives.
    #[test]
    fn steps_are_the_rows_of_one_pass() {
        for device in devices() {
            let chain = Chain::new(&device);
            let inputs = inputs(4);
            let (steps, rest) = one_by_one(&device, &chain, &inputs).unwrap();
            let rows = at_once(&device, &chain, &inputs).unwrap();
            let tokens = script(&chain, &inputs).unwrap().tokens;
            assert_eq!(chain.begun.take(), [4 + STEPS; 2]);
            let values = |outputs: Vec<(String, Tensor)>| {
                let (names, tensors): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
                let shapes: Vec<_> = tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
                (names, shapes, pollster::block_on(device.take(tensors)).unwrap())
            };
            let (steps, rows) = (values(steps), values(rows));
            assert_eq!(steps, rows);
            assert_eq!(steps.0[0], "decode_logits[0]");
            let words = |tensor| pollster::block_on(device.read_u32(tensor)).unwrap();
            let fetched = rest.fetched(rest.tensors().map(words).collect());
            assert_eq!(fetched.forced, tokens);
            let likeliest: Vec<u32> = rows.2.iter().map(|row| argmax(row) as u32).collect();
            assert_eq!(fetched.chosen, likeliest);
            let is_gpu = matches!(device, Device::Gpu(_));
            let following = [&tokens[1..], &[0]].concat();
            assert_eq!(fetched.emitted, is_gpu.then_some(following));
        }
    }
}
