//! What both sides of a round timed: rows of ops, or cells of models. Pure.

use crate::archive::compare;
use matrix::view::bench::BenchRun;
use record::{Backend, Cell, Record, Status};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is timed on both sides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Key {
    /// The op, or the class of the model: rows of one group are one finding for each browser and backend.
    pub group: String,
    /// Who hosts the page.
    pub browser: String,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// The call, or the cell.
    pub what: String,
    /// Which of its times: that of a call, or a figure of `compare`.
    pub figure: &'static str,
}

/// What one side gave.
#[derive(Clone, Debug)]
pub(super) enum Visit {
    /// Reports of single ops.
    Ops(Vec<BenchRun>),
    /// Records of cells.
    Models(Vec<Record>),
}

impl Visit {
    /// The commits of the engines that measured.
    pub fn commits(&self) -> Vec<&str> {
        let mut commits: Vec<&str> = match self {
            Visit::Ops(runs) => runs.iter().map(|run| &*run.report.engine.commit).collect(),
            Visit::Models(records) => {
                records.iter().map(|record| &*record.environment.engine.commit).collect()
            }
        };
        commits.retain(|commit| !commit.is_empty());
        commits.dedup();
        commits
    }
}

/// What came of one visit of either side.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The time of this build and of the other one.
    pub times: BTreeMap<Key, [f64; 2]>,
    /// What cannot be compared, and why.
    pub left_out: BTreeMap<String, String>,
    /// Seconds that each side took from its start to its end.
    pub wall_s: [f64; 2],
    /// How long the yardstick took beside each cell: a build's own fixed work, which is alike in both unless
    /// they were compiled otherwise.
    pub yardsticks: Vec<[f64; 2]>,
}

/// Joins what two sides gave in one round.
pub(super) fn join(own: &Visit, other: &Visit, wall_s: [f64; 2]) -> Round {
    let mut round = Round { wall_s, ..Round::default() };
    match (own, other) {
        (Visit::Ops(own), Visit::Ops(other)) => {
            let sides = [own, other].map(|runs| rows(runs));
            round.join(sides, |[own, other]| vec![("call", [own, other])]);
        }
        (Visit::Models(own), Visit::Models(other)) => {
            let sides = [own, other].map(|records| cells(records));
            let mut yardsticks = Vec::new();
            round.join(sides, |both| {
                yardsticks.extend(yardstick(both));
                compare::times(both[0], both[1])
            });
            round.yardsticks = yardsticks;
        }
        // Both sides are asked the same.
        _ => {}
    }
    round
}

/// What a side has of something: what is timed, or why it is not.
type Side<T> = BTreeMap<Name, Result<T, String>>;

/// A key without its figure.
type Name = (String, String, Backend, String);

impl Round {
    fn join<T: Copy>(
        &mut self,
        [own, mut other]: [Side<T>; 2],
        mut times: impl FnMut([T; 2]) -> Vec<(&'static str, [f64; 2])>,
    ) {
        let both = own.into_iter().map(|(name, own)| {
            let other = other.remove(&name);
            (name, own, other)
        });
        let both: Vec<_> = both.collect();
        for (name, own, other) in both {
            let (group, browser, backend, what) = name.clone();
            let times = match (own, other) {
                (Ok(own), Some(Ok(other))) => times([own, other]),
                (Err(why), _) => {
                    self.leave_out(&name, format!("this build: {why}"));
                    continue;
                }
                (_, Some(Err(why))) => {
                    self.leave_out(&name, format!("the other build: {why}"));
                    continue;
                }
                (Ok(_), None) => {
                    self.leave_out(&name, "the other build does not have it".to_owned());
                    continue;
                }
            };
            let is_time = |time: &f64| time.is_finite() && *time > 0.0;
            let times: Vec<_> =
                times.into_iter().filter(|(_, sides)| sides.iter().all(is_time)).collect();
            if times.is_empty() {
                self.leave_out(&name, "both have no time of one kind".to_owned());
            }
            for (figure, sides) in times {
                let (group, browser, what) = (group.clone(), browser.clone(), what.clone());
                self.times.insert(Key { group, browser, backend, what, figure }, sides);
            }
        }
        for (name, _) in other {
            self.leave_out(&name, "this build does not have it".to_owned());
        }
    }

    fn leave_out(&mut self, (group, browser, backend, what): &Name, why: String) {
        // A cell says itself which class it is of, and a call does not say which op.
        let what =
            if what.starts_with(group.as_str()) { what.clone() } else { format!("{group} {what}") };
        self.left_out.insert(format!("{what}, {browser} on {backend}"), why);
    }
}

/// The rows of ops by what they are, with the median time of a call.
fn rows(runs: &[BenchRun]) -> Side<f64> {
    let mut side = Side::new();
    for run in runs {
        if let Some(why) = &run.report.unsupported {
            let name = ("ops".to_owned(), run.name.clone(), run.backend, String::new());
            side.insert(name, Err(why.clone()));
        }
        for row in &run.report.rows {
            let what = [&row.call, &row.shape, &row.format].map(String::as_str);
            let what: Vec<&str> = what.into_iter().filter(|word| !word.is_empty()).collect();
            let name = (row.op.clone(), run.name.clone(), run.backend, what.join(", "));
            let time = match (row.failure(), &row.time, &row.skipped) {
                (Some(failure), ..) => Err(failure),
                (None, Some(time), _) => Ok(time.median_us),
                (None, None, why) => Err(why.clone().unwrap_or("it is not measured".to_owned())),
            };
            side.insert(name, time);
        }
    }
    side
}

/// The yardsticks beside a cell's passes, where both have them.
fn yardstick(both: [&Record; 2]) -> Option<[f64; 2]> {
    let median = |record: &Record| {
        let ms = &record.outcome.timing.as_ref()?.yardstick_ms;
        (!ms.is_empty()).then(|| engine::stats::median(ms)).filter(|ms| *ms > 0.0)
    };
    Some([median(both[0])?, median(both[1])?])
}

/// The records that count of each cell. A time of wrong numbers is worth nothing.
fn cells(records: &[Record]) -> Side<&Record> {
    let latest = matrix::grid::latest(records);
    let named = latest.into_iter().map(|record| {
        let Cell { class, precision, backend, .. } = &record.cell;
        // Older programs say the scheme and the groups of weights that have none.
        let what = format!("{} {}", record.cell.title(), precision.clone().canonical());
        let name = (class.name().to_owned(), record.cell.browser_name(), *backend, what);
        let status = record.outcome.status;
        let is_good = matches!(status, Status::Pass | Status::Flaky);
        let why = record.outcome.reason.as_deref().map(|reason| format!(": {reason}"));
        let why = || format!("{}{}", status.name(), why.unwrap_or_default());
        (name, if is_good { Ok(record) } else { Err(why()) })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::{BenchCheck, BenchReport, BenchRow, CallTime, Host, Timing};

    fn row(call: &str, us: Option<f64>, rel_l2: f64) -> BenchRow {
        BenchRow {
            op: "matmul".into(),
            call: call.into(),
            shape: "1×64×64".into(),
            time: us.map(|median_us| CallTime { median_us, ..CallTime::default() }),
            check: Some(BenchCheck { rel_l2, bound: 1e-3, numbers: 16 }),
            skipped: us.is_none().then(|| "no time was left".to_owned()),
            ..BenchRow::default()
        }
    }

    fn ops(rows: Vec<BenchRow>) -> Visit {
        let report = BenchReport { rows, ..BenchReport::default() };
        let (name, host) = ("host".to_owned(), Host::default());
        Visit::Ops(vec![BenchRun { browser: None, name, backend: Backend::Native, host, report }])
    }

    #[test]
    fn rows_are_joined_by_what_they_are_and_the_others_are_named() {
        let own = ops(vec![
            row("both", Some(2.0), 0.0),
            row("wrong", Some(1.0), 0.5),
            row("late", Some(1.0), 0.0),
            row("new", Some(1.0), 0.0),
        ]);
        let other = ops(vec![
            row("late", None, 0.0),
            row("wrong", Some(1.0), 0.0),
            row("both", Some(3.0), 0.0),
            row("old", Some(1.0), 0.0),
        ]);
        let round = join(&own, &other, [1.0, 2.0]);
        let times: Vec<_> = round.times.iter().collect();
        let [(key, sides)] = times[..] else { panic!("{times:?}") };
        assert_eq!((key.group.as_str(), key.what.as_str()), ("matmul", "both, 1×64×64"));
        assert_eq!((*sides, round.wall_s), ([2.0, 3.0], [1.0, 2.0]));
        let left: Vec<_> =
            round.left_out.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(
            left[0].starts_with("matmul late, 1×64×64, host on native: the other build: no time")
        );
        assert!(left[1].ends_with("the other build does not have it"), "{left:?}");
        assert!(left[2].ends_with("this build does not have it"), "{left:?}");
        assert!(left[3].contains("this build: 5.0e-1 away from"), "{left:?}");
    }

    fn models(status: Status, timing: Timing) -> Visit {
        let mut record = sample::record("r", status);
        record.outcome.timing = Some(timing);
        Visit::Models(vec![record])
    }

    #[test]
    fn cells_are_joined_in_units_of_the_yardstick_where_both_have_it() {
        let timing = |ms: f64| Timing {
            samples_ms: vec![ms],
            decode_tps: Some(1e3 / ms),
            yardstick_ms: vec![0.5],
            ..Timing::default()
        };
        let old = Timing { yardstick_ms: vec![], ..timing(4.0) };
        for (other, figure, wanted) in
            [(timing(4.0), "pass by the yardstick", [4.0, 8.0]), (old, "pass", [2.0, 4.0])]
        {
            let round =
                join(&models(Status::Pass, timing(2.0)), &models(Status::Flaky, other), [1.0; 2]);
            let found: Vec<_> =
                round.times.iter().map(|(key, sides)| (key.figure, *sides)).collect();
            assert_eq!(found, [("decode", [0.002, 0.004]), (figure, wanted)]);
            let is_steady = figure.ends_with("yardstick");
            assert_eq!(round.yardsticks, vec![[0.5, 0.5]; usize::from(is_steady)]);
        }
        let round =
            join(&models(Status::Pass, timing(2.0)), &models(Status::Fail, timing(1.0)), [1.0; 2]);
        assert!(round.times.is_empty());
        let why = round.left_out.values().next().unwrap();
        assert!(why.starts_with("the other build: fail"), "{why}");
    }

    #[test]
    fn old_records_name_schemes_that_have_no_meaning() {
        let mut old = sample::record("r", Status::Pass);
        old.cell.precision = "16".parse().unwrap();
        old.outcome.timing = Some(Timing { samples_ms: vec![1.0], ..Timing::default() });
        let mut new = old.clone();
        old.cell.precision.group_size = 128;
        new.run_id = "s".into();
        let round = join(&Visit::Models(vec![new]), &Visit::Models(vec![old]), [1.0; 2]);
        assert_eq!((round.times.len(), round.left_out.len()), (1, 0));
    }
}
