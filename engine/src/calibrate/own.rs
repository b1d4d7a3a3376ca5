//! A text that a model writes itself, where nobody has one at hand (as in LLM-QAT, Liu et al. 2023): what it says is
//! of the kind that it was trained on, and nothing has to be fetched.

use super::{Heard, Opened, Windows, use_all_processors};
use crate::{
    device::Device,
    error::{Error, Result},
    models::Rows,
    ops::{Sampling, sample},
    packing::Weights,
    published::Inputs,
    tensor::Tensor,
};
use pollster::block_on;
use record::{Bits, Class, Precision};

/// Sequences that are written side by side: each step reads all weights once.
const AT_ONCE: usize = 64;

/// Whether a model writes text without being given anything else.
pub fn writes(weights: &Weights) -> bool {
    matches!(weights.published.class, Class::Llama | Class::Qwen2)
}

/// Sequences of `length` tokens, each drawn from what the model expects behind those before it. The first tokens are
/// spread over the vocabulary. `heard` is told how many tokens are written.
///
/// # Errors
/// When weights cannot be read, or the model needs more than text.
pub fn own(weights: &Weights, sequences: usize, length: usize, heard: &Heard) -> Result<Windows> {
    if !writes(weights) {
        let class = weights.published.class;
        let message = format!("{class} writes no text of its own; llama and qwen2 do");
        return Err(Error::unsupported(message));
    }
    use_all_processors();
    let Opened { loaded, device } = Opened::of((weights, &Precision::of(Bits::Fixed(32))))?;
    let decoder = loaded.model.decoder().expect("models that write are decoders");
    let vocabulary = decoder.vocabulary();
    let mut texts: Vec<Vec<u32>> =
        (0..sequences).map(|at| vec![(at * vocabulary / sequences) as u32]).collect();
    for (at, part) in texts.chunks_mut(AT_ONCE).enumerate() {
        let batch = part.len();
        let mut inputs = Inputs::default();
        let first = part.iter().map(|text| i64::from(text[0])).collect();
        inputs.ints.insert(decoder.prompt_input().to_owned(), (vec![batch, 1], first));
        let state = decoder.begin(&device, &inputs, length)?;
        for step in 1..length {
            let last = part.iter().map(|text| text[step - 1]).collect();
            let ids = device.upload_u32(&[batch, 1], last);
            let logits = decoder.step(&device, &state, &ids, Rows { last: true, mask: None });
            state.cache.advance(&device, 1);
            let logits = block_on(device.take(vec![logits]))?.remove(0);
            for (row, (text, logits)) in part.iter_mut().zip(logits.chunks(vocabulary)).enumerate()
            {
                let seed = (at * AT_ONCE + row) as u32;
                let how = Sampling::Random { temperature: 1.0, top_k: 256, top_p: 1.0, seed };
                let logits = Tensor::from_f32(&[1, vocabulary], logits.to_vec());
                text.push(sample(&Device::cpu(), &logits, how, state.cache.step()).u32s()[0]);
            }
            heard((at * AT_ONCE * length + batch * (step + 1)) as u64);
        }
    }
    Windows::of(&texts, length).ok_or_else(|| Error::input("text", "no sequences are asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::tests::{opened, zoo};
    use std::rc::Rc;

    #[test]
    fn a_model_writes_what_it_expects_and_the_same_again() {
        let heard: Heard = Rc::new(|_| ());
        let weights = opened(&zoo("llama/llama-gqa"));
        let text = own(&weights, 70, 12, &heard).unwrap();
        assert_eq!((text.count, text.length), (70, 12));
        assert_eq!(text.ids(), own(&weights, 70, 12, &heard).unwrap().ids());
        // What is drawn from a model surprises it less than what is drawn from a hat.
        let values = crate::testing::normal(9, 70 * 12);
        let hat: Vec<u32> = values.iter().map(|value| (value.abs() * 1e3) as u32 % 96).collect();
        let rows: Vec<_> = hat.chunks_exact(12).map(<[u32]>::to_vec).collect();
        let whole = Precision::of(Bits::Fixed(32));
        let perplexity = |text: &Windows| {
            let both = ((&weights, &whole), (&weights, &whole));
            super::super::fidelity(both.0, both.1, text, &heard).unwrap().0.perplexity
        };
        let (written, drawn) = (perplexity(&text), perplexity(&Windows::of(&rows, 12).unwrap()));
        assert!(written < drawn, "{written} {drawn}");
        let error = own(&opened(&zoo("vit/vit-labels")), 2, 4, &heard).unwrap_err().to_string();
        assert!(error.contains("writes no text"), "{error}");
    }
}
