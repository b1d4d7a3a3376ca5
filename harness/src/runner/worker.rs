//! One cell after another in one session: its attempts, its verdict, its record.

use super::{Runner, probe::Sound, progress::show, retry, seat::Seat};
use crate::{
    browser::{BrowserId, Gpu},
    session::Fault,
    ui::Bar,
};
use record::{
    Answer, Attempt, Backend, Cell, Environment, Outcome, Record, Request, RunRequest,
    SCHEMA_VERSION, Status, Tuning,
};
use std::{collections::HashMap, time::Instant};
use tokio::time::sleep;

/// What is given up for good: after so many failures in a row the rest of a queue would only repeat
/// them, at up to a minute each.
pub(super) const PATIENCE: u32 = 2;

/// Passes of a cell, at most, whose passes take less than [`QUICK_MS`] together: as many as `compare`
/// wants, where that costs nearly nothing.
const QUICK_PASSES: u32 = 10;
/// See [`QUICK_PASSES`].
const QUICK_MS: f64 = 100.0;

/// What a worker has learnt about the browser that it works with.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) seat: Option<Seat>,
    pub(super) sessions_missed: u32,
    pub(super) probes_broken: HashMap<Backend, (u32, Fault)>,
    /// What the self-test of an earlier session found, where it found nothing wrong.
    pub(super) sound: HashMap<Backend, Sound>,
}

impl Worker {
    /// Ends the session; the next cell gets another.
    async fn leave_seat(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.kill().await;
        }
    }

    /// Whether another attempt at a cell of `backend` would only repeat what was seen.
    fn is_hopeless(&self, backend: Backend) -> bool {
        self.sessions_missed >= PATIENCE
            || self.probes_broken.get(&backend).is_some_and(|(times, _)| *times >= PATIENCE)
    }
}

impl Runner<'_> {
    /// Runs a cell until it has a verdict or its attempts are used up; `tuning` is what an earlier visit ran with.
    pub(super) async fn try_cell(
        &self,
        worker: &mut Worker,
        cell: Cell,
        tuning: Option<&Tuning>,
        bar: &Bar,
    ) -> Record {
        let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let started = Instant::now();
        let mut earlier = Vec::new();
        loop {
            let attempt = Instant::now();
            let mut environment = Environment { host: self.host.clone(), ..Default::default() };
            let outcome = match self.run_cell(worker, &cell, tuning, &mut environment, bar).await {
                Ok(outcome) => outcome,
                Err(fault) => {
                    if fault.is_fatal {
                        worker.leave_seat().await;
                    }
                    fault.outcome()
                }
            };
            // A browser that lost its GPU may refuse it to every later page, and a shader that does
            // not end outlives the worker that started it.
            let on_gpu = cell.backend == Backend::Webgpu;
            if outcome.status == Status::Crash || (on_gpu && outcome.status == Status::Timeout) {
                worker.leave_seat().await;
            }
            let retries = retry::retries(outcome.status, self.config.retries);
            if earlier.len() < retries as usize && !worker.is_hopeless(cell.backend) {
                earlier.push(Attempt {
                    status: outcome.status,
                    reason: outcome.reason,
                    duration_ms: attempt.elapsed().as_secs_f64() * 1e3,
                });
                bar.message(format!("{cell}: {}, tries again", outcome.status.name()));
                sleep(retry::delay(earlier.len() as u32)).await;
                continue;
            }
            let case = self.config.case(&cell);
            return Record {
                schema_version: SCHEMA_VERSION,
                run_id: self.run_id.to_owned(),
                started_at,
                synthetic_weights: case.is_some_and(|case| case.synthetic_weights),
                untrained: case.is_some_and(|case| case.untrained),
                repro: self.config.repro(&cell),
                cell,
                environment: self.environments().share(environment),
                outcome: retry::judged(outcome, &earlier),
                attempts: earlier.len() as u32 + 1,
                earlier,
                rounds: 1,
                expectation: None,
                shard: self.shard.clone(),
                duration_ms: started.elapsed().as_secs_f64() * 1e3,
            };
        }
    }

    async fn run_cell(
        &self,
        worker: &mut Worker,
        cell: &Cell,
        tuning: Option<&Tuning>,
        environment: &mut Environment,
        bar: &Bar,
    ) -> Result<Outcome, Fault> {
        let case = self.config.case(cell).expect("the plan is made of the cases of the config");
        let seat = self.seat(worker, cell).await?;
        environment.browser = seat.info();
        let report = match seat.report(cell.backend) {
            Some(report) => report.clone(),
            None => self.probe(worker, cell, bar).await?,
        };
        environment.adapter = report.adapter.clone();
        environment.engine = report.engine.clone();
        environment.capabilities = report.capabilities.clone();
        if let Some(reason) = &report.unsupported {
            return Ok(Outcome::without_figures(Status::Unsupported, "probe", reason));
        }
        if let Some(check) = report.failure() {
            let error = check.error.as_deref().unwrap_or_default();
            let message = format!("op {}: {error}", check.op);
            return Ok(Outcome::without_figures(Status::Error, "self-test", message));
        }
        let seat = self.seat(worker, cell).await?;
        let told = self.told(cell, environment, tuning);
        let request = Request::Run(RunRequest {
            cell: cell.clone(),
            case_url: seat.case_url(case, &self.server),
            files: case.files.clone(),
            repeat: self.config.repeat,
            repeat_quick: QUICK_PASSES,
            quick_ms: QUICK_MS,
            warmup: 1,
            max_new_tokens: None,
            lower_to: self.config.lower_to,
            trace: self.config.trace,
            tuning: told.known.clone().map(Box::new),
            tuning_ms: told.budget_ms,
        });
        let adapter = environment.adapter.as_ref().and_then(|adapter| adapter.software);
        // Firefox does not say what its adapter is; the harness chose it.
        let is_software = adapter.unwrap_or(self.config.session.gpu == Gpu::Software);
        let on_gpu = matches!(cell.backend, Backend::Webgpu | Backend::Native);
        let limit = self.config.limit(case, on_gpu && is_software);
        match seat.ask(&request, limit, &mut |event| show(bar, cell, event)).await? {
            Answer::Run(mut outcome) => {
                self.keep_tuning(cell, environment, &told, &mut outcome);
                Ok(*outcome)
            }
            _ => Err(mismatch("run")),
        }
    }

    /// The session of the worker; a new one if there is none.
    pub(super) async fn seat<'d>(
        &self,
        worker: &'d mut Worker,
        cell: &Cell,
    ) -> Result<&'d mut Seat, Fault> {
        if worker.seat.is_none() {
            let none = |message: String| Fault {
                status: Status::Infra,
                stage: "session".into(),
                message,
                is_fatal: false,
            };
            if worker.sessions_missed >= PATIENCE {
                let browser = BrowserId::of(cell);
                return Err(none(format!("no session of {browser} could be had before")));
            }
            let target = self.config.target(cell);
            let page = self.server.page_url();
            match Seat::open(&target, self.config.session, self.grid.as_ref(), &page).await {
                Ok(seat) => {
                    worker.sessions_missed = 0;
                    worker.seat = Some(seat);
                }
                Err(error) => {
                    worker.sessions_missed += 1;
                    return Err(none(format!("{error:#}")));
                }
            }
        }
        Ok(worker.seat.as_mut().expect("it was put there above"))
    }
}

pub(super) fn mismatch(request: &str) -> Fault {
    Fault {
        status: Status::Error,
        stage: request.into(),
        message: format!("the page answered another request than {request}"),
        is_fatal: true,
    }
}
