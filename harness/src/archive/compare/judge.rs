//! The rule by which a figure of a cell has changed.
//!
//! # The model
//!
//! A measured time is the cell's true time, multiplied by what the visit adds (the state of the machine,
//! the layout of memory, which of a compiler's tiers a kernel has reached) and by what the pass adds.
//! Passes of one visit share the first, and on most machines it is by far the larger: medians of equal
//! visits spread by 20% where passes of one spread by 3%. So a test over passes is right about the visit
//! and blind to the rest, and calls half of all cells changed. Two things help. A thread's times are taken
//! by the yardstick that stands beside them, which leaves 5%. And what is counted is visits, each the
//! median of its passes. Three conditions must hold:
//!
//! 1. **There are enough visits**: four a side unless asked otherwise (`--rounds 4`).
//! 2. **They part.** The moderated t-test on the logarithms of all visits, which learns from all cells of a
//!    browser's backend how noisy a cell is (`significance`), and of all tests of a comparison only those
//!    that Benjamini and Hochberg's procedure believes at the wanted share of false ones.
//! 3. **They part by more than nothing does**: by 10%, by more than twice the standard error of the
//!    difference, and by more than the cell's earlier runs of as many visits on this machine show (`noise`).
//!
//! Of ten pairs of equal runs of 46 cells in Chrome 0.2% changed and 0.2% could not be told; of the cells
//! that a slower kernel moved by 20% or more, 98% were found (`tests/compare/accept.py`).
//!
//! With fewer visits a run is held against the one before it by the moves of at least ten runs: how far this
//! one goes beyond what they show (`significance::new_move`), under the same procedure, and far out by
//! `noise`. What is computed and not measured (bytes, errors, agreement) has no noise: any difference
//! beyond rounding is a change, unless equal builds differed as much before. A wall time that is mostly a
//! wait for a timer of the browser is left out where the GPU's own is there, and a loss where the two
//! records have it against different references.

use super::{
    figure::{FIGURES, Figure, Kind},
    noise::{self, FAR_OUT, OUTSIDE, Past},
    significance::{believed, moderated, new_move},
};
use engine::stats::median;
use record::{Flag, Record};
use serde::Serialize;
use std::collections::HashMap;

/// A change by less is none.
const FLOOR: f64 = 0.10;

/// What is asked of a change.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Visits a side, at least.
    pub visits: usize,
    /// The share of false findings among those that the tests of a comparison give.
    pub false_share: f64,
}

impl Rule {
    /// The usual rule with so many visits.
    pub fn of_visits(visits: usize) -> Rule {
        Rule { visits, false_share: 0.05 }
    }
}

impl Default for Rule {
    fn default() -> Rule {
        Rule::of_visits(4)
    }
}

/// Two records of one cell on one machine.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// The record to compare with.
    pub before: &'a Record,
    /// The record to judge.
    pub after: &'a Record,
    /// What other runs gave, `before` among them or not, and `after` not.
    pub past: Vec<&'a Past>,
}

/// What came of one figure of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Name of the figure.
    pub figure: &'static str,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// Its median before.
    pub before: f64,
    /// Its median now.
    pub after: f64,
    /// What it must have moved by: as a share for a time or a rate, else in its own unit.
    pub needed: f64,
    /// How likely such samples are if nothing changed; none where it was not measured, or too rarely.
    pub p: Option<f64>,
    /// How many visits each side has.
    pub visits: [usize; 2],
    /// The verdict.
    pub verdict: Verdict,
    #[serde(skip)]
    pub(super) kind: Kind,
    /// The value of each visit, where there are enough of them to be tested.
    #[serde(skip)]
    tested: Option<[Vec<f64>; 2]>,
}

/// The verdict on a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It changed, and for the worse.
    Worse,
    /// It changed, and for the better.
    Better,
    /// It did not move by more than it does without a cause.
    Same,
    /// There are too few visits, or they lie too far apart to tell.
    CannotTell,
}

impl Finding {
    /// The change as a share of what was before.
    pub fn share(&self) -> f64 {
        self.after / self.before - 1.0
    }

    /// Whether there was enough to test it.
    pub fn has_enough(&self) -> bool {
        self.p.is_some() || matches!(self.kind, Kind::Exact { .. })
    }
}

/// Judges every figure of every pair, all under one control of false findings.
pub fn judge(pairs: &[Pair], rule: Rule) -> Vec<Vec<Finding>> {
    let mut all: Vec<Vec<Finding>> = pairs
        .iter()
        .map(|pair| {
            let figures = FIGURES.iter().enumerate();
            figures.filter_map(|(place, figure)| measure(place, figure, pair, rule)).collect()
        })
        .collect();
    test(pairs, &mut all);
    let p: Vec<f64> = all.iter().flatten().filter_map(|finding| finding.p).collect();
    let mut believed = believed(&p, rule.false_share).into_iter();
    for finding in all.iter_mut().flatten() {
        let figure = FIGURES.iter().find(|figure| figure.name == finding.figure);
        let figure = figure.expect("findings are of figures");
        let is_believed = finding.p.and_then(|_| believed.next()).unwrap_or(false);
        finding.verdict = verdict(figure, finding, is_believed);
    }
    all
}

fn verdict(figure: &Figure, finding: &Finding, is_believed: bool) -> Verdict {
    let moved = figure.moved(finding.before, finding.after);
    let (beyond, is_measured) = match figure.kind {
        Kind::Exact { .. } => (moved.abs() > finding.needed, false),
        Kind::Passes | Kind::Visits => (moved.abs() > finding.needed.ln_1p(), true),
    };
    match (finding.has_enough(), beyond) {
        (false, _) => Verdict::CannotTell,
        (true, false) => Verdict::Same,
        (true, true) if is_measured && !is_believed => Verdict::CannotTell,
        (true, true) if moved.is_sign_negative() == figure.less_is_worse => Verdict::Worse,
        (true, true) => Verdict::Better,
    }
}

/// Puts a p to all findings that have visits enough: figure by figure, and apart for each backend of a
/// browser, whose cells are noisy in one way.
fn test(pairs: &[Pair], all: &mut [Vec<Finding>]) {
    let mut groups: HashMap<_, Vec<&mut Finding>> = HashMap::new();
    for (pair, findings) in pairs.iter().zip(all) {
        let cell = &pair.after.cell;
        for finding in findings.iter_mut().filter(|finding| finding.tested.is_some()) {
            groups.entry((finding.figure, cell.backend, &cell.browser)).or_default().push(finding);
        }
    }
    for findings in groups.values_mut() {
        let tested: Vec<_> =
            findings.iter_mut().filter_map(|finding| finding.tested.take()).collect();
        for (finding, tested) in findings.iter_mut().zip(moderated(&tested)) {
            finding.p = Some(tested.p);
            finding.needed = finding.needed.max((2.0 * tested.error).exp_m1());
        }
    }
}

/// A figure with what it takes to judge it; none where a side does not have it.
fn measure(place: usize, figure: &Figure, pair: &Pair, rule: Rule) -> Option<Finding> {
    let sides = [pair.before, pair.after].map(|record| figure.values(&record.outcome));
    let is_absent = sides.iter().any(Vec::is_empty);
    if is_absent || is_misled(figure, pair) || is_apart(figure, pair) || is_replaced(figure, pair) {
        return None;
    }
    let visits = sides.each_ref().map(Vec::len);
    let [was, is] = sides.each_ref().map(|side| median(side));
    let fewest = visits[0].min(visits[1]);
    let is_tested = fewest >= rule.visits;
    let moves = {
        let visits = if is_tested { fewest as u32 } else { 1 };
        let values = noise::values(&pair.past, place, pair.after.outcome.told_against(), visits);
        noise::moves(&values, |a, b| figure.moved(a, b))
    };
    let fence = |distances| noise::fence(&moves, distances).unwrap_or(0.0);
    let (needed, p) = match figure.kind {
        Kind::Exact { share, least } => {
            let rounding = least.max(share * was.abs().max(is.abs()));
            (rounding.max(fence(FAR_OUT)), None)
        }
        Kind::Passes | Kind::Visits if is_tested => (FLOOR.max(fence(OUTSIDE).exp_m1()), None),
        Kind::Passes | Kind::Visits => {
            let has_history = moves.len() >= noise::LEAST_MOVES;
            let p = has_history.then(|| new_move(&moves, figure.moved(was, is)));
            (FLOOR.max(fence(FAR_OUT).exp_m1()), p)
        }
    };
    let is_measured = !matches!(figure.kind, Kind::Exact { .. });
    Some(Finding {
        figure: figure.name,
        unit: figure.unit,
        before: was,
        after: is,
        needed,
        p,
        visits,
        verdict: Verdict::CannotTell,
        kind: figure.kind,
        tested: (is_measured && is_tested).then_some(sides),
    })
}

/// The times of two records of one cell that can be held against each other, by the same choice of figures:
/// by the yardstick where both have it, and of a pass the wall time, or the one on the GPU where that is
/// mostly a wait. Rates are the times that they leave. What a visit does once, such as loading, is none.
pub(crate) fn times(before: &Record, after: &Record) -> Vec<(&'static str, [f64; 2])> {
    let pair = &Pair { before, after, past: Vec::new() };
    let waits = FIGURES.iter().any(|figure| is_misled(figure, pair));
    let is_chosen = |figure: &&Figure| {
        figure.is_of_a_pass()
            && figure.is_on_the_gpu() == (waits && figure.kind == Kind::Passes)
            && !is_replaced(figure, pair)
    };
    let time = |figure: &Figure| {
        let sides = [before, after].map(|record| figure.values(&record.outcome));
        let [some, other] = sides.each_ref().map(|side| median(side));
        let is_there = sides.iter().all(|side| !side.is_empty());
        let times = if figure.less_is_worse { [1.0 / some, 1.0 / other] } else { [some, other] };
        is_there.then_some((figure.name, times))
    };
    FIGURES.iter().filter(is_chosen).filter_map(time).collect()
}

/// Whether a wall time is mostly a wait for a timer of the browser, on either side: the time on the GPU is
/// what changes, and is judged in its place.
fn is_misled(figure: &Figure, pair: &Pair) -> bool {
    let waits = |record: &Record| record.flags().contains(&Flag::BrowserTimer);
    let is_wall = figure.kind == Kind::Passes && !figure.is_on_the_gpu();
    is_wall && (waits(pair.before) || waits(pair.after))
}

/// Whether it is told against the outputs of one on one side, and of another on the other.
fn is_apart(figure: &Figure, pair: &Pair) -> bool {
    let [before, after] = [pair.before, pair.after].map(|record| record.outcome.told_against());
    figure.is_of_reference && before != after
}

/// Whether both sides have what takes its place.
fn is_replaced(figure: &Figure, pair: &Pair) -> bool {
    let has = |other: &Figure| {
        [pair.before, pair.after].iter().all(|side| !other.values(&side.outcome).is_empty())
    };
    FIGURES.iter().any(|other| other.instead_of == Some(figure.name) && has(other))
}

#[cfg(test)]
mod tests;
