//! `harness gc`: forgets old runs.

use super::DatabaseArgs;
use crate::{
    store::{self, Run},
    ui::Ui,
};
use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashSet;

/// What `gc` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[command(after_help = "\
With both options a run goes only if both would remove it. Removed runs are gone from the database and
from its journal.")]
pub struct Args {
    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Remove all but the latest N runs.
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,

    /// Remove runs that began more than so many days ago.
    #[arg(long, value_name = "DAYS", group = "what")]
    pub older_than: Option<u32>,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Removes the runs and gives their space back.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let mut store = store::open(args.database.db.as_deref(), None, ui)?;
    let runs = store.runs()?;
    let removed = removable(&runs, args.keep, args.older_than, Timestamp::now());
    for run in &removed {
        let said = if args.dry_run { "would remove" } else { "removed" };
        let text = format!("{said} {}  {}  {} records", run.run_id, run.started_at, run.records);
        ui.result(text, json!({"removed": !args.dry_run, "run": run}));
    }
    if !args.dry_run && !removed.is_empty() {
        let names: HashSet<_> = removed.iter().map(|run| run.run_id.clone()).collect();
        store.remove(&names)?;
    }
    ui.say(format!("{} of {} runs stay", runs.len() - removed.len(), runs.len()));
    Ok(())
}

/// `runs` has the latest first. A run whose beginning cannot be read is older than nothing.
fn removable(
    runs: &[Run],
    keep: Option<u32>,
    older_than: Option<u32>,
    now: Timestamp,
) -> Vec<&Run> {
    let is_old = |run: &Run| {
        let Some(days) = older_than else { return true };
        let began = run.started_at.parse::<Timestamp>();
        began.is_ok_and(|began| now.as_second() - began.as_second() > i64::from(days) * 86_400)
    };
    runs.iter().skip(keep.unwrap_or(0) as usize).filter(|run| is_old(run)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_if_every_rule_says_so() {
        let run = |day: u32| Run {
            run_id: day.to_string(),
            started_at: format!("2026-01-{day:02}T00:00:00Z"),
            finished_at: None,
            records: 1,
            judged: 1,
            cells: 0,
        };
        let runs = [run(20), run(15), run(10), run(5)];
        let now = "2026-01-21T00:00:00Z".parse().unwrap();
        let removed = |keep, older_than| -> Vec<_> {
            let removed = removable(&runs, keep, older_than, now);
            removed.iter().map(|run| run.run_id.as_str()).collect()
        };
        assert_eq!(removed(Some(1), None), ["15", "10", "5"]);
        assert_eq!(removed(None, Some(7)), ["10", "5"]);
        assert_eq!(removed(Some(3), Some(7)), ["5"]);
        assert_eq!(removed(Some(9), None), [""; 0]);
        assert_eq!(removed(None, Some(u32::MAX)), [""; 0]);
    }
}
