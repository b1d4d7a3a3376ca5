//! `harness plan --estimate`: what cells take at least, before anybody runs them.
//!
//! `bench` knows what a device can do at most, and the ops of a model state what they compute and move:
//! `formula` puts the two together, `counts` finds the second, `table` shows the cells. Whatever is computed
//! here is labelled *estimated*, with its formula and where its counts come from; beside it stands what a run
//! measured, where one is named, and by how much the estimate was off.

mod counts;
mod formula;
mod table;

use crate::{
    cases::Case,
    host,
    store::{self, Kept, Store},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, ensure};
use counts::{Counts, is_alike};
use engine::packing::Weights;
use formula::{Ceilings, Estimate, FORMULA};
use matrix::view::bench::{BenchRun, hardware};
use record::{Cell, Memory, Outcome, PassTrace, Precision, Record};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What `plan --estimate` takes.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Print what each cell takes at least instead, by what `bench` measured: a pass, a token, memory. All of
    /// it is estimated, by a formula that is printed with it.
    #[arg(long, conflicts_with_all = ["github_matrix", "weights"])]
    pub estimate: bool,

    /// Estimate for the devices of this report, as `bench --output` writes it [default: what `bench` last
    /// measured on this machine].
    #[arg(long, value_name = "FILE", requires = "estimate")]
    pub adapter: Option<PathBuf>,

    /// Show what this run measured beside the estimates: an id, latest, latest~1, …
    #[arg(long, value_name = "RUN", requires = "estimate")]
    pub run: Option<String>,

    /// The database of all runs [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
}

/// What is estimated of a cell, and what a run measured of it.
#[derive(Clone, Debug, Serialize)]
struct Line {
    cell: Cell,
    estimated: Estimated,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
}

/// All of it is computed, and none of it measured.
#[derive(Clone, Debug, Default, Serialize)]
struct Estimated {
    /// The pass over the prompt, or the forward pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<Estimate>,
    /// The pass for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Estimate>,
    /// Weights and key-value cache; activations come on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Where the counts come from, or why there are none.
    counts: String,
}

/// What a run measured.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    /// On the GPU, where the adapter tells it, else the wall time.
    pass_ms: f64,
    /// Whether it is the time on the GPU.
    on_the_gpu: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ms: Option<f64>,
    /// The most GPU memory held at once, or the weights and the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Prints the estimates of these cells; `limit` is how long the passes of one may be computed for its counts.
pub fn print(args: &Args, cells: &[(Cell, Option<Case>)], limit: Duration, ui: &Ui) -> Result<()> {
    let reports = reports(args)?;
    let store = store::open(args.db.as_deref(), None, ui)?;
    let measured = match &args.run {
        Some(run) => store.records(&store::select(&store.runs()?, run, ui)?)?,
        None => Vec::new(),
    };
    let measured = matrix::grid::latest(&measured);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let mut finder = Finder { store, limit, runtime, traced: Vec::new() };
    let mut sizes: HashMap<(String, Precision), Option<u64>> = HashMap::new();
    let mut lines = Vec::new();
    let bar = ui.bar("counting", Some(cells.len() as u64), Unit::Cells);
    for (cell, case) in cells {
        bar.message(cell.to_string());
        let report = reports.iter().find(|kept| is_for(&kept.run, cell));
        let estimated = match report {
            None => Estimated { counts: missing(cell), ..Estimated::default() },
            Some(kept) => {
                let ceilings = Ceilings::of(&kept.run.report).with_context(|| {
                    format!("the report of {} on {}", kept.run.name, kept.run.backend)
                })?;
                let counts = finder.counts(cell, case.as_ref());
                let key = (cell.case.clone(), cell.precision.clone());
                let weights = *sizes.entry(key).or_insert_with(|| weights(cell, case.as_ref()));
                estimated(&ceilings, counts, weights)
            }
        };
        let found = measured.iter().find(|record| record.cell == *cell);
        let measured = found.and_then(|record| Measured::of(record));
        lines.push(Line { cell: cell.clone(), estimated, measured });
        bar.set(lines.len() as u64);
    }
    bar.finish();
    show(&lines, &reports, ui);
    Ok(())
}

/// The reports to estimate by, the latest first.
fn reports(args: &Args) -> Result<Vec<Kept>> {
    #[derive(Deserialize)]
    struct Written {
        reports: Vec<BenchRun>,
    }
    let reports = match &args.adapter {
        Some(path) => {
            let context = || format!("reading {}, which `bench --output` writes", path.display());
            let text = fs::read_to_string(path).with_context(context)?;
            let Written { reports } = serde_json::from_str(&text).with_context(context)?;
            reports.into_iter().map(|run| Kept { at: String::new(), run }).collect()
        }
        None => kept(args.db.as_deref())?,
    };
    ensure!(
        !reports.is_empty(),
        "nothing is known of what this machine can do; `{} bench` measures it, or --adapter names a report",
        crate::home::command()
    );
    Ok(reports)
}

/// What `bench` measured on this machine.
fn kept(database: Option<&Path>) -> Result<Vec<Kept>> {
    let here = host::host();
    let mut all = store::Benches::of(database)?.all();
    all.retain(|Kept { run, .. }| (&run.host.os, &run.host.cpu) == (&here.os, &here.cpu));
    Ok(all)
}

fn is_for(run: &BenchRun, cell: &Cell) -> bool {
    run.backend == cell.backend
        && run.name == cell.browser_name()
        && run.report.unsupported.is_none()
}

fn missing(cell: &Cell) -> String {
    let (browser, backend) = (cell.browser_name(), cell.backend);
    format!(
        "there is no report of {browser} on {backend}: `bench --browsers {browser} --backends {backend}`"
    )
}

/// Finds the counts of cells.
struct Finder {
    store: Store,
    limit: Duration,
    runtime: tokio::runtime::Runtime,
    /// What was traced here, as other backends and browsers compute the same.
    traced: Vec<(Cell, Result<Counts, String>)>,
}

impl Finder {
    /// The counts of a cell, or why there are none.
    fn counts(&mut self, cell: &Cell, case: Option<&Case>) -> Result<Counts, String> {
        let why = |error: anyhow::Error| format!("no counts: {error:#}");
        if let Some(counts) = counts::stored(cell, &self.store).map_err(why)? {
            return Ok(counts);
        }
        if let Some((_, counts)) = self.traced.iter().find(|(other, _)| is_alike(other, cell)) {
            return counts.clone();
        }
        let case = case.ok_or("no counts: it is not known which case it is")?;
        let counts = self.runtime.block_on(counts::traced(cell, case, self.limit)).map_err(why);
        self.traced.push((cell.clone(), counts.clone()));
        counts
    }
}

/// Bytes of the weights, told from the model's files without reading any weight.
fn weights(cell: &Cell, case: Option<&Case>) -> Option<u64> {
    let case = case?;
    let files: Vec<String> = case.files.iter().map(|file| file.name.clone()).collect();
    let plan = Weights::open(&case.folder, &files).ok()?.plan(&cell.precision).ok()?;
    Some(plan.memory().weights_bytes)
}

fn estimated(
    ceilings: &Ceilings,
    counts: Result<Counts, String>,
    weights: Option<u64>,
) -> Estimated {
    let counts = match counts {
        Ok(counts) => counts,
        Err(why) => return Estimated { bytes: weights, counts: why, ..Estimated::default() },
    };
    let memory = counts.outcome.memory.unwrap_or_default();
    Estimated {
        pass: pass(ceilings, &counts.outcome),
        token: traced(&counts.outcome, &["step"]).map(|pass| ceilings.pass(&pass.calls)),
        bytes: Some(weights.unwrap_or(memory.weights_bytes) + memory.kv_bytes),
        counts: counts.from,
    }
}

/// A traced pass of one of these names.
fn traced<'a>(outcome: &'a Outcome, names: &[&str]) -> Option<&'a PassTrace> {
    outcome.trace.iter().find(|pass| names.contains(&pass.pass.as_str()))
}

/// The forward pass, or the one over the prompt. A trace has one row of a prompt and the pass that is timed
/// has all, of which the cost is known as a whole: both take at least that long.
fn pass(ceilings: &Ceilings, outcome: &Outcome) -> Option<Estimate> {
    let by_calls = ceilings.pass(&traced(outcome, &["forward", "prompt"])?.calls);
    let cost = outcome.timing.as_ref().and_then(|timing| timing.pass_cost);
    let whole = cost.map(|cost| ceilings.whole(&cost));
    Some(whole.filter(|whole| whole.ms > by_calls.ms).unwrap_or(by_calls))
}

impl Measured {
    fn of(record: &Record) -> Option<Measured> {
        let timing = record.outcome.timing.as_ref()?;
        let bytes = |memory: Memory| {
            memory.gpu_peak_bytes.unwrap_or(memory.weights_bytes + memory.kv_bytes)
        };
        Some(Measured {
            pass_ms: timing.gpu_median_ms.unwrap_or(timing.median_ms),
            on_the_gpu: timing.gpu_median_ms.is_some(),
            token_ms: timing.decode_tps.filter(|tps| *tps > 0.0).map(|tps| 1e3 / tps),
            bytes: record.outcome.memory.map(bytes),
        })
    }
}

fn show(lines: &[Line], reports: &[Kept], ui: &Ui) {
    if ui.is_json() {
        for line in lines {
            let mut value = json!(line);
            value["estimated"]["formula"] = json!(FORMULA);
            ui.result("", value);
        }
        return;
    }
    let mut used: Vec<&Kept> = Vec::new();
    for line in lines {
        let of_cell = reports.iter().find(|kept| is_for(&kept.run, &line.cell));
        used.extend(of_cell.filter(|kept| !used.iter().any(|other| std::ptr::eq(*other, *kept))));
    }
    ui.result(format!("estimated, not measured: {FORMULA}"), json!(null));
    for Kept { at, run } in used {
        let when = if at.is_empty() { String::new() } else { format!(", bench of {at}") };
        let text = format!("  {} on {}: {}{when}", run.name, run.backend, hardware(run));
        ui.result(text, json!(null));
    }
    ui.result(table::text(lines), json!(null));
}

/// How far the estimates of a run's cells were off, in a line for each browser and backend of which a report
/// is kept. Cells that were not traced are left out: dispatches, which bind most small models, are not known
/// of them.
pub(crate) fn say_how_far(records: &[Record], database: Option<&Path>, ui: &Ui) -> Result<()> {
    let benches = store::Benches::of(database)?;
    for kept in benches.of_records(records) {
        let Ok(ceilings) = Ceilings::of(&kept.run.report) else { continue };
        let of_device = records.iter().filter(|record| store::is_of(&kept.run, record));
        let ratios = of_device.filter_map(|record| {
            let estimate = pass(&ceilings, &record.outcome)?;
            let ratio = Measured::of(record)?.pass_ms / estimate.ms;
            ratio.is_finite().then_some(ratio)
        });
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (ratios.first(), ratios.last()) {
            let middle = engine::stats::median(&ratios);
            ui.say(format!(
                "{} on {}: passes took {middle:.1} times what is estimated by bench ({least:.1} to \
                 {most:.1}); `{} plan --estimate --run latest` tells of each cell",
                kept.run.name,
                kept.run.backend,
                crate::home::command()
            ));
        }
    }
    Ok(())
}
