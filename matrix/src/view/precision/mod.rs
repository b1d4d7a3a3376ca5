//! The context of the precision page: what each precision of a model costs on a text, and what it takes.
//!
//! `evaluation` is what the page is made of, `front` which of them no other beats; [`chart`] draws divergence against
//! bits, with the axes of [`scale`] and names where `labels` finds room; [`memory`] has bars, [`depth`] divergence along a
//! text, [`plan`] the widths of a mix. Models are told apart by what they are compared with, and divergences are compared
//! only on one text read in one way.

pub mod chart;
pub mod depth;
mod evaluation;
mod front;
mod labels;
pub mod memory;
pub mod plan;
#[cfg(test)]
mod sample;
pub mod scale;
#[cfg(test)]
mod tests;

pub use evaluation::{Cache, Evaluation, StoredMatrix, Text};

use super::figure::{self, bytes, percent, plain, small};
use askama::Template;
use chart::Chart;
use depth::Depth;
use front::{front, sentence};
use memory::{Memory, TOKENS, memory};
use plan::Plan;
use serde::Serialize;

/// A divergence that rounding alone may make of none, in nats.
const LEAST: f64 = 1e-6;

/// The page.
#[derive(Clone, Debug, Serialize, Template)]
#[template(path = "precision.html", whitespace = "minimize")]
pub struct PrecisionPage {
    /// One a model.
    pub sections: Vec<Section>,
}

/// All that was measured beside one reference.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// The reference.
    pub reference: String,
    /// One a text and way to read it.
    pub texts: Vec<OnText>,
    /// One an evaluation, from many bits to few.
    pub rows: Vec<Row>,
    /// What weights and caches take.
    pub memory: Vec<Memory>,
    /// The mixes of widths.
    pub plans: Vec<Plan>,
}

/// What was measured on one text.
#[derive(Clone, Debug, Serialize)]
pub struct OnText {
    /// Which text, and how it was read.
    pub title: String,
    /// What follows for who wants few bits.
    pub sentence: String,
    /// Divergence against bits.
    pub chart: Option<Chart>,
    /// Divergence along the text.
    pub depths: Vec<Depth>,
}

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
    /// Mean divergence.
    pub kl: Cell,
    /// What it is below for 99 of 100 tokens.
    pub kl_p99: Cell,
    /// Percent of tokens for which both expect the same one most.
    pub top1: Cell,
    /// Perplexity.
    pub perplexity: Cell,
    /// That of the reference.
    pub reference_perplexity: String,
    /// Tokens that were compared.
    pub tokens: Cell,
    /// The text, and how it was read.
    pub text: String,
}

/// A number as text, and as rows are sorted by it.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// With its unit, where the column has none.
    pub text: String,
    /// The number.
    pub value: f64,
}

impl Cell {
    fn of(value: f64, text: fn(f64) -> String) -> Cell {
        Cell { text: text(value), value }
    }
}

impl PrecisionPage {
    /// The page of these evaluations.
    pub fn of(evaluations: &[Evaluation]) -> PrecisionPage {
        let mut all: Vec<&Evaluation> = evaluations.iter().collect();
        let order =
            |it: &Evaluation| (it.reference.clone(), it.name(), it.engine.clone(), it.at.clone());
        all.sort_by(|a, b| {
            let by_reference = a.reference.cmp(&b.reference);
            by_reference.then(b.bpw.total_cmp(&a.bpw)).then_with(|| order(a).cmp(&order(b)))
        });
        let of_models = all.chunk_by(|a, b| a.reference == b.reference);
        PrecisionPage { sections: of_models.map(section).collect() }
    }
}

fn section(all: &[&Evaluation]) -> Section {
    let mut groups: Vec<Vec<&Evaluation>> = Vec::new();
    for it in all {
        match groups.iter_mut().find(|group| group[0].is_on_text_of(it)) {
            Some(group) => group.push(it),
            None => groups.push(vec![it]),
        }
    }
    let best: Vec<&Evaluation> =
        groups.iter().flat_map(|group| front(group).into_iter().map(|at| group[at])).collect();
    let is_best = |it: &Evaluation| best.iter().any(|best| std::ptr::eq(*best, it));
    Section {
        reference: all[0].reference.clone(),
        texts: groups.iter().map(|group| on_text(group)).collect(),
        rows: all.iter().map(|it| row(it, is_best(it))).collect(),
        memory: memory(all),
        plans: plans(all),
    }
}

/// The mixes; those that differ in their caches or texts alone are one.
fn plans(all: &[&Evaluation]) -> Vec<Plan> {
    let mut distinct: Vec<&Evaluation> = Vec::new();
    for it in all {
        if !distinct.iter().any(|known| known.matrices == it.matrices) {
            distinct.push(it);
        }
    }
    distinct.into_iter().filter_map(Plan::of).collect()
}

fn on_text(group: &[&Evaluation]) -> OnText {
    let Evaluation { fidelity, text, .. } = group[0];
    OnText {
        title: format!("{}, {} tokens in contexts of {}", text.name, fidelity.tokens, text.context),
        sentence: sentence(group),
        chart: Chart::of(group),
        depths: depth::depths(group),
    }
}

fn row(it: &Evaluation, on_front: bool) -> Row {
    let Evaluation { engine, model, cache, text, fidelity, .. } = it;
    let is_its_own = *model == it.reference;
    let kept = cache.tokens.map(|tokens| format!(", {tokens} tokens of it kept"));
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
        kl: Cell::of(fidelity.kl, divergence),
        kl_p99: Cell::of(fidelity.kl_p99, divergence),
        top1: Cell::of(fidelity.top1, percent),
        perplexity: Cell::of(fidelity.perplexity, plain),
        reference_perplexity: plain(fidelity.reference_perplexity),
        tokens: Cell::of(fidelity.tokens as f64, figure::count),
        text: format!("{}, contexts of {}", text.name, text.context),
    }
}

/// A divergence as a number of nats.
fn divergence(kl: f64) -> String {
    match kl.abs() < LEAST {
        true => "< 1e-6".to_owned(),
        false => small(kl),
    }
}

/// The same with its unit.
fn nats(kl: f64) -> String {
    format!("{} nats", divergence(kl).replace('<', "less than"))
}
