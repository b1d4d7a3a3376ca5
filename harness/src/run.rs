//! `harness run` and `harness plan`: from options to cells, to records, to reports; and on with a run
//! that was cut short.

use crate::{
    cli::{CellArgs, Cli, Command, PlanArgs, RunArgs},
    config::{Config, LIMIT},
    estimate,
    exit::Exit,
    github, outputs, plan,
    prepared::{self, Preparation},
    profile,
    runner::{self, Cut, Work},
    shard,
    store::{self, RunInfo, Store},
    ui::Ui,
    weights,
};
use anyhow::{Context, Result, bail, ensure};
use record::{Cell, Record, Shard, Status};
use serde_json::{Map, json};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
};

/// Runs what the options ask for, or goes on with the run that `--resume` names.
pub fn run(args: &RunArgs, ui: &Ui) -> Result<Exit> {
    match &args.resume {
        Some(run) => resume(run, args, ui),
        None => {
            // Before anything that takes time.
            outputs::probe(&args.outputs)?;
            let config = config(args, ui)?;
            let (cells, shard) = own_cells(&args.cells, &config)?;
            // Opened first: a run whose records cannot be kept should not start.
            let store = store::open(args.outputs.db.as_deref(), args.records.as_deref(), ui)?;
            let info = RunInfo::now(&runner::new_id()?, cells.clone());
            let work = Work { run_id: info.run_id.clone(), cells, shard, records: Vec::new() };
            start(args, &config, work, store, |store| store.begin(&info), ui)
        }
    }
}

fn config(args: &RunArgs, ui: &Ui) -> Result<Config> {
    let expectations = args.expectations.load()?;
    Ok(Config { expectations, ..args.cells.config(true, ui)? })
}

/// Runs the cells that a run was cut short of, under its own options; those of this command line go
/// over them.
fn resume(run: &str, args: &RunArgs, ui: &Ui) -> Result<Exit> {
    let found = store::open(args.outputs.db.as_deref(), None, ui)?;
    let run_id = match run {
        "latest" => found.runs()?.into_iter().next().context("no run is stored yet")?.run_id,
        named => named.to_owned(),
    };
    let info = found.run(&run_id)?;
    ensure!(!info.cells.is_empty(), "the store knows records of run {run_id}, and not its plan");
    let own: Vec<OsString> = std::env::args_os().collect();
    let words = words_again(&info.command, &own)?;
    let Cli { command: Command::Run(args), .. } = profile::parse_again(&words)? else {
        bail!("run {run_id} was begun by another command: {}", info.command);
    };
    drop(found);
    outputs::probe(&args.outputs)?;

    let config = config(&args, ui)?;
    let (cells, shard) = own_cells(&args.cells, &config)?;
    let planned: HashSet<&Cell> = cells.iter().collect();
    if let Some(lost) = info.cells.iter().find(|cell| !planned.contains(cell)) {
        bail!(
            "run {run_id} has the cell {lost}, and the same options no longer give it; start it \
             anew, or from the folder and with the environment it was begun in: {}",
            info.command
        );
    }
    let store = store::open(args.outputs.db.as_deref(), args.records.as_deref(), ui)?;
    let records = store.records(&run_id).unwrap_or_default();
    // A missing session says nothing about the model, so such a cell is run again.
    let judged = records.iter().filter(|record| record.outcome.status != Status::Infra);
    let judged: HashSet<&Cell> = judged.map(|record| &record.cell).collect();
    let left: Vec<Cell> = info.cells.into_iter().filter(|cell| !judged.contains(cell)).collect();
    ui.say(format!("run {run_id} goes on: {} of its cells are done", judged.len()));
    let kept = records.iter().filter(|record| judged.contains(&record.cell)).cloned().collect();
    let work = Work { run_id, cells: left, shard, records: kept };
    start(&args, &config, work, store, |_| Ok(()), ui)
}

/// The words that began a run, and behind them the options of a command line that resumes it.
fn words_again(command: &str, own: &[OsString]) -> Result<Vec<OsString>> {
    let first = shell_words::split(command).context("the stored command line is malformed")?;
    let mut words: Vec<OsString> = first.into_iter().map(OsString::from).collect();
    let mut behind = own.iter().skip_while(|word| *word != "run").skip(1);
    while let Some(word) = behind.next() {
        match word.to_str() {
            Some("--resume") => {
                behind.next();
            }
            Some(word) if word.starts_with("--resume=") => {}
            _ => words.push(word.clone()),
        }
    }
    Ok(words)
}

fn start(
    args: &RunArgs,
    config: &Config,
    work: Work,
    mut store: Store,
    begin: impl FnOnce(&mut Store) -> Result<()>,
    ui: &Ui,
) -> Result<Exit> {
    let how = Preparation {
        bundle: args.bundle.as_deref(),
        no_setup: args.cells.no_setup,
        keep_going: args.keep_going,
        are_default: args.cells.browsers.are_default,
    };
    let web = prepared::page(&how, config, &work.cells, ui)?;
    let run_id = work.run_id.clone();
    let count = work.cells.len() + work.records.len();
    ui.say(format!("{} cells of {} cases", work.cells.len(), config.cases.len()));
    begin(&mut store)?;

    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let finished = runtime.block_on(runner::run(config, work, web.as_deref(), store, ui))?;
    let records = &finished.records;
    let cut = finished.cut.map(|cut| {
        let (why, exit) = match cut {
            Cut::Signal => ("interrupted".to_owned(), Exit::Interrupted),
            Cut::Time => ("the time allowed for the run is over".to_owned(), Exit::Interrupted),
            Cut::Store(error) => (format!("no record can be stored: {error:#}"), Exit::Infra),
        };
        let done = records.len();
        ui.warn(format!("{why}; after {done} of {count} cells, `run --resume {run_id}` goes on"));
        exit
    });
    let written = match records.is_empty() {
        true => Ok(()),
        false => {
            let devices = store::devices(args.outputs.db.as_deref(), records);
            outputs::write(records, &devices, &args.outputs, ui)
        }
    };
    if let Some(exit) = cut {
        if let Err(error) = written {
            ui.warn(format!("{error:#}"));
        }
        return Ok(exit);
    }
    // What was measured is told whatever became of the files.
    summarise(&run_id, records, ui);
    config.expectations.name_unused(records, ui);
    if let Err(error) = estimate::say_how_far(records, args.outputs.db.as_deref(), ui) {
        ui.warn(format!("what bench measured cannot be read: {error:#}"));
    }
    written.map(|()| Exit::of(records))
}

/// `run 20261123T052919Z-1a2b: 870 pass, 10 unsupported`
fn summarise(run_id: &str, records: &[Record], ui: &Ui) {
    let count =
        |status: &Status| records.iter().filter(|record| record.outcome.status == *status).count();
    let counts = Status::ALL.iter().map(|status| (status.name(), count(status)));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    let counts: Map<_, _> =
        counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let value = json!({"run_id": run_id, "counts": counts});
    ui.result(format!("run {run_id}: {}", outputs::summary::totals(records)), value);
}

/// Prints the cells that these options give.
pub fn print_plan(args: &PlanArgs, ui: &Ui) -> Result<()> {
    if args.github_matrix {
        let families = args.cells.browsers.families();
        return github::print(&families, args.shards, ui);
    }
    if let Some(model) = &args.weights {
        let CellArgs { bits, groups, limits, no_setup, .. } = &args.cells;
        let precisions: Vec<_> = bits.iter().map(|bits| groups.precision(*bits)).collect();
        return weights::print_plans(model, &limits.with(&precisions), !no_setup, ui);
    }
    let config = args.cells.config(false, ui)?;
    let cells = own_cells(&args.cells, &config)?.0;
    if args.estimate.estimate {
        let cells: Vec<_> = cells
            .into_iter()
            .map(|cell| {
                let case = config.case(&cell).cloned();
                (cell, case)
            })
            .collect();
        return estimate::print(&args.estimate, &cells, config.timeout.unwrap_or(LIMIT), ui);
    }
    for cell in &cells {
        ui.result(cell.to_string(), json!(cell));
    }
    // Programs count the lines themselves.
    if !ui.is_json() {
        ui.say(format!("{} cells of {} cases", cells.len(), config.cases.len()));
    }
    Ok(())
}

/// The cells of the plan that are this run's, and which part of the plan they are.
fn own_cells(args: &CellArgs, config: &Config) -> Result<(Vec<Cell>, Option<Shard>)> {
    let plan = plan::plan(config);
    ensure!(
        !plan.is_empty(),
        "these options give no cell: pages need a browser, the native backend is --backends native"
    );
    let Some(part) = args.shard else { return Ok((plan, None)) };
    let durations = match &args.durations {
        Some(path) => shard::durations(&store::read_lines(path)?),
        None => HashMap::new(),
    };
    // What is not known takes as long as its files are large, and as an average cell otherwise.
    let mean = durations.values().sum::<f64>() / durations.len().max(1) as f64;
    let cost = |cell: &Cell| match durations.get(cell) {
        Some(duration) => *duration,
        None if !durations.is_empty() => mean,
        None => {
            let files = config.case(cell).into_iter().flat_map(|case| &case.files);
            1e6 + files.map(|file| file.bytes as f64).sum::<f64>()
        }
    };
    let (cells, shard) = part.of(plan, cost);
    Ok((cells, Some(shard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_options_stand_behind_the_old_ones() {
        let own = ["harness", "--quiet", "run", "--resume", "latest", "--timeout", "9"];
        let own: Vec<OsString> = own.map(OsString::from).to_vec();
        let words = words_again("harness run --cases 'my cases' --timeout 3", &own).unwrap();
        assert_eq!(
            words,
            ["harness", "run", "--cases", "my cases", "--timeout", "3", "--timeout", "9"]
        );
        assert!(words_again("harness 'run", &own).is_err());
    }
}
