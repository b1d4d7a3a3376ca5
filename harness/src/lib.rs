//! Drives browsers through the matrix of cells and keeps a record of each.
//!
//! In reading order: [`cli`] and [`config`] say what is wanted, [`cases`] finds the models, [`plan`]
//! makes the list of cells, [`runner`] works through it, [`session`] talks to one browser, which
//! [`browser`] knows how to start, and [`native`] to the host; [`server`] serves the page and the
//! models, [`store`] keeps the records and [`report`] renders them. [`setup`] brings the tools, [`bundle`]
//! builds the page and [`models`] fetches real models.

pub mod browser;
pub mod bundle;
pub mod cases;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod host;
pub mod models;
pub mod native;
pub mod plan;
pub mod report;
pub mod runner;
pub mod server;
pub mod session;
pub mod setup;
pub mod store;
pub mod ui;

use anyhow::{Context, Result, ensure};
use browser::guard;
use cli::{CellArgs, Cli, Command, RunArgs};
use exit::Exit;
use record::{Backend, Browser};
use serde_json::json;
use setup::Need;
use std::{path::PathBuf, process::ExitCode};
use store::Store;
use ui::Ui;

/// Does what the command line asks for.
pub fn main(cli: Cli) -> ExitCode {
    let ui = Ui::new(cli.quiet, cli.json);
    match dispatch(cli.command, &ui) {
        Ok(code) => code,
        Err(error) => {
            ui.error(format!("{error:#}"));
            Exit::Usage.into()
        }
    }
}

fn dispatch(command: Command, ui: &Ui) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return Ok(run(&args, ui)?.into()),
        Command::Plan(args) => print_plan(&args, ui)?,
        Command::Doctor => return Ok(doctor::run(ui).into()),
        Command::Setup(args) => setup::run(args, ui)?,
        Command::Models(command) => models::run(command, ui)?,
        Command::Report(args) => report::run(&args, ui)?,
        Command::Test => return check::run(ui),
        Command::Guard { folder, command } => guard::run(&folder, &command)?,
        Command::NativeWorker => native::worker()?,
    }
    Ok(Exit::Ok.into())
}

fn run(args: &RunArgs, ui: &Ui) -> Result<Exit> {
    let config = args.cells.config(true, ui)?;
    let cells = plan::plan(&config);
    ensure!(
        !cells.is_empty(),
        "these options give no cell: pages need a browser, the native backend is --backends native"
    );
    // Opened first: a run whose records cannot be kept should not start.
    let store = Store::open(&report::database(&args.outputs)?, args.records.as_deref())?;
    let web =
        page(args, &config.browsers, cells.iter().any(|cell| cell.backend != Backend::Native), ui)?;
    let count = cells.len();
    ui.say(format!("{count} cells of {} cases", config.cases.len()));

    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let finished = runtime.block_on(runner::run(&config, web.as_deref(), store, ui))?;
    let records = &finished.records;
    if !records.is_empty() {
        report::render(records, &args.outputs, ui)?;
    }
    if finished.was_interrupted {
        ui.warn(format!("interrupted after {} of {count} cells", records.len()));
        return Ok(Exit::Interrupted);
    }
    let statuses = || records.iter().map(|record| record.outcome.status);
    let counts: Vec<_> = record::Status::ALL
        .iter()
        .map(|status| (status.name(), statuses().filter(|other| other == status).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    let text = counts.iter().map(|(name, count)| format!("{count} {name}"));
    let text = text.collect::<Vec<_>>().join(", ");
    let counts: serde_json::Map<_, _> =
        counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let value = json!({"run_id": finished.run_id, "counts": counts});
    ui.result(format!("run {}: {text}", finished.run_id), value);
    Ok(Exit::of(statuses()))
}

/// The folder with the page, built if need be; none if no cell runs in a page.
fn page(args: &RunArgs, browsers: &[Browser], wanted: bool, ui: &Ui) -> Result<Option<PathBuf>> {
    if !wanted {
        return Ok(None);
    }
    let of_browsers = browsers.iter().filter(|browser| **browser != Browser::Host);
    let mut needs: Vec<Need> = of_browsers.map(|browser| Need::Browser(*browser)).collect();
    if args.bundle.is_none() {
        needs.push(Need::WasmBundle);
    }
    if !args.cells.no_setup
        && let Err(error) = setup::ensure(&needs, ui)
    {
        // One browser that cannot be had is a record of its cells and no end of the run.
        ui.warn(format!("set-up: {error:#}"));
    }
    let folder = match &args.bundle {
        Some(folder) => folder.clone(),
        None => bundle::ensure(ui).context("building the page")?,
    };
    for file in ["index.html", "page.js", "worker.js", "pkg/engine.js"] {
        ensure!(folder.join(file).is_file(), "{} has no {file}", folder.display());
    }
    Ok(Some(folder))
}

/// This program, to be started once more. A build may replace its file during a long run; on Linux
/// there is a name that stays with what is running.
fn own_program() -> std::io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    }
}

fn print_plan(args: &CellArgs, ui: &Ui) -> Result<()> {
    for cell in plan::plan(&args.config(false, ui)?) {
        ui.result(cell.to_string(), json!(cell));
    }
    Ok(())
}
