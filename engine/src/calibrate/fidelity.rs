//! How far a quantised model is from another, by what both expect to follow in a text that neither was
//! calibrated on.

use super::{
    Heard, Windows,
    learner::{dequantised, look_up, product},
    use_all_processors,
};
use crate::{
    device::{Device, MatrixId, Products},
    error::{Error, Result},
    load::Loaded,
    models::{Model, Rows},
    packing::Weights,
    quant::{CHUNK, Matrix},
    threads,
};
use pollster::block_on;
use record::Precision;
use serde::Serialize;
use std::{collections::BTreeMap, rc::Rc};

/// Sequences that are read at once: logits of a large vocabulary take hundreds of megabytes.
const AT_ONCE: usize = 2;

/// What two models have in common, over all tokens of a text.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fidelity {
    /// Tokens that were compared: each is told what precedes it in its own sequence.
    pub tokens: usize,
    /// Mean Kullback-Leibler divergence of the model from the reference, in nats.
    pub kl: f64,
    /// What it is below for 99 of 100 tokens.
    pub kl_p99: f64,
    /// Share of tokens for which both expect the same one most.
    pub top1: f64,
    /// Perplexity of the model.
    pub perplexity: f64,
    /// Perplexity of the reference.
    pub reference_perplexity: f64,
}

/// Forces the tokens of `text` through two models. Products are computed in floats with dequantised weights.
///
/// # Errors
/// When weights cannot be read, or a model does not generate tokens of the same vocabulary.
pub fn fidelity(
    reference: (&Weights, &Precision),
    model: (&Weights, &Precision),
    text: &Windows,
    heard: &Heard,
) -> Result<Fidelity> {
    use_all_processors();
    let [reference, model] = [Opened::of(reference)?, Opened::of(model)?];
    let mut tokens = Vec::new();
    for part in text.parts(AT_ONCE) {
        let (of, vocabulary) = reference.logits(&part)?;
        let (own, other) = model.logits(&part)?;
        if vocabulary != other {
            let message = format!("has {other} tokens, and the reference {vocabulary}");
            return Err(Error::config("vocab_size", message));
        }
        let next = (0..part.ids().len()).map(|at| {
            // The last token of a sequence has none behind it.
            ((at + 1) % part.length > 0).then(|| part.ids()[at + 1] as usize)
        });
        let pairs: Vec<_> =
            of.chunks_exact(vocabulary).zip(own.chunks_exact(vocabulary)).zip(next).collect();
        let compared = threads::map(pairs.len(), 16 * vocabulary, |own| {
            pairs[own].iter().map(|((of, own), next)| Token::of(of, own, *next)).collect::<Vec<_>>()
        });
        tokens.extend(compared.into_iter().flatten());
        heard(tokens.len() as u64);
    }
    Ok(summed(tokens))
}

/// A model in main memory, whose products are computed here.
pub(super) struct Opened {
    pub(super) loaded: Loaded<Box<dyn Model>>,
    pub(super) device: Device,
}

impl Opened {
    pub(super) fn of((weights, precision): (&Weights, &Precision)) -> Result<Opened> {
        let declared = weights.declare(precision)?;
        let loaded = block_on(declared.load(weights.source(), &Device::cpu(), &|_, _| ()))?;
        let own = loaded.matrices().into_iter().flat_map(|(_, matrices)| matrices);
        let floats = Floats(own.map(|matrix| (matrix.id(), matrix)).collect());
        let device = Device::with_products(Rc::new(floats));
        Ok(Opened { loaded, device })
    }

    /// Logits of all tokens of a text, and how many there are of each.
    fn logits(&self, text: &Windows) -> Result<(Vec<f32>, usize)> {
        let Some(decoder) = self.loaded.model.decoder() else {
            let message = "the model does not say what follows in a text; llama and qwen2 do";
            return Err(Error::unsupported(message));
        };
        let inputs = text.inputs();
        let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
        let state = decoder.begin(&self.device, inputs, ids.tokens)?;
        let rows = Rows { last: false, mask: None };
        let ids = ids.upload(&self.device);
        let logits = decoder.prefill(&self.device, &state, inputs, &ids, rows)?;
        let vocabulary = logits.columns();
        let mut logits = block_on(self.device.take(vec![logits]))?;
        Ok((logits.remove(0), vocabulary))
    }
}

/// Products with dequantised weights.
#[derive(Debug)]
struct Floats(BTreeMap<MatrixId, Matrix>);

impl Products for Floats {
    fn multiply(&self, x: &[f32], id: MatrixId) -> Vec<f32> {
        let matrix = &self.0[&id];
        product(x, &dequantised(matrix), matrix.chunks() * CHUNK)
    }

    fn rows(&self, ids: &[u32], id: MatrixId) -> Vec<f32> {
        look_up(&self.0[&id], ids)
    }
}

/// What two models expect behind one token.
struct Token {
    kl: f64,
    agree: bool,
    /// Nats that each is surprised by what does follow.
    surprise: Option<[f64; 2]>,
}

impl Token {
    fn of(reference: &[f32], own: &[f32], next: Option<usize>) -> Token {
        let [of, by] = [reference, own].map(Expected::of);
        let kl = reference.iter().zip(own).map(|(p, q)| {
            let (p, q) = (of.log(*p), by.log(*q));
            p.exp() * (p - q)
        });
        Token {
            kl: kl.sum(),
            agree: of.most == by.most,
            surprise: next.map(|next| [-of.log(reference[next]), -by.log(own[next])]),
        }
    }
}

/// The logits of a token as probabilities.
struct Expected {
    most: usize,
    /// Logarithm of the sum of all exponentials.
    sum: f64,
}

impl Expected {
    fn of(logits: &[f32]) -> Expected {
        let mut most = 0;
        for (at, logit) in logits.iter().enumerate() {
            if *logit > logits[most] {
                most = at;
            }
        }
        let peak = f64::from(logits[most]);
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - peak).exp()).sum();
        Expected { most, sum: peak + sum.ln() }
    }

    fn log(&self, logit: f32) -> f64 {
        f64::from(logit) - self.sum
    }
}

fn summed(tokens: Vec<Token>) -> Fidelity {
    let count = tokens.len().max(1) as f64;
    let mut divergences: Vec<f64> = tokens.iter().map(|token| token.kl).collect();
    divergences.sort_by(f64::total_cmp);
    let surprises: Vec<[f64; 2]> = tokens.iter().filter_map(|token| token.surprise).collect();
    let perplexity = |which: usize| {
        let sum: f64 = surprises.iter().map(|surprise| surprise[which]).sum();
        (sum / surprises.len().max(1) as f64).exp()
    };
    Fidelity {
        tokens: tokens.len(),
        kl: divergences.iter().sum::<f64>() / count,
        kl_p99: divergences.get(tokens.len() * 99 / 100).copied().unwrap_or(0.0),
        top1: tokens.iter().filter(|token| token.agree).count() as f64 / count,
        perplexity: perplexity(1),
        reference_perplexity: perplexity(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_expectations_have_no_divergence_and_others_that_of_the_formula() {
        let same = Token::of(&[1.0, 3.0, -2.0], &[2.0, 4.0, -1.0], Some(0));
        assert!(same.kl.abs() < 1e-12 && same.agree, "a shift of all logits changes nothing");
        // Probabilities of 3/4 and 1/4 against halves.
        let other = Token::of(&[3f32.ln(), 0.0], &[0.0, 0.0], Some(1));
        let wanted = 0.75 * (0.75f64 / 0.5).ln() + 0.25 * (0.25f64 / 0.5).ln();
        assert!((other.kl - wanted).abs() < 1e-7, "{}", other.kl);
        let [of, own] = other.surprise.unwrap();
        assert!((of - 4f64.ln()).abs() < 1e-7 && (own - 2f64.ln()).abs() < 1e-7);
        let last = Token::of(&[0.0, 1.0], &[1.0, 0.0], None);
        assert!(!last.agree && last.surprise.is_none());
        let all = summed(vec![same, other, last]);
        assert_eq!(all.tokens, 3);
        assert!((all.top1 - 2.0 / 3.0).abs() < 1e-12);
    }
}
