//! A folder of reports beside the database, a file of JSON each, which is there as a whole or not at all.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// What the files end in.
const END: &str = "json";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    folder: PathBuf,
}

impl Beside {
    /// The one of this ending, beside the database that is named or beside the default one.
    pub(super) fn of(database: Option<&Path>, ending: &str) -> Result<Beside> {
        let database = database.map_or_else(super::default_database, |path| Ok(path.to_owned()))?;
        let mut folder = OsString::from(database);
        folder.push(ending);
        Ok(Beside { folder: folder.into() })
    }

    /// Keeps a report of this time, `label` in its name; gives the file.
    pub(super) fn put(
        &self,
        report: &impl Serialize,
        now: Timestamp,
        label: &str,
    ) -> Result<PathBuf> {
        let context = || format!("keeping a report in {}", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        // Names are in the order of time, and no two are alike.
        let stamp = now.strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
        let mut file = tempfile::Builder::new()
            .prefix(&format!("{stamp}-{label}-"))
            .suffix(".part")
            .tempfile_in(&self.folder)
            .with_context(context)?;
        serde_json::to_writer(&mut file, report).with_context(context)?;
        file.write_all(b"\n").and_then(|()| file.as_file().sync_all()).with_context(context)?;
        let name = file.path().with_extension(END);
        // As `read` names it: that of a temporary file is absolute in any case.
        let path = self.folder.join(name.file_name().unwrap_or_default());
        file.persist(&path).with_context(context)?;
        Ok(path)
    }

    /// Removes reports that others stand for. Whoever reads one just now has it open, and it is old in any case.
    pub(super) fn forget(&self, files: impl Iterator<Item = PathBuf>) {
        files.for_each(|old| drop(fs::remove_file(old)));
    }

    /// All files by name, the latest first, each with its report or why it is none.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Vec<(PathBuf, Result<T>)> {
        let entries = self.folder.read_dir().into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|end| end == END)).collect();
        paths.sort();
        let read = |path: PathBuf| {
            let report = fs::read_to_string(&path)
                .context("cannot be read")
                .and_then(|text| serde_json::from_str(&text).context("is no report"));
            (path, report)
        };
        paths.into_iter().rev().map(read).collect()
    }
}

/// A time as reports have it.
pub(super) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
