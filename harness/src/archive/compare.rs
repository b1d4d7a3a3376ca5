//! `harness compare`: what changed from one run to another.
//!
//! A cell whose status is good in one run and bad in the other improved or regressed; any other
//! change of status is named as such. Where both passed, times decide: a cell is slower or faster
//! only if the 95% confidence intervals of the medians do not overlap and the median moved by 5% or
//! more. The first guards against noise within a run, the second against differences that are real
//! and matter to nobody.

use super::DatabaseArgs;
use crate::{
    exit::Exit,
    store::{self, Source},
    ui::Ui,
};
use anyhow::Result;
use record::{Cell, Record, Status, Timing};
use serde::Serialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The least share by which a median must move.
const LEAST_MOVE: f64 = 0.05;

/// What `compare` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A time counts as changed only if the 95% confidence intervals do not overlap and the median moved by
5% or more. From good (pass, flaky) to bad (fail, error, crash, timeout, unsupported) is a regression.

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

    /// Exit with 1 if some cell changed so.
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', value_name = "CHANGE")]
    pub fail_on: Vec<Kind>,
}

/// How a cell changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Good before and bad now, or slower.
    Regressed,
    /// Bad before and good now, or faster.
    Improved,
    /// Another status, neither better nor worse.
    StatusChanged,
    /// Not in the first run.
    New,
    /// Not in the second run.
    Gone,
}

impl Kind {
    const ALL: [Kind; 5] =
        [Kind::Regressed, Kind::Improved, Kind::StatusChanged, Kind::New, Kind::Gone];

    const fn name(self) -> &'static str {
        match self {
            Kind::Regressed => "regressed",
            Kind::Improved => "improved",
            Kind::StatusChanged => "status changed",
            Kind::New => "new",
            Kind::Gone => "gone",
        }
    }
}

/// One cell that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// How it changed.
    pub change: Kind,
    /// Which cell.
    pub cell: Cell,
    /// Statuses or times, before and after.
    pub detail: String,
}

/// Compares two runs.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let [before, after] =
        [&args.before, &args.after].map(|name| records(name, args.database.db.as_deref(), ui));
    let (before, after) = (before?, after?);
    for note in differences(&before, &after) {
        ui.say(note);
    }
    let changes = changes(&before, &after);
    for change in &changes {
        let text = format!("{:14}  {}  {}", change.change.name(), change.cell, change.detail);
        ui.result(text, json!(change));
    }
    let count = |kind| changes.iter().filter(|change| change.change == kind).count();
    let counts = Kind::ALL.map(|kind| (kind.name(), count(kind)));
    let compared = latest(&after).len();
    let same = compared - changes.iter().filter(|change| change.change != Kind::Gone).count();
    let said = counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>();
    let (a, b) = (&before[0].run_id, &after[0].run_id);
    let json: BTreeMap<_, _> = counts.into_iter().chain([("same", same)]).collect();
    ui.result(
        format!("{a} -> {b}: {}, {same} same", said.join(", ")),
        json!({"before": a, "after": b, "counts": json}),
    );
    let fails = changes.iter().any(|change| args.fail_on.contains(&change.change));
    Ok(if fails { Exit::CellFailed } else { Exit::Ok })
}

/// The records of a run of the database, or of the latest run of a file.
fn records(name: &str, database: Option<&Path>, ui: &Ui) -> Result<Vec<Record>> {
    let path = Path::new(name);
    let is_file = path.extension().is_some_and(|extension| extension == "jsonl") || path.is_file();
    let source = Source::open(database, is_file.then_some(path), ui)?;
    let run = if is_file { "latest" } else { name };
    source.records(&store::select(&source.runs()?, run)?)
}

/// The last record of each cell.
fn latest(records: &[Record]) -> BTreeMap<&Cell, &Record> {
    records.iter().map(|record| (&record.cell, record)).collect()
}

/// Every cell that is not as it was: by kind, then in the order of cells.
pub fn changes(before: &[Record], after: &[Record]) -> Vec<Change> {
    let (before, after) = (latest(before), latest(after));
    let cells: BTreeSet<&Cell> = before.keys().chain(after.keys()).copied().collect();
    let mut changes: Vec<_> = cells
        .into_iter()
        .filter_map(|cell| {
            let (change, detail) = match (before.get(cell), after.get(cell)) {
                (Some(old), Some(new)) => change(old, new)?,
                (Some(old), None) => (Kind::Gone, format!("was {}", old.outcome.status.name())),
                (None, Some(new)) => (Kind::New, new.outcome.status.name().to_owned()),
                (None, None) => return None,
            };
            Some(Change { change, cell: cell.clone(), detail })
        })
        .collect();
    changes.sort_by_key(|change| change.change);
    changes
}

fn change(old: &Record, new: &Record) -> Option<(Kind, String)> {
    let (was, is) = (old.outcome.status, new.outcome.status);
    if was == is {
        let (kind, detail) = slower_or_faster(&old.outcome.timing, &new.outcome.timing)?;
        return is_good(is)?.then_some((kind, detail));
    }
    let kind = match (is_good(was), is_good(is)) {
        (Some(true), Some(false)) => Kind::Regressed,
        (Some(false), Some(true)) => Kind::Improved,
        _ => Kind::StatusChanged,
    };
    let reason = new.outcome.reason.as_deref().map(|reason| format!(": {reason}"));
    Some((kind, format!("{} -> {}{}", was.name(), is.name(), reason.unwrap_or_default())))
}

/// Nothing for what says nothing about the model.
fn is_good(status: Status) -> Option<bool> {
    match status {
        Status::Pass | Status::Flaky => Some(true),
        Status::Fail | Status::Error | Status::Crash | Status::Timeout | Status::Unsupported => {
            Some(false)
        }
        Status::Infra | Status::Skip => None,
    }
}

fn slower_or_faster(old: &Option<Timing>, new: &Option<Timing>) -> Option<(Kind, String)> {
    let (old, new) = (old.as_ref()?, new.as_ref()?);
    let share = new.median_ms / old.median_ms - 1.0;
    let kind = if new.ci95_ms[0] > old.ci95_ms[1] && share >= LEAST_MOVE {
        Kind::Regressed
    } else if new.ci95_ms[1] < old.ci95_ms[0] && share <= -LEAST_MOVE {
        Kind::Improved
    } else {
        return None;
    };
    let (from, to, percent) = (old.median_ms, new.median_ms, share * 100.0);
    Some((kind, format!("{from:.2} -> {to:.2} ms ({percent:+.0}%)")))
}

/// Something of an environment, with its name.
type Fact = (&'static str, fn(&Record) -> Option<String>);

/// What else changed, and may be why.
fn differences(before: &[Record], after: &[Record]) -> Vec<String> {
    let facts: [Fact; 4] = [
        ("browser", |record| {
            let version = &record.environment.browser.version;
            (!version.is_empty()).then(|| format!("{} {version}", record.cell.browser))
        }),
        ("engine", |record| Some(record.environment.engine.commit.clone())),
        ("processor", |record| Some(record.environment.host.cpu.clone())),
        ("system", |record| Some(record.environment.host.os.clone())),
    ];
    let mut notes = Vec::new();
    for (name, fact) in facts {
        let all = |records: &[Record]| -> BTreeSet<String> {
            records.iter().filter_map(fact).filter(|fact| !fact.is_empty()).collect()
        };
        let (old, new) = (all(before), all(after));
        if old != new && !old.is_empty() && !new.is_empty() {
            let list = |facts: BTreeSet<String>| facts.into_iter().collect::<Vec<_>>().join(", ");
            notes.push(format!("{name} differs: {} -> {}", list(old), list(new)));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn timed(median_ms: f64, ci95_ms: [f64; 2]) -> Record {
        let mut record = sample::record("r", Status::Pass);
        record.outcome.timing = Some(Timing { median_ms, ci95_ms, ..Timing::default() });
        record
    }

    fn kind(old: &Record, new: &Record) -> Option<Kind> {
        change(old, new).map(|(kind, _)| kind)
    }

    #[test]
    fn a_time_changed_if_intervals_part_and_the_median_moved() {
        let old = timed(100.0, [98.0, 102.0]);
        for (new, expected) in [
            (timed(110.0, [108.0, 112.0]), Some(Kind::Regressed)),
            (timed(105.0, [104.0, 106.0]), Some(Kind::Regressed)),
            (timed(104.0, [103.0, 105.0]), None),
            (timed(120.0, [101.0, 130.0]), None),
            (timed(90.0, [88.0, 92.0]), Some(Kind::Improved)),
            (timed(96.0, [95.0, 97.0]), None),
            (timed(80.0, [70.0, 98.0]), None),
            (timed(f64::NAN, [0.0, 0.0]), None),
        ] {
            assert_eq!(kind(&old, &new), expected, "{:?}", new.outcome.timing);
        }
        let untimed = Record { outcome: Default::default(), ..old.clone() };
        assert_eq!(kind(&untimed, &untimed), None);
    }

    #[test]
    fn statuses_are_good_bad_or_neither() {
        for (was, is, expected) in [
            (Status::Pass, Status::Fail, Kind::Regressed),
            (Status::Flaky, Status::Unsupported, Kind::Regressed),
            (Status::Crash, Status::Pass, Kind::Improved),
            (Status::Pass, Status::Flaky, Kind::StatusChanged),
            (Status::Fail, Status::Timeout, Kind::StatusChanged),
            (Status::Pass, Status::Infra, Kind::StatusChanged),
        ] {
            let [old, new] = [was, is].map(|status| sample::record("r", status));
            assert_eq!(kind(&old, &new), Some(expected), "{was:?} {is:?}");
        }
        let failed = sample::record("r", Status::Fail);
        assert_eq!(kind(&failed, &failed), None);
    }

    #[test]
    fn cells_are_new_or_gone_and_the_last_record_counts() {
        let mut other = sample::record("r", Status::Pass);
        other.cell.case = "other".into();
        let [fail, pass] = [Status::Fail, Status::Pass].map(|status| sample::record("r", status));
        let changes = changes(&[fail, pass.clone()], &[pass.clone(), other.clone()]);
        let expected =
            Change { change: Kind::New, cell: other.cell.clone(), detail: "pass".into() };
        assert_eq!(changes, [expected]);
        let changes = super::changes(&[other.clone(), pass.clone()], &[pass]);
        let expected = Change { change: Kind::Gone, cell: other.cell, detail: "was pass".into() };
        assert_eq!(changes, [expected]);
    }

    #[test]
    fn what_may_be_the_cause_is_told() {
        let old = sample::record("r", Status::Pass);
        let mut new = old.clone();
        std::sync::Arc::make_mut(&mut new.environment).browser.version = "157.0".into();
        let notes = differences(std::slice::from_ref(&old), &[new]);
        assert_eq!(notes, ["browser differs: chrome 156.0.7000.1 -> chrome 157.0"]);
        assert_eq!(differences(std::slice::from_ref(&old), std::slice::from_ref(&old)), [""; 0]);
    }
}
