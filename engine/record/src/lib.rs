//! The contract between the page, the harness and the reports.
//!
//! Data flows one way through these types: the harness plans [`Cell`]s, sends a [`Request`] into a
//! page, the page streams [`Event`]s and closes with an [`Answer`]; the harness joins it with what it
//! knows of browser and host into a [`Record`], one JSON line, and everything a report shows is
//! rebuilt from records alone. There is no logic here beyond names and their parsing, so that the
//! crate compiles in a second for every target.

mod cell;
mod environment;
mod outcome;
mod request;

pub use cell::{Backend, Bits, Browser, Cell, Class, Scheme, UnknownName};
pub use environment::{Adapter, BrowserInfo, EngineInfo, Environment, Host};
pub use outcome::{
    Correctness, Energy, EnergySource, Memory, Outcome, PlanEntry, Status, Timing, Tolerances,
};
pub use request::{Answer, CaseFile, Event, PageReport, Request, RunRequest, SelfCheck};

use serde::{Deserialize, Serialize};

/// Version of the record format. It rises when a field changes its name, unit or meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// What one cell of one run produced: one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Names the `harness run` that this record belongs to.
    pub run_id: String,
    /// When the first attempt began, RFC 3339 in UTC.
    pub started_at: String,
    /// What was asked.
    pub cell: Cell,
    /// Where it ran.
    pub environment: Environment,
    /// What came of it.
    pub outcome: Outcome,
    /// How often the cell was tried, at least 1.
    pub attempts: u32,
    /// The command that repeats this cell.
    pub repro: String,
}
