//! The journal: everything the store was ever told, as JSON lines in a file beside the database.
//!
//! A line is a [`Record`], or a mark: `{"run":{…}}` where a run begins and `{"finished":{…}}` where it
//! ends. Lines are appended under the database's write lock; what is no whole line is what a process
//! left that died while it wrote, and is stepped over.

use super::RunInfo;
use crate::environments::Environments;
use anyhow::{Context, Result};
use record::Record;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// One line of the journal.
#[derive(Clone, Debug)]
pub enum Line {
    /// What one cell produced.
    Record(Box<Record>),
    /// A run begins or ends.
    Mark(Mark),
}

/// The lines that are no records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A run begins.
    Run(RunInfo),
    /// A run has worked through its plan.
    Finished {
        /// Which.
        run_id: String,
        /// When, RFC 3339 in UTC.
        at: String,
    },
}

impl Line {
    /// What a line of text says.
    pub fn parse(text: &str) -> serde_json::Result<Line> {
        if text.starts_with("{\"run\":") || text.starts_with("{\"finished\":") {
            return serde_json::from_str(text).map(Line::Mark);
        }
        serde_json::from_str(text).map(Line::Record)
    }

    /// The run that the line is about.
    pub fn run_id(&self) -> &str {
        match self {
            Line::Record(record) => &record.run_id,
            Line::Mark(Mark::Run(run)) => &run.run_id,
            Line::Mark(Mark::Finished { run_id, .. }) => run_id,
        }
    }
}

/// The file, opened anew for each use: `gc` may have put another in its place.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal of a database: its path with `.jsonl` after it.
    pub fn of(database: &Path) -> Journal {
        let mut path = OsString::from(database);
        path.push(".jsonl");
        Journal { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes; none if there is no file.
    pub fn len(&self) -> Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).with_context(|| format!("looking at {}", self.path.display())),
        }
    }

    /// Appends whole lines; they are on the disk when this returns, or not there at all.
    pub fn append(&self, lines: &str) -> Result<()> {
        let append = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).append(true).read(true).open(&self.path)?;
            let length = file.metadata()?.len();
            let torn = length > 0 && {
                let mut last = [0];
                file.seek(SeekFrom::Start(length - 1))?;
                file.read_exact(&mut last)?;
                last != *b"\n"
            };
            let text = format!("{}{lines}", if torn { "\n" } else { "" });
            file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).inspect_err(|_| {
                // Half a line is of no use to anyone, and a full disk may have room for the next.
                // A file that is only appended to cannot be cut on Windows.
                let cut = OpenOptions::new().write(true).open(&self.path);
                let _ = cut.and_then(|file| file.set_len(length));
            })
        };
        append().with_context(|| format!("appending to {}", self.path.display()))
    }

    /// Gives each whole line after the first `offset` bytes to `each`, and returns where it stopped.
    pub fn read_from(&self, offset: u64, mut each: impl FnMut(&str) -> Result<()>) -> Result<u64> {
        let context = || format!("reading {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(offset)).with_context(context)?;
        let (mut file, mut read, mut line) = (BufReader::new(file), offset, Vec::new());
        loop {
            line.clear();
            file.read_until(b'\n', &mut line).with_context(context)?;
            let Some(text) = line.strip_suffix(b"\n") else { return Ok(read) };
            each(&String::from_utf8_lossy(text))?;
            read += line.len() as u64;
        }
    }

    /// Puts what `write` writes in the place of the file, all of it or nothing.
    pub fn replace(&self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let context = || format!("rewriting {}", self.path.display());
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = temporary().tempfile_in(folder.unwrap_or(Path::new(".")));
        let mut file = BufWriter::new(file.with_context(context)?);
        write(&mut file).with_context(context)?;
        let file = file.into_inner().map_err(|error| error.into_error()).with_context(context)?;
        file.as_file().sync_all().with_context(context)?;
        file.persist(&self.path).with_context(context)?;
        Ok(())
    }
}

/// Makes files as readable as any that this user makes, and not for the user alone.
#[cfg(unix)]
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Files take after the folder that they are made in.
#[cfg(not(unix))]
fn temporary() -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}

/// Reads the records of a file of JSON lines: a journal, or what `--records` wrote.
pub fn read_lines(path: &Path) -> Result<Vec<Record>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut records, mut environments) = (Vec::new(), Environments::default());
    for (number, text) in BufReader::new(file).lines().enumerate() {
        let text = text.with_context(|| format!("reading {}", path.display()))?;
        if text.trim().is_empty() {
            continue;
        }
        let line = Line::parse(&text)
            .with_context(|| format!("{}, line {}: not a record", path.display(), number + 1))?;
        if let Line::Record(record) = line {
            records.push(environments.shared(*record));
        }
    }
    anyhow::ensure!(!records.is_empty(), "{} holds no record", path.display());
    Ok(records)
}
