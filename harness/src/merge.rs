//! `harness merge`: the parts of a plan that ran on several machines become one run.

use crate::{
    outputs,
    outputs::OutputArgs,
    runner, shard,
    store::{self, RunInfo},
    ui::Ui,
};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// What `merge` takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  cargo harness run --shard 1/2 --records 1.jsonl      on one machine
  cargo harness run --shard 2/2 --records 2.jsonl      on another
  cargo harness merge 1.jsonl 2.jsonl                  anywhere")]
pub struct MergeArgs {
    /// The records of every part, one file or several.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Where records and reports go.
    #[command(flatten)]
    pub outputs: OutputArgs,

    /// Append the joined records to this file too, one JSON line each.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
}

/// Joins the parts, stores them as one run and renders it.
pub fn run(args: &MergeArgs, ui: &Ui) -> Result<()> {
    outputs::probe(&args.outputs)?;
    let mut records = Vec::new();
    for file in &args.files {
        records.extend(store::read_lines(file)?);
    }
    let mut records = shard::join(records)?;
    let run_id = runner::new_id()?;
    let mut store = store::open(args.outputs.db.as_deref(), args.records.as_deref(), ui)?;
    store.begin(&RunInfo::now(
        &run_id,
        records.iter().map(|record| record.cell.clone()).collect(),
    ))?;
    for record in &mut records {
        record.run_id.clone_from(&run_id);
    }
    store.put_all(&records)?;
    store.finish(&run_id)?;
    let devices = store::devices(args.outputs.db.as_deref(), &records);
    let written = outputs::write(&records, &devices, &args.outputs, ui);
    let count = records.len();
    let text = format!("run {run_id}: {count} cells of {} files, the whole plan", args.files.len());
    ui.result(text, json!({"run_id": run_id, "records": count}));
    written
}
