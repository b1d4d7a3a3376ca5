//! What a run has stored so far.
//!
//! The store writes to a disk that may be slow, and waits up to ten seconds for another program that
//! holds it. That happens in a thread of its own: in the one that polls the sessions it would hold up
//! every other cell, whose time goes on.

use crate::store::Store;
use anyhow::Result;
use record::Record;
use std::{mem, sync::Arc};
use tokio::{sync::Mutex, task::spawn_blocking};

/// The store with the records that this run has put there.
pub(super) struct Kept(Arc<Mutex<Inner>>);

struct Inner {
    store: Store,
    records: Vec<Record>,
}

impl Kept {
    /// `records` are those of the run that are stored already.
    pub(super) fn new(store: Store, records: Vec<Record>) -> Kept {
        Kept(Arc::new(Mutex::new(Inner { store, records })))
    }

    /// Stores a record. Once begun it is done, whether or not anyone still waits.
    pub(super) async fn put(&self, record: &Record) -> Result<()> {
        let (mut inner, record) = (Arc::clone(&self.0).lock_owned().await, record.clone());
        spawn_blocking(move || inner.put(record)).await?
    }

    /// Waits for what is being stored, and gives all records; the run is marked as `finished` if it is
    /// named.
    pub(super) async fn close(self, finished: Option<&str>) -> Result<Vec<Record>> {
        let mut inner = self.0.lock().await;
        if let Some(run_id) = finished {
            inner.store.finish(run_id)?;
        }
        Ok(mem::take(&mut inner.records))
    }
}

impl Inner {
    fn put(&mut self, record: Record) -> Result<()> {
        self.store.put(&record)?;
        let mut known = self.records.iter_mut();
        // Another visit to a cell has the samples of those before it.
        match known.find(|other| record.rounds > 1 && other.cell == record.cell) {
            Some(before) => *before = record,
            None => self.records.push(record),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::record;
    use record::Status;
    use rusqlite::Connection;

    fn kept(folder: &tempfile::TempDir) -> (Kept, Connection) {
        let database = folder.path().join("records.sqlite");
        let store = Store::open(&database, None).unwrap();
        (Kept::new(store, Vec::new()), Connection::open(&database).unwrap())
    }

    /// Both halves are polled by one thread: if the store waited in it, the other program would hold
    /// the database for ever.
    #[tokio::test]
    async fn a_store_that_waits_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, other) = kept(&folder);
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let record = record("r", Status::Pass);
        let release = async { other.execute_batch("ROLLBACK").unwrap() };
        let (stored, ()) = tokio::join!(kept.put(&record), release);
        stored.unwrap();
        assert_eq!(kept.close(Some("r")).await.unwrap(), [record]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_stored_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, other) = kept(&folder);
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let record = record("r", Status::Pass);
        {
            let mut put = std::pin::pin!(kept.put(&record));
            assert!(futures_util::poll!(&mut put).is_pending());
        }
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(kept.close(None).await.unwrap(), [record]);
    }

    #[tokio::test]
    async fn a_further_visit_takes_the_place_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, _) = kept(&folder);
        let first = record("r", Status::Pass);
        let second = Record { rounds: 2, ..first.clone() };
        kept.put(&first).await.unwrap();
        kept.put(&second).await.unwrap();
        assert_eq!(kept.close(None).await.unwrap(), [second]);
    }
}
