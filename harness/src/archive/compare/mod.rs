//! `harness compare`: what changed from one run to another.
//!
//! A cell whose status is good in one run and bad in the other improved or regressed; any other
//! change of status is named as such (`changes`). Where both passed, its figures decide, by the rule of
//! `judge`: `figure` lists them, `noise` knows how much they move without a cause, `significance` has the tests,
//! and `machine` says which records can be compared at all. A change is only told where there is
//! evidence for it; where there is too little, that is told, with the command that would bring more.

mod changes;
mod figure;
mod judge;
pub(super) mod machine;
mod noise;
mod significance;

pub(crate) use judge::times;
pub use judge::{Finding, Rule, Verdict};
pub use noise::History;
pub(crate) use significance::{Ratio, believed, paired};

use super::DatabaseArgs;
use crate::{
    exit::Exit,
    store::{self, Source},
    ui::Ui,
};
use anyhow::{Result, ensure};
pub(super) use changes::is_good;
pub use changes::{Change, Comparison, compare, since_before};
use record::Record;
use serde::Serialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What `compare` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A time counts as changed only if both sides visited the cell four times, if a t-test over the visits says
so, with at most 5% of such findings false, and if they part by 10% and by more than earlier runs of the
cell on the same machine did. What a thread did is told by the yardstick: in units of fixed work beside it,
which what else the processor did slows as much. Without four visits it takes ten earlier runs. Bytes,
errors and agreement count as changed by any difference beyond rounding, and loss only where both runs have
it against one reference. From good (pass, flaky) to bad (fail, error, crash, timeout, unsupported) is a
regression. Times and sizes of different machines or adapters are not compared.

Runs that are to be compared are best taken with --rounds 4.

Examples:
  cargo harness compare
      the latest run with the one before it
  cargo harness compare nightly.jsonl latest --fail-on regressed
      the latest run with one that was recorded elsewhere; exits with 1 if a cell regressed")]
pub struct Args {
    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run to compare with: an id, latest, latest~1, … or a file of JSON lines.
    #[arg(value_name = "A", default_value = "latest~1")]
    pub before: String,

    /// The run to judge.
    #[arg(value_name = "B", default_value = "latest")]
    pub after: String,

    /// Visits that a cell must have had on either side.
    #[arg(long, value_name = "N", default_value = "4")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..))]
    pub min_visits: u16,

    /// Exit with 1 if some cell changed so.
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "CHANGE")]
    pub fail_on: Vec<Kind>,
}

/// How a cell changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Good before and bad now, or a figure is worse.
    Regressed,
    /// Bad before and good now, or a figure is better and none worse.
    Improved,
    /// Another status, neither better nor worse.
    StatusChanged,
    /// Not in the first run.
    New,
    /// Not in the second run.
    Gone,
    /// Passed in both, on machines whose figures cannot be compared.
    Incomparable,
    /// Passed in both, and there are too few visits to say more.
    CannotTell,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Regressed,
        Kind::Improved,
        Kind::StatusChanged,
        Kind::New,
        Kind::Gone,
        Kind::Incomparable,
        Kind::CannotTell,
    ];

    const fn name(self) -> &'static str {
        match self {
            Kind::Regressed => "regressed",
            Kind::Improved => "improved",
            Kind::StatusChanged => "status changed",
            Kind::New => "new",
            Kind::Gone => "gone",
            Kind::Incomparable => "incomparable",
            Kind::CannotTell => "cannot tell",
        }
    }
}

/// Compares two runs.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let [a, b] =
        [&args.before, &args.after].map(|name| open(name, args.database.db.as_deref(), ui));
    let [(a_source, a), (b_source, b)] = [a?, b?];
    let (before, after) = (a_source.records(&a)?, b_source.records(&b)?);
    let history = History::read(&[&a_source, &b_source])?;
    let rule = Rule::of_visits(args.min_visits.into());
    let compared = compare(&before, &after, &history, rule);
    ensure!(
        compared.common > 0,
        "the runs {a} and {b} have no cell in common: {} cells of {}, and {} of {}",
        matrix::grid::latest(&before).len(),
        cases(&before),
        matrix::grid::latest(&after).len(),
        cases(&after),
    );
    show(&compared, ui);
    let count = |kind| compared.changes.iter().filter(|change| change.change == kind).count();
    let counts = Kind::ALL.map(|kind| (kind.name(), count(kind)));
    let said = counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>();
    let same = compared.same();
    let json: BTreeMap<_, _> = counts.into_iter().chain([("same", same)]).collect();
    ui.result(
        format!("{a} -> {b}: {}, {same} same", said.join(", ")),
        json!({"before": a, "after": b, "counts": json}),
    );
    let fails = compared.changes.iter().any(|change| args.fail_on.contains(&change.change));
    Ok(if fails { Exit::CellFailed } else { Exit::Ok })
}

/// A run of the database, or the latest run of a file, with where it is.
pub(super) fn open(name: &str, database: Option<&Path>, ui: &Ui) -> Result<(Source, String)> {
    let path = Path::new(name);
    let is_file = path.extension().is_some_and(|extension| extension == "jsonl") || path.is_file();
    let source = Source::open(database, is_file.then_some(path), ui)?;
    let run = store::select(&source.runs()?, if is_file { "latest" } else { name }, ui)?;
    Ok((source, run))
}

/// The names of the cases, the first few of them.
fn cases(records: &[Record]) -> String {
    const SHOWN: usize = 5;
    let cases: BTreeSet<&str> = records.iter().map(|record| record.cell.case.as_str()).collect();
    let shown: Vec<&str> = cases.iter().copied().take(SHOWN).collect();
    let more = if cases.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What differs, then a line for each cell, in columns. What cannot be compared is told once for all
/// cells with the same reason.
fn show(compared: &Comparison, ui: &Ui) {
    for (differs, cells) in &compared.differs {
        let all = if *cells == compared.common { "all".to_owned() } else { cells.to_string() };
        ui.say(format!("{all} of {} cells have another {differs}", compared.common));
    }
    for (figure, cells) in &compared.unjudged {
        ui.say(format!(
            "{figure} of {cells} cells is not judged: a run has it fewer than --min-visits times, and \
             fewer than ten earlier runs have it"
        ));
    }
    if compared.apart > 0 {
        ui.say(format!(
            "quantisation loss of {} cells is not compared: one run has it against another reference \
             than the other",
            compared.apart
        ));
    }
    if compared.noisy > 0 {
        ui.say(format!(
            "{} cells are too noisy to show a change of 20%: their visits or earlier runs differ that \
             much; more --rounds make runs steadier",
            compared.noisy
        ));
    }
    let names = compared.changes.iter().map(|change| change.cell.to_string());
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &compared.changes {
        if change.change == Kind::Incomparable && !ui.is_json() {
            *groups.entry(&change.detail).or_default() += 1;
            continue;
        }
        let (kind, cell) = (change.change.name(), change.cell.to_string());
        let mut text = format!("{kind:14}  {cell:width$}  {}", change.detail);
        if let Some(command) = &change.to_tell {
            text += &format!("; on either side: {command}");
        }
        ui.result(text, json!(change));
    }
    for (detail, cells) in groups {
        let kind = Kind::Incomparable.name();
        ui.result(format!("{kind:14}  {cells} cells  {detail}"), json!(null));
    }
}
