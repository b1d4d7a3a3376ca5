//! A cell's verdict in the size of a thumb: bits and mark, with the reason behind it.

use super::{figure, status};
use crate::grid::{Entry, Grid};
use record::{Bits, Precision, Record, Reference, Tolerances, Verdict};
use serde::Serialize;
use std::collections::HashMap;

/// The verdict of one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Chip {
    /// Line of the record that gives the verdict, from 0.
    pub record: usize,
    /// Lines of the other records of this cell, latest first.
    pub others: Vec<usize>,
    /// Bits, and scheme and group size where the report holds several of these bits.
    pub label: String,
    /// Name of the status.
    pub status: &'static str,
    /// Mark of the status.
    pub mark: &'static str,
    /// What hover and focus tell: precision, made-up weights, kernel error, reason.
    pub tip: String,
}

/// Names precisions as briefly as the report allows.
#[derive(Clone, Debug, Default)]
pub struct Labels(HashMap<Bits, Vec<Precision>>);

impl Labels {
    /// Learns which precisions the grid holds.
    pub fn of(grid: &Grid) -> Labels {
        let mut labels = Labels::default();
        for entry in grid.rows.iter().flat_map(|row| row.boxes.iter().flatten()) {
            let known = labels.0.entry(entry.precision.bits).or_default();
            if !known.contains(&entry.precision) {
                known.push(entry.precision.clone());
            }
        }
        labels
    }

    /// `4`, or `4 asymmetric g64` where 4 alone could be either of two.
    pub fn label(&self, precision: &Precision) -> String {
        match self.0.get(&precision.bits) {
            Some(known) if known.len() > 1 => {
                format!("{}{}", precision.bits, precision.details())
            }
            _ => precision.bits.to_string(),
        }
    }
}

impl Chip {
    /// The chip of an entry.
    pub fn of(grid: &Grid, entry: &Entry, labels: &Labels) -> Chip {
        let latest = entry.latest();
        let record = &grid.records[latest];
        Chip {
            record: latest,
            others: entry.records.iter().rev().skip(1).copied().collect(),
            label: labels.label(&entry.precision),
            status: record.outcome.status.name(),
            mark: status::mark(record.outcome.status),
            tip: tip(record, &entry.precision),
        }
    }
}

/// A tip is for reading in one glance: long reasons are cut here and stand in full in the detail.
const LONGEST_REASON: usize = 240;

fn tip(record: &Record, precision: &Precision) -> String {
    let outcome = &record.outcome;
    let mut lines = vec![format!("{precision}: {}", outcome.status.name())];
    if record.synthetic_weights {
        lines.push("synthetic weights".to_owned());
    } else if outcome.synthetic_inputs {
        lines.push("synthetic inputs".to_owned());
    }
    if let Some(own) = outcome.told_against().filter(|by| *by != Reference::Transformers) {
        lines.push(format!("reference: {}", own.title()));
    }
    if record.attempts > 1 {
        lines.push(format!("at attempt {}", record.attempts));
    }
    if let Some(error) = outcome.correctness.and_then(|found| found.kernel_rel_l2) {
        let bound = Tolerances::of(precision).kernel_rel_l2;
        let error = figure::small(error);
        lines.push(format!("kernel error {error} rel. L2 (bound {bound})"));
    }
    if let Some(known) = &record.expectation {
        let said = match known.verdict {
            Verdict::Expected => "known failure",
            Verdict::Unexpected => "unexpected; known failure",
            Verdict::NewlyPassing => "newly passing; was a known failure",
        };
        let reason: String = known.reason.chars().take(LONGEST_REASON).collect();
        lines.push(format!("{said}: {reason}"));
    }
    if let Some(reason) = reason(record) {
        lines.push(reason.chars().take(LONGEST_REASON).collect());
    }
    lines.join("\n")
}

/// Why the verdict is not `pass`, with the stage where it is known.
pub fn reason(record: &Record) -> Option<String> {
    let outcome = &record.outcome;
    let said = outcome.reason.as_deref().or(outcome.message.as_deref());
    match (outcome.stage.as_deref(), said) {
        (Some(stage), Some(said)) => Some(format!("{stage}: {said}")),
        (None, Some(said)) => Some(said.to_owned()),
        (stage, None) => stage.map(|stage| format!("in {stage}, no reason given")),
    }
}
