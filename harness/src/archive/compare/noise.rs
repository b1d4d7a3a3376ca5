//! How much a cell's figures move although nothing changed: what the stored runs show.
//!
//! A move is the difference of a figure from one run to the next. What is to count as a change must go
//! beyond what the cell's moves make likely: beyond their third quartile by one and a half times the
//! distance between the quartiles, Tukey's boundary of what is outside; where no test stands beside it, by
//! three times, his boundary of what is far out. Quartiles stay where they are if fewer than one move in four was a real
//! change. Runs of one build stand together in the sequence, so that a change between two builds is one
//! move even where their runs alternate.

use super::{figure::FIGURES, machine::Machine};
use crate::store::Source;
use anyhow::Result;
use engine::stats::median;
use record::{Cell, Record, Reference, Status};
use std::collections::{HashMap, HashSet};

/// So many runs are looked at, the latest.
const RUNS: usize = 30;
/// Fewer moves than this, of ten runs, have no quartiles to speak of.
pub const LEAST_MOVES: usize = 9;

/// What earlier runs gave, by cell and machine.
#[derive(Debug, Default)]
pub struct History(HashMap<(Cell, Machine), Vec<Past>>);

/// What one earlier run gave.
#[derive(Clone, Debug)]
pub struct Past {
    run_id: String,
    build: String,
    reference: Option<Reference>,
    visits: u32,
    /// The median of each figure's values, in the order of [`FIGURES`].
    figures: [Option<f64>; FIGURES.len()],
}

impl History {
    /// The latest runs of all `sources`, each once.
    pub fn read(sources: &[&Source]) -> Result<History> {
        let (mut runs, mut known) = (Vec::new(), HashSet::new());
        for (place, source) in sources.iter().enumerate() {
            let new = source.runs()?.into_iter().filter(|run| known.insert(run.run_id.clone()));
            runs.extend(new.filter(|run| run.records > 0).map(|run| (place, run)));
        }
        runs.sort_by(|(_, a), (_, b)| b.started_at.cmp(&a.started_at));
        runs.truncate(RUNS);
        let mut history = History::default();
        for (place, run) in runs.into_iter().rev() {
            history.add(&sources[place].records(&run.run_id)?);
        }
        Ok(history)
    }

    /// Adds a run that is later than all before it.
    pub fn add(&mut self, records: &[Record]) {
        for record in matrix::grid::latest(records) {
            if matches!(record.outcome.status, Status::Pass | Status::Flaky) {
                let key = (record.cell.clone(), Machine::of(record));
                self.0.entry(key).or_default().push(Past::of(record));
            }
        }
    }

    /// What the cell of `record` gave on its machine in other runs.
    pub fn of(&self, record: &Record) -> Vec<&Past> {
        let past = self.0.get(&(record.cell.clone(), Machine::of(record)));
        past.into_iter().flatten().filter(|past| !past.is_of(record)).collect()
    }

    /// What the cell of `record` gave on its machine in the runs that were added before its own.
    pub fn before(&self, record: &Record) -> Vec<&Past> {
        let past = self.0.get(&(record.cell.clone(), Machine::of(record)));
        past.into_iter().flatten().take_while(|past| !past.is_of(record)).collect()
    }
}

impl Past {
    /// Whether it is what this record tells.
    pub fn is_of(&self, record: &Record) -> bool {
        self.run_id == record.run_id
    }

    fn of(record: &Record) -> Past {
        let environment = &record.environment;
        let figure = |figure: &super::figure::Figure| {
            let values = figure.values(&record.outcome);
            (!values.is_empty()).then(|| median(&values))
        };
        Past {
            run_id: record.run_id.clone(),
            build: format!("{} {}", environment.engine.commit, environment.browser.version),
            reference: record.outcome.told_against(),
            visits: record.rounds,
            figures: FIGURES.each_ref().map(figure),
        }
    }
}

/// The values of a figure in earlier runs, those of one build together. Where the figure is told
/// against a reference, runs against another one say nothing about it, and runs of fewer than so many
/// visits are less steady than those that are compared.
pub fn values(past: &[&Past], figure: usize, against: Option<Reference>, visits: u32) -> Vec<f64> {
    let is_alike = |past: &&&Past| {
        (!FIGURES[figure].is_of_reference || past.reference == against) && past.visits >= visits
    };
    let past: Vec<&Past> = past.iter().filter(is_alike).copied().collect();
    let mut builds: Vec<&str> = Vec::new();
    for past in &past {
        if !builds.contains(&past.build.as_str()) {
            builds.push(&past.build);
        }
    }
    let of_build = |build| past.iter().filter(move |past| past.build == build);
    builds.into_iter().flat_map(of_build).filter_map(|past| past.figures[figure]).collect()
}

/// The differences of each value from the one before it, without their signs.
pub fn moves(values: &[f64], moved: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    values.windows(2).map(|pair| moved(pair[0], pair[1]).abs()).collect()
}

/// Tukey's boundaries, in distances between the quartiles.
pub const OUTSIDE: f64 = 1.5;
/// What is beyond this one is out of the question.
pub const FAR_OUT: f64 = 3.0;

/// What a move must go beyond to be more than these show; none of too few.
pub fn fence(moves: &[f64], distances: f64) -> Option<f64> {
    if moves.len() < LEAST_MOVES {
        return None;
    }
    let mut sorted = moves.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = share * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    let (first, third) = (quantile(0.25), quantile(0.75));
    Some(third + distances * (third - first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sample::record,
        store::{RunInfo, Store},
    };
    use record::Correctness;
    use std::sync::Arc;

    fn run(number: usize, commit: &str, median_ms: f64) -> Record {
        let mut record = record(&number.to_string(), Status::Pass);
        Arc::make_mut(&mut record.environment).engine.commit = commit.into();
        record.outcome.timing.as_mut().unwrap().samples_ms = vec![median_ms];
        record
    }

    #[test]
    fn the_fence_is_beyond_the_third_quartile() {
        let moves: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(fence(&moves, FAR_OUT), Some(7.0 + 3.0 * 4.0));
        assert_eq!(fence(&moves, OUTSIDE), Some(7.0 + 1.5 * 4.0));
        assert_eq!((fence(&[1.0; 9], 3.0), fence(&[1.0; 8], 3.0)), (Some(1.0), None));
        // Quartiles of ten lie between two of them: here at 3.25 and 7.75.
        let moves: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(fence(&moves, OUTSIDE), Some(7.75 + 1.5 * 4.5));
    }

    #[test]
    fn a_change_between_two_builds_is_one_move_even_where_they_alternate() {
        let mut history = History::default();
        for number in 0..10 {
            let (commit, ms) = if number % 2 == 0 { ("old", 10.0) } else { ("new", 12.0) };
            history.add(&[run(number, commit, ms)]);
        }
        let newest = run(10, "new", 12.0);
        let past = history.of(&newest);
        let moves = moves(&values(&past, 0, None, 1), |a, b| (b / a).ln());
        assert_eq!(moves.iter().filter(|moved| **moved > 0.0).count(), 1);
        assert_eq!(fence(&moves, FAR_OUT), Some(0.0));
    }

    #[test]
    fn only_other_runs_that_passed_on_this_machine_are_history() {
        let mut history = History::default();
        history.add(&[run(1, "a", 10.0)]);
        history.add(&[Record { outcome: Default::default(), ..run(2, "a", 10.0) }]);
        let mut elsewhere = run(3, "a", 10.0);
        Arc::make_mut(&mut elsewhere.environment).host.cpu = "another".into();
        history.add(&[elsewhere]);
        history.add(&[run(4, "a", 11.0)]);
        assert_eq!(values(&history.of(&run(4, "a", 11.0)), 0, None, 1), [10.0]);
        let past = history.of(&run(5, "a", 11.0));
        assert_eq!(values(&past, 0, None, 1), [10.0, 11.0]);
        assert_eq!(values(&past, 0, None, 2), [0.0; 0], "of runs that visited their cells once");
    }

    #[test]
    fn a_loss_has_the_history_of_its_own_reference_and_a_time_has_all() {
        let mut history = History::default();
        for (number, by) in [(1, Reference::Transformers), (2, Reference::EngineF32)] {
            let mut record = run(number, "a", f64::from(number as u32));
            record.outcome.reference = Some(by);
            let error = Some(number as f64);
            let correctness = Correctness { reference_rel_l2: error, ..Correctness::default() };
            record.outcome.correctness = Some(correctness);
            history.add(&[record]);
        }
        let past = history.of(&run(3, "a", 1.0));
        let error = FIGURES.iter().position(|figure| figure.name == "reference error").unwrap();
        assert_eq!(values(&past, error, Some(Reference::Transformers), 1), [1.0]);
        assert_eq!(values(&past, error, Some(Reference::EngineF32), 1), [2.0]);
        assert_eq!(values(&past, 0, Some(Reference::EngineF32), 1), [1.0, 2.0]);
    }

    #[test]
    fn the_latest_runs_of_all_sources_are_history_and_each_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("records.sqlite"), None).unwrap();
        // A run that was cut short before its first record has nothing to tell.
        store.begin(&RunInfo::now("empty", Vec::new())).unwrap();
        let at = |number: usize| Record {
            started_at: format!("2026-01-02T03:04:{number:02}Z"),
            ..run(number, "a", number as f64)
        };
        store.put(&at(40)).unwrap();
        let sources =
            [Source::Database(Box::new(store)), Source::Lines((1..=40).map(at).collect())];
        let history = History::read(&sources.each_ref()).unwrap();
        let latest: Vec<f64> = (11..=40).map(f64::from).collect();
        assert_eq!(values(&history.of(&at(41)), 0, None, 1), latest);
    }
}
