//! The schema of the database, one migration a version.

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, TransactionBehavior};

/// What each version adds, the first first. `PRAGMA user_version` says how many a database has had.
const MIGRATIONS: [&str; 3] = [V1, V2, V3];

/// A database of this version says 0, as it was written before versions were kept; hence the
/// conditions.
const V1: &str = "
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

/// Runs with their plans, and how much of the journal the database has read. Records from before
/// have no journal yet: a length that no file has makes `Store::open` write it.
const V2: &str = "
    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY,
        started_at TEXT NOT NULL,
        finished_at TEXT,
        command TEXT NOT NULL DEFAULT '',
        cells INTEGER NOT NULL DEFAULT 0,
        plan TEXT NOT NULL DEFAULT ''
    );
    INSERT INTO runs (run_id, started_at)
        SELECT run_id, MIN(started_at) FROM records GROUP BY run_id ORDER BY MIN(id);

    ALTER TABLE records ADD COLUMN duration_ms REAL;
    ALTER TABLE records ADD COLUMN median_ms REAL;
    UPDATE records SET
        duration_ms = json_extract(json, '$.duration_ms'),
        median_ms = json_extract(json, '$.outcome.timing.median_ms');
    CREATE INDEX records_by_cell ON records (case_name, bits, backend, browser);

    CREATE TABLE journal (bytes INTEGER NOT NULL);
    INSERT INTO journal SELECT iif(EXISTS (SELECT 1 FROM records), 9223372036854775807, 0);
";

/// The whole cell as text, so that an axis more is no column more.
const V3: &str = "
    ALTER TABLE records ADD COLUMN cell TEXT NOT NULL DEFAULT '';
    UPDATE records SET cell = json_extract(json, '$.cell');
    ALTER TABLE records DROP COLUMN scheme;
    ALTER TABLE records DROP COLUMN group_size;
";

/// Brings the database up to this build's version, all steps or none.
pub fn migrate(database: &mut Connection) -> Result<()> {
    let latest = MIGRATIONS.len() as u32;
    let version = |database: &Connection| -> Result<u32> {
        Ok(database.pragma_query_value(None, "user_version", |row| row.get(0))?)
    };
    let found = version(database)?;
    ensure!(
        found <= latest,
        "it was written by a newer version of this program (schema {found}, this build reads up to \
         {latest}): use that version, or name another database with --db FILE"
    );
    if found == latest {
        return Ok(());
    }
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let done = version(&transaction)?;
    for (number, migration) in (1..=latest).zip(MIGRATIONS).skip(done as usize) {
        let step = || format!("migrating it to schema {number}");
        transaction.execute_batch(migration).with_context(step)?;
        transaction.pragma_update(None, "user_version", number).with_context(step)?;
    }
    Ok(transaction.commit()?)
}
