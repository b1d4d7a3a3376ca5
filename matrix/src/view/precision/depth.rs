//! How a divergence grows along a text: a small line for each cache that is not whole, and beside it what the weights
//! cost alone.

use super::{
    Evaluation, Measure,
    measure::{LEAST, number},
};
use record::Stretch;
use serde::Serialize;

/// The plot: left, top, right, bottom.
const PLOT: [f64; 4] = [52.0, 8.0, 222.0, 92.0];

/// The lines of one evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Depth {
    /// How its numbers are stored.
    pub name: String,
    /// The engine.
    pub engine: String,
    /// Its first and its last stretch in words.
    pub words: String,
    /// The path of its divergence.
    pub path: String,
    /// That of the same weights with a whole cache; empty where nobody measured them.
    pub whole: String,
    /// The least and the most of all that these caches cost.
    pub ends: [String; 2],
    /// Tokens of a sequence.
    pub context: usize,
}

/// The lines of all that have a cache of few bits or few tokens, on one logarithmic scale.
pub(super) fn depths(evaluations: &[&Evaluation]) -> Vec<Depth> {
    let told = |it: &&&Evaluation| !it.cache.is_whole && stretches(it).len() > 1;
    let told: Vec<&Evaluation> = evaluations.iter().filter(told).copied().collect();
    let beside =
        |it: &Evaluation| evaluations.iter().find(|other| it.differs_in_cache_from(other)).copied();
    let heights = told.iter().flat_map(|it| heights(it));
    let all: Vec<f64> = heights.filter(|height| height.is_finite()).collect();
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    // What hardly changes is drawn as such.
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max).max(least + 0.5);
    if all.is_empty() {
        return Vec::new();
    }
    let line = |it: &Evaluation| Depth {
        name: it.name(),
        engine: it.engine.clone(),
        words: words(it),
        path: path(it, [least, most]),
        whole: beside(it).map(|whole| path(whole, [least, most])).unwrap_or_default(),
        ends: [least, most].map(|decade| number(10f64.powf(decade))),
        context: it.text.context,
    };
    told.into_iter().map(line).collect()
}

fn stretches(it: &Evaluation) -> &[Stretch] {
    it.fidelity.as_ref().map_or(&[], |fidelity| &fidelity.by_position)
}

/// Divergences of the stretches, in decades.
fn heights(it: &Evaluation) -> impl Iterator<Item = f64> {
    stretches(it).iter().map(|stretch| match stretch.kl.is_finite() {
        true => stretch.kl.max(LEAST).log10(),
        false => f64::NAN,
    })
}

/// A line through the middles of the stretches. What is no number interrupts it, and what is beyond the scale lies on its
/// edge.
fn path(it: &Evaluation, [least, most]: [f64; 2]) -> String {
    let [left, top, right, bottom] = PLOT;
    let end = stretches(it).last().map_or(1, |stretch| stretch.end.max(1));
    let mut path = String::new();
    let mut is_new = true;
    for (stretch, height) in stretches(it).iter().zip(heights(it)) {
        if height.is_finite() {
            let middle = (stretch.first as f64 + stretch.end as f64) / 2.0 / end as f64;
            let x = left + (right - left) * middle;
            let y = bottom - (bottom - top) * (height.clamp(least, most) - least) / (most - least);
            path += &format!("{}{x:.1} {y:.1}", if is_new { 'M' } else { 'L' });
        }
        is_new = !height.is_finite();
    }
    path
}

fn words(it: &Evaluation) -> String {
    let [first, .., last] = stretches(it) else { return String::new() };
    format!(
        "{} in the first {} tokens, {} in the last {}",
        Measure::Divergence.said(first.kl),
        first.end - first.first,
        Measure::Divergence.said(last.kl),
        last.end.saturating_sub(last.first)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::precision::sample::{along, own};

    #[test]
    fn a_line_for_each_cache_of_few_bits_and_one_for_its_weights() {
        let mut whole = own("4", 4.5, 0.09);
        along(&mut whole, &[0.08, 0.1]);
        let mut few = own("4 kv=4", 4.5, 0.2);
        along(&mut few, &[0.1, f64::NAN, 0.2, 1.0]);
        let lines = depths(&[&whole, &few]);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line.words, "0.100 nats in the first 8 tokens, 1.00 nats in the last 8");
        assert_eq!(line.ends, ["0.100", "1.00"]);
        assert_eq!((line.path.matches('M').count(), line.path.matches('L').count()), (2, 1));
        assert_eq!(line.whole.matches('L').count(), 1);
        assert!(line.path.ends_with(" 8.0"), "the most is at the top: {}", line.path);
        assert!(depths(&[&whole]).is_empty());
    }
}
