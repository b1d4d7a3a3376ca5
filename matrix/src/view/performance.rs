//! The context of the performance report.

use super::chart::{Chart, Sample};
use super::chip::{self, Chip, Labels};
use super::column::ColumnHead;
use super::compatibility::purpose;
use super::device::{CEILINGS, Device};
use super::flag::FlagNote;
use super::measured::{Measured, ends};
use super::sheet::Sheet;
use crate::Error;
use crate::embed::Data;
use crate::grid::{Entry, Grid, Row};
use askama::Template;
use record::Record;
use serde::Serialize;

/// The performance report.
#[derive(Clone, Debug, Serialize, Template)]
#[template(path = "performance.html", whitespace = "minimize")]
pub struct Performance<'a> {
    /// What was run.
    pub sheet: Sheet,
    /// What the devices can do at most, where that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// One table a case.
    pub cases: Vec<Case>,
    /// Every flag that a time can have, for the legend.
    #[serde(skip)]
    pub flags: Vec<FlagNote>,
    #[serde(skip)]
    data: Data<'a>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Name of the class.
    pub class: &'static str,
    /// What the class is for.
    pub purpose: &'static str,
    /// Name of the case.
    pub case: String,
    /// Whether its weights were seeded numbers.
    pub synthetic_weights: bool,
    /// What else its figures need to be read with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One a column that has cells of this case.
    pub groups: Vec<Group>,
    /// Whether any of its cells has energy figures.
    pub has_energy: bool,
    /// Whether any of its cells says how right its numbers are.
    pub has_accuracy: bool,
    /// Size against loss, where two precisions have both.
    pub chart: Option<Chart>,
}

/// The cells of a case in one column.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// The column.
    pub column: ColumnHead,
    /// One a precision.
    pub rows: Vec<PrecisionRow>,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct PrecisionRow {
    /// Its verdict.
    pub chip: Chip,
    /// What it gave.
    pub figures: Figures,
}

/// What a cell gave.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figures {
    /// It ran.
    Measured(Box<Measured>),
    /// It has no figures.
    None {
        /// Name of the status.
        status: &'static str,
        /// Why; empty where no reason was given.
        reason: String,
    },
}

impl<'a> Performance<'a> {
    /// The context for `records`.
    pub fn of(records: &'a [Record]) -> Result<Performance<'a>, Error> {
        let grid = &Grid::of(records)?;
        let (labels, columns) = (Labels::of(grid), ColumnHead::all(grid));
        let cases = grid.rows.iter().map(|row| Case::of(grid, row, &labels, &columns)).collect();
        let (sheet, data) = (Sheet::of(records), Data::of(records)?);
        Ok(Performance { sheet, devices: Vec::new(), cases, flags: FlagNote::all(), data })
    }

    /// The same with what these devices can do at most.
    #[must_use]
    pub fn on(self, devices: Vec<Device>) -> Performance<'a> {
        Performance { devices, ..self }
    }
}

impl Case {
    fn of(grid: &Grid, row: &Row, labels: &Labels, columns: &[ColumnHead]) -> Case {
        let records = |entries: &[Entry]| -> Vec<&Record> {
            entries.iter().map(|entry| &grid.records[entry.latest()]).collect()
        };
        let all: Vec<_> = row.boxes.iter().flat_map(|entries| records(entries)).collect();
        let longest = longest_ms(&all);
        let mut samples = Vec::new();
        let mut groups = Vec::new();
        for (column, entries) in columns.iter().zip(&row.boxes).filter(|(_, e)| !e.is_empty()) {
            let rows = entries.iter().map(|entry| {
                let record = &grid.records[entry.latest()];
                let chip = Chip::of(grid, entry, labels);
                samples.extend(Sample::of(column.name(), &chip.label, record));
                PrecisionRow { chip, figures: Figures::of(record, longest) }
            });
            groups.push(Group { rows: rows.collect(), column: column.clone() });
        }
        Case {
            class: row.class.name(),
            purpose: purpose(row.class),
            case: row.title.clone(),
            synthetic_weights: row.synthetic_weights,
            notes: row.notes(),
            groups,
            has_energy: all.iter().any(|record| record.outcome.energy.is_some()),
            has_accuracy: all.iter().any(|record| record.outcome.correctness.is_some()),
            chart: Chart::of(&samples),
        }
    }
}

/// The longest time that a bar of these records must hold.
fn longest_ms(records: &[&Record]) -> f64 {
    let timings = records.iter().filter_map(|record| record.outcome.timing.as_ref());
    let times = timings.flat_map(|timing| [timing.median_ms, ends(timing)[1]]);
    times.filter(|time| time.is_finite()).fold(0.0, f64::max)
}

impl Figures {
    fn of(record: &Record, longest_ms: f64) -> Figures {
        let outcome = &record.outcome;
        if outcome.timing.is_some() || outcome.memory.is_some() || outcome.correctness.is_some() {
            return Figures::Measured(Box::new(Measured::of(record, longest_ms)));
        }
        let reason = chip::reason(record).unwrap_or_default();
        Figures::None { status: outcome.status.name(), reason }
    }
}
