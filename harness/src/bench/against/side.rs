//! A build that is measured: its program, what it is asked, and what a child that was asked gave.

use super::{super::Args, joined::Visit};
use crate::{
    browser::{Gpu, Launch, SessionOptions, Target},
    own_program, store,
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use matrix::view::bench::BenchRun;
use record::{Backend, Browser};
use serde::Deserialize;
use std::{
    env::consts::EXE_EXTENSION,
    fs::{self, File},
    path::{Path, PathBuf, absolute},
    process::{self, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What the program is called.
const PROGRAM: &str = "harness";
/// The file for what a child says of problems.
const PROBLEMS: &str = "problems";
/// Lines of a child's problems that are shown.
const LAST_LINES: usize = 6;

/// A program of one build.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// This one.
    Own,
    /// That of another build.
    Other(PathBuf),
}

impl Side {
    /// The other build: a program, or the folder of a packed one.
    pub fn other(path: &Path) -> Result<Side> {
        let program = match path.is_dir() {
            true => path.join(PROGRAM).with_extension(EXE_EXTENSION),
            false => path.to_owned(),
        };
        ensure!(
            program.is_file(),
            "there is no program at {}; --against takes the harness of another build, or the folder \
             of one that `pack` made",
            program.display()
        );
        let program = absolute(&program);
        program.map(Side::Other).with_context(|| format!("{} has no full path", path.display()))
    }

    fn command(&self) -> Result<process::Command> {
        match self {
            Side::Own => own_program().context("this program is gone"),
            Side::Other(program) => Ok(process::Command::new(program)),
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Side::Own => "this build".to_owned(),
            Side::Other(program) => program.display().to_string(),
        }
    }
}

/// What both sides are asked, in options that old builds have as well.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The options that say what is measured.
    words: Vec<String>,
    /// Those that say where.
    place: Vec<String>,
    /// A page that this build is to use.
    bundle: Option<PathBuf>,
    /// Whether it is models that run.
    is_of_models: bool,
}

impl Work {
    /// What the options ask for, of programs that get so much time where they can be told.
    pub fn of(args: &Args, budget: Duration) -> Result<Work> {
        let targets = targets(args)?;
        let pages = args.backends.iter().filter(|backend| **backend != Backend::Native).count();
        let places = pages * targets.len() + usize::from(args.backends.contains(&Backend::Native));
        let list = |words: &mut Vec<String>, option: &str, values: Vec<String>| {
            if !values.is_empty() {
                words.push(option.to_owned());
                words.extend(values);
            }
        };
        let (mut words, mut place) = (Vec::new(), Vec::new());
        list(&mut words, "--bits", args.bits.iter().map(ToString::to_string).collect());
        match &args.models {
            Some(models) => {
                let is_all = models.iter().any(|name| name == "all");
                list(&mut words, "--models", if is_all { Vec::new() } else { models.clone() });
                let size = args.size.and_then(|size| size.to_possible_value());
                let size = size.iter().map(|size| size.get_name().to_owned());
                list(&mut words, "--size", size.collect());
            }
            None => {
                list(&mut words, "--ops", args.ops.clone());
                // Each browser and backend of eight visits, and as much again for what stands around them.
                let each = budget.as_secs_f64() / (16 * places.max(1)) as f64;
                list(&mut words, "--budget", vec![format!("{:.1}", each.clamp(1.0, 60.0))]);
            }
        }
        let flags = |words: &mut Vec<String>, flags: [(&str, bool); 2]| {
            let set = flags.into_iter().filter(|(_, is_set)| *is_set);
            words.extend(set.map(|(flag, _)| flag.to_owned()));
        };
        flags(&mut words, [("--quick", args.quick), ("--full", args.full)]);
        list(&mut place, "--backends", args.backends.iter().map(ToString::to_string).collect());
        let gpu = if args.gpu.settle() == Gpu::Software { "software" } else { "hardware" };
        list(&mut place, "--gpu", vec![gpu.to_owned()]);
        place.extend(targets.iter().flat_map(Target::options));
        flags(&mut place, [("--headed", args.headed), ("--no-setup", args.no_setup)]);
        let (bundle, is_of_models) = (args.bundle.clone(), args.models.is_some());
        Ok(Work { words, place, bundle, is_of_models })
    }

    /// Lets a side run something small: a checkout builds its page before its first cell, and the first
    /// session on a machine takes longer than others. Whatever is wrong with it comes up again.
    pub async fn prepare(&self, side: &Side) -> Result<()> {
        let scratch = TempDir::with_prefix("against-").context("making a temporary folder")?;
        let mut command = side.command()?;
        command.args(["--quiet", "run", "--models", "bert", "--bits", "4", "--repeat", "1"]);
        command.args(&self.place);
        let _ = self.run(side, command, &scratch.path().join("result"), true, &scratch).await?;
        Ok(())
    }

    /// Lets a side do it once: what it measured, and the seconds that it took.
    pub async fn visit(&self, side: &Side) -> Result<(Visit, f64)> {
        let scratch = TempDir::with_prefix("against-").context("making a temporary folder")?;
        let result = scratch.path().join("result");
        let mut command = side.command()?;
        command.args(["--quiet", if self.is_of_models { "run" } else { "bench" }]);
        command.args(&self.words).args(&self.place);
        let start = Instant::now();
        let exit = self.run(side, command, &result, self.is_of_models, &scratch).await?;
        let seconds = start.elapsed().as_secs_f64();
        // A cell that failed is an exit as well, and no reason to doubt the others.
        let visit = self.read(&result).with_context(|| {
            let said = fs::read_to_string(scratch.path().join(PROBLEMS)).unwrap_or_default();
            format!("{} gave nothing that can be compared ({exit}){}", side.name(), last(&said))
        })?;
        Ok((visit, seconds))
    }

    /// Runs a child to its end, all that it writes being in `scratch`.
    async fn run(
        &self,
        side: &Side,
        mut command: process::Command,
        result: &Path,
        is_of_models: bool,
        scratch: &TempDir,
    ) -> Result<ExitStatus> {
        let below = |name: &str| scratch.path().join(name);
        let files: &[_] = match is_of_models {
            true => &[
                ("--records", result.to_owned()),
                ("--db", below("records.sqlite")),
                ("--output-matrix", below("matrix.html")),
                ("--output-report", below("report.html")),
            ],
            false => &[("--output", result.to_owned())],
        };
        for (option, file) in files {
            command.arg(option).arg(file);
        }
        if let (Side::Own, Some(bundle)) = (side, &self.bundle) {
            command.arg("--bundle").arg(bundle);
        }
        // What is measured here is no report to be kept, and old builds keep none.
        command.env("FEWBIT_DB", below("records.sqlite"));
        let said = File::create(below(PROBLEMS)).context("making a file for what a build says")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let exit = tokio::process::Command::from(command).kill_on_drop(true).status().await;
        exit.with_context(|| format!("starting {}", side.name()))
    }

    fn read(&self, file: &Path) -> Result<Visit> {
        if self.is_of_models {
            return Ok(Visit::Models(store::read_lines(file)?));
        }
        #[derive(Deserialize)]
        struct Written {
            reports: Vec<BenchRun>,
        }
        let text = fs::read_to_string(file).context("it wrote no report")?;
        let Written { reports } = serde_json::from_str(&text).context("its report is malformed")?;
        ensure!(!reports.is_empty(), "its report is empty");
        Ok(Visit::Ops(reports))
    }
}

/// The browsers to ask for by name: of those that nobody named, the ones that are there.
fn targets(args: &Args) -> Result<Vec<Target>> {
    if args.backends.iter().all(|backend| *backend == Backend::Native) {
        return Ok(Vec::new());
    }
    let options =
        SessionOptions { headed: args.headed, gpu: args.gpu.settle(), ..SessionOptions::default() };
    let mut targets = args.browsers.targets(false)?;
    targets.retain(|target| target.id.family != Browser::Host);
    if args.browsers.are_default {
        let is_there = |target: &&Target| Launch::of_target(target, options).is_ok();
        let there: Vec<Target> = targets.iter().filter(is_there).cloned().collect();
        // Where none is, the first child sets one up.
        targets = if there.is_empty() { targets } else { there };
    }
    ensure!(!targets.is_empty(), "pages need a browser: name one with --browsers");
    Ok(targets)
}

/// The last lines of what a program said, each on a line of its own.
fn last(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().map(|line| format!("\n  | {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_a_program_or_a_folder_with_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = Side::other(folder.path()).unwrap_err().to_string();
        assert!(error.contains("there is no program at") && error.contains("harness"), "{error}");
        let program = folder.path().join(PROGRAM).with_extension(EXE_EXTENSION);
        fs::write(&program, "").unwrap();
        for path in [folder.path(), &program] {
            assert_eq!(Side::other(path).unwrap().name(), program.display().to_string());
        }
    }

    #[test]
    fn the_last_lines_are_what_went_wrong() {
        let said: String = (0..9).map(|line| format!("line {line}\n\n")).collect();
        let said = last(&said);
        assert!(said.starts_with("\n  | line 3\n") && said.ends_with("line 8"), "{said}");
        assert_eq!(last(""), "");
    }
}
