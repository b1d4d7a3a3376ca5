//! Writes the two HTML reports from records alone.

use crate::{
    cli::{OutputArgs, ReportArgs},
    store::{self, Source, Store},
    ui::Ui,
};
use anyhow::{Context, Result};
use record::Record;
use serde_json::json;
use std::{fs, path::Path};

/// Renders `records` to the files that `outputs` names.
pub fn render(records: &[Record], outputs: &OutputArgs, ui: &Ui) -> Result<()> {
    let html = matrix::compatibility(records).context("rendering the matrix")?;
    write(&outputs.output_matrix, &html)?;
    let html = matrix::performance(records).context("rendering the report")?;
    write(&outputs.output_report, &html)?;
    let (matrix, report) = (outputs.output_matrix.display(), outputs.output_report.display());
    ui.say(format!("wrote {matrix} and {report}"));
    Ok(())
}

fn write(path: &Path, html: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, html).with_context(|| format!("writing {}", path.display()))
}

/// Renders a stored run, or lists the runs.
pub fn run(args: &ReportArgs, ui: &Ui) -> Result<()> {
    let source = match &args.records {
        Some(path) => Source::Lines(store::read_lines(path)?),
        None => Source::Database(Store::open(&database(&args.outputs)?, None)?),
    };
    let runs = source.runs()?;
    if args.list {
        for run in &runs {
            let text = format!("{}  {}  {} records", run.run_id, run.started_at, run.records);
            ui.result(text, json!(run));
        }
        return Ok(());
    }
    let latest = runs.first().map(|run| run.run_id.as_str());
    let run_id = args
        .run
        .as_deref()
        .or(latest)
        .context("no run is stored yet; `cargo harness run` makes one")?;
    render(&source.records(run_id)?, &args.outputs, ui)
}

/// The database that is named, or the default one.
pub fn database(outputs: &OutputArgs) -> Result<std::path::PathBuf> {
    outputs.db.clone().map_or_else(store::default_database, Ok)
}
