//! `harness export`: records for other tools.

use super::DatabaseArgs;
use crate::{
    outputs::{self, csv, parquet},
    store,
    ui::Ui,
};
use anyhow::{Context, Result, ensure};
use record::Record;
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

/// What `export` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness export --format csv --output run.csv
      the latest run
  cargo harness export --format parquet --all --output records.parquet
      everything that is stored")]
pub struct Args {
    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// What to write.
    #[arg(long, value_enum)]
    pub format: Format,

    /// The run: an id, latest, latest~1, …
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub run: String,

    /// Every run.
    #[arg(long, conflicts_with = "run")]
    pub all: bool,

    /// Where to [default: stdout].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Whole records, one a line.
    Jsonl,
    /// Comma-separated values, one record a line.
    Csv,
    /// Apache Parquet, with the columns of csv.
    Parquet,
}

/// Writes the records.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let store = store::open(args.database.db.as_deref(), None, ui)?;
    let records = match args.all {
        true => store.all_records()?,
        false => store.records(&store::select(&store.runs()?, &args.run, ui)?)?,
    };
    let harness = crate::home::command();
    ensure!(!records.is_empty(), "no run is stored yet; `{harness} run` makes one");
    let bytes = render(&records, args.format)?;
    match &args.output {
        Some(path) => {
            outputs::write_file(path, &bytes)?;
            ui.say(format!("wrote {} records to {}", records.len(), path.display()));
        }
        None => {
            let mut stdout = std::io::stdout().lock();
            ensure!(
                args.format != Format::Parquet || !stdout.is_terminal(),
                "Parquet is nothing for a terminal; say where to with --output FILE"
            );
            stdout.write_all(&bytes).context("writing to stdout")?;
        }
    }
    Ok(())
}

fn render(records: &[Record], format: Format) -> Result<Vec<u8>> {
    match format {
        Format::Jsonl => {
            let lines = records.iter().map(|record| Ok(serde_json::to_string(record)? + "\n"));
            Ok(lines.collect::<Result<String>>()?.into_bytes())
        }
        Format::Csv => Ok(csv::render(records)?.into_bytes()),
        Format::Parquet => parquet::render(records),
    }
}
