//! Two runs side by side: which cells they share, and what is to be said of each.

use super::{
    Kind,
    figure::Kind as FigureKind,
    judge::{Finding, Pair, Rule, Verdict, judge},
    machine::{Machine, builds_differ, machines_differ},
    noise::History,
};
use record::{Cell, Record, Status};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// One cell of which something is to be said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// How it changed.
    pub change: Kind,
    /// Which cell.
    pub cell: Cell,
    /// Statuses, figures or conditions, before and after.
    pub detail: String,
    /// The figures that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Finding>,
    /// What else differs between its two records, and may be why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The command that would tell, run on either side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_tell: Option<String>,
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Comparison {
    /// By kind, then in the order of the second run.
    pub changes: Vec<Change>,
    /// Cells that both runs have.
    pub common: usize,
    /// How many cells each of the conditions that may be a cause differs for.
    pub differs: BTreeMap<String, usize>,
    /// Figures that a run has too rarely and that too few earlier runs have, with the number of their cells.
    pub unjudged: BTreeMap<&'static str, usize>,
    /// Cells whose loss is told against different references, and so is not compared.
    pub apart: usize,
    /// Cells whose earlier runs differ so much that a change of 20% would not show.
    pub noisy: usize,
}

impl Comparison {
    /// Cells of the second run of which nothing is to be said.
    pub fn same(&self) -> usize {
        let of_common = |change: &&Change| !matches!(change.change, Kind::New | Kind::Gone);
        self.common - self.changes.iter().filter(of_common).count()
    }
}

/// Compares the runs with these records.
pub fn compare(before: &[Record], after: &[Record], history: &History, rule: Rule) -> Comparison {
    let mut before_of: HashMap<&Cell, Vec<&Record>> = HashMap::new();
    let before = matrix::grid::latest(before);
    for record in &before {
        before_of.entry(&record.cell).or_default().push(record);
    }
    let mut compared = Comparison::default();
    let mut pairs = Vec::new();
    for after in matrix::grid::latest(after) {
        // A run that was merged from several machines has a cell several times.
        let Some(candidates) = before_of.get_mut(&after.cell).filter(|some| !some.is_empty())
        else {
            compared.say(Kind::New, after, after.outcome.status.name().to_owned());
            continue;
        };
        let machine = Machine::of(after);
        let place = candidates.iter().position(|before| Machine::of(before) == machine);
        let before = candidates.swap_remove(place.unwrap_or(0));
        compared.common += 1;
        for differs in builds_differ(before, after) {
            *compared.differs.entry(differs).or_default() += 1;
        }
        if let Some((kind, detail)) = status_change(before, after) {
            compared.say(kind, after, detail).differs =
                [machines_differ(before, after), builds_differ(before, after)].concat();
        } else if place.is_none() && is_good(after.outcome.status) == Some(true) {
            let differs = machines_differ(before, after);
            compared.say(Kind::Incomparable, after, differs.join(", "));
        } else if is_good(after.outcome.status) == Some(true) {
            pairs.push(Pair { before, after, past: history.of(after) });
        }
    }
    for before in before {
        if before_of[&before.cell].iter().any(|left| std::ptr::eq(*left, before)) {
            compared.say(Kind::Gone, before, format!("was {}", before.outcome.status.name()));
        }
    }
    for (pair, findings) in pairs.iter().zip(judge(&pairs, rule)) {
        compared.add(pair, findings, rule);
    }
    compared.changes.sort_by_key(|change| change.change);
    compared
}

/// What changed in each of `records`, which has the latest first, since the record before it of the same
/// cell on the same machine; nothing where either of the two did not pass.
pub fn since_before(records: &[Record], rule: Rule) -> Vec<Vec<Finding>> {
    let mut history = History::default();
    let mut runs: Vec<&str> = Vec::new();
    for record in records.iter().rev() {
        if !runs.contains(&record.run_id.as_str()) {
            runs.push(&record.run_id);
        }
    }
    for run in runs {
        let of_run = records.iter().rev().filter(|record| record.run_id == run);
        history.add(&of_run.cloned().collect::<Vec<_>>());
    }
    let before = |place: usize| {
        let record = &records[place];
        let alike = |other: &&Record| {
            other.cell == record.cell
                && other.run_id != record.run_id
                && Machine::of(other) == Machine::of(record)
        };
        let before = records[place..].iter().find(alike)?;
        let passed = [before, record].map(|one| is_good(one.outcome.status) == Some(true));
        passed.iter().all(|passed| *passed).then_some((place, before, record))
    };
    let found: Vec<_> = (0..records.len()).filter_map(before).collect();
    let pairs: Vec<Pair> = found
        .iter()
        .map(|(_, before, after)| Pair { before, after, past: history.before(after) })
        .collect();
    let mut all = vec![Vec::new(); records.len()];
    for ((place, ..), mut findings) in found.iter().zip(judge(&pairs, rule)) {
        findings.retain(|one| matches!(one.verdict, Verdict::Worse | Verdict::Better));
        all[*place] = findings;
    }
    all
}

impl Comparison {
    fn say(&mut self, change: Kind, record: &Record, detail: String) -> &mut Change {
        self.changes.push(Change {
            change,
            cell: record.cell.clone(),
            detail,
            figures: Vec::new(),
            differs: Vec::new(),
            to_tell: None,
        });
        self.changes.last_mut().expect("it was pushed above")
    }

    fn add(&mut self, pair: &Pair, findings: Vec<Finding>, rule: Rule) {
        let references = [pair.before, pair.after].map(|record| record.outcome.told_against());
        if references[0] != references[1] && references.iter().all(Option::is_some) {
            self.apart += 1;
        }
        let of_passes = |finding: &&Finding| finding.kind == FigureKind::Passes;
        if findings.iter().filter(of_passes).any(|finding| finding.needed > 0.2) {
            self.noisy += 1;
        }
        for finding in findings.iter().filter(|finding| !finding.has_enough()) {
            if finding.kind == FigureKind::Visits {
                *self.unjudged.entry(finding.figure).or_default() += 1;
            }
        }
        let has = |verdict| move |finding: &&Finding| finding.verdict == verdict;
        let kind = if findings.iter().any(|finding| has(Verdict::Worse)(&finding)) {
            Kind::Regressed
        } else if findings.iter().any(|finding| has(Verdict::Better)(&finding)) {
            Kind::Improved
        } else if findings
            .iter()
            .filter(of_passes)
            .any(|finding| has(Verdict::CannotTell)(&finding))
        {
            Kind::CannotTell
        } else {
            return;
        };
        let decided: Vec<Finding> = findings
            .into_iter()
            .filter(|finding| match kind {
                Kind::CannotTell => of_passes(&finding) && finding.verdict == Verdict::CannotTell,
                _ => matches!(finding.verdict, Verdict::Worse | Verdict::Better),
            })
            .collect();
        let detail = decided.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let visits = decided.iter().flat_map(|finding| finding.visits);
        let (fewest, most) = (visits.clone().min().unwrap_or(0), visits.max().unwrap_or(0));
        let change = self.say(kind, pair.after, detail);
        if kind == Kind::CannotTell {
            // Where there are enough and they overlap, twice as many may part.
            let rounds = if fewest < rule.visits { rule.visits } else { 2 * most };
            change.to_tell = Some(with_rounds(&pair.after.repro, rounds));
        }
        change.figures = decided;
        change.differs = builds_differ(pair.before, pair.after);
    }
}

/// Another status, where that is more than another word for the same.
fn status_change(before: &Record, after: &Record) -> Option<(Kind, String)> {
    let (was, is) = (before.outcome.status, after.outcome.status);
    if was == is {
        return None;
    }
    let kind = match (is_good(was), is_good(is)) {
        (Some(true), Some(false)) => Kind::Regressed,
        (Some(false), Some(true)) => Kind::Improved,
        _ => Kind::StatusChanged,
    };
    let reason = after.outcome.reason.as_deref().map(|reason| format!(": {reason}"));
    Some((kind, format!("{} -> {}{}", was.name(), is.name(), reason.unwrap_or_default())))
}

/// Nothing for what says nothing about the model.
pub fn is_good(status: Status) -> Option<bool> {
    match status {
        Status::Pass | Status::Flaky => Some(true),
        Status::Fail | Status::Error | Status::Crash | Status::Timeout | Status::Unsupported => {
            Some(false)
        }
        Status::Infra | Status::Skip => None,
    }
}

/// The command of a record with another number of visits to the cell.
fn with_rounds(command: &str, rounds: usize) -> String {
    let Ok(mut words) = shell_words::split(command) else { return command.to_owned() };
    let at = words.iter().position(|word| word == "--rounds");
    match at.and_then(|at| words.get_mut(at + 1)) {
        Some(value) => *value = rounds.to_string(),
        None => words.extend(["--rounds".to_owned(), rounds.to_string()]),
    }
    shell_words::join(words)
}

impl std::fmt::Display for Finding {
    /// `pass 12.30 -> 14.90 ms (+21%, more than 10%)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { figure, unit, before, after, needed, .. } = self;
        let space = if unit.is_empty() { "" } else { " " };
        let percent = 100.0 * self.share();
        match (self.kind, self.verdict) {
            (FigureKind::Exact { .. }, _) if *unit == "bytes" => {
                write!(f, "{figure} {before} -> {after} bytes ({percent:+.1}%)")
            }
            (FigureKind::Exact { .. }, _) => write!(f, "{figure} {before:.3e} -> {after:.3e}"),
            (_, verdict) => {
                write!(f, "{figure} {before:.2} -> {after:.2}{space}{unit} ({percent:+.0}%, ")?;
                let [n, m] = self.visits;
                match verdict {
                    Verdict::CannotTell if self.has_enough() => {
                        write!(f, "{n} and {m} visits overlap)")
                    }
                    Verdict::CannotTell if n == 1 && m == 1 => write!(f, "one visit each)"),
                    Verdict::CannotTell => write!(f, "{n} and {m} visits)"),
                    _ => write!(f, "more than {:.0}%)", 100.0 * needed),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
