//! `harness history`: what came of a cell, run after run.

use super::{
    DatabaseArgs,
    compare::{Finding, Rule, Verdict, since_before},
};
use crate::{
    store::{self, Filter},
    suggest,
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
      one cell, the latest run first, with what changed from one to the next
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
    #[arg(long, value_parser = suggest::name::<Browser>)]
    pub browser: Option<Browser>,

    /// The backend.
    #[arg(long, value_parser = suggest::name::<Backend>)]
    pub backend: Option<Backend>,

    /// Bits of the stored weights.
    #[arg(long, value_parser = suggest::name::<Bits>)]
    pub bits: Option<Bits>,

    /// Show so many records, the latest.
    #[arg(long, value_name = "N", default_value = "20")]
    pub limit: u32,
}

/// So many records before those that are shown tell how much their cells move without a cause.
const BEFORE: u32 = 100;

/// Shows the records, the latest first, and what changed in each by the rule of `compare`.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let store = store::open(args.database.db.as_deref(), None, ui)?;
    let records = store.history(&Filter {
        case: args.case.clone(),
        browser: args.browser,
        backend: args.backend,
        bits: args.bits,
        limit: Some(args.limit.saturating_add(BEFORE)),
    })?;
    ensure!(!records.is_empty(), "no stored record is like that; `report --list` shows the runs");
    let changed = since_before(&records, Rule::default());
    for (record, changed) in records.iter().zip(&changed).take(args.limit as usize) {
        let mut value = json!(record);
        if !changed.is_empty() {
            value["changed"] = json!(changed);
        }
        ui.result(line(record, changed), value);
    }
    Ok(())
}

/// `2026-01-02T03:04:05Z  pass  bert-tiny 4-bit wasm chrome 156.0  1.50 ms [1.25, 1.75]  4.50 bpw`
fn line(record: &Record, changed: &[Finding]) -> String {
    let (cell, outcome) = (&record.cell, &record.outcome);
    let version = &record.environment.browser.version;
    let mut parts =
        vec![record.started_at.clone(), format!("{:11}", outcome.status.name()), cell.to_string()];
    if !version.is_empty() {
        parts.push(version.clone());
    }
    if let Some(timing) = &outcome.timing {
        let interval = timing.ci95_ms.map(|[low, high]| format!(" [{low:.2}, {high:.2}]"));
        let flags = record.flag_names().map(|names| format!(" ({names})"));
        let [interval, flags] = [interval, flags].map(Option::unwrap_or_default);
        parts.push(format!("{:.2} ms{interval}{flags}", timing.median_ms));
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
    for finding in changed {
        let better = if finding.verdict == Verdict::Better { "better" } else { "worse" };
        parts.push(format!("{better}: {finding}"));
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
            line(&record, &[]),
            "2026-01-02T03:04:05Z  pass         bert-tiny 4-bit wasm chrome  156.0.7000.1  \
             1.50 ms [1.25, 1.75]  r"
        );
        record.outcome.hidden = true;
        assert!(line(&record, &[]).contains("1.50 ms [1.25, 1.75] (hidden page)  r"));
        record.outcome.timing = None;
        record.outcome.reason = Some("no navigator.gpu".into());
        assert!(line(&record, &[]).ends_with("156.0.7000.1  no navigator.gpu  r"));
    }
}
