//! How far a quantised model is from another, by what both expect to follow in a text that neither was
//! calibrated on.

use super::{Heard, Opened, Windows, use_all_processors};
use crate::{
    error::{Error, Result},
    packing::Weights,
    threads,
};
use record::{Fidelity, Precision, Stretch};

/// Sequences that are read at once: logits of a large vocabulary take hundreds of megabytes.
const AT_ONCE: usize = 2;
/// Parts of a sequence that are told apart, at most.
const STRETCHES: usize = 16;

/// Forces the tokens of `text` through two models. Products are computed in floats with dequantised weights. Also says
/// how many bytes each token takes in the key-value cache of the second.
///
/// # Errors
/// When weights cannot be read, or a model does not generate tokens of the same vocabulary.
pub fn fidelity(
    reference: (&Weights, &Precision),
    model: (&Weights, &Precision),
    text: &Windows,
    heard: &Heard,
) -> Result<(Fidelity, u64)> {
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
    Ok((summed(&tokens, text.length), model.token_bytes(text)?))
}

/// What two models expect behind one token.
pub(crate) struct Token {
    kl: f64,
    agree: bool,
    /// Nats that each is surprised by what does follow.
    surprise: Option<[f64; 2]>,
}

impl Token {
    pub(crate) fn of(reference: &[f32], own: &[f32], next: Option<usize>) -> Token {
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

/// The figures of all tokens, which are those of sequences of `length` one after another.
pub(crate) fn summed(tokens: &[Token], length: usize) -> Fidelity {
    let mut divergences: Vec<f64> = tokens.iter().map(|token| token.kl).collect();
    divergences.sort_by(f64::total_cmp);
    let agreed = tokens.iter().filter(|token| token.agree).count();
    let Sums { kl, perplexity, reference_perplexity, .. } = Sums::of(tokens.iter());
    Fidelity {
        tokens: tokens.len(),
        kl,
        kl_p99: divergences.get(tokens.len() * 99 / 100).copied().unwrap_or(0.0),
        top1: agreed as f64 / tokens.len().max(1) as f64,
        perplexity,
        reference_perplexity,
        by_position: by_position(tokens, length),
    }
}

/// The figures of each part of the sequences. A part has two positions at least, as the last token of a sequence has
/// none behind it that could surprise.
fn by_position(tokens: &[Token], length: usize) -> Vec<Stretch> {
    let parts = STRETCHES.min(length / 2).max(1);
    let stretch = |part: usize| {
        let (first, end) = (part * length / parts, (part + 1) * length / parts);
        let own = tokens.chunks(length).flat_map(|sequence| &sequence[first..end]);
        let Sums { tokens, kl, perplexity, reference_perplexity } = Sums::of(own);
        Stretch { first, end, tokens, kl, perplexity, reference_perplexity }
    };
    (0..parts).map(stretch).collect()
}

/// Means over some tokens.
struct Sums {
    tokens: usize,
    kl: f64,
    perplexity: f64,
    reference_perplexity: f64,
}

impl Sums {
    fn of<'a>(all: impl Iterator<Item = &'a Token>) -> Sums {
        let (mut tokens, mut kl) = (0, 0.0);
        let (mut surprised, mut surprise) = (0, [0.0; 2]);
        for token in all {
            tokens += 1;
            kl += token.kl;
            if let Some(nats) = token.surprise {
                surprised += 1;
                surprise = [surprise[0] + nats[0], surprise[1] + nats[1]];
            }
        }
        let [reference_perplexity, perplexity] =
            surprise.map(|nats| (nats / f64::from(surprised.max(1))).exp());
        Sums { tokens, kl: kl / tokens.max(1) as f64, perplexity, reference_perplexity }
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
        let all = summed(&[same, other, last], 3);
        assert_eq!(all.tokens, 3);
        assert!((all.top1 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn stretches_are_equal_parts_of_the_positions_and_together_all_tokens() {
        // Two sequences of 40, in which a token diverges by its position and surprises each by a nat.
        let token = |at: usize| Token {
            kl: (at % 40) as f64,
            agree: true,
            surprise: (at % 40 < 39).then_some([1.0, 2.0]),
        };
        let tokens: Vec<Token> = (0..80).map(token).collect();
        let found = summed(&tokens, 40);
        let parts = &found.by_position;
        assert_eq!(parts.len(), STRETCHES);
        assert_eq!((parts[0].first, parts[15].end), (0, 40));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].first));
        assert!(parts.iter().all(|part| [2, 3].contains(&(part.end - part.first))));
        for part in parts {
            let wanted = (part.first + part.end - 1) as f64 / 2.0;
            assert!(part.kl == wanted && part.tokens == 2 * (part.end - part.first), "{part:?}");
            let perplexities = [part.reference_perplexity.ln(), part.perplexity.ln()];
            assert!((perplexities[0] - 1.0).abs() < 1e-12 && (perplexities[1] - 2.0).abs() < 1e-12);
        }
        let sum: f64 = parts.iter().map(|part| part.kl * part.tokens as f64).sum();
        assert!((sum / 80.0 - found.kl).abs() < 1e-12);
        // Sequences that are too short for so many have fewer.
        assert_eq!(summed(&tokens[..18], 9).by_position.len(), 4);
        assert_eq!(summed(&tokens[..1], 1).by_position.len(), 1);
    }
}
