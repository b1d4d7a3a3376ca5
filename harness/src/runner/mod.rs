//! Runs the cells: a queue per browser, a session per worker, a record per cell.
//!
//! Workers share the queues (`queues.rs`): with `--jobs 1` one works through browser after browser.
//! Whatever happens to a cell ends in its record, after further attempts where they may help
//! (`retry.rs`), and the worker goes on with the next cell, in a new session if the old one is of no
//! more use (`seat.rs`). Cells may be visited in several rounds (`rounds.rs`).

mod interruption;
mod queues;
mod retry;
mod rounds;
mod seat;

use crate::{
    config::Config,
    environments::Environments,
    grid::Grid,
    host,
    server::Server,
    session::Fault,
    store::Store,
    ui::{Bar, Ui, Unit},
};
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
pub(crate) use interruption::interruption;
use queues::Queues;
use record::{
    Attempt, Backend, Browser, Cell, Environment, Event, Outcome, PageReport, Record, Reference,
    Request, RunRequest, SCHEMA_VERSION, Shard, Status,
};
use rounds::Visit;
use seat::Seat;
use serde_json::json;
use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// What is given up for good: after so many failures in a row the rest of a queue would only repeat
/// them, at up to a minute each.
const PATIENCE: u32 = 2;

/// Further attempts at storing a record, over half a minute.
const STORE_RETRIES: u32 = 6;

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// What came of each cell, in the order in which they ended.
    pub records: Vec<Record>,
    /// What ended it before its last cell.
    pub cut: Option<Cut>,
}

/// What ended a run before its last cell.
#[derive(Debug)]
pub enum Cut {
    /// Ctrl-C, or the system or its user in another way (`interruption.rs`).
    Signal,
    /// The time allowed for the whole run is over.
    Time,
    /// The store takes no more records.
    Store(anyhow::Error),
}

/// The part of a plan that a run does.
#[derive(Clone, Debug)]
pub struct Work {
    /// What the store calls the run.
    pub run_id: String,
    /// Its cells, all of the plan of the configuration.
    pub cells: Vec<Cell>,
    /// Which part of the plan they are, where they are not all of it.
    pub shard: Option<Shard>,
    /// What its cells gave before, where the run was cut short and goes on.
    pub records: Vec<Record>,
}

/// Does `work`, with the page in the folder `web` where there is one.
pub async fn run(
    config: &Config,
    work: Work,
    web: Option<&Path>,
    store: Store,
    ui: &Ui,
) -> Result<Finished> {
    let server = Server::start(web, &config.cases, &config.listen).await?;
    let grid = match &config.grid {
        Some(url) => Some(Grid::open(url).await?),
        None => None,
    };
    let slots = match &grid {
        Some(grid) => Some(grid.slots().await?),
        None => None,
    };
    let workers = match &slots {
        // As many as there are slots for what is asked; one, to say so, if there is none.
        Some(slots) => {
            let mut wanted: Vec<Browser> = work.cells.iter().map(|cell| cell.browser).collect();
            wanted.sort_unstable();
            wanted.dedup();
            let slots_of = |browser| slots.by_browser.get(browser);
            let wanted: usize = wanted.iter().filter_map(slots_of).sum();
            wanted.min(slots.at_once).max(1)
        }
        None => config.jobs.max(1),
    };
    // Cells that were visited before come behind those that were not.
    let first = work.cells.into_iter().map(Visit::first);
    let further = work.records.iter().filter_map(|record| Visit::after(record, config.rounds));
    let visits = first.chain(further).collect();
    let runner = Runner {
        config,
        server,
        grid,
        ui,
        run_id: &work.run_id,
        shard: work.shard,
        host: host::host(),
        queues: Queues::of(visits, slots.map(|slots| slots.by_browser)),
        kept: Mutex::new((store, work.records)),
        environments: Mutex::default(),
    };
    let all = try_join_all((0..workers).map(|_| runner.work()));
    // Dropping the workers ends their sessions, so neither a signal nor the end of the time needs a
    // clean-up of its own.
    let cut = tokio::select! {
        result = all => result.err().map(Cut::Store),
        signal = interruption() => { signal?; Some(Cut::Signal) }
        () = over(config.run_timeout) => Some(Cut::Time),
    };
    if let Some(grid) = &runner.grid {
        grid.settle().await;
    }
    let (mut store, records) = runner.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    if cut.is_none() {
        store.finish(&work.run_id)?;
    }
    Ok(Finished { records, cut })
}

/// Waits until the time of a whole run is over.
async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Sorts by time and is unique among machines that share a store.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).context("asking the system for random bytes")?;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    Ok(format!("{time}-{:04x}", u16::from_ne_bytes(bytes)))
}

struct Runner<'a> {
    config: &'a Config,
    server: Server,
    grid: Option<Grid>,
    ui: &'a Ui,
    run_id: &'a str,
    shard: Option<Shard>,
    host: record::Host,
    queues: Queues,
    kept: Mutex<(Store, Vec<Record>)>,
    environments: Mutex<Environments>,
}

/// What a worker has learnt about the browser that it works with.
#[derive(Default)]
struct Desk {
    seat: Option<Seat>,
    sessions_missed: u32,
    probes_broken: HashMap<Backend, (u32, Fault)>,
}

impl Desk {
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
    /// Works through one queue after the other until all are empty.
    async fn work(&self) -> Result<()> {
        while let Some((browser, first)) = self.queues.join() {
            let worked = self.work_on(browser, first).await;
            self.queues.leave(browser);
            if !worked? {
                break;
            }
        }
        Ok(())
    }

    /// Works through the queue of a browser; says whether this worker is of further use.
    async fn work_on(&self, browser: Browser, first: Visit) -> Result<bool> {
        let rounds = self.config.rounds;
        let left = self.queues.left(browser, rounds) + u64::from(first.left(rounds));
        let bar = self.ui.bar(browser.name(), Some(left), Unit::Cells);
        let mut desk = Desk::default();
        let mut is_useful = Ok(true);
        let mut done = 0;
        let mut next = Some(first);
        while let Some(Visit { cell, before }) = next {
            bar.message(cell.to_string());
            let now = self.try_cell(&mut desk, cell, &bar).await;
            let record = match before {
                Some(before) => rounds::joined(*before, now),
                None => now,
            };
            let again = Visit::after(&record, rounds);
            if let Err(error) = self.keep(record, &bar).await {
                is_useful = Err(error);
                break;
            }
            if let Some(visit) = again {
                self.queues.add(visit);
            }
            done += 1;
            bar.set(done);
            // Where others still have sessions, the cells are theirs; the last worker records why
            // the rest has none.
            if desk.sessions_missed >= PATIENCE && self.queues.is_shared(browser) {
                is_useful = Ok(false);
                break;
            }
            next = self.queues.next(browser);
        }
        if let Some(seat) = desk.seat {
            seat.close().await;
        }
        bar.finish();
        is_useful
    }

    /// Runs a cell until it has a verdict or its attempts are used up.
    async fn try_cell(&self, desk: &mut Desk, cell: Cell, bar: &Bar) -> Record {
        let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let started = Instant::now();
        let mut earlier = Vec::new();
        loop {
            let attempt = Instant::now();
            let mut environment = Environment { host: self.host.clone(), ..Default::default() };
            let outcome = match self.run_cell(desk, &cell, &mut environment, bar).await {
                Ok(outcome) => outcome,
                Err(fault) => {
                    if fault.is_fatal {
                        desk.leave_seat().await;
                    }
                    fault.outcome()
                }
            };
            // A browser that lost its GPU may refuse it to every later page, and a shader that does
            // not end outlives the worker that started it.
            let on_gpu = cell.backend == Backend::Webgpu;
            if outcome.status == Status::Crash || (on_gpu && outcome.status == Status::Timeout) {
                desk.leave_seat().await;
            }
            let retries = retry::retries(outcome.status, self.config.retries);
            if earlier.len() < retries as usize && !desk.is_hopeless(cell.backend) {
                earlier.push(Attempt {
                    status: outcome.status,
                    reason: outcome.reason,
                    duration_ms: attempt.elapsed().as_secs_f64() * 1e3,
                });
                bar.message(format!("{cell}: {}, tries again", outcome.status.name()));
                sleep(retry::delay(earlier.len() as u32)).await;
                continue;
            }
            return Record {
                schema_version: SCHEMA_VERSION,
                run_id: self.run_id.to_owned(),
                started_at,
                synthetic_weights: self
                    .config
                    .case(&cell)
                    .is_some_and(|case| case.synthetic_weights),
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
        desk: &mut Desk,
        cell: &Cell,
        environment: &mut Environment,
        bar: &Bar,
    ) -> Result<Outcome, Fault> {
        let case = self.config.case(cell).expect("the plan is made of the cases of the config");
        let seat = self.seat(desk, cell.browser).await?;
        environment.browser = seat.info();
        let report = match seat.report(cell.backend) {
            Some(report) => report.clone(),
            None => self.probe(desk, cell, bar).await?,
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
        let seat = self.seat(desk, cell.browser).await?;
        let request = Request::Run(RunRequest {
            cell: cell.clone(),
            case_url: seat.case_url(case, &self.server),
            files: case.files.clone(),
            repeat: self.config.repeat,
            warmup: 1,
            max_new_tokens: None,
        });
        match seat.ask(&request, self.config.timeout, &mut |event| show(bar, cell, event)).await? {
            record::Answer::Run(outcome) => Ok(*outcome),
            _ => Err(mismatch("run")),
        }
    }

    /// The session of the desk; a new one if there is none.
    async fn seat<'d>(&self, desk: &'d mut Desk, browser: Browser) -> Result<&'d mut Seat, Fault> {
        if desk.seat.is_none() {
            let none = |message: String| Fault {
                status: Status::Infra,
                stage: "session".into(),
                message,
                is_fatal: false,
            };
            if desk.sessions_missed >= PATIENCE {
                return Err(none(format!("no session of {browser} could be had before")));
            }
            match Seat::open(browser, self.config.look, self.grid.as_ref(), &self.server.page_url())
                .await
            {
                Ok(seat) => {
                    desk.sessions_missed = 0;
                    desk.seat = Some(seat);
                }
                Err(error) => {
                    desk.sessions_missed += 1;
                    return Err(none(format!("{error:#}")));
                }
            }
        }
        Ok(desk.seat.as_mut().expect("it was put there above"))
    }

    /// Asks the page who it is and whether its kernels are right, before its first cell.
    async fn probe(&self, desk: &mut Desk, cell: &Cell, bar: &Bar) -> Result<PageReport, Fault> {
        let backend = cell.backend;
        if let Some((PATIENCE.., fault)) = desk.probes_broken.get(&backend) {
            return Err(Fault { is_fatal: false, ..fault.clone() });
        }
        let seat = self.seat(desk, cell.browser).await?;
        let request = Request::Probe { backend, self_test: true };
        let show = &mut |event: &Event| show(bar, cell, event);
        let fault = match seat.ask(&request, self.config.timeout, show).await {
            Ok(record::Answer::Probe(report)) => {
                seat.learn(backend, (*report).clone());
                return Ok(*report);
            }
            Ok(_) => mismatch("probe"),
            Err(fault) => fault,
        };
        let fault = Fault { stage: "self-test".into(), ..fault };
        // A driver that dies says nothing about the backend.
        if fault.status != Status::Infra {
            let broken = desk.probes_broken.entry(backend).or_insert((0, fault.clone()));
            *broken = (broken.0 + 1, fault.clone());
        }
        Err(fault)
    }

    /// Stores a record, and then says so. A store that another program holds, or that has no room, is
    /// tried again for a while: a cell is not measured in vain.
    async fn keep(&self, mut record: Record, bar: &Bar) -> Result<()> {
        record.expectation = self.config.expectations.judge(&record);
        let mut attempts = 0;
        loop {
            let stored = self.kept().0.put(&record);
            match stored {
                Ok(()) => break,
                Err(error) if attempts == STORE_RETRIES => return Err(error),
                Err(_) => attempts += 1,
            }
            bar.message(format!("{}: cannot store it yet, tries again", record.cell));
            sleep(retry::delay(attempts)).await;
        }
        let text = line(&record);
        match record.outcome.status {
            _ if self.ui.is_json() => self.ui.result("", json!(record)),
            Status::Pass | Status::Flaky | Status::Unsupported | Status::Skip => self.ui.say(text),
            _ => self.ui.warn(text),
        }
        let records = &mut self.kept().1;
        match records.iter_mut().find(|other| record.rounds > 1 && other.cell == record.cell) {
            Some(before) => *before = record,
            None => records.push(record),
        }
        Ok(())
    }

    fn environments(&self) -> MutexGuard<'_, Environments> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, (Store, Vec<Record>)> {
        // The store is whole after each call, whatever came of it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mismatch(request: &str) -> Fault {
    Fault {
        status: Status::Error,
        stage: request.into(),
        message: format!("the page answered another request than {request}"),
        is_fatal: true,
    }
}

fn show(bar: &Bar, cell: &Cell, event: &Event) {
    match event {
        Event::Stage { stage } => bar.message(format!("{cell}: {stage}")),
        Event::Loading { done_bytes, total_bytes } => {
            let percent = done_bytes * 100 / (*total_bytes).max(1);
            bar.message(format!("{cell}: load {percent}%"));
        }
        Event::Token { count, .. } => bar.message(format!("{cell}: generate {count}")),
        Event::Hidden | Event::Text { .. } | Event::Done { .. } | Event::Failed { .. } => {}
    }
}

/// Who computed what is expected, where it was not transformers.
fn own_reference(outcome: &Outcome) -> Option<&'static str> {
    outcome.reference.filter(|by| *by != Reference::Transformers).map(Reference::title)
}

/// `pass bert-tiny 4-bit webgpu chrome, 12.3 ms, 4.50 bpw`
fn line(record: &Record) -> String {
    let outcome = &record.outcome;
    let mut line = format!("{} {}", outcome.status.name(), record.cell);
    if record.synthetic_weights {
        line += ", synthetic weights";
    }
    if outcome.synthetic_inputs && !record.synthetic_weights {
        line += ", synthetic inputs";
    }
    if let Some(timing) = &outcome.timing {
        line += &format!(", {:.1} ms", timing.median_ms);
    }
    if let Some(tps) = outcome.timing.as_ref().and_then(|timing| timing.decode_tps) {
        line += &format!(", {tps:.1} tok/s");
    }
    if let Some(memory) = &outcome.memory {
        line += &format!(", {:.2} bpw", memory.bpw);
    }
    if let Some(own) = own_reference(outcome) {
        line += &format!(", reference: {own}");
    }
    if record.attempts > 1 {
        line += &format!(", attempt {}", record.attempts);
    }
    if let Some(reason) = &outcome.reason {
        let stage = outcome.stage.as_deref().map(|stage| format!("{stage}: ")).unwrap_or_default();
        line += &format!(": {stage}{reason}");
    }
    line
}
