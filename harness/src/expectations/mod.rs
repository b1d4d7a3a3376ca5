//! Known failures: what is expected of which cells, and why.
//!
//! A TOML file (its format is explained in `manual.toml`, with which every new file begins) has an
//! entry per known failure: conditions, the statuses that are expected where they hold, a reason.
//! `entry` decides where an entry applies, [`Expectations`] what that means for a record,
//! and `update` rewrites the file from what a run found.

mod entry;
mod update;
mod version;

pub use update::{UpdateArgs, run};

use crate::ui::Ui;
use anyhow::{Context, Result};
use entry::Entry;
use record::{Expectation, Record, Status, Verdict};
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

const MANUAL: &str = include_str!("manual.toml");

/// Where expectations are.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Known failures, by condition: cells that end as this file expects fail no run.
    #[arg(long, value_name = "FILE")]
    pub expectations: Option<PathBuf>,
}

impl Args {
    /// The entries of the file; none without a file.
    pub fn load(&self) -> Result<Expectations> {
        self.expectations.as_deref().map_or_else(|| Ok(Expectations::default()), Expectations::open)
    }
}

/// The entries of a file.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    expect: Vec<Entry>,
}

impl Expectations {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Expectations> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("opening the expectations {}", path.display()))?;
        text.parse().with_context(|| format!("the expectations {}", path.display()))
    }

    /// What was expected of a record, if anything was. A cell without a session says nothing about
    /// the expectation.
    pub fn judge(&self, record: &Record) -> Option<Expectation> {
        let status = record.outcome.status;
        let entry = self.entries.iter().find(|entry| entry.applies_to(record))?;
        let verdict = match status {
            _ if entry.status.has(&status) => Verdict::Expected,
            Status::Infra | Status::Skip => return None,
            Status::Pass | Status::Flaky => Verdict::NewlyPassing,
            _ => Verdict::Unexpected,
        };
        Some(Expectation {
            verdict,
            status: entry.status.0.clone(),
            reason: entry.reason.clone(),
            link: entry.link.clone(),
        })
    }

    /// The entries that decided over none of `records`.
    pub fn unused(&self, records: &[Record]) -> Vec<String> {
        let mut used = vec![false; self.entries.len()];
        for record in records {
            if let Some(index) = self.entries.iter().position(|entry| entry.applies_to(record)) {
                used[index] = true;
            }
        }
        let entries = self.entries.iter().zip(1..).zip(used);
        let unused = entries.filter(|(_, used)| !used);
        unused.map(|((entry, number), _)| format!("entry {number} ({entry})")).collect()
    }

    /// Names the entries that no record of a run had a use for. That is no warning: a run of a few
    /// cells has no use for most.
    pub fn name_unused(&self, records: &[Record], ui: &Ui) {
        for entry in self.unused(records) {
            ui.say(format!("no cell of this run meets the expectation {entry}"));
        }
    }
}

impl std::str::FromStr for Expectations {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Expectations> {
        let document: Document = toml_edit::de::from_str(text)?;
        for (number, entry) in document.expect.iter().enumerate() {
            entry.check().with_context(|| format!("entry {}", number + 1))?;
        }
        Ok(Expectations { entries: document.expect })
    }
}

#[cfg(test)]
mod tests;
