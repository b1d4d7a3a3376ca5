//! Where records are read from, and how a run is named.

use super::{Run, Store, query::no_run, read_lines};
use crate::ui::Ui;
use anyhow::{Context, Result, ensure};
use record::{Record, Status};
use std::path::Path;

/// Where records are read from.
#[derive(Debug)]
pub enum Source {
    /// The database.
    Database(Box<Store>),
    /// What a file of JSON lines holds.
    Lines(Vec<Record>),
}

impl Source {
    /// The file of JSON lines if one is named, else the database.
    pub fn open(database: Option<&Path>, lines: Option<&Path>, ui: &Ui) -> Result<Source> {
        match lines {
            Some(path) => Ok(Source::Lines(read_lines(path)?)),
            None => Ok(Source::Database(Box::new(super::open(database, None, ui)?))),
        }
    }

    /// The runs, the latest first.
    pub fn runs(&self) -> Result<Vec<Run>> {
        match self {
            Source::Database(store) => store.runs(),
            Source::Lines(records) => Ok(runs_of(records)),
        }
    }

    /// The records of all runs.
    pub fn all_records(&self) -> Result<Vec<Record>> {
        match self {
            Source::Database(store) => store.all_records(),
            Source::Lines(records) => Ok(records.clone()),
        }
    }

    /// The records of a run, in the order in which they were stored.
    pub fn records(&self, run_id: &str) -> Result<Vec<Record>> {
        let records = match self {
            Source::Database(store) => return store.records(run_id),
            Source::Lines(records) => records.iter().filter(|record| record.run_id == run_id),
        };
        let records: Vec<_> = records.cloned().collect();
        ensure!(!records.is_empty(), no_run(run_id));
        Ok(records)
    }
}

/// The run that `name` means: its id, `latest`, or `latest~2` for the second before the latest.
/// `runs` has the latest first. Those without a record are passed over, and so are those of which no
/// cell had a session, which would stand for the project's state and say nothing of it; the user is told.
pub fn select(runs: &[Run], name: &str, ui: &Ui) -> Result<String> {
    let Some(rest) = name.strip_prefix("latest") else { return Ok(name.to_owned()) };
    let back = match rest.strip_prefix('~') {
        None if rest.is_empty() => 0,
        number => number.and_then(|number| number.parse::<usize>().ok()).with_context(|| {
            format!("{name:?} names no run: write latest, latest~1, latest~2, … or an id")
        })?,
    };
    let mut judged = runs.iter().filter(|run| run.judged > 0);
    let count = judged.clone().count();
    let run = judged.nth(back).with_context(|| match count {
        0 if runs.iter().any(|run| run.records > 0) => {
            "of no stored run had a cell a session; name one by its id to see it".to_owned()
        }
        0 => format!("no run is stored yet; `{} run` makes one", crate::home::command()),
        _ => format!("{name} goes too far back: there are {count} runs"),
    })?;
    let newer = runs.iter().take_while(|other| other.run_id != run.run_id);
    for other in newer.filter(|other| other.judged == 0 && other.records > 0) {
        let id = &other.run_id;
        ui.warn(format!(
            "run {id} is passed over: none of its {} cells had a session",
            other.records
        ));
    }
    Ok(run.run_id.clone())
}

fn runs_of(records: &[Record]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for record in records {
        let judged = u32::from(record.outcome.status != Status::Infra);
        match runs.iter_mut().find(|run| run.run_id == record.run_id) {
            Some(run) => {
                run.records += 1;
                run.judged += judged;
            }
            None => runs.push(Run {
                run_id: record.run_id.clone(),
                started_at: record.started_at.clone(),
                finished_at: None,
                records: 1,
                judged,
                cells: 0,
            }),
        }
    }
    runs.reverse();
    runs
}
