//! Runs the cells: a queue per browser, a session per worker, a record per cell.
//!
//! Workers share the queues (`queues.rs`): with `--jobs 1` one works through browser after browser.
//! Whatever happens to a cell ends in its record, after further attempts where they may help
//! (`retry.rs`), and the worker goes on with the next cell, in a new session if the old one is of no
//! more use (`worker.rs`, `seat.rs`). Cells may be visited in several rounds (`rounds.rs`). Records are
//! stored in a thread of its own (`kept.rs`), so that no cell waits for another's. `tuned.rs` tells a cell which
//! kernels are fastest; `progress.rs` and `trace.rs` say what came of it.

mod kept;
mod probe;
mod progress;
mod queues;
mod retry;
mod rounds;
mod seat;
mod trace;
mod tuned;
mod worker;

use crate::{
    browser::BrowserId,
    config::Config,
    environments::Environments,
    grid::Grid,
    host,
    interruption::interruption,
    server::Server,
    store::Store,
    tunings::Tunings,
    ui::{Bar, Ui, Unit},
};
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use kept::Kept;
use progress::line;
use queues::Queues;
use record::{Axis, Browser, Cell, Record, Shard, Status};
use rounds::Visit;
use serde_json::json;
use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;
use worker::{PATIENCE, Worker};

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
    /// Ctrl-C, or the system or its user in another way (`crate::interruption`).
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
    let is_tuned = work.cells.iter().any(|cell| cell.axis(Axis::Tuning).is_some());
    let tunings = is_tuned.then(Tunings::open).transpose()?;
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
        kept: Kept::new(store, work.records),
        environments: Mutex::default(),
        tunings,
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
    let finished = cut.is_none().then_some(work.run_id.as_str());
    let records = runner.kept.close(finished).await?;
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
    kept: Kept,
    environments: Mutex<Environments>,
    /// Where it is kept which kernels are fastest, if a cell is about that.
    tunings: Option<Tunings>,
}

impl Runner<'_> {
    /// Works through one queue after the other until all are empty.
    async fn work(&self) -> Result<()> {
        while let Some((browser, first)) = self.queues.join() {
            let worked = self.work_on(&browser, first).await;
            self.queues.leave(&browser);
            if !worked? {
                break;
            }
        }
        Ok(())
    }

    /// Works through the queue of a browser; says whether this worker is of further use.
    async fn work_on(&self, browser: &BrowserId, first: Visit) -> Result<bool> {
        let rounds = self.config.rounds;
        let left = self.queues.left(browser, rounds) + u64::from(first.left(rounds));
        let bar = self.ui.bar(browser.to_string(), Some(left), Unit::Cells);
        let mut worker = Worker::default();
        let mut is_useful = Ok(true);
        let mut done = 0;
        let mut next = Some(first);
        while let Some(Visit { cell, before }) = next {
            bar.message(cell.to_string());
            let tuning = before.as_ref().and_then(|before| before.outcome.tuning.as_ref());
            let now = self.try_cell(&mut worker, cell, tuning, &bar).await;
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
            if worker.sessions_missed >= PATIENCE && self.queues.is_shared(browser) {
                is_useful = Ok(false);
                break;
            }
            next = self.queues.next(browser);
        }
        if let Some(seat) = worker.seat {
            seat.close().await;
        }
        bar.finish();
        is_useful
    }

    /// Stores a record, and then says so. A store that another program holds, or that has no room, is
    /// tried again for a while: a cell is not measured in vain.
    async fn keep(&self, mut record: Record, bar: &Bar) -> Result<()> {
        record.expectation = self.config.expectations.judge(&record);
        let mut attempts = 0;
        while let Err(error) = self.kept.put(&record).await {
            if attempts == STORE_RETRIES {
                return Err(error);
            }
            attempts += 1;
            bar.message(format!("{}: cannot store it yet, tries again", record.cell));
            sleep(retry::delay(attempts)).await;
        }
        let mut text = line(&record);
        if !record.outcome.trace.is_empty() {
            text = format!("{text}\n{}", trace::text(&record.outcome.trace));
        }
        if let Some(lowered) = &record.outcome.lowered {
            text = format!("{text}\n{}", progress::lowered(lowered));
        }
        match record.outcome.status {
            _ if self.ui.is_json() => self.ui.result("", json!(record)),
            Status::Pass | Status::Flaky | Status::Unsupported | Status::Skip => self.ui.say(text),
            _ => self.ui.warn(text),
        }
        Ok(())
    }

    fn environments(&self) -> MutexGuard<'_, Environments> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
