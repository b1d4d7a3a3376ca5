//! Drives browsers through the matrix of cells and keeps a record of each.
//!
//! In reading order: [`cli`] and [`config`] say what is wanted, [`cases`] finds the models, [`plan`]
//! makes the list of cells, [`runner`] works through it, [`session`] talks to one browser, which
//! [`browser`] knows how to start, and [`native`] to the host; [`server`] serves the page and the
//! models, [`store`] keeps the records, [`outputs`] writes files
//! from them, [`mod@bench`] measures single ops in the same sessions, `estimate` says what cells take at
//! least, [`mod@tune`] measures which kernels are fastest, [`exit`] says how a command ends, [`expectations`]
//! knows which failures are known, and [`report`] and [`archive`] are the
//! commands about what is stored. [`setup`] brings the tools, [`bundle`]
//! builds the page and [`models`] fetches real models, which [`mod@reference`] makes cases of and to
//! which [`infer`] puts a question. [`home`]
//! knows where the program finds what belongs to it, and [`pack`] takes it elsewhere.

pub mod archive;
pub mod bench;
pub mod browser;
pub mod bundle;
pub mod cases;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
mod environments;
mod estimate;
pub mod evaluate;
pub mod exit;
pub mod expectations;
mod fetched;
mod files;
mod folders;
pub mod github;
mod given;
pub mod grid;
mod groups;
pub mod home;
pub mod host;
pub mod infer;
mod input;
mod interruption;
pub mod merge;
pub mod models;
pub mod native;
pub mod outputs;
pub mod pack;
pub mod plan;
mod prepared;
pub mod profile;
pub mod quantize;
pub mod reference;
pub mod report;
pub mod run;
pub mod runner;
#[cfg(test)]
mod sample;
pub mod server;
pub mod session;
pub mod setup;
pub mod shaders;
pub mod shard;
pub mod sizes;
pub mod store;
mod suggest;
pub mod tune;
mod tunings;
pub mod ui;
pub mod weights;

use anyhow::Result;
use browser::guard;
use cli::Command;
use exit::Exit;
use std::{
    env,
    ffi::OsString,
    io,
    process::{self, ExitCode},
};
use ui::Ui;

/// Does what the command line asks for.
pub fn main(words: &[OsString]) -> ExitCode {
    let cli = match profile::parse(words) {
        Ok(cli) => cli,
        Err(error) => {
            Ui::new(false, false).error(format!("{error:#}"));
            return Exit::Usage.into();
        }
    };
    let ui = Ui::new(cli.quiet, cli.json);
    match dispatch(cli.command, &ui) {
        Ok(code) => code,
        Err(error) => {
            ui.error(format!("{error:#}"));
            let is_unwritten = error.is::<outputs::Unwritten>();
            if is_unwritten { Exit::Output } else { Exit::Usage }.into()
        }
    }
}

fn dispatch(command: Command, ui: &Ui) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return Ok(run::run(&args, ui)?.into()),
        Command::Plan(args) => run::print_plan(&args, ui)?,
        Command::PackWeights(args) => weights::pack(&args, ui)?,
        Command::Quantize(args) => quantize::run(&args, ui)?,
        Command::Evaluate(args) => evaluate::run(&args, ui)?,
        Command::Infer(args) => return Ok(infer::run(&args, ui)?.into()),
        Command::Bench(args) => return Ok(bench::run(&args, ui)?.into()),
        Command::Tune(args) => return Ok(tune::run(&args, ui)?.into()),
        Command::Doctor => return Ok(doctor::run(ui).into()),
        Command::Setup(args) => setup::run(args, ui)?,
        Command::Grid(args) => grid::local::run(&args, ui)?,
        Command::Case(args) => reference::run(&args, ui)?,
        Command::Models(command) => models::run(command, ui)?,
        Command::Report(args) => report::run(&args, ui)?,
        Command::Merge(args) => merge::run(&args, ui)?,
        Command::Config(command) => profile::run(&command, ui)?,
        Command::History(args) => archive::history::run(&args, ui)?,
        Command::Compare(args) => return Ok(archive::compare::run(&args, ui)?.into()),
        Command::Gate(args) => return Ok(archive::gate::run(&args, ui)?.into()),
        Command::Shaders(command) => shaders::run(&command, ui)?,
        Command::Export(args) => archive::export::run(&args, ui)?,
        Command::Gc(args) => archive::gc::run(&args, ui)?,
        Command::UpdateExpectations(args) => expectations::run(&args, ui)?,
        Command::Test(args) => return check::run(args, ui),
        Command::Pack(args) => pack::run(&args, ui)?,
        Command::Guard { display, folder, command } => guard::run(&folder, &command, display)?,
        Command::NativeWorker => native::worker()?,
    }
    Ok(Exit::Ok.into())
}

/// This program, to be started once more. A build may replace its file during a long run; on Linux
/// there is a name that stays with what is running.
fn own_program() -> io::Result<process::Command> {
    let program = match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        false => env::current_exe()?,
    };
    Ok(out_of_reach(process::Command::new(program)))
}

/// Ctrl-C goes to every process of a console, and it is for the harness to end the others: they have a
/// console of their own, which nobody sees.
#[cfg(windows)]
fn out_of_reach(mut command: process::Command) -> process::Command {
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NO_WINDOW);
    command
}

/// Ctrl-C goes to a process group, which the others leave in ways of their own.
#[cfg(not(windows))]
fn out_of_reach(command: process::Command) -> process::Command {
    command
}
