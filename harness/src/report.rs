//! `harness report`: the files of a run again, from what is stored.

use crate::{
    cli::ReportArgs,
    outputs,
    store::{self, Source},
    ui::Ui,
};
use anyhow::Result;
use serde_json::json;

/// Renders a stored run, or lists the runs.
pub fn run(args: &ReportArgs, ui: &Ui) -> Result<()> {
    let source = Source::open(args.outputs.db.as_deref(), args.records.as_deref(), ui)?;
    let runs = source.runs()?;
    if args.list {
        for run in &runs {
            let text = format!("{}  {}  {} records", run.run_id, run.started_at, run.records);
            ui.result(text, json!(run));
        }
        return Ok(());
    }
    let run_id = store::select(&runs, args.run.as_deref().unwrap_or("latest"), ui)?;
    outputs::write(&source.records(&run_id)?, &args.outputs, ui)
}
