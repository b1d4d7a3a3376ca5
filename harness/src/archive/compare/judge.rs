//! The rule by which a figure of a cell has changed.
//!
//! # The model
//!
//! A measured time is the cell's true time, multiplied by what the run adds (the machine's state, the
//! layout of memory, which of a compiler's tiers a kernel has reached), by what the visit within the run
//! adds, and by what the pass adds. Passes of one visit share the first two, so a test that treats them
//! as independent is right about the visit and blind to the rest: of two equal runs it calls nearly
//! every cell different once there are enough passes. Hence three conditions, and all must hold:
//!
//! 1. **The samples part.** Wilcoxon's rank-sum test over all samples of both sides, exact and with
//!    ties, and of all tests of a comparison only those that Benjamini and Hochberg's procedure
//!    believes at the wanted share of false ones. Samples are passes; with ten rounds on either side
//!    they are the medians of visits, which is the better unit as their noise is nearer to that of runs.
//! 2. **The medians part by more than runs do.** What the run and the visit add is not in the test,
//!    but in the cell's history: the difference must go beyond the far end of the differences between
//!    its earlier runs on this machine (see `noise`), beyond that of the visits within the two runs
//!    (over the root of their number, as a run's median averages them), and beyond a floor that falls as
//!    the history grows: 15%, with five runs 10%, with 21 runs 5%. In a simulation of ten pairs of equal
//!    runs, whose medians spread by 2 to 3% and whose history grows with them, this calls less than 0.5%
//!    of cells changed, and finds 86 to 99% of changes by 22%.
//! 3. **There are enough samples**, ten a side unless asked otherwise.
//!
//! Of a figure that a run has once, such as its time to load, no test of two sides is possible: the new
//! value is held against those of ten earlier runs, by Student's prediction interval, under the same
//! procedure and the same two other conditions. What is computed and not measured (bytes, errors, agreement)
//! has no noise: any difference beyond rounding is a change, unless equal builds differed as much before.
//! A wall time that is mostly a wait for a timer of the browser is left out where the GPU's own is there,
//! and a loss where the two records have it against different references.
//!
//! The second condition is that of rustc-perf (`noise`), the first that of Mozilla's Treeherder, which
//! compares by Mann and Whitney's test, with the share of false findings controlled on top.

use super::{
    figure::{FIGURES, Figure, Kind, visits},
    noise::{self, Past},
    significance::{believed, new_value, rank_sum},
};
use engine::stats::median;
use record::{Flag, Record};
use serde::Serialize;

/// A change by less is none, by how many moves the history of the cell has at least: what few of them
/// show is itself uncertain.
const FLOORS: [(usize, f64); 3] = [(20, 0.05), (noise::LEAST_MOVES, 0.10), (0, 0.15)];

/// What is asked of a change.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Samples a side, at least.
    pub least: usize,
    /// The share of false findings among those that the tests of a comparison give.
    pub false_share: f64,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule { least: 10, false_share: 0.05 }
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
    /// How many samples each side has: for a figure that a run has once, earlier runs and this one.
    pub samples: [usize; 2],
    /// The verdict.
    pub verdict: Verdict,
    #[serde(skip)]
    pub(super) kind: Kind,
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
    /// There are too few samples, or they lie too far apart to tell.
    CannotTell,
}

impl Finding {
    /// The change as a share of what was before.
    pub fn share(&self) -> f64 {
        self.after / self.before - 1.0
    }

    /// Whether there are as many samples as the rule wants.
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
        (true, true) if (moved < 0.0) == figure.less_is_worse => Verdict::Worse,
        (true, true) => Verdict::Better,
    }
}

/// A figure with what it takes to judge it; none where a side does not have it.
fn measure(place: usize, figure: &Figure, pair: &Pair, rule: Rule) -> Option<Finding> {
    let [before, after] = [pair.before, pair.after].map(|record| figure.values(&record.outcome));
    if before.is_empty() || after.is_empty() || is_misled(figure, pair) || is_apart(figure, pair) {
        return None;
    }
    let past = noise::values(&pair.past, place, pair.after.outcome.told_against());
    let moves = noise::moves(&past, |a, b| figure.moved(a, b));
    let from_runs = noise::fence(&moves);
    let (was, is) = (median(&before), median(&after));
    let (needed, samples, p) = match figure.kind {
        Kind::Exact { share, least } => {
            let rounding = least.max(share * was.abs().max(is.abs()));
            (rounding.max(from_runs.unwrap_or(0.0)), [1, 1], None)
        }
        Kind::Passes | Kind::Visits => {
            let visits = [(pair.before, &before), (pair.after, &after)]
                .map(|(record, values)| by_visit(figure, record, values));
            let floor = FLOORS.iter().find(|(least, _)| moves.len() >= *least);
            let floor = floor.map_or(0.0, |(_, floor)| *floor);
            let needed = from_runs.unwrap_or(0.0).max(between_visits(figure, &visits));
            let [old, new] = match figure.kind {
                Kind::Passes if visits.iter().any(|visits| visits.len() < rule.least) => {
                    [before, after]
                }
                Kind::Visits if after.len() < rule.least || before.len() < rule.least => {
                    let mut runs = past;
                    if !pair.past.iter().any(|past| past.is_of(pair.before)) {
                        runs.push(was);
                    }
                    [runs, vec![is]]
                }
                _ => visits,
            };
            let samples = [old.len(), new.len()];
            let p = match figure.kind {
                _ if old.len() < rule.least => None,
                Kind::Visits if new.len() == 1 => Some(new_value(&old, is)),
                _ => (new.len() >= rule.least).then(|| rank_sum(&old, &new)),
            };
            (floor.max(needed.exp_m1()), samples, p)
        }
    };
    Some(Finding {
        figure: figure.name,
        unit: figure.unit,
        before: was,
        after: is,
        needed,
        p,
        samples,
        verdict: Verdict::CannotTell,
        kind: figure.kind,
    })
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

/// The median of each visit.
fn by_visit(figure: &Figure, record: &Record, values: &[f64]) -> Vec<f64> {
    match (figure.kind, &record.outcome.timing) {
        (Kind::Passes, Some(timing)) => visits(timing, values).into_iter().map(median).collect(),
        _ => values.to_vec(),
    }
}

/// What a difference between two runs must go beyond to be more than that of their visits; 0 where
/// there are too few to say.
fn between_visits(figure: &Figure, sides: &[Vec<f64>; 2]) -> f64 {
    let of_side = |visits: &Vec<f64>| {
        let root = (visits.len() as f64).sqrt();
        let moves = noise::moves(visits, |a, b| figure.moved(a, b));
        moves.into_iter().map(move |moved| moved / root)
    };
    noise::fence(&sides.iter().flat_map(of_side).collect::<Vec<_>>()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
