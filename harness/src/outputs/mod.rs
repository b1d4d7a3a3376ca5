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

use crate::ui::Ui;
use anyhow::{Context, Result};
use matrix::view::device::Device;
use record::{Record, Status, Verdict};
use std::{
    borrow::Cow,
    env, fmt,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Where records and reports are.
#[derive(Clone, Debug, clap::Args)]
pub struct OutputArgs {
    /// The database of all runs [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// The compatibility matrix.
    #[arg(long, value_name = "FILE")]
    pub output_matrix: PathBuf,

    /// The performance report.
    #[arg(long, value_name = "FILE")]
    pub output_report: PathBuf,

    /// Files for machines.
    #[command(flatten)]
    pub formats: Args,
}

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

/// Files that could not be written; all others were.
#[derive(Debug)]
pub struct Unwritten(Vec<anyhow::Error>);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes: Vec<_> = self.0.iter().map(|error| format!("{error:#}")).collect();
        write!(f, "{}; the records are stored: `report` writes files again", causes.join("; "))
    }
}

impl std::error::Error for Unwritten {}

/// Finds out whether every file can be written, before anything takes time. Leaves what is there as it
/// is, and makes the folders that are not.
pub fn probe(outputs: &OutputArgs) -> Result<()> {
    let formats = &outputs.formats;
    let named = [
        ("--output-matrix", Some(&outputs.output_matrix)),
        ("--output-report", Some(&outputs.output_report)),
        ("--junit", formats.junit.as_ref()),
        ("--wptreport", formats.wptreport.as_ref()),
        ("--summary", formats.summary.as_ref()),
        ("--csv", formats.csv.as_ref()),
    ];
    for (option, path) in named {
        let Some(path) = path else { continue };
        probe_file(path).with_context(|| {
            format!("{} cannot be written; name another file with {option}", path.display())
        })?;
    }
    if let Some(path) = step_summary() {
        let context =
            || format!("GITHUB_STEP_SUMMARY is {}, which cannot be written", path.display());
        probe_file(&path).with_context(context)?;
    }
    Ok(())
}

pub(crate) fn probe_file(path: &Path) -> Result<()> {
    make_folder_of(path)?;
    let is_new = !path.exists();
    // What is neither a file nor a folder, a pipe for example, may wait for a reader.
    if is_new || path.is_file() || path.is_dir() {
        File::options().append(true).create(true).open(path)?;
    }
    if is_new {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// The page of a GitHub job.
pub(crate) fn step_summary() -> Option<PathBuf> {
    env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Writes a page.
type Page<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Writes every file that is asked for, whatever becomes of the others; fails with [`Unwritten`]. `devices` is
/// what those of the records can do at most, as far as that is known.
///
/// The pages of a run of which no cell had a session would show nothing but that, so they take the place
/// of no others: what is there stays, and the user is told. Files for machines are written all the same.
pub fn write(records: &[Record], devices: &[Device], outputs: &OutputArgs, ui: &Ui) -> Result<()> {
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    let mut note = |path: &Path, result: Result<()>| match result {
        Ok(()) => written.push(path.display().to_string()),
        Err(error) => failed.push(error.context(format!("{} is not written", path.display()))),
    };
    let is_judged = records.iter().any(|record| record.outcome.status != Status::Infra);
    let matrix = |path: &Path| html::matrix(records, path);
    let report = |path: &Path| html::report(records, devices, path);
    let pages: [(&PathBuf, Page); 2] =
        [(&outputs.output_matrix, &matrix), (&outputs.output_report, &report)];
    for (path, write) in pages {
        match !is_judged && path.exists() {
            true => ui.warn(format!("{} stays as it is: no cell had a session", path.display())),
            false => note(path, write(path)),
        }
    }
    let formats = &outputs.formats;
    let latest = matrix::grid::latest(records);
    let verdicts: Cow<[Record]> = match latest.len() == records.len() {
        true => records.into(),
        false => latest.into_iter().cloned().collect(),
    };
    let mut write = |path: &Path, text: Result<String>| {
        let result = text.and_then(|text| write_file(path, text.as_bytes()));
        note(path, result);
    };
    if let Some(path) = &formats.junit {
        write(path, junit::render(&verdicts));
    }
    if let Some(path) = &formats.wptreport {
        match wptreport::render(&verdicts, path) {
            Ok(files) => files.into_iter().for_each(|(path, text)| write(&path, Ok(text))),
            Err(error) => write(path, Err(error)),
        }
    }
    if let Some(path) = &formats.summary {
        write(path, Ok(summary::render(&verdicts, summary::LIMIT)));
    }
    if let Some(path) = &formats.csv {
        write(path, csv::render(records));
    }
    if let Some(path) = step_summary()
        && let Err(error) = summary::append(&verdicts, &path)
    {
        failed.push(error);
    }
    if !written.is_empty() {
        ui.say(format!("wrote {}", written.join(", ")));
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Unwritten(failed).into()),
    }
}

/// Writes a file and the folders above it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    create(path)?.write_all(bytes).with_context(|| format!("writing {}", path.display()))
}

/// Creates a file and the folders above it.
fn create(path: &Path) -> Result<File> {
    make_folder_of(path)?;
    File::create(path).with_context(|| format!("creating {}", path.display()))
}

fn make_folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
        }
        None => Ok(()),
    }
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
