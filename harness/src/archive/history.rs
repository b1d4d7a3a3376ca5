//! `harness history`: what came of a cell, run after run.

use super::DatabaseArgs;
use crate::{
    store::{self, Filter},
    ui::Ui,
};
use anyhow::{Result, ensure};
use record::{Backend, Bits, Browser, Record, Reference};
use serde_json::json;

/// What `history` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness history --case smollm2-135m --bits 4 --backend webgpu --browser chrome
      one cell, the latest run first
  cargo harness history --json --case minilm --limit 100
      whole records, one a line")]
pub struct Args {
    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The case.
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,

    /// The browser.
    #[arg(long)]
    pub browser: Option<Browser>,

    /// The backend.
    #[arg(long)]
    pub backend: Option<Backend>,

    /// Bits of the stored weights.
    #[arg(long)]
    pub bits: Option<Bits>,

    /// Show so many records, the latest.
    #[arg(long, value_name = "N", default_value = "20")]
    pub limit: u32,
}

/// Shows the records, the latest first.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let store = store::open(args.database.db.as_deref(), None, ui)?;
    let records = store.history(&Filter {
        case: args.case.clone(),
        browser: args.browser,
        backend: args.backend,
        bits: args.bits,
        limit: Some(args.limit),
    })?;
    ensure!(!records.is_empty(), "no stored record is like that; `report --list` shows the runs");
    for record in &records {
        ui.result(line(record), json!(record));
    }
    Ok(())
}

/// `2026-01-02T03:04:05Z  pass  bert-tiny 4-bit wasm chrome 156.0  1.50 ms [1.25, 1.75]  4.50 bpw`
fn line(record: &Record) -> String {
    let (cell, outcome) = (&record.cell, &record.outcome);
    let version = &record.environment.browser.version;
    let mut parts =
        vec![record.started_at.clone(), format!("{:11}", outcome.status.name()), cell.to_string()];
    if !version.is_empty() {
        parts.push(version.clone());
    }
    if let Some(timing) = &outcome.timing {
        let [low, high] = timing.ci95_ms;
        parts.push(format!("{:.2} ms [{low:.2}, {high:.2}]", timing.median_ms));
        parts.extend(timing.decode_tps.map(|tps| format!("{tps:.1} tok/s")));
    }
    if let Some(memory) = &outcome.memory {
        parts.push(format!("{:.2} bpw", memory.bpw));
    }
    if let Some(found) = &outcome.correctness {
        parts.extend(found.kernel_rel_l2.map(|error| format!("kernel error {error:.1e}")));
        let by = outcome.reference.filter(|by| *by != Reference::Transformers);
        let by = by.map(|by| format!(" by {}", by.title())).unwrap_or_default();
        parts.extend(found.kl.map(|kl| format!("KL {kl:.2e}{by}")));
    }
    parts.extend(outcome.reason.clone());
    parts.push(record.run_id.clone());
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::Status;

    #[test]
    fn a_line_has_the_figures_that_are_there() {
        let mut record = sample::record("r", Status::Pass);
        assert_eq!(
            line(&record),
            "2026-01-02T03:04:05Z  pass         bert-tiny 4-bit wasm chrome  156.0.7000.1  \
             1.50 ms [1.25, 1.75]  r"
        );
        record.outcome.timing = None;
        record.outcome.reason = Some("no navigator.gpu".into());
        assert!(line(&record).ends_with("156.0.7000.1  no navigator.gpu  r"));
    }
}
