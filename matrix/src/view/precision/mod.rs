//! The context of the precision page: what each precision of a model costs, and what it takes.
//!
//! `evaluation` is what the page is made of, [`measure`] what a loss is measured in, `front` which evaluations no other
//! beats; [`row`] has their figures. [`chart`] draws loss against bits, with the axes of [`scale`] and names where `labels` finds room; [`memory`] has bars, [`depth`] divergence along a
//! text, [`plan`] the widths of a mix. Models are told apart by what they are compared with, and losses are compared only on
//! one text read in one way.

pub mod chart;
pub mod depth;
mod evaluation;
mod front;
mod labels;
pub mod measure;
pub mod memory;
pub mod plan;
pub mod row;
#[cfg(test)]
mod sample;
pub mod scale;
#[cfg(test)]
mod tests;

pub use evaluation::{Cache, Evaluation, StoredMatrix, Text};

use super::figure::{self, bytes, small};
use askama::Template;
use chart::Chart;
use depth::Depth;
use front::{front, sentence};
use measure::Measure;
use memory::{Memory, TOKENS, memory};
use plan::Plan;
use row::{Row, row};
use serde::Serialize;

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
    /// Whether any of its models writes.
    pub writes: bool,
    /// Whether any has other outputs.
    pub compares: bool,
    /// Whether any has a key-value cache.
    pub remembers: bool,
    /// Whether any writes down what it hears.
    pub hears: bool,
    /// Whether it is known of any how often it is right.
    pub answers: bool,
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
    /// What losses on it are measured in.
    pub measure: Measure,
    /// What follows for who wants few bits.
    pub sentence: String,
    /// Loss against bits.
    pub chart: Option<Chart>,
    /// Divergence along the text.
    pub depths: Vec<Depth>,
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
        writes: all.iter().any(|it| it.fidelity.is_some()),
        compares: all.iter().any(|it| it.likeness.is_some()),
        remembers: all.iter().any(|it| it.cache.token_bytes > 0),
        hears: all.iter().any(|it| it.words.is_some()),
        answers: all.iter().any(|it| it.answers.is_some()),
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
    let it = group[0];
    let Text { name, context } = &it.text;
    let of = match (it.measure(), context) {
        (Measure::Divergence, 0) => "tokens that the reference has written".to_owned(),
        (Measure::Divergence, context) => format!("tokens in contexts of {context}"),
        (Measure::Distance, _) => "samples".to_owned(),
    };
    OnText {
        title: format!("{name}, {} {of}", it.compared()),
        measure: it.measure(),
        sentence: sentence(group),
        chart: Chart::of(group),
        depths: depth::depths(group),
    }
}
