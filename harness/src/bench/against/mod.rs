//! `harness bench --against OTHER`: is this build faster or slower than another one?
//!
//! The two take turns as A B B A, each as a child with the same options, so that whatever becomes of the
//! machine meanwhile becomes of both. `side` starts a child and reads what it wrote, `joined` puts together
//! what both have timed, `verdict` knows what that says and whether there has to be more, `shown` prints it.
//! How rows and cells are timed is left to `bench` and `run` of either build.

mod joined;
mod shown;
mod side;
mod verdict;

use super::Args;
use crate::{
    exit::Exit,
    interruption::interruption,
    ui::{Bar, Ui, Unit},
};
use anyhow::{Context, Result, ensure};
use joined::{Round, Visit, join};
use serde_json::{Value, json};
use side::{Side, Work};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use verdict::{Judged, judge, next_look};

/// What makes the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Some group is slower than in the other build.
    Slower,
}

/// Time for all of it where nobody says.
const BUDGET: Duration = Duration::from_secs(600);

/// Why no more rounds were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// Every group has a verdict.
    Decided,
    /// Another round would take longer than is left.
    Budget,
    /// The user wants no more.
    Interrupted,
    /// A build that had measured before gave nothing.
    Failed,
}

impl Stopped {
    const fn name(self) -> &'static str {
        match self {
            Stopped::Decided => "every group is decided",
            Stopped::Budget => "another round would take longer than --budget allows",
            Stopped::Interrupted => "interrupted",
            Stopped::Failed => "a build failed",
        }
    }
}

/// Compares this build with the other one.
pub(super) fn run(args: &Args, other: &Path, ui: &Ui) -> Result<Exit> {
    let budget = args.budget.unwrap_or(BUDGET);
    let sides = [Side::Own, Side::other(other)?];
    let work = Work::of(args, budget)?;
    let mut measured = Measured { rounds: Vec::new(), looks: 0, commits: Default::default() };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let stopped = runtime.block_on(async {
        tokio::select! {
            stopped = measured.all(&work, &sides, budget, ui) => stopped,
            // Dropping the child ends it.
            _ = interruption() => Ok(Stopped::Interrupted),
        }
    })?;
    let judged = measured.judged();
    if stopped == Stopped::Interrupted && measured.rounds.is_empty() {
        return Ok(Exit::Interrupted);
    }
    let is_of_models = args.models.is_some();
    let value = measured.json(&judged, &sides, stopped, is_of_models);
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&value)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    ensure!(
        !judged.rows.is_empty(),
        "the builds have nothing in common that can be compared{}",
        judged
            .left_out
            .iter()
            .take(5)
            .map(|(what, why)| format!("\n  {what}: {why}"))
            .collect::<String>()
    );
    let text = format!(
        "{}; {} rounds, {}\n{}",
        measured.who(&sides),
        judged.rounds,
        stopped.name(),
        shown::text(&judged, is_of_models)
    );
    ui.result(text, value);
    Ok(match stopped {
        Stopped::Interrupted => Exit::Interrupted,
        _ if args.fail_on.contains(&FailOn::Slower) && judged.has_slower() => Exit::CellFailed,
        Stopped::Failed => Exit::Infra,
        Stopped::Decided | Stopped::Budget => Exit::Ok,
    })
}

/// What was measured so far.
struct Measured {
    rounds: Vec<Round>,
    /// How often it was judged.
    looks: usize,
    /// The engines of this build and of the other one.
    commits: [Vec<String>; 2],
}

impl Measured {
    async fn all(
        &mut self,
        work: &Work,
        sides: &[Side; 2],
        budget: Duration,
        ui: &Ui,
    ) -> Result<Stopped> {
        let bar = ui.bar("this build and the other one", None, Unit::Steps);
        for side in sides {
            bar.message(format!("preparing {}", side.name()));
            work.prepare(side).await?;
        }
        let start = Instant::now();
        let (mut longest, mut look) = (Duration::ZERO, next_look(0));
        loop {
            let round_start = Instant::now();
            let number = self.rounds.len() + 1;
            match self.round(work, sides, &bar).await {
                Ok(round) => self.rounds.push(round),
                Err(error) if self.rounds.is_empty() => return Err(error),
                Err(error) => {
                    ui.error(format!("round {number}: {error:#}"));
                    return Ok(Stopped::Failed);
                }
            }
            // What has nothing in common will not get any.
            if self.rounds.iter().all(|round| round.times.is_empty()) {
                return Ok(Stopped::Budget);
            }
            longest = longest.max(round_start.elapsed());
            if self.rounds.len() == look {
                self.looks += 1;
                if judge(&self.rounds, self.looks).is_decided() {
                    return Ok(Stopped::Decided);
                }
                look = next_look(look);
            }
            if start.elapsed() + longest > budget {
                return Ok(Stopped::Budget);
            }
        }
    }

    /// One visit of each side, this build first in every other round.
    async fn round(&mut self, work: &Work, sides: &[Side; 2], bar: &Bar) -> Result<Round> {
        let is_odd = self.rounds.len() % 2;
        let mut visits: [Option<(Visit, f64)>; 2] = [None, None];
        for at in [is_odd, 1 - is_odd] {
            let side = if at == 0 { "this build" } else { "the other build" };
            bar.message(format!("round {}: {side}", self.rounds.len() + 1));
            let visit = work.visit(&sides[at]).await?;
            self.commits[at] = visit.0.commits().into_iter().map(str::to_owned).collect();
            visits[at] = Some(visit);
        }
        let [Some((own, own_s)), Some((other, other_s))] = visits else {
            unreachable!("both sides were visited");
        };
        Ok(join(&own, &other, [own_s, other_s]))
    }

    /// What all rounds say: as on the last look where none came after it, else on one more.
    fn judged(&self) -> Judged {
        let looked_at = (0..self.looks).fold(0, |rounds, _| next_look(rounds));
        let is_new = looked_at != self.rounds.len() || self.looks == 0;
        judge(&self.rounds, self.looks + usize::from(is_new))
    }

    /// `this build (1a2b3c4) against /opt/old/harness (f64b8b2)`
    fn who(&self, sides: &[Side; 2]) -> String {
        let named = [0, 1].map(|at| {
            let commits = self.commits[at].join(", ");
            let commits = if commits.is_empty() { commits } else { format!(" ({commits})") };
            format!("{}{commits}", sides[at].name())
        });
        named.join(" against ")
    }

    fn json(
        &self,
        judged: &Judged,
        sides: &[Side; 2],
        stopped: Stopped,
        is_of_models: bool,
    ) -> Value {
        let side = |at: usize| json!({"program": sides[at].name(), "engines": self.commits[at]});
        json!({"against": {
            "this": side(0),
            "other": side(1),
            "of": if is_of_models { "models" } else { "ops" },
            "stopped": stopped.name(),
            "judged": judged,
        }})
    }
}
