//! What a run leaves for people and for machines, all of it made from records alone.
//!
//! [`html`] is for reading and is always written; the other files are written where asked for:
//! [`junit`] for CI servers, [`wptreport`] for tools of the web platform tests, [`summary`] for the
//! page of a GitHub job, [`csv`] for spreadsheets. [`table`] is a record as one row of values, which
//! [`csv`] and [`parquet`] share. What came from a page, a model or a driver is text to all of them:
//! each format's module escapes it, and the tests of this folder hold each to it.

pub mod csv;
pub mod html;
pub mod junit;
pub mod parquet;
pub mod summary;
pub mod table;
pub mod wptreport;

use crate::{cli::OutputArgs, ui::Ui};
use anyhow::{Context, Result};
use record::{Record, Status, Verdict};
use std::{
    borrow::Cow,
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Files for machines.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Write JUnit XML, with flaky cells as nextest writes them.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write a wptreport.json; with several browsers one each, FILE.chrome.json for FILE.json.
    #[arg(long, value_name = "FILE")]
    pub wptreport: Option<PathBuf>,

    /// Write a summary in Markdown; in a GitHub job its step summary gets one in any case.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,

    /// Write one line of comma-separated values a record.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// Writes every file that is asked for.
pub fn write(records: &[Record], outputs: &OutputArgs, ui: &Ui) -> Result<()> {
    html::matrix(records, &outputs.output_matrix)?;
    html::report(records, &outputs.output_report)?;
    let mut files = Vec::new();
    let formats = &outputs.formats;
    let latest = matrix::grid::latest(records);
    let verdicts: Cow<[Record]> = match latest.len() == records.len() {
        true => records.into(),
        false => latest.into_iter().cloned().collect(),
    };
    if let Some(path) = &formats.junit {
        files.push((path.clone(), junit::render(&verdicts)?));
    }
    if let Some(path) = &formats.wptreport {
        files.extend(wptreport::render(&verdicts, path)?);
    }
    if let Some(path) = &formats.summary {
        files.push((path.clone(), summary::render(&verdicts, summary::LIMIT)));
    }
    if let Some(path) = &formats.csv {
        files.push((path.clone(), csv::render(records)?));
    }
    for (path, text) in &files {
        write_file(path, text.as_bytes())?;
    }
    if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        summary::append(&verdicts, Path::new(&path))?;
    }
    let pages = [&outputs.output_matrix, &outputs.output_report].into_iter();
    let paths = pages.chain(files.iter().map(|(path, _)| path));
    let names: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    ui.say(format!("wrote {}", names.join(", ")));
    Ok(())
}

/// Writes a file and the folders above it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path)?.write_all(bytes).with_context(|| format!("writing {}", path.display()))
}

/// Creates a file and the folders above it.
fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    File::create(path).with_context(|| format!("creating {}", path.display()))
}

/// Why the verdict is not `pass`, in a line.
fn reason(record: &Record) -> String {
    let outcome = &record.outcome;
    let said = outcome.reason.as_deref().or(outcome.message.as_deref()).unwrap_or_default();
    match &outcome.stage {
        Some(stage) => format!("{stage}: {said}"),
        None => said.to_owned(),
    }
}

fn verdict(record: &Record) -> Option<Verdict> {
    record.expectation.as_ref().map(|expectation| expectation.verdict)
}

/// Whether the record is a failure that nobody expected.
fn is_failure(record: &Record) -> bool {
    use Status::{Crash, Error, Fail, Timeout};
    matches!(record.outcome.status, Fail | Error | Crash | Timeout)
        && verdict(record) != Some(Verdict::Expected)
}

#[cfg(test)]
mod tests;
