//! What weights and cache take together, as texts grow.

use super::Evaluation;
use crate::view::figure;
use serde::Serialize;

/// Tokens of the texts.
pub const TOKENS: [(u64, &str); 3] = [(1024, "1,024"), (4096, "4,096"), (16_384, "16,384")];

/// What an evaluation's model takes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// How its numbers are stored.
    pub name: String,
    /// The engine.
    pub engine: String,
    /// For each of [`TOKENS`].
    pub bars: Vec<Bar>,
}

/// A bar of two parts.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// Length of the weights, in parts of 100 of the longest bar.
    pub weights: String,
    /// That of the cache.
    pub cache: String,
    /// Both together.
    pub total: String,
    /// What of it is the cache.
    pub of_cache: String,
}

/// The bars of these on one scale; what takes the same is one line.
pub(super) fn memory(evaluations: &[&Evaluation]) -> Vec<Memory> {
    let mut distinct: Vec<&Evaluation> = Vec::new();
    for it in evaluations {
        let what = |it: &Evaluation| {
            (it.name(), it.engine.clone(), it.weights_bytes, it.cache.token_bytes, it.cache.tokens)
        };
        if !distinct.iter().any(|known| what(known) == what(it)) {
            distinct.push(it);
        }
    }
    let sum = |it: &Evaluation, tokens| it.bytes(tokens).into_iter().fold(0, u64::saturating_add);
    let totals = distinct.iter().flat_map(|it| TOKENS.map(|(tokens, _)| sum(it, tokens)));
    let most = totals.max().unwrap_or(0).max(1) as f64;
    let bar = |it: &Evaluation, tokens| {
        let [weights, cache] = it.bytes(tokens);
        let length = |bytes: u64| format!("{:.1}", 100.0 * bytes as f64 / most);
        Bar {
            weights: length(weights),
            cache: length(cache),
            total: figure::bytes(sum(it, tokens) as f64),
            of_cache: figure::bytes(cache as f64),
        }
    };
    let line = |it: &&Evaluation| Memory {
        name: it.name(),
        engine: it.engine.clone(),
        bars: TOKENS.iter().map(|(tokens, _)| bar(it, *tokens)).collect(),
    };
    distinct.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::precision::sample::own;

    #[test]
    fn bars_share_a_scale_and_a_cache_that_drops_tokens_stops_growing() {
        let mut whole = own("4", 4.5, 0.1);
        (whole.weights_bytes, whole.cache.token_bytes) = (16_384_000, 1000);
        let mut kept = whole.clone();
        kept.cache.tokens = Some(2048);
        let lines = memory(&[&whole, &kept, &whole]);
        let [whole, kept] = &lines[..] else { panic!("{lines:?}") };
        let last = &whole.bars[2];
        assert_eq!((&*last.weights, &*last.cache, &*last.total), ("50.0", "50.0", "32.8 MB"));
        let cache: Vec<&str> = kept.bars.iter().map(|bar| &*bar.of_cache).collect();
        assert_eq!(cache, ["1.02 MB", "2.05 MB", "2.05 MB"]);
    }
}
