//! Runs the cells: a queue per browser, a session per queue, a record per cell.
//!
//! Whatever happens to a cell ends in its record, and the queue goes on with the next cell, in a new
//! session if the old one is of no more use.

mod seat;

use crate::{
    config::Config,
    host,
    plan::plan,
    server::Server,
    session::Fault,
    store::Store,
    ui::{Bar, Ui, Unit},
};
use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use record::{
    Backend, Browser, Cell, Environment, Event, Outcome, PageReport, Record, Request, RunRequest,
    SCHEMA_VERSION, Status,
};
use seat::Seat;
use serde_json::json;
use std::{collections::HashMap, path::Path, sync::Mutex};
use tokio::signal::unix::{SignalKind, signal};

/// What is given up for good: after so many failures in a row the rest of a queue would only repeat
/// them, at up to a minute each.
const PATIENCE: u32 = 2;

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// Its name in the store.
    pub run_id: String,
    /// What came of each cell, in the order in which they ended.
    pub records: Vec<Record>,
    /// Whether a signal ended it before its last cell.
    pub was_interrupted: bool,
}

/// Runs every cell of `config`, with the page in the folder `web` where there is one.
pub async fn run(config: &Config, web: Option<&Path>, store: Store, ui: &Ui) -> Result<Finished> {
    let run_id = run_id()?;
    let server = Server::start(web, &config.cases).await?;
    let runner = Runner {
        config,
        server,
        ui,
        run_id: run_id.clone(),
        host: host::host(),
        kept: Mutex::new((store, Vec::new())),
    };
    let mut queues: Vec<(Browser, Vec<Cell>)> = Vec::new();
    for cell in plan(config) {
        match queues.iter_mut().find(|(browser, _)| *browser == cell.browser) {
            Some((_, queue)) => queue.push(cell),
            None => queues.push((cell.browser, vec![cell])),
        }
    }
    let all = stream::iter(queues)
        .map(|(browser, queue)| runner.run_queue(browser, queue))
        .buffer_unordered(config.jobs.max(1))
        .try_collect::<()>();
    // Dropping the queues ends their sessions, so a signal needs no clean-up of its own.
    let was_interrupted = tokio::select! {
        result = all => { result?; false }
        signal = interruption() => { signal?; true }
    };
    let (_, records) = runner.kept.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(Finished { run_id, records, was_interrupted })
}

/// Sorts by time and is unique among machines that share a store.
fn run_id() -> Result<String> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).context("asking the system for random bytes")?;
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    Ok(format!("{time}-{:04x}", u16::from_ne_bytes(bytes)))
}

async fn interruption() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

struct Runner<'a> {
    config: &'a Config,
    server: Server,
    ui: &'a Ui,
    run_id: String,
    host: record::Host,
    kept: Mutex<(Store, Vec<Record>)>,
}

/// What a queue has learnt about its browser.
#[derive(Default)]
struct Queue {
    seat: Option<Seat>,
    sessions_missed: u32,
    probes_broken: HashMap<Backend, (u32, Fault)>,
}

impl Runner<'_> {
    async fn run_queue(&self, browser: Browser, cells: Vec<Cell>) -> Result<()> {
        let bar = self.ui.bar(browser.name(), Some(cells.len() as u64), Unit::Cells);
        let mut queue = Queue::default();
        let mut result = Ok(());
        for (number, cell) in cells.into_iter().enumerate() {
            let started_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            bar.message(cell.to_string());
            let mut environment = Environment { host: self.host.clone(), ..Default::default() };
            let outcome = match self.run_cell(&mut queue, &cell, &mut environment, &bar).await {
                Ok(outcome) => outcome,
                Err(fault) => {
                    if fault.is_fatal
                        && let Some(seat) = queue.seat.take()
                    {
                        seat.kill().await;
                    }
                    fault.outcome()
                }
            };
            result = self.keep(Record {
                schema_version: SCHEMA_VERSION,
                run_id: self.run_id.clone(),
                started_at,
                repro: self.config.repro(&cell),
                cell,
                environment,
                outcome,
                attempts: 1,
            });
            if result.is_err() {
                break;
            }
            bar.set(number as u64 + 1);
        }
        if let Some(seat) = queue.seat {
            seat.close().await;
        }
        bar.finish();
        result
    }

    async fn run_cell(
        &self,
        queue: &mut Queue,
        cell: &Cell,
        environment: &mut Environment,
        bar: &Bar,
    ) -> Result<Outcome, Fault> {
        let case = self.config.case(cell).expect("the plan is made of the cases of the config");
        let seat = self.seat(queue, cell.browser).await?;
        environment.browser = seat.info();
        let report = match seat.report(cell.backend) {
            Some(report) => report.clone(),
            None => self.probe(queue, cell, bar).await?,
        };
        environment.adapter = report.adapter.clone();
        environment.engine = report.engine.clone();
        if let Some(reason) = &report.unsupported {
            return Ok(Outcome::without_figures(Status::Unsupported, "probe", reason));
        }
        if let Some(check) = report.failure() {
            let error = check.error.as_deref().unwrap_or_default();
            let message = format!("op {}: {error}", check.op);
            return Ok(Outcome::without_figures(Status::Error, "self-test", message));
        }
        let seat = self.seat(queue, cell.browser).await?;
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
            record::Answer::Probe(_) => Err(mismatch("run")),
        }
    }

    /// The session of the queue; a new one if there is none.
    async fn seat<'q>(
        &self,
        queue: &'q mut Queue,
        browser: Browser,
    ) -> Result<&'q mut Seat, Fault> {
        if queue.seat.is_none() {
            let none = |message: String| Fault {
                status: Status::Infra,
                stage: "session".into(),
                message,
                is_fatal: false,
            };
            if queue.sessions_missed >= PATIENCE {
                return Err(none(format!("no session of {browser} could be had before")));
            }
            match Seat::open(browser, self.config.look, &self.server.page_url()).await {
                Ok(seat) => {
                    queue.sessions_missed = 0;
                    queue.seat = Some(seat);
                }
                Err(error) => {
                    queue.sessions_missed += 1;
                    return Err(none(format!("{error:#}")));
                }
            }
        }
        Ok(queue.seat.as_mut().expect("it was put there above"))
    }

    /// Asks the page who it is and whether its kernels are right, before its first cell.
    async fn probe(&self, queue: &mut Queue, cell: &Cell, bar: &Bar) -> Result<PageReport, Fault> {
        let backend = cell.backend;
        if let Some((PATIENCE.., fault)) = queue.probes_broken.get(&backend) {
            return Err(Fault { is_fatal: false, ..fault.clone() });
        }
        let seat = self.seat(queue, cell.browser).await?;
        let request = Request::Probe { backend, self_test: true };
        let show = &mut |event: &Event| show(bar, cell, event);
        let fault = match seat.ask(&request, self.config.timeout, show).await {
            Ok(record::Answer::Probe(report)) => {
                seat.learn(backend, (*report).clone());
                return Ok(*report);
            }
            Ok(record::Answer::Run(_)) => mismatch("probe"),
            Err(fault) => fault,
        };
        let fault = Fault { stage: "self-test".into(), ..fault };
        // A driver that dies says nothing about the backend.
        if fault.status != Status::Infra {
            let broken = queue.probes_broken.entry(backend).or_insert((0, fault.clone()));
            *broken = (broken.0 + 1, fault.clone());
        }
        Err(fault)
    }

    fn keep(&self, record: Record) -> Result<()> {
        let text = line(&record);
        match record.outcome.status {
            _ if self.ui.is_json() => self.ui.result("", json!(record)),
            Status::Pass | Status::Unsupported | Status::Skip => self.ui.say(text),
            _ => self.ui.warn(text),
        }
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.0.put(&record)?;
        kept.1.push(record);
        Ok(())
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
        Event::Done { .. } | Event::Failed { .. } => {}
    }
}

/// `pass bert-tiny 4-bit webgpu chrome, 12.3 ms, 4.50 bpw`
fn line(record: &Record) -> String {
    let outcome = &record.outcome;
    let mut line = format!("{} {}", outcome.status.name(), record.cell);
    if let Some(timing) = &outcome.timing {
        line += &format!(", {:.1} ms", timing.median_ms);
    }
    if let Some(tps) = outcome.timing.as_ref().and_then(|timing| timing.decode_tps) {
        line += &format!(", {tps:.1} tok/s");
    }
    if let Some(memory) = &outcome.memory {
        line += &format!(", {:.2} bpw", memory.bpw);
    }
    if let Some(reason) = &outcome.reason {
        let stage = outcome.stage.as_deref().map(|stage| format!("{stage}: ")).unwrap_or_default();
        line += &format!(": {stage}{reason}");
    }
    line
}
