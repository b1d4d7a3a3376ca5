//! What the store is asked.

use super::{Run, RunInfo, Store};
use crate::environments::Environments;
use anyhow::{Context, Result, ensure};
use record::{Backend, Bits, Browser, Cell, Record};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use std::collections::HashMap;

/// Which records; what is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name of the case.
    pub case: Option<String>,
    /// Who hosts the page.
    pub browser: Option<Browser>,
    /// Where the arithmetic runs.
    pub backend: Option<Backend>,
    /// Bits of the stored weights.
    pub bits: Option<Bits>,
    /// At most so many, the latest.
    pub limit: Option<u32>,
}

impl Store {
    /// The runs, the latest first.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let mut statement = self.database.prepare(
            "SELECT run_id, started_at, finished_at, \
             (SELECT COUNT(*) FROM records WHERE records.run_id = runs.run_id), \
             (SELECT COUNT(*) FROM records WHERE records.run_id = runs.run_id \
             AND status != 'infra'), cells \
             FROM runs ORDER BY started_at DESC, rowid DESC",
        )?;
        let runs = statement.query_map([], |row| {
            Ok(Run {
                run_id: row.get(0)?,
                started_at: row.get(1)?,
                finished_at: row.get(2)?,
                records: row.get(3)?,
                judged: row.get(4)?,
                cells: row.get(5)?,
            })
        })?;
        Ok(runs.collect::<Result<_, _>>()?)
    }

    /// A run with its plan.
    pub fn run(&self, run_id: &str) -> Result<RunInfo> {
        let mut statement =
            self.database.prepare(&format!("{RUN_INFO} WHERE run_id = ?1")).context("a run")?;
        let run = statement.query_row([run_id], |row| Ok(run_info(row))).optional()?;
        run.with_context(|| no_run(run_id))?
    }

    /// The records of a run, in the order in which they were stored.
    pub fn records(&self, run_id: &str) -> Result<Vec<Record>> {
        let records = self.select("WHERE run_id = ?1 ORDER BY id", [run_id])?;
        ensure!(!records.is_empty(), no_run(run_id));
        Ok(records)
    }

    /// Every record, in the order in which they were stored.
    pub fn all_records(&self) -> Result<Vec<Record>> {
        self.select("ORDER BY id", [])
    }

    /// The latest records that `filter` lets through, the latest first.
    pub fn history(&self, filter: &Filter) -> Result<Vec<Record>> {
        let conditions = [
            ("case_name", filter.case.clone()),
            ("browser", filter.browser.map(|browser| browser.to_string())),
            ("backend", filter.backend.map(|backend| backend.to_string())),
            ("bits", filter.bits.map(|bits| bits.to_string())),
        ];
        let (mut clause, mut values) = ("WHERE 1".to_owned(), Vec::new());
        for (column, value) in conditions {
            if let Some(value) = value {
                values.push(value);
                clause += &format!(" AND {column} = ?{}", values.len());
            }
        }
        clause += " ORDER BY started_at DESC, id DESC";
        if let Some(limit) = filter.limit {
            clause += &format!(" LIMIT {limit}");
        }
        self.select(&clause, params_from_iter(values))
    }

    /// How long each cell took in milliseconds when it last passed.
    pub fn durations(&self) -> Result<HashMap<Cell, f64>> {
        // Of the rows of a group, SQLite takes the one that MAX found for the bare columns.
        let mut statement = self.database.prepare(
            "SELECT cell, duration_ms, MAX(id) FROM records \
             WHERE status IN ('pass', 'flaky') AND duration_ms > 0 GROUP BY cell",
        )?;
        let rows = statement.query_and_then([], |row| -> Result<_> {
            let cell = serde_json::from_str(row.get_ref(0)?.as_str()?);
            Ok((cell.context("a cell of the store is malformed")?, row.get(1)?))
        })?;
        rows.collect()
    }

    fn select(&self, clause: &str, values: impl rusqlite::Params) -> Result<Vec<Record>> {
        let mut statement = self.database.prepare(&format!("SELECT json FROM records {clause}"))?;
        let mut environments = Environments::default();
        let records = statement.query_and_then(values, |row| {
            let json = row.get_ref(0)?.as_str()?;
            let record = serde_json::from_str(json);
            Ok(environments.shared(record.context("a record of the store is malformed")?))
        })?;
        records.collect()
    }
}

const RUN_INFO: &str = "SELECT run_id, started_at, finished_at, command, plan FROM runs";

/// Every run with its plan, in the order in which they came.
pub(super) fn run_infos(database: &Connection) -> Result<Vec<RunInfo>> {
    let mut statement = database.prepare(&format!("{RUN_INFO} ORDER BY rowid"))?;
    let runs = statement.query_and_then([], run_info)?;
    runs.collect()
}

fn run_info(row: &Row) -> Result<RunInfo> {
    let plan: String = row.get(4)?;
    let cells = plan.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    Ok(RunInfo {
        run_id: row.get(0)?,
        started_at: row.get(1)?,
        finished_at: row.get(2)?,
        command: row.get(3)?,
        cells: cells.context("a plan of the store is malformed")?,
    })
}

pub(super) fn no_run(run_id: &str) -> String {
    format!("there is no run {run_id:?}; `report --list` shows the runs")
}
