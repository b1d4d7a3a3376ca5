//! What a cell's passes have to compute and to move: from a record that has it, or else from passes that
//! are computed on this machine's processor. An engine's ops state their costs as they are called, so there
//! is no counting without a pass.

use crate::{
    cases::Case,
    native,
    store::{Filter, Store},
};
use anyhow::{Result, ensure};
use record::{Answer, Axis, Backend, Browser, Cell, Outcome, Record, Request, RunRequest, Status};
use std::time::Duration;

/// What a cell's passes take, and where that is known from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Counts {
    /// What the traced cell came to: its passes, call by call, and the cost of all of a pass.
    pub outcome: Outcome,
    /// Where the counts come from, for people.
    pub from: String,
}

impl Counts {
    fn of(outcome: &Outcome, from: String) -> Option<Counts> {
        (!outcome.trace.is_empty()).then(|| Counts { outcome: outcome.clone(), from })
    }
}

/// The best that is stored: the latest trace of this cell, else that of the same model, precision and sizes
/// on another backend or in another browser, as what an op takes does not depend on these; of what GPUs
/// compute rather from a GPU, which says how many dispatches there are.
pub(super) fn stored(cell: &Cell, store: &Store) -> Result<Option<Counts>> {
    let filter = Filter {
        case: Some(cell.case.clone()),
        bits: Some(cell.precision.bits),
        ..Filter::default()
    };
    Ok(best(cell, &store.history(&filter)?))
}

/// The same of these records, the latest first.
fn best(cell: &Cell, records: &[Record]) -> Option<Counts> {
    let alike = |record: &&Record| {
        is_alike(&record.cell, cell) && !record.outcome.trace.is_empty() && is_good(record)
    };
    let rank = |record: &&Record| {
        let is_same = record.cell == *cell;
        (is_same, is_on_gpu(record.cell.backend) == is_on_gpu(cell.backend))
    };
    // Of equal ones the first, which is the latest.
    let mut found: Vec<&Record> = records.iter().filter(alike).collect();
    found.sort_by_key(|record| std::cmp::Reverse(rank(record)));
    let record = found.first()?;
    let Cell { backend, .. } = &record.cell;
    let place = format!("{backend} {}", record.cell.browser_name());
    Counts::of(&record.outcome, format!("traced on {place} in run {}", record.run_id))
}

fn is_good(record: &Record) -> bool {
    matches!(record.outcome.status, Status::Pass | Status::Flaky)
}

fn is_on_gpu(backend: Backend) -> bool {
    matches!(backend, Backend::Webgpu | Backend::Native)
}

/// Whether two cells compute the same, wherever they do.
pub(super) fn is_alike(a: &Cell, b: &Cell) -> bool {
    let sizes = |cell: &Cell| {
        [Axis::PromptTokens, Axis::NewTokens, Axis::Batch]
            .map(|axis| cell.axis(axis).map(str::to_owned))
    };
    (&a.case, &a.precision, sizes(a)) == (&b.case, &b.precision, sizes(b))
}

/// Traces a cell's passes on this machine's processor, in a child. They are computed, so it takes a while.
pub(super) async fn traced(cell: &Cell, case: &Case, limit: Duration) -> Result<Counts> {
    ensure!(
        case.folder.join("case.json").is_file(),
        "its inputs are not known before it is a case: `run --trace` makes it one"
    );
    let axes =
        cell.axes.iter().filter(|(axis, _)| **axis != Axis::Channel && **axis != Axis::Threads);
    let cell = Cell {
        backend: Backend::Wasm,
        browser: Browser::Host,
        axes: axes.map(|(axis, value)| (*axis, value.clone())).collect(),
        ..cell.clone()
    };
    let request = Request::Run(RunRequest {
        cell,
        case_url: case.folder.display().to_string(),
        files: case.files.clone(),
        repeat: 1,
        repeat_quick: 1,
        quick_ms: 0.0,
        warmup: 0,
        max_new_tokens: Some(1),
        lower_to: None,
        trace: true,
        tuning: None,
        tuning_ms: 0.0,
    });
    let answer = native::ask(&request, limit, &mut |_| ()).await;
    let outcome = match answer {
        Ok(Answer::Run(outcome)) => *outcome,
        Ok(_) => anyhow::bail!("the engine answered another request"),
        Err(fault) => {
            anyhow::bail!("{} in {}: {}", fault.status.name(), fault.stage, fault.message)
        }
    };
    let from = "traced on this machine's processor, each call taken as one dispatch".to_owned();
    let why = outcome.message.clone().unwrap_or_else(|| outcome.status.name().to_owned());
    Counts::of(&outcome, from).ok_or_else(|| anyhow::anyhow!("it gave no trace: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::PassTrace;

    fn traced(run: &str, backend: Backend, browser: Browser) -> Record {
        let mut record = sample::record(run, Status::Pass);
        (record.cell.backend, record.cell.browser) = (backend, browser);
        record.outcome.trace = vec![PassTrace::default()];
        record
    }

    #[test]
    fn the_latest_trace_of_the_cell_itself_comes_first() {
        let own = traced("own", Backend::Webgpu, Browser::Chrome);
        let older = traced("older", Backend::Webgpu, Browser::Chrome);
        let firefox = traced("firefox", Backend::Webgpu, Browser::Firefox);
        let wasm = traced("wasm", Backend::Wasm, Browser::Chrome);
        let mut plain = traced("plain", Backend::Webgpu, Browser::Chrome);
        plain.outcome.trace.clear();
        let mut wide = traced("wide", Backend::Webgpu, Browser::Chrome);
        wide.cell.precision = "16".parse().unwrap();
        let mut failed = traced("failed", Backend::Webgpu, Browser::Chrome);
        failed.outcome.status = Status::Fail;
        let all = [plain, wide, failed, wasm, firefox, own.clone(), older];
        let from = |records: &[Record]| best(&own.cell, records).map(|counts| counts.from);
        assert_eq!(from(&all).as_deref(), Some("traced on webgpu chrome in run own"));
        assert_eq!(from(&all[..5]).as_deref(), Some("traced on webgpu firefox in run firefox"));
        assert_eq!(from(&all[..4]).as_deref(), Some("traced on wasm chrome in run wasm"));
        assert_eq!(from(&all[..3]), None);
    }

    #[test]
    fn sizes_are_part_of_what_is_computed_and_threads_are_not() {
        let one = sample::record("r", Status::Pass).cell;
        let with = |axis, value: &str| {
            let mut cell = one.clone();
            cell.axes.insert(axis, value.to_owned());
            cell
        };
        assert!(is_alike(&one, &with(Axis::Threads, "4")));
        assert!(!is_alike(&one, &with(Axis::Batch, "4")));
    }
}
