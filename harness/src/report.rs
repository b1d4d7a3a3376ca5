//! `harness report`: the files of a run again, from what is stored.

use crate::{
    outputs,
    outputs::OutputArgs,
    store::{self, Benches, Evaluations, Source},
    ui::Ui,
};
use anyhow::Result;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What `report` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness report
      the latest run
  cargo harness report --list
      the runs that are stored
  cargo harness report --records nightly.jsonl --output-matrix nightly.html
      a run that was recorded elsewhere
  cargo harness report --output-precision precision.html
      also what few bits cost, as far as `evaluate` has measured it
  cargo harness report --output-claims claims.html
      also each number that was claimed, and what the records of all runs say about it")]
pub struct ReportArgs {
    /// Where records and reports are.
    #[command(flatten)]
    pub outputs: OutputArgs,

    /// Write a page with all evaluations that `evaluate` has kept.
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub output_precision: Option<PathBuf>,

    /// Write a page with each number of the document that this project began with, and what the records of all
    /// runs say about it.
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub output_claims: Option<PathBuf>,

    /// Read this file of JSON lines instead of the database.
    #[arg(long, value_name = "FILE", conflicts_with = "db")]
    pub records: Option<PathBuf>,

    /// The run to render [default: the latest].
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,

    /// List the runs instead.
    #[arg(long, conflicts_with = "run")]
    pub list: bool,
}

/// Renders a stored run, or lists the runs.
pub fn run(args: &ReportArgs, ui: &Ui) -> Result<()> {
    if let Some(path) = &args.output_precision {
        precision(args, path, ui)?;
    }
    let source = Source::open(args.outputs.db.as_deref(), args.records.as_deref(), ui)?;
    if let Some(path) = &args.output_claims {
        claims(args, &source, path, ui)?;
    }
    let runs = source.runs()?;
    if args.list {
        for run in &runs {
            let text = format!("{}  {}  {} records", run.run_id, run.started_at, run.records);
            ui.result(text, json!(run));
        }
        return Ok(());
    }
    let has_pages = args.output_precision.is_some() || args.output_claims.is_some();
    if has_pages && args.run.is_none() && runs.is_empty() {
        ui.say("no run is stored yet, so there are no other pages");
        return Ok(());
    }
    let run_id = store::select(&runs, args.run.as_deref().unwrap_or("latest"), ui)?;
    let records = source.records(&run_id)?;
    let devices = store::devices(args.outputs.db.as_deref(), &records);
    outputs::write(&records, &devices, &args.outputs, ui)
}

/// The page of evaluations, which belong to no run.
fn precision(args: &ReportArgs, path: &Path, ui: &Ui) -> Result<()> {
    let (evaluations, broken) = Evaluations::of(args.outputs.db.as_deref())?.all();
    broken.iter().for_each(|error| ui.warn(format!("{error:#}")));
    outputs::html::precision(&evaluations, path)?;
    ui.say(format!("wrote {}", path.display()));
    Ok(())
}

/// The page of claims, which is about the records of all runs.
fn claims(args: &ReportArgs, source: &Source, path: &Path, ui: &Ui) -> Result<()> {
    let benches = Benches::of(args.outputs.db.as_deref())?.all();
    let benches: Vec<_> = benches.into_iter().map(|kept| kept.run).collect();
    outputs::html::claims(&source.all_records()?, &benches, path)?;
    ui.say(format!("wrote {}", path.display()));
    Ok(())
}
