//! Keeps every record of every run.
//!
//! Two files tell the same story. The **journal** (`records.sqlite.jsonl`, one JSON line a record,
//! and a line where a run begins and ends) is the truth: a line is on the disk before the next cell
//! starts. The **database** (`records.sqlite`, beside it) is its index for queries, and knows how many
//! bytes of the journal it has read. Every writer takes the database's write lock, appends to the
//! journal and lets the database catch up, all in one transaction; so writers may be several, and
//! whatever a crash, a full disk or a power cut left unread is caught up with when the store is
//! opened next. A damaged database is kept aside and read anew from the journal; a lost journal is
//! written anew from the database.
//!
//! `schema` holds the tables and their migrations, `journal` the file of lines, `repair` opens
//! what may be damaged; `benches` keeps reports of single ops and `evaluations` what few bits cost, each in a folder
//! beside them, as `beside` has it. In the tables the JSON of a record is whole; the other columns repeat parts
//! of it for queries with any SQLite tool.

mod benches;
mod beside;
mod evaluations;
mod journal;
mod query;
mod repair;
mod schema;
mod source;
#[cfg(test)]
mod tests;

pub use benches::{Benches, Kept, devices, is_of};
pub use evaluations::Evaluations;
pub use journal::read_lines;
pub use query::Filter;
pub use repair::Repair;
pub use source::{Source, select};

use crate::ui::Ui;
use anyhow::{Context, Result};
use journal::{Journal, Line, Mark};
use record::{Cell, Record};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// Where records are kept.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Connection,
    journal: Journal,
    lines: Option<(PathBuf, File)>,
    repair: Option<Repair>,
}

/// A run as it was begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its name.
    pub run_id: String,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// When it had worked through its plan; none while it runs, or if it was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The command line that began it.
    pub command: String,
    /// Its plan; empty for a run of which only records are known.
    pub cells: Vec<Cell>,
}

impl RunInfo {
    /// A run of this process that begins now.
    pub fn now(run_id: &str, cells: Vec<Cell>) -> RunInfo {
        let command: Vec<String> = std::env::args().collect();
        RunInfo {
            run_id: run_id.to_owned(),
            started_at: now(),
            finished_at: None,
            command: shell_words::join(command),
            cells,
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// One run of the store, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its name.
    pub run_id: String,
    /// When it began.
    pub started_at: String,
    /// When it had worked through its plan.
    pub finished_at: Option<String>,
    /// How many records it has.
    pub records: u32,
    /// How many of them have a verdict: those without a session say nothing.
    pub judged: u32,
    /// How many cells its plan has; 0 if it is not known.
    pub cells: u32,
}

/// The database in the user's data folder.
pub fn default_database() -> Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "fewbit")
        .context("this user has no home folder; say where the database is with --db FILE")?;
    Ok(folders.data_dir().join("records.sqlite"))
}

/// Opens the database that is named, or the default one, and says so if it had to be repaired.
pub fn open(database: Option<&Path>, lines: Option<&Path>, ui: &Ui) -> Result<Store> {
    let database = database.map_or_else(default_database, |path| Ok(path.to_owned()))?;
    let store = Store::open(&database, lines)?;
    if let Some(Repair { reason, kept_aside, salvaged }) = &store.repair {
        let (database, kept) = (database.display(), kept_aside.display());
        let read = match salvaged {
            None => format!("read anew from {}", store.journal.path().display()),
            Some(records) => format!("it had no journal: {records} records could be read from it"),
        };
        ui.warn(format!("{database} was damaged ({reason}): it is kept as {kept}, and {read}"));
    }
    Ok(store)
}

impl Store {
    /// Opens or creates the database, and the file of JSON lines if one is wanted.
    pub fn open(database: &Path, lines: Option<&Path>) -> Result<Store> {
        let context = || format!("opening the database {}", database.display());
        if let Some(folder) = database.parent() {
            fs::create_dir_all(folder).with_context(context)?;
        }
        let journal = Journal::of(database);
        let (connection, repair) =
            repair::open(database, &journal).map_err(explain).with_context(context)?;
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
        let path = database.to_owned();
        let mut store = Store { path, database: connection, journal, lines, repair };
        if store.read_bytes().with_context(context)? != store.journal.len()? {
            store.write(|_, _| Ok(())).with_context(context)?;
        }
        Ok(store)
    }

    /// What was repaired when the store was opened.
    pub fn repaired(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// Stores that a run begins, with its plan.
    pub fn begin(&mut self, run: &RunInfo) -> Result<()> {
        self.append(&json_line(&Mark::Run(run.clone()))?)
    }

    /// Stores that a run has worked through its plan.
    pub fn finish(&mut self, run_id: &str) -> Result<()> {
        self.append(&json_line(&Mark::Finished { run_id: run_id.to_owned(), at: now() })?)
    }

    /// Stores a record; it is on the disk when this returns.
    pub fn put(&mut self, record: &Record) -> Result<()> {
        self.put_all(std::slice::from_ref(record))
    }

    /// Stores records, all of them or none.
    pub fn put_all(&mut self, records: &[Record]) -> Result<()> {
        let text = records.iter().map(json_line).collect::<Result<String>>()?;
        self.append(&text)?;
        if let Some((path, file)) = &mut self.lines {
            // One write call, so that two runs which append to one file do not mix lines.
            file.write_all(text.as_bytes())
                .and_then(|()| file.flush())
                .with_context(|| format!("appending to {}", path.display()))?;
        }
        Ok(())
    }

    /// Forgets runs, in the database and in the journal, and gives their space back.
    pub fn remove(&mut self, runs: &HashSet<String>) -> Result<()> {
        self.write(|transaction, journal| {
            for run in runs {
                transaction.execute("DELETE FROM records WHERE run_id = ?1", [run])?;
                transaction.execute("DELETE FROM runs WHERE run_id = ?1", [run])?;
            }
            journal.replace(|file| {
                let keep = |line: &str| {
                    // What cannot be read cannot be said to belong to a removed run.
                    if !Line::parse(line).is_ok_and(|line| runs.contains(line.run_id())) {
                        writeln!(file, "{line}")?;
                    }
                    Ok(())
                };
                journal.read_from(0, keep).map(drop)
            })?;
            set_read_bytes(transaction, journal.len()?)
        })
        .context("removing runs")?;
        self.database
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
            .map_err(|error| explain(error.into()))
            .context("giving space back; the runs are removed")
    }

    /// Stores whole lines: what the journal has is stored, and a database that could not follow, as
    /// the disk is full perhaps, reads it when it is written to or opened next.
    fn append(&mut self, lines: &str) -> Result<()> {
        let mut is_stored = false;
        let written = self.write(|transaction, journal| {
            journal.append(lines)?;
            is_stored = true;
            catch_up(transaction, journal)
        });
        match written {
            Err(error) if !is_stored => {
                Err(error).with_context(|| format!("storing in {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Runs `change` under the write lock, with database and journal level before it.
    fn write(&mut self, change: impl FnOnce(&Transaction, &Journal) -> Result<()>) -> Result<()> {
        let write = |database: &mut Connection, journal: &Journal| -> Result<()> {
            let behaviour = TransactionBehavior::Immediate;
            let transaction = database.transaction_with_behavior(behaviour)?;
            if read_bytes(&transaction)? > journal.len()? {
                rewrite(&transaction, journal)?;
            } else {
                catch_up(&transaction, journal)?;
            }
            change(&transaction, journal)?;
            Ok(transaction.commit()?)
        };
        write(&mut self.database, &self.journal).map_err(explain)
    }

    fn read_bytes(&self) -> Result<u64> {
        read_bytes(&self.database)
    }
}

fn json_line(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
}

/// How far the database has read the journal.
fn read_bytes(database: &Connection) -> Result<u64> {
    let bytes: i64 = database.query_row("SELECT bytes FROM journal", [], |row| row.get(0))?;
    Ok(bytes.try_into().unwrap_or(0))
}

fn set_read_bytes(database: &Connection, bytes: u64) -> Result<()> {
    database.execute("UPDATE journal SET bytes = ?1", [i64::try_from(bytes)?])?;
    Ok(())
}

/// Reads what the journal has and the database has not.
fn catch_up(transaction: &Transaction, journal: &Journal) -> Result<()> {
    let offset = read_bytes(transaction)?;
    if journal.len()? > offset {
        let end = journal.read_from(offset, |text| match Line::parse(text) {
            Ok(Line::Record(record)) => index_record(transaction, &record, text),
            Ok(Line::Mark(mark)) => index_mark(transaction, &mark),
            // The rest of a line whose writer died, or a line of a newer version.
            Err(_) => Ok(()),
        })?;
        set_read_bytes(transaction, end)?;
    }
    Ok(())
}

/// Writes the journal anew from the database; what stands in its place is kept aside.
fn rewrite(transaction: &Transaction, journal: &Journal) -> Result<()> {
    if journal.len()? > 0 {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let mut aside = journal.path().as_os_str().to_owned();
        aside.push(format!(".short-{time}"));
        fs::copy(journal.path(), aside).context("keeping the short journal aside")?;
    }
    journal.replace(|file| {
        for mut run in query::run_infos(transaction)? {
            let (run_id, finished_at) = (run.run_id.clone(), run.finished_at.take());
            file.write_all(json_line(&Mark::Run(run))?.as_bytes())?;
            if let Some(at) = finished_at {
                file.write_all(json_line(&Mark::Finished { run_id, at })?.as_bytes())?;
            }
        }
        let mut statement = transaction.prepare("SELECT json FROM records ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            writeln!(file, "{}", row.get_ref(0)?.as_str()?)?;
        }
        Ok(())
    })?;
    set_read_bytes(transaction, journal.len()?)
}

fn index_record(transaction: &Transaction, record: &Record, json: &str) -> Result<()> {
    // A record that came alone, from another machine perhaps, still belongs to a run.
    transaction
        .prepare_cached("INSERT OR IGNORE INTO runs (run_id, started_at) VALUES (?1, ?2)")?
        .execute([&record.run_id, &record.started_at])?;
    let cell = &record.cell;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO records (run_id, started_at, class, case_name, bits, backend, \
         browser, cell, status, json, duration_ms, median_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    insert.execute(params![
        record.run_id,
        record.started_at,
        cell.class.name(),
        cell.case,
        cell.precision.bits.to_string(),
        cell.backend.name(),
        cell.browser.name(),
        serde_json::to_string(cell)?,
        record.outcome.status.name(),
        json,
        record.duration_ms,
        record.outcome.timing.as_ref().map(|timing| timing.median_ms),
    ])?;
    Ok(())
}

fn index_mark(transaction: &Transaction, mark: &Mark) -> Result<()> {
    match mark {
        Mark::Run(run) => {
            let plan = run.cells.iter().map(json_line).collect::<Result<String>>()?;
            // A run that is begun again, to be resumed, keeps its first beginning.
            transaction.execute(
                "INSERT INTO runs (run_id, started_at, command, cells, plan) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (run_id) DO UPDATE SET \
                 command = excluded.command, cells = excluded.cells, plan = excluded.plan, \
                 finished_at = NULL",
                params![run.run_id, run.started_at, run.command, run.cells.len() as u32, plan],
            )?;
        }
        Mark::Finished { run_id, at } => {
            transaction
                .execute("UPDATE runs SET finished_at = ?2 WHERE run_id = ?1", [run_id, at])?;
        }
    }
    Ok(())
}

/// Says what to do about the errors of SQLite that a user can do something about.
fn explain(error: anyhow::Error) -> anyhow::Error {
    use rusqlite::ErrorCode;
    let code = error.downcast_ref::<rusqlite::Error>().and_then(|error| error.sqlite_error_code());
    let advice = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has held it for 10 seconds: end that program, or use --db FILE"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: make room, and nothing stored is lost",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "it cannot be opened for writing: check the folder and its permissions, or use --db FILE"
        }
        _ => return error,
    };
    error.context(advice)
}
