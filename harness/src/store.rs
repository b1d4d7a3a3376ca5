//! Keeps every record of every run: a SQLite database, and optionally a file of JSON lines.
//!
//! A record is stored before the next cell starts, so that a run which is cut short has kept all it
//! did. The JSON is the truth; the other columns repeat parts of it for queries with any SQLite tool.

use anyhow::{Context, Result, ensure};
use record::Record;
use rusqlite::{Connection, params};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS records (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        started_at TEXT NOT NULL,
        class TEXT NOT NULL,
        case_name TEXT NOT NULL,
        bits TEXT NOT NULL,
        scheme TEXT NOT NULL,
        group_size INTEGER NOT NULL,
        backend TEXT NOT NULL,
        browser TEXT NOT NULL,
        status TEXT NOT NULL,
        json TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS records_by_run ON records (run_id);
";

/// Where records are kept.
#[derive(Debug)]
pub struct Store {
    database: Connection,
    lines: Option<(PathBuf, File)>,
}

/// One run of the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Run {
    /// Its name.
    pub run_id: String,
    /// When its first cell began.
    pub started_at: String,
    /// How many records it has.
    pub records: u32,
}

/// The database in the user's data folder.
pub fn default_database() -> Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "fewbit")
        .context("this user has no home folder; say where the database is with --db FILE")?;
    Ok(folders.data_dir().join("records.sqlite"))
}

impl Store {
    /// Opens or creates the database, and the file of JSON lines if one is wanted.
    pub fn open(database: &Path, lines: Option<&Path>) -> Result<Store> {
        let context = || format!("opening the database {}", database.display());
        if let Some(folder) = database.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let connection = Connection::open(database).with_context(context)?;
        connection.busy_timeout(std::time::Duration::from_secs(10)).with_context(context)?;
        connection.execute_batch(SCHEMA).with_context(context)?;
        let lines = match lines {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Some((
                    path.to_owned(),
                    file.with_context(|| format!("opening {}", path.display()))?,
                ))
            }
            None => None,
        };
        Ok(Store { database: connection, lines })
    }

    /// Stores a record; it is on its way to the disk when this returns.
    pub fn put(&mut self, record: &Record) -> Result<()> {
        let json = serde_json::to_string(record)?;
        let cell = &record.cell;
        self.database
            .execute(
                "INSERT INTO records (run_id, started_at, class, case_name, bits, scheme, \
                 group_size, backend, browser, status, json) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    record.run_id,
                    record.started_at,
                    cell.class.name(),
                    cell.case,
                    cell.bits.to_string(),
                    cell.scheme.name(),
                    cell.group_size,
                    cell.backend.name(),
                    cell.browser.name(),
                    record.outcome.status.name(),
                    json
                ],
            )
            .context("storing a record")?;
        if let Some((path, file)) = &mut self.lines {
            // One write call a line, so that two runs which append to one file do not mix lines.
            file.write_all(format!("{json}\n").as_bytes())
                .and_then(|()| file.flush())
                .with_context(|| format!("appending to {}", path.display()))?;
        }
        Ok(())
    }

    fn runs(&self) -> Result<Vec<Run>> {
        let mut statement = self.database.prepare(
            "SELECT run_id, MIN(started_at), COUNT(*) FROM records GROUP BY run_id \
             ORDER BY MIN(id) DESC",
        )?;
        let runs = statement.query_map([], |row| {
            Ok(Run { run_id: row.get(0)?, started_at: row.get(1)?, records: row.get(2)? })
        })?;
        Ok(runs.collect::<Result<_, _>>()?)
    }

    fn records(&self, run_id: &str) -> Result<Vec<Record>> {
        let mut statement =
            self.database.prepare("SELECT json FROM records WHERE run_id = ?1 ORDER BY id")?;
        let texts: Vec<String> =
            statement.query_map([run_id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        ensure!(
            !texts.is_empty(),
            "the store has no run {run_id:?}; `report --list` shows its runs"
        );
        texts
            .iter()
            .map(|text| serde_json::from_str(text).context("a record of the store is malformed"))
            .collect()
    }
}

/// Reads a file of JSON lines.
pub fn read_lines(path: &Path) -> Result<Vec<Record>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut records = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line)
            .with_context(|| format!("{}, line {}: not a record", path.display(), number + 1))?;
        records.push(record);
    }
    ensure!(!records.is_empty(), "{} holds no record", path.display());
    Ok(records)
}

/// Where records are read from.
#[derive(Debug)]
pub enum Source {
    /// The database.
    Database(Store),
    /// What a file of JSON lines holds.
    Lines(Vec<Record>),
}

impl Source {
    /// The runs, the latest first.
    pub fn runs(&self) -> Result<Vec<Run>> {
        match self {
            Source::Database(store) => store.runs(),
            Source::Lines(records) => Ok(runs_of(records)),
        }
    }

    /// The records of a run, in the order in which they were stored.
    pub fn records(&self, run_id: &str) -> Result<Vec<Record>> {
        let records = match self {
            Source::Database(store) => store.records(run_id)?,
            Source::Lines(records) => {
                records.iter().filter(|record| record.run_id == run_id).cloned().collect()
            }
        };
        ensure!(!records.is_empty(), "there is no run {run_id:?}; `report --list` shows the runs");
        Ok(records)
    }
}

fn runs_of(records: &[Record]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for record in records {
        match runs.iter_mut().find(|run| run.run_id == record.run_id) {
            Some(run) => run.records += 1,
            None => runs.push(Run {
                run_id: record.run_id.clone(),
                started_at: record.started_at.clone(),
                records: 1,
            }),
        }
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Backend, Bits, Browser, Cell, Class, Environment, Outcome, Scheme, Status};

    fn record(run_id: &str, status: Status) -> Record {
        Record {
            schema_version: record::SCHEMA_VERSION,
            run_id: run_id.into(),
            started_at: "2026-01-02T03:04:05Z".into(),
            cell: Cell {
                class: Class::Bert,
                case: "bert-tiny".into(),
                bits: Bits::Adaptive,
                scheme: Scheme::Auto,
                group_size: 64,
                backend: Backend::Wasm,
                browser: Browser::Firefox,
            },
            environment: Environment::default(),
            outcome: Outcome { status, ..Outcome::default() },
            attempts: 1,
            repro: "cargo harness run".into(),
        }
    }

    #[test]
    fn both_forms_give_back_what_was_stored_and_outlive_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let (database, lines) = (folder.path().join("new/r.sqlite"), folder.path().join("r.jsonl"));
        let first = [record("a", Status::Pass), record("a", Status::Fail)];
        let second = record("b", Status::Infra);
        let mut store = Store::open(&database, Some(&lines)).unwrap();
        first.iter().for_each(|record| store.put(record).unwrap());
        drop(store);
        let mut store = Store::open(&database, Some(&lines)).unwrap();
        store.put(&second).unwrap();

        let lines = Source::Lines(read_lines(&lines).unwrap());
        for source in [Source::Database(store), lines] {
            assert_eq!(source.records("a").unwrap(), first);
            assert_eq!(source.records("b").unwrap(), std::slice::from_ref(&second));
            let runs = source.runs().unwrap();
            let runs: Vec<_> = runs.iter().map(|run| (run.run_id.as_str(), run.records)).collect();
            assert_eq!(runs, [("b", 1), ("a", 2)]);
            let error = source.records("c").unwrap_err().to_string();
            assert!(error.contains("--list"), "{error}");
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let good = serde_json::to_string(&record("a", Status::Pass)).unwrap();
        fs::write(&path, format!("{good}\n\n{{\"schema_version\": 1}}\n")).unwrap();
        let error = format!("{:#}", read_lines(&path).unwrap_err());
        assert!(error.contains("line 3: not a record"), "{error}");
    }
}
