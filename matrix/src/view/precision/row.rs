//! The figures of an evaluation, as a row of a table.

use super::{
    Evaluation, bytes,
    figure::{self, percent, plain},
    measure::number,
};
use record::Likeness;
use serde::Serialize;

/// An evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How numbers are stored.
    pub name: String,
    /// The model, where it is not its own reference.
    pub model: String,
    /// Engine and version.
    pub engine: String,
    /// Whether that is another engine.
    pub is_peer: bool,
    /// Whether nothing of as few bits on the same text is nearer.
    pub on_front: bool,
    /// When it was measured.
    pub at: String,
    /// Bits of a weight.
    pub bpw: Cell,
    /// Bytes of the weights.
    pub weights: Cell,
    /// How the cache is stored.
    pub cache: String,
    /// Bytes of it a token.
    pub token: Cell,
    /// Mean divergence, or distance.
    pub loss: Cell,
    /// What the divergence is below for 99 of 100 tokens.
    pub kl_p99: Cell,
    /// Percent of tokens for which both expect the same one most, or of rows of logits.
    pub top1: Cell,
    /// Perplexity.
    pub perplexity: Cell,
    /// That of the reference.
    pub reference_perplexity: String,
    /// Mean cosine of the output that differs most.
    pub cosine: Cell,
    /// The output.
    pub output: String,
    /// The lowest cosine of a row of it.
    pub least: Cell,
    /// Rank correlation of what is near to what.
    pub rank: Cell,
    /// Overlap of boxes.
    pub iou: Cell,
    /// Word error rate.
    pub words: Cell,
    /// The interval of it.
    pub words_interval: String,
    /// That of the reference.
    pub reference_words: String,
    /// Percent of right answers.
    pub right: Cell,
    /// The interval of it.
    pub right_interval: String,
    /// That of the reference.
    pub reference_right: String,
    /// Tokens or samples that were compared.
    pub compared: Cell,
    /// The text or the samples, and how they were read.
    pub text: String,
}

/// A number as text, and as rows are sorted by it.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// With its unit, where the column has none; a dash where nobody has measured it.
    pub text: String,
    /// The number.
    pub value: f64,
}

impl Cell {
    fn of(value: f64, text: fn(f64) -> String) -> Cell {
        Cell { text: text(value), value }
    }

    /// One that may not be there.
    fn some(value: Option<f64>, text: fn(f64) -> String) -> Cell {
        let none = || Cell { text: "–".to_owned(), value: f64::NAN };
        value.map_or_else(none, |value| Cell::of(value, text))
    }
}

pub(super) fn row(it: &Evaluation, on_front: bool) -> Row {
    let Evaluation { engine, model, cache, text, fidelity, likeness, words, answers, .. } = it;
    let is_its_own = *model == it.reference;
    let kept = cache.tokens.map(|tokens| format!(", {tokens} tokens of it kept"));
    let fidelity = fidelity.as_ref();
    let furthest = likeness
        .as_ref()
        .and_then(|it| it.outputs.iter().min_by(|a, b| a.cosine.total_cmp(&b.cosine)));
    let chosen = likeness.as_ref().and_then(choices);
    let (words, answers) = (words.as_ref(), answers.as_ref());
    Row {
        name: it.name(),
        model: if is_its_own { String::new() } else { model.clone() },
        engine: engine.clone(),
        is_peer: it.is_peer(),
        on_front,
        at: it.at.clone(),
        bpw: Cell::of(it.bpw, figure::bpw),
        weights: Cell::of(it.weights_bytes as f64, bytes),
        cache: format!("{}{}", cache.format, kept.unwrap_or_default()),
        token: Cell::of(cache.token_bytes as f64, bytes),
        loss: Cell::of(it.loss(), number),
        kl_p99: Cell::some(fidelity.map(|it| it.kl_p99), number),
        top1: Cell::some(fidelity.map(|it| it.top1).or(chosen), percent),
        perplexity: Cell::some(fidelity.map(|it| it.perplexity), plain),
        reference_perplexity: fidelity
            .map_or_else(String::new, |it| plain(it.reference_perplexity)),
        cosine: Cell::some(furthest.map(|it| it.cosine), cosine),
        output: furthest.map_or_else(String::new, |it| it.name.clone()),
        least: Cell::some(furthest.map(|it| it.least), cosine),
        rank: Cell::some(likeness.as_ref().and_then(|it| it.rank), cosine),
        iou: Cell::some(likeness.as_ref().and_then(|it| it.things).map(|it| it.iou), cosine),
        words: Cell::some(words.map(|it| it.rates()[0]), percent),
        words_interval: words.map_or_else(String::new, |it| interval(it.interval)),
        reference_words: words.map_or_else(String::new, |it| percent(it.rates()[1])),
        right: Cell::some(answers.map(|it| it.shares()[0]), percent),
        right_interval: answers.map_or_else(String::new, |it| interval(it.interval)),
        reference_right: answers.map_or_else(String::new, |it| percent(it.shares()[1])),
        compared: Cell::of(it.compared() as f64, figure::count),
        text: match text.context {
            0 => text.name.clone(),
            context => format!("{}, contexts of {context}", text.name),
        },
    }
}

/// The share of logits' rows for which both choose the same, of the output that differs most.
fn choices(likeness: &Likeness) -> Option<f64> {
    likeness.outputs.iter().filter_map(|it| it.top1).min_by(f64::total_cmp)
}

fn interval(of: [f64; 2]) -> String {
    let [low, high] = of.map(percent);
    format!("{low} to {high}")
}

fn cosine(value: f64) -> String {
    format!("{value:.4}")
}
