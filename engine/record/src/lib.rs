//! The contract between the page, the harness and the reports.
//!
//! Data flows one way through these types: the harness plans [`Cell`]s, sends a [`Request`] into a
//! page, the page streams [`Event`]s and closes with an [`Answer`]; the harness joins it with what it
//! knows of browser and host into a [`Record`], one JSON line, and everything a report shows is
//! rebuilt from records alone. There is no logic here beyond names and their parsing, so that the
//! crate compiles in a second for every target.

mod answers;
mod bench;
mod case;
mod cell;
mod cost;
mod environment;
mod expectation;
mod fidelity;
mod flag;
mod infer;
mod likeness;
mod limit;
mod mix;
mod names;
mod outcome;
mod precision;
mod request;
mod trace;
mod tuning;
mod window;

pub use answers::{Answered, Answers};
pub use bench::{
    BenchCheck, BenchReport, BenchRequest, BenchRow, CallTime, Ceiling, CeilingKind, Share, TimedBy,
};
pub use case::{CaseInputs, CaseManifest, Reference, SeededInput, SeededWeights};
pub use cell::{Axes, Axis, Backend, Browser, Cell, Class};
pub use cost::Cost;
pub use environment::{
    Adapter, BrowserInfo, Capabilities, EngineInfo, Environment, Host, HostedOp, RefusedKernel,
    Storage, VariantTrial, Webnn, WebnnContext,
};
pub use expectation::{Expectation, Verdict};
pub use fidelity::{Fidelity, Stretch};
pub use flag::Flag;
pub use infer::{
    Chat, Empty, Finding, Generation, InferRequest, Inference, Label, Place, Question,
};
pub use likeness::{Likeness, OutputLikeness, Things, Words};
pub use limit::MemoryLimit;
pub use mix::Mix;
pub use names::UnknownName;
pub use outcome::{
    Correctness, Energy, EnergySource, Load, Lowered, Memory, Outcome, PlanEntry, Status, Timing,
    Tolerances,
};
pub use precision::{Bits, KvFormat, Precision, Quantizer, Scheme};
pub use request::{Answer, CaseFile, Event, PageReport, Request, RunRequest, SelfCheck};
pub use trace::{CallTrace, PassTrace};
pub use tuning::{TriedKernel, TunedCall, Tuning, TuningMode};
pub use window::Window;

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Version of the record format. It rises when a field changes its name, unit or meaning.
///
/// Schema 2 knows cells with more axes than bits, scheme and group size; those of schema 1 are read.
pub const SCHEMA_VERSION: u32 = 2;

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
    /// Where it ran: one value in memory for all records that have it in common.
    pub environment: Arc<Environment>,
    /// What came of it.
    pub outcome: Outcome,
    /// How often the cell was tried, at least 1.
    pub attempts: u32,
    /// What came of the attempts before the last one, where there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Attempt>,
    /// In how many rounds its samples were taken, at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub rounds: u32,
    /// From the first attempt's beginning to the last one's end, waits between them included, over all
    /// rounds.
    #[serde(default)]
    pub duration_ms: f64,
    /// Whether the weights were seeded numbers in the shapes of a published checkpoint: figures then
    /// tell of speed, memory and kernels, and of nothing that the model has learnt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic_weights: bool,
    /// Whether the model has weights of its own that nobody has trained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrained: bool,
    /// The command that repeats this cell.
    pub repro: String,
    /// What a file of known failures says about this cell, where one was given and has an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expectation: Option<Expectation>,
    /// Which part of a plan the run was, where it was not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

const fn one() -> u32 {
    1
}

const fn is_one(count: &u32) -> bool {
    *count == 1
}

/// A part of a plan, with what it takes to prove that all parts together are the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, from 1.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
    /// Cells of the whole plan.
    pub cells: u32,
    /// SHA-256 over the cells of the whole plan, in hexadecimal.
    pub plan: String,
}

/// What came of one attempt that was not the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The verdict that it would have had.
    pub status: Status,
    /// One line: why it was tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took.
    pub duration_ms: f64,
}

/// JSON has null for what is no number, and a model that gives such must not make its file unreadable.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}
