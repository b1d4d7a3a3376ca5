//! `harness gate`: whether a run keeps to budgets beside another one, for CI.
//!
//! `compare` says what changed, cell by cell; a gate says of the whole run whether it may be merged. There is one for
//! verdicts, one for loss, one for sizes, and one for the speed of each browser and backend. `judge` has the rules;
//! here they are asked, and what came of them is told to people, to GitHub's summaries and as JUnit XML.

mod judge;

use super::{DatabaseArgs, compare::open};
use crate::{
    exit::Exit,
    outputs::{step_summary, write_file},
    ui::Ui,
};
use anyhow::{Context, Result, ensure};
use judge::{Gate, State, judge};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;
use std::{fmt::Write as _, fs::OpenOptions, io::Write as _, path::PathBuf};

/// Cells of a broken gate that are shown.
const SHOWN: usize = 12;

/// What `gate` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A gate breaks if

  verdicts  a cell that passed fails, breaks, takes too long or is unsupported now;
  loss      of a cell the divergence, or else the relative error, from the model's own outputs, or the share of
            wrong answers, grew by more than --max-loss;
  sizes     weights and key-value cache of a cell grew by more than --max-growth;
  speed     of a browser and backend, over all its cells, passes and tokens take longer by more than
            --max-slowdown in their geometric mean, and its interval (99%) leaves no doubt that they take longer.

So of equal runs less than one column in two hundred breaks by chance. Loss and sizes are computed and not measured.
Times are those of `compare`, by the yardstick where there is one, and only on the same machine; cells that one of
the runs does not have are counted and do not count. Runs are best taken with --rounds 4, which makes them steadier.

Budgets stand in harness.toml like options of `run`: max-loss = 5 in [profile.default].

Examples:
  cargo harness gate --baseline latest~1
      the latest run beside the one before it
  cargo harness gate --baseline main.jsonl --max-slowdown 5 --junit gate.xml
      beside a run that was recorded elsewhere; exits with 1 if a budget broke")]
pub struct Args {
    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// The run whose figures are the measure: an id, latest, latest~1, … or a file of JSON lines.
    #[arg(long, value_name = "RUN")]
    pub baseline: String,

    /// The run to judge, in the same way.
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,

    /// The budgets.
    #[command(flatten)]
    pub budgets: Budgets,

    /// Write a test case for each gate as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// By how much figures may be worse, in per cent.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Budgets {
    /// By how much the loss of a cell may grow.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub max_loss: f64,

    /// By how much passes and tokens of a browser's backend may take longer.
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percent)]
    pub max_slowdown: f64,

    /// By how much weights and key-value cache of a cell may grow.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    pub max_growth: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>();
    let number = number.map_err(|_| "a number of per cent is wanted, such as 5".to_owned())?;
    let is_one = number.is_finite() && number >= 0.0;
    is_one.then_some(number).ok_or_else(|| "it must not be negative".to_owned())
}

/// Asks all gates.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let [baseline, run] =
        [&args.baseline, &args.run].map(|name| open(name, args.database.db.as_deref(), ui));
    let ((of_baseline, baseline), (of_run, run)) = (baseline?, run?);
    let (before, after) = (of_baseline.records(&baseline)?, of_run.records(&run)?);
    let judged = judge(&before, &after, args.budgets);
    ensure!(judged.common > 0, "the runs {baseline} and {run} have no cell in common");
    for gate in &judged.gates {
        ui.result(lines(gate), json!(gate));
    }
    let apart = judged.apart;
    let broken = judged.gates.iter().filter(|gate| gate.state == State::Broken).count();
    ui.result(
        format!(
            "{run} beside {baseline}: {broken} of {} gates broke; {} cells in common, {apart} in one run alone",
            judged.gates.len(),
            judged.common
        ),
        json!({"baseline": baseline, "run": run, "broken": broken, "common": judged.common, "apart": apart}),
    );
    if let Some(path) = &args.junit {
        write_file(path, junit(&judged.gates)?.as_bytes())?;
        ui.say(format!("wrote {}", path.display()));
    }
    if let Some(path) = step_summary() {
        let context = || format!("appending to the step summary {}", path.display());
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).with_context(context)?;
        file.write_all(summary(&judged.gates, &baseline).as_bytes()).with_context(context)?;
    }
    Ok(if broken > 0 { Exit::CellFailed } else { Exit::Ok })
}

/// A gate, and what broke it.
fn lines(gate: &Gate) -> String {
    let mut text = format!("{:11}  {}: {}", gate.state.name(), gate.name, gate.found);
    for breach in gate.breaches.iter().take(SHOWN) {
        let _ = write!(text, "\n             {breach}");
    }
    if gate.breaches.len() > SHOWN {
        let _ = write!(text, "\n             and {} more", gate.breaches.len() - SHOWN);
    }
    text
}

fn junit(gates: &[Gate]) -> Result<String> {
    let mut suite = TestSuite::new("gate");
    for gate in gates {
        let status = match gate.state {
            State::Held => TestCaseStatus::success(),
            State::Broken => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(&gate.found).set_description(gate.breaches.join("\n"));
                status
            }
            State::CannotTell => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(&gate.found);
                status
            }
        };
        suite.add_test_case(TestCase::new(&gate.name, status));
    }
    let mut report = Report::new("fewbit gate");
    report.add_test_suite(suite);
    report.to_string().context("writing JUnit XML")
}

/// A table for the page of a GitHub job. A name of a case may hold what Markdown reads as markup, so it stands in code.
fn summary(gates: &[Gate], baseline: &str) -> String {
    let code = |text: &str| format!("`{}`", text.replace(['`', '|', '\n', '\r'], " "));
    let mut text = format!("\n## Gates beside {}\n\n| gate | | |\n|---|---|---|\n", code(baseline));
    for gate in gates {
        let mark = match gate.state {
            State::Held => "✓ held",
            State::Broken => "✕ **broken**",
            State::CannotTell => "? cannot tell",
        };
        let _ = writeln!(text, "| {} | {mark} | {} |", gate.name, code(&gate.found));
        for breach in gate.breaches.iter().take(SHOWN) {
            let _ = writeln!(text, "| | | {} |", code(breach));
        }
    }
    text
}

#[cfg(test)]
mod tests;
