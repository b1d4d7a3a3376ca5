//! How a verdict looks and what it means, and how many cells have it.

use crate::grid::Grid;
use record::{Status, Verdict};
use serde::Serialize;

/// The mark that stands for a status wherever colour might not be seen.
pub const fn mark(status: Status) -> &'static str {
    match status {
        Status::Pass => "✓",
        Status::Flaky => "≈",
        Status::Fail => "✕",
        Status::Unsupported => "U",
        Status::Timeout => "T",
        Status::Crash => "C",
        Status::Error => "E",
        Status::Infra => "I",
        Status::Skip => "S",
    }
}

const fn meaning(status: Status) -> &'static str {
    match status {
        Status::Pass => "ran, every checked figure within tolerance",
        Status::Flaky => "passed, but not at the first attempt",
        Status::Fail => "ran, a checked figure out of tolerance",
        Status::Unsupported => "this browser, backend or adapter cannot do it",
        Status::Timeout => "no answer in the time allowed",
        Status::Crash => "browser or driver died while it ran",
        Status::Error => "the engine refused or broke",
        Status::Infra => "no session could be had; says nothing about the model",
        Status::Skip => "deliberately not run",
    }
}

/// How many cells have a status.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    /// Name of the status.
    pub status: &'static str,
    /// Its mark.
    pub mark: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Cells whose latest record has it.
    pub cells: usize,
}

/// The verdicts over the whole grid.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Every status but `infra`, in the order of reports.
    pub counts: Vec<Count>,
    /// Cells in `counts`.
    pub judged: usize,
    /// Cells that had no session, apart from all others.
    pub infra: Count,
    /// How many cells did as a file of known failures expects, and how many did not; none where no
    /// record has an expectation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expectations: Option<String>,
}

impl Summary {
    /// Counts the latest record of every cell.
    pub fn of(grid: &Grid) -> Summary {
        let mut cells = [0; Status::ALL.len()];
        for record in grid.latest() {
            let status = record.outcome.status;
            cells[Status::ALL.iter().position(|known| *known == status).unwrap_or(0)] += 1;
        }
        let count = |status: Status, cells| Count {
            status: status.name(),
            mark: mark(status),
            meaning: meaning(status),
            cells,
        };
        let all = Status::ALL.into_iter().zip(cells);
        let counts: Vec<_> = all
            .clone()
            .filter(|(status, _)| *status != Status::Infra)
            .map(|(status, cells)| count(status, cells))
            .collect();
        let infra = all.filter(|(status, _)| *status == Status::Infra).map(|(_, n)| n).sum();
        Summary {
            judged: counts.iter().map(|count| count.cells).sum(),
            counts,
            infra: count(Status::Infra, infra),
            expectations: expectations(grid),
        }
    }
}

/// `3 known failures, 1 newly passing`
fn expectations(grid: &Grid) -> Option<String> {
    let parts = [
        (Verdict::Expected, "known failures"),
        (Verdict::Unexpected, "unexpected"),
        (Verdict::NewlyPassing, "newly passing"),
    ];
    let parts = parts.map(|(verdict, text)| {
        let verdicts = grid.latest().filter_map(|record| record.expectation.as_ref());
        (verdicts.filter(|known| known.verdict == verdict).count(), text)
    });
    let parts = parts.iter().filter(|(cells, _)| *cells > 0);
    let texts: Vec<_> = parts.map(|(cells, text)| format!("{cells} {text}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}
