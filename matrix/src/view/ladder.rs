//! The one glance: how few bits each class can do with, in each browser.
//!
//! A rung is a width with two signals that need no colour: the verdict, whether kernels are right in all cases of the
//! class, and the grade, whether the models among them that have learnt something are still themselves. The worst of
//! both over all cases counts. What holds is the smallest width with a verdict of `pass` and a grade of `holds`; where
//! nothing has learnt anything there is none, and nothing is recommended.

use super::chip::Labels;
use super::column::ColumnHead;
use super::compatibility::purpose;
use super::grade::{Grade, Graded, MEASURES, grade};
use super::{figure, status};
use crate::grid::{Entry, Grid, Row};
use record::{Bits, Precision, Record, Status};
use serde::Serialize;
use std::collections::BTreeSet;

/// All classes.
#[derive(Clone, Debug, Serialize)]
pub struct Ladder {
    /// What it says, in one sentence or a few.
    pub sentence: String,
    /// Heads, left to right.
    pub columns: Vec<ColumnHead>,
    /// One a class.
    pub rows: Vec<LadderRow>,
    /// Measures with their bounds, for the legend.
    #[serde(skip)]
    pub bounds: Vec<[&'static str; 2]>,
}

/// One class.
#[derive(Clone, Debug, Serialize)]
pub struct LadderRow {
    /// Name of the class.
    pub class: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The cases that give its grades; none where nothing has learnt anything.
    pub graded_by: Vec<String>,
    /// One box a column.
    pub boxes: Vec<Steps>,
}

/// A class in one column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Steps {
    /// The column in a few words.
    pub column: String,
    /// From wide to narrow.
    pub rungs: Vec<Rung>,
    /// The fewest bits that hold.
    pub best: Option<Best>,
}

/// A width.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Its bits, and what sets it apart where the report holds several of these bits.
    pub label: String,
    /// Its bits alone.
    #[serde(skip)]
    pub bits: Bits,
    /// Line of the record that gives it its signals, from 0.
    pub record: usize,
    /// Name of the verdict.
    pub status: &'static str,
    /// Mark of the verdict.
    pub mark: &'static str,
    /// Name of the grade; empty where there is none.
    pub grade: &'static str,
    /// Mark of the grade.
    pub grade_mark: &'static str,
    /// What hover and focus tell.
    pub tip: String,
    /// Whether it is the smallest that holds.
    pub is_best: bool,
}

/// The smallest width that holds.
#[derive(Clone, Debug, Serialize)]
pub struct Best {
    /// Its precision.
    pub precision: String,
    /// How long a pass takes, with its unit.
    pub time: String,
    /// How small the weights are beside 16 bits.
    pub of_fp16: String,
}

/// The records of one class in one column and one precision, all cases of it.
struct Width<'a> {
    precision: &'a Precision,
    /// Line, record and grade of each case.
    cells: Vec<(usize, &'a Record, Option<Graded>)>,
}

impl Ladder {
    /// Of all records that a grid shows; none where no cell has a fixed width.
    pub fn of(grid: &Grid) -> Option<Ladder> {
        let (columns, labels) = (ColumnHead::all(grid), Labels::of(grid));
        let classes = grid.rows.chunk_by(|a, b| a.class == b.class);
        let rows: Vec<LadderRow> =
            classes.map(|rows| ladder_row(grid, rows, (&columns, &labels))).collect();
        let has_rungs = rows.iter().flat_map(|row| &row.boxes).any(|steps| !steps.rungs.is_empty());
        has_rungs.then(|| Ladder {
            sentence: sentence(grid, &rows),
            columns,
            rows,
            bounds: MEASURES.iter().map(|measure| [measure.name, measure.text]).collect(),
        })
    }
}

fn ladder_row(grid: &Grid, rows: &[Row], (heads, labels): (&[ColumnHead], &Labels)) -> LadderRow {
    let mut graded_by = BTreeSet::new();
    let boxes = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            let widths = widths(grid, rows, column);
            for (_, record, graded) in widths.iter().flat_map(|width| &width.cells) {
                if graded.is_some() {
                    graded_by.insert(record.cell.case.clone());
                }
            }
            Steps { column: format!("{} {}", head.browser, head.backend), ..steps(&widths, labels) }
        })
        .collect();
    LadderRow {
        class: rows[0].class.name(),
        purpose: purpose(rows[0].class),
        graded_by: graded_by.into_iter().collect(),
        boxes,
    }
}

/// Every fixed width of a class in a column, from wide to narrow.
fn widths<'a>(grid: &'a Grid, rows: &'a [Row], column: usize) -> Vec<Width<'a>> {
    let mut widths: Vec<Width> = Vec::new();
    for row in rows {
        let entries = &row.boxes[column];
        // A row is from wide to narrow. Few bits are no measure of fewer.
        let is_wide = |entry: &&Entry| matches!(entry.precision.bits, Bits::Fixed(32 | 16));
        let widest = entries.iter().filter(is_wide).find_map(|entry| {
            grid.records[entry.latest()].outcome.answered.map(|answered| answered.share())
        });
        let fixed = |entry: &&Entry| matches!(entry.precision.bits, Bits::Fixed(_));
        for entry in entries.iter().filter(fixed) {
            let line = entry.latest();
            let record = &grid.records[line];
            let cell = (line, record, grade(record, widest));
            match widths.iter_mut().find(|width| *width.precision == entry.precision) {
                Some(width) => width.cells.push(cell),
                None => widths.push(Width { precision: &entry.precision, cells: vec![cell] }),
            }
        }
    }
    widths.sort_by_key(|width| width.precision.order());
    widths
}

impl Width<'_> {
    /// The worst verdict of all cases.
    fn verdict(&self) -> Status {
        let severity = |status: &Status| match status {
            Status::Pass => 0,
            Status::Flaky => 1,
            Status::Skip => 2,
            Status::Infra => 3,
            Status::Unsupported => 4,
            Status::Timeout => 5,
            Status::Error => 6,
            Status::Crash => 7,
            Status::Fail => 8,
        };
        let all = self.cells.iter().map(|(_, record, _)| record.outcome.status);
        all.max_by_key(severity).unwrap_or_default()
    }

    /// The worst grade of those that have one.
    fn grade(&self) -> Option<Grade> {
        self.cells.iter().filter_map(|(.., graded)| Some(graded.as_ref()?.grade)).min()
    }

    /// The cell behind both: that of the verdict where it is no `pass`, else that of the grade.
    fn decisive(&self) -> &(usize, &Record, Option<Graded>) {
        let (verdict, grade) = (self.verdict(), self.grade());
        let by_grade = |cell: &&(usize, &Record, Option<Graded>)| {
            grade.is_some() && cell.2.as_ref().map(|graded| graded.grade) == grade
        };
        let by_verdict =
            |cell: &&(usize, &Record, Option<Graded>)| cell.1.outcome.status == verdict;
        let found = match verdict {
            Status::Pass | Status::Flaky => self.cells.iter().find(by_grade),
            _ => self.cells.iter().find(by_verdict),
        };
        found.unwrap_or(&self.cells[0])
    }

    fn holds(&self) -> bool {
        matches!(self.verdict(), Status::Pass | Status::Flaky) && self.grade() == Some(Grade::Holds)
    }
}

fn steps(widths: &[Width], labels: &Labels) -> Steps {
    let best = widths.iter().rposition(Width::holds);
    let rungs = widths.iter().enumerate().map(|(at, width)| {
        let (line, record, graded) = width.decisive();
        let (verdict, grade) = (width.verdict(), width.grade());
        let mut tip = format!("{}: {}", width.precision, verdict.name());
        let cases = width.cells.len();
        tip += &match (cases, verdict) {
            (1, _) => format!(", {}", record.cell.case),
            (_, Status::Pass) => format!(" in all {cases} cases"),
            _ => format!(", {} among {cases} cases", record.cell.case),
        };
        match graded {
            Some(graded) => {
                tip += &format!(
                    "\n{}: {} ({})",
                    grade.map_or("", Grade::name),
                    graded.figure,
                    record.cell.case
                );
            }
            None if grade.is_none() => {
                tip.push_str(
                    "\nkernels tested, not model quality: nothing here has learnt anything",
                );
            }
            None => {}
        }
        Rung {
            label: labels.label(width.precision),
            bits: width.precision.bits,
            record: *line,
            status: verdict.name(),
            mark: status::mark(verdict),
            grade: grade.map_or("", Grade::name),
            grade_mark: grade.map_or("·", Grade::mark),
            tip,
            is_best: best == Some(at),
        }
    });
    let rungs = rungs.collect();
    let best = best.map(|at| {
        let (_, record, _) = widths[at].decisive();
        let outcome = &record.outcome;
        let time =
            outcome.timing.as_ref().map(|timing| timing.gpu_median_ms.unwrap_or(timing.median_ms));
        let of_fp16 = outcome
            .memory
            .map(|memory| memory.weights_bytes as f64 / memory.weights_fp16_bytes.max(1) as f64);
        let precision = widths[at].precision;
        Best {
            precision: precision.to_string(),
            time: time.map(|ms| format!("{} ms", figure::plain(ms))).unwrap_or_default(),
            of_fp16: of_fp16.map(|share| format!("{share:.2}× fp16")).unwrap_or_default(),
        }
    });
    Steps { rungs, best, ..Steps::default() }
}

/// How many cells are right, and for how many classes each width holds in every column that has it.
fn sentence(grid: &Grid, rows: &[LadderRow]) -> String {
    let ran: Vec<Status> = grid
        .latest()
        .map(|record| record.outcome.status)
        .filter(|status| matches!(status, Status::Pass | Status::Flaky | Status::Fail))
        .collect();
    let right = ran.iter().filter(|status| **status != Status::Fail).count();
    let mut text = format!("{right} of {} cells that ran are right.", ran.len());
    let graded: Vec<&LadderRow> = rows.iter().filter(|row| !row.graded_by.is_empty()).collect();
    if graded.is_empty() {
        return text
            + " None of these models has learnt anything, so nothing is said of how many bits hold.";
    }
    // In every column that tells of the width, and by any scheme of it.
    let holds = |row: &LadderRow, bits: Bits| {
        let told = row.boxes.iter().filter_map(|steps| {
            let rungs = || steps.rungs.iter().filter(|rung| rung.bits == bits);
            let is_right = |rung: &Rung| matches!(rung.status, "pass" | "flaky");
            let ran = |rung: &Rung| is_right(rung) || rung.status == "fail";
            let is_told = rungs().any(|rung| !rung.grade.is_empty() && ran(rung));
            is_told.then(|| rungs().any(|rung| rung.grade == Grade::Holds.name() && is_right(rung)))
        });
        let told: Vec<bool> = told.collect();
        !told.is_empty() && told.iter().all(|holds| *holds)
    };
    let rungs = || graded.iter().flat_map(|row| &row.boxes).flat_map(|steps| &steps.rungs);
    let counts: Vec<String> = [8, 4, 3, 2]
        .into_iter()
        .filter(|bits| rungs().any(|rung| rung.bits == Bits::Fixed(*bits)))
        .map(|bits| {
            let count = graded.iter().filter(|row| holds(row, Bits::Fixed(bits))).count();
            match count {
                0 => format!("{bits} bits for none"),
                _ => format!("{bits} bits for {count}"),
            }
        })
        .collect();
    if let Some((first, rest)) = counts.split_first() {
        let classes = match graded.len() {
            1 => "the one class".to_owned(),
            many => format!("{many} classes"),
        };
        let first = first.replacen(" bits ", " bits hold ", 1);
        let all: Vec<&str> =
            std::iter::once(first.as_str()).chain(rest.iter().map(String::as_str)).collect();
        text += &format!(
            " Of {classes} with models that have learnt something, {}, in every browser that was asked.",
            all.join(", ")
        );
    }
    text
}
