//! Opening a database that may be damaged.

use super::{journal::Journal, schema};
use anyhow::{Context, Result, bail};
use rusqlite::{Connection, ErrorCode};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What was wrong with a database, and where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What SQLite says.
    pub reason: String,
    /// The damaged file.
    pub kept_aside: PathBuf,
    /// Records that were read from the damaged file itself, as it had no journal.
    pub salvaged: Option<usize>,
}

/// Opens or creates the database. A damaged one is kept aside, and an empty one is opened in its
/// place for the journal to be read into.
pub fn open(path: &Path, journal: &Journal) -> Result<(Connection, Option<Repair>)> {
    if let Ok(database) = try_open(path)? {
        return Ok((database, None));
    }
    // Of several processes that find the damage one repairs it.
    let lock = OpenOptions::new().create(true).append(true).open(journal.path())?;
    lock.lock().with_context(|| format!("locking {}", journal.path().display()))?;
    let reason = match try_open(path)? {
        Ok(database) => return Ok((database, None)),
        Err(reason) => reason,
    };
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let kept_aside = with_suffix(path, &format!(".corrupt-{time}"));
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&kept_aside, suffix));
        if from.exists() {
            fs::rename(&from, &to).with_context(|| format!("keeping {} aside", from.display()))?;
        }
    }
    let salvaged = match journal.len()? {
        0 => Some(salvage(&kept_aside, journal)?),
        _ => None,
    };
    match try_open(path)? {
        Ok(database) => Ok((database, Some(Repair { reason, kept_aside, salvaged }))),
        Err(reason) => bail!("a new database is damaged at once: {reason}"),
    }
}

/// A database of the first schema has no journal: what SQLite can still read becomes one.
fn salvage(damaged: &Path, journal: &Journal) -> Result<usize> {
    let mut lines = String::new();
    let read = |lines: &mut String| -> rusqlite::Result<()> {
        let database = Connection::open(damaged)?;
        // Without this SQLite reads nothing of a file that is shorter than its head says.
        database.execute_batch("PRAGMA writable_schema = ON")?;
        // In the order of the table, so that no index is needed.
        let mut statement = database.prepare("SELECT json FROM records NOT INDEXED")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let json: String = row.get(0)?;
            *lines += &format!("{json}\n");
        }
        Ok(())
    };
    // Damage is what ends this, and what was read until then is kept.
    let _ = read(&mut lines);
    journal.append(&lines)?;
    Ok(lines.lines().count())
}

/// How long another program may hold the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// The inner error is the damage.
fn try_open(path: &Path) -> Result<Result<Connection, String>> {
    let open = || -> Result<Connection> {
        let mut database = Connection::open(path)?;
        database.busy_timeout(PATIENCE)?;
        // The journal is what survives a power cut, and the database catches up with it: its own
        // commits need not wait for the disk.
        database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
        let state: String =
            database.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        if state != "ok" {
            return Err(Damaged(state).into());
        }
        schema::migrate(&mut database)?;
        Ok(database)
    };
    let start = Instant::now();
    loop {
        match open() {
            Ok(database) => return Ok(Ok(database)),
            // Of two that turn a new database to WAL at once, SQLite refuses one without waiting.
            Err(error) if is_busy(&error) && start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => match damage(&error) {
                Some(reason) => return Ok(Err(reason)),
                None => return Err(error),
            },
        }
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(|error| error.sqlite_error_code());
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[derive(Debug)]
struct Damaged(String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

fn damage(error: &anyhow::Error) -> Option<String> {
    if let Some(Damaged(state)) = error.downcast_ref() {
        return state.lines().next().map(str::to_owned);
    }
    let code = error.downcast_ref::<rusqlite::Error>()?.sqlite_error_code()?;
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase).then(|| error.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}
