//! The rules of gates.

use super::Budgets;
use crate::archive::compare::{is_good, machine::Machine, paired, times};
use record::{Backend, Cell, Record};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What divergences and errors may grow by in rounding alone.
const ROUNDING: f64 = 1e-4;
/// What the share of wrong answers may grow by: of the hundred samples of a cell one may fall to either side.
const ONE_ANSWER: f64 = 0.01 + 1e-9;
/// The doubt that the interval of a speed leaves.
const DOUBT: f64 = 0.01;

/// What came of a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Of what it is.
    pub name: String,
    /// Whether it holds.
    pub state: State,
    /// What was found, beside the budget.
    pub found: String,
    /// The cells that broke it.
    pub breaches: Vec<String>,
}

/// Whether a gate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does.
    Held,
    /// It does not.
    Broken,
    /// There is too little to tell.
    CannotTell,
}

impl State {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Broken => "broken",
            State::CannotTell => "cannot tell",
        }
    }
}

/// What came of all.
#[derive(Debug)]
pub struct Judged {
    /// Verdicts, loss and sizes, then the speed of each browser's backend.
    pub gates: Vec<Gate>,
    /// Cells that both runs have.
    pub common: usize,
    /// Cells that one of them has alone.
    pub apart: usize,
}

/// Two records of one cell.
struct Pair<'a> {
    before: &'a Record,
    after: &'a Record,
    /// Whether times of both can be compared.
    is_one_machine: bool,
}

/// Holds a run to budgets beside another one.
pub fn judge(before: &[Record], after: &[Record], budgets: Budgets) -> Judged {
    let (before, after) = (matrix::grid::latest(before), matrix::grid::latest(after));
    // A run that was merged from several machines has a cell several times.
    let mut by_cell: HashMap<&Cell, Vec<&Record>> = HashMap::new();
    for record in &before {
        by_cell.entry(&record.cell).or_default().push(record);
    }
    let pairs: Vec<Pair<'_>> = after
        .iter()
        .filter_map(|after| {
            let alike = by_cell.get(&after.cell)?;
            let here = alike.iter().find(|before| Machine::of(before) == Machine::of(after));
            let before = here.unwrap_or(&alike[0]);
            Some(Pair { before, after, is_one_machine: here.is_some() })
        })
        .collect();
    let passed: Vec<&Pair<'_>> = pairs
        .iter()
        .filter(|pair| {
            [pair.before, pair.after].iter().all(|it| is_good(it.outcome.status) == Some(true))
        })
        .collect();
    let mut gates =
        vec![verdicts(&pairs), loss(&passed, budgets.max_loss), sizes(&passed, budgets.max_growth)];
    gates.extend(speeds(&passed, budgets.max_slowdown));
    let of_run: HashSet<&Cell> = after.iter().map(|record| &record.cell).collect();
    let common = by_cell.keys().filter(|cell| of_run.contains(*cell)).count();
    Judged { gates, common, apart: by_cell.len() + of_run.len() - 2 * common }
}

fn verdicts(pairs: &[Pair<'_>]) -> Gate {
    let breaches = pairs.iter().filter_map(|Pair { before, after, .. }| {
        let [was, is] = [before, after].map(|it| it.outcome.status);
        let broke = is_good(was) == Some(true) && is_good(is) == Some(false);
        broke.then(|| format!("{}: {} -> {}", after.cell, was.name(), is.name()))
    });
    let breaches: Vec<String> = breaches.collect();
    let found = format!("{} of {} cells passed before and do not now", breaches.len(), pairs.len());
    gate("verdicts", found, breaches)
}

/// A loss of both sides of a pair.
struct Loss<'a> {
    cell: &'a Cell,
    what: &'static str,
    was: f64,
    is: f64,
    /// Growth by no more is none, whatever its share.
    least: f64,
}

fn loss(pairs: &[&Pair<'_>], budget: f64) -> Gate {
    let told: Vec<_> = pairs.iter().flat_map(|pair| losses(pair)).collect();
    let grew =
        |it: &&Loss<'_>| it.is > it.was * (1.0 + budget / 100.0) && it.is - it.was > it.least;
    let breaches = told
        .iter()
        .filter(grew)
        .map(|Loss { cell, what, was, is, .. }| format!("{cell}: {what} {was:.4} -> {is:.4}"));
    let breaches: Vec<String> = breaches.collect();
    let found = format!("{} of {} losses grew by more than {budget}%", breaches.len(), told.len());
    gate("loss", found, breaches)
}

/// How far each side of a pair is from its model's own outputs, told against the same, and which share of answers is
/// wrong.
fn losses<'a>(pair: &Pair<'a>) -> Vec<Loss<'a>> {
    let sides = [pair.before, pair.after].map(|it| &it.outcome);
    let cell = &pair.after.cell;
    let mut all = Vec::new();
    if sides[0].told_against() == sides[1].told_against() {
        let [was, is] = sides.map(|it| it.correctness.unwrap_or_default());
        let least = ROUNDING;
        if let (Some(was), Some(is)) = (was.kl, is.kl) {
            all.push(Loss { cell, what: "divergence", was, is, least });
        } else if let (Some(was), Some(is)) = (was.reference_rel_l2, is.reference_rel_l2) {
            all.push(Loss { cell, what: "relative error", was, is, least });
        }
    }
    if let [Some(was), Some(is)] = sides.map(|it| it.answered) {
        let [was, is] = [was, is].map(|it| 1.0 - it.share());
        all.push(Loss { cell, what: "wrong answers", was, is, least: ONE_ANSWER });
    }
    all
}

fn sizes(pairs: &[&Pair<'_>], budget: f64) -> Gate {
    let bytes = |it: &Record| it.outcome.memory.map(|it| (it.weights_bytes + it.kv_bytes) as f64);
    let told: Vec<_> = pairs
        .iter()
        .filter_map(|pair| Some((&pair.after.cell, bytes(pair.before)?, bytes(pair.after)?)))
        .collect();
    let breaches = told.iter().filter(|(_, was, is)| *is > was * (1.0 + budget / 100.0));
    let breaches = breaches.map(|(cell, was, is)| format!("{cell}: {was} -> {is} bytes"));
    let breaches: Vec<String> = breaches.collect();
    let found = format!("{} of {} cells grew by more than {budget}%", breaches.len(), told.len());
    gate("sizes", found, breaches)
}

fn gate(name: &str, found: String, breaches: Vec<String>) -> Gate {
    let state = if breaches.is_empty() { State::Held } else { State::Broken };
    Gate { name: name.to_owned(), state, found, breaches }
}

/// One a column: each cell's passes and tokens are a ratio of times, and their geometric mean is what counts. A single
/// cell that is slow is for `compare` to tell.
fn speeds(pairs: &[&Pair<'_>], budget: f64) -> Vec<Gate> {
    let mut columns: BTreeMap<(String, Backend), Vec<(f64, String)>> = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| pair.is_one_machine) {
        let cell = &pair.after.cell;
        let column = columns.entry((cell.browser_name(), cell.backend)).or_default();
        for (what, [was, is]) in times(pair.before, pair.after) {
            column.push((is / was, format!("{cell}: {what} {:.2} times as long", is / was)));
        }
    }
    let rows: Vec<Vec<f64>> =
        columns.values().map(|column| column.iter().map(|(ratio, _)| *ratio).collect()).collect();
    // Each column is judged by its own cells: another browser's noise is none of its business.
    let judged = rows.iter().map(|row| paired(std::slice::from_ref(row), DOUBT)[0]);
    let allowed = 1.0 + budget / 100.0;
    columns
        .iter_mut()
        .zip(judged)
        .map(|(((browser, backend), column), ratio)| {
            let state = match ratio.interval {
                None => State::CannotTell,
                Some(_) if ratio.mean <= allowed => State::Held,
                Some([least, _]) if least > 1.0 => State::Broken,
                Some(_) => State::CannotTell,
            };
            let found = match ratio.interval {
                Some([least, most]) => format!(
                    "{:.3} times as long over {} times, from {least:.3} to {most:.3}; {allowed:.2} is allowed",
                    ratio.mean,
                    column.len()
                ),
                None => format!("{} times are too few to tell", column.len()),
            };
            column.sort_by(|a, b| b.0.total_cmp(&a.0));
            let slow = column.iter().filter(|(ratio, _)| *ratio > allowed);
            let breaches = slow.map(|(_, text)| text.clone());
            Gate {
                name: format!("speed {browser} {backend}"),
                state,
                found,
                breaches: if state == State::Broken { breaches.collect() } else { Vec::new() },
            }
        })
        .collect()
}
