//! The command line: names, defaults and help texts.

use crate::{
    browser::{Gpu, Look},
    config::{Config, Selection},
    models, setup,
    ui::Ui,
};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use record::{Backend, Bits, Browser, Scheme};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

/// Measures few-bit inference in real browsers.
///
/// A run puts every combination of case, bit-width, backend and browser through an inference engine
/// in a page, keeps one record of each, and renders two HTML files from them: which combinations
/// are right, and how fast and small they are.
#[derive(Debug, Parser)]
#[command(name = "harness", bin_name = "cargo harness", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Show problems and results only.
    #[arg(long, global = true, help_heading = "Output")]
    pub quiet: bool,

    /// Print one JSON object per line on stdout: records, progress and problems.
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all went as asked: each cell passed, is unsupported here or was skipped
  1    some cell failed: fail, error, crash or timeout
  2    nothing was run: the command line, the cases or the set-up need a change
  3    no cell failed, but a browser session could not be had for some
  130  stopped by Ctrl-C or SIGTERM; what was recorded until then is stored and rendered";

/// What `harness` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run cells in browsers and render the reports.
    Run(RunArgs),
    /// Print the cells that `run` with the same options would run.
    Plan(CellArgs),
    /// Say which tools are there, and how to get those that are not.
    Doctor,
    /// Install what is missing: browsers, drivers, the WASM target.
    Setup(setup::Args),
    /// List or fetch real models.
    #[command(subcommand)]
    Models(models::Command),
    /// Render the reports again from stored records.
    Report(ReportArgs),
    /// Check the whole project: set-up, format, lints, docs and every test.
    Test,
    /// Supervise a driver: used by the harness itself.
    #[command(hide = true)]
    Guard {
        /// The scratch folder.
        folder: PathBuf,
        /// The driver and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Answer one request on stdin: used by the harness itself.
    #[command(hide = true)]
    NativeWorker,
}

/// Which cells.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo harness run
      every committed case, at 16, 8, 4, 3 and 2 bits, on WebGPU and WASM, in Chrome and Firefox
  cargo harness run --browsers firefox --models bert llama --bits 4
      the committed cases of two classes at 4 bits, in Firefox alone
  cargo harness run --models smollm2-135m --backends webgpu --bits 4 3 --scheme asymmetric
      a real model, fetched if need be
  cargo harness run --cases ./my-model
      your own model: a case folder, or a folder of them")]
pub struct CellArgs {
    /// Browsers to drive.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["chrome", "firefox"])]
    pub browsers: Vec<Browser>,

    /// Classes or models to run, such as `bert` or `smollm2-135m` [default: all committed cases].
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub models: Vec<String>,

    /// Bits of the stored weights: 32, 16, 8, 4, 3, 2 or adaptive.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["16", "8", "4", "3", "2"])]
    pub bits: Vec<Bits>,

    /// Where the arithmetic runs: webgpu, wasm or webnn in a page, native on the host.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_values = ["webgpu", "wasm"])]
    pub backends: Vec<Backend>,

    /// Case folders, or folders of them, to run besides the models that are named.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub cases: Vec<PathBuf>,

    /// How grouped weights map to values: auto, symmetric or asymmetric.
    #[arg(long, default_value = "auto")]
    pub scheme: Scheme,

    /// Weights that share a scale: 32, 64 or 128.
    #[arg(long, default_value = "32", value_parser = group_size)]
    pub group_size: u32,

    /// Measured passes of each cell.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,

    /// Seconds allowed for each cell.
    #[arg(long, default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// Show the browsers' windows.
    #[arg(long)]
    pub headed: bool,

    /// What WebGPU runs on.
    #[arg(long, value_enum, default_value_t)]
    pub gpu: Gpu,

    /// Browsers to run at once; more than one disturbs the timings of each other.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,

    /// Install and fetch nothing, and stop if something is missing.
    #[arg(long)]
    pub no_setup: bool,
}

fn group_size(text: &str) -> Result<u32, String> {
    match text {
        "32" => Ok(32),
        "64" => Ok(64),
        "128" => Ok(128),
        _ => Err("weights share a scale in groups of 32, 64 or 128".to_owned()),
    }
}

impl CellArgs {
    /// Resolves every name.
    pub fn config(&self, may_fetch: bool, ui: &Ui) -> Result<Config> {
        let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo");
        let selection = Selection {
            models: &self.models,
            paths: &self.cases,
            zoo: &zoo,
            may_fetch: may_fetch && !self.no_setup,
        };
        Ok(Config {
            browsers: self.browsers.clone(),
            cases: selection.cases(ui)?,
            bits: self.bits.clone(),
            backends: self.backends.clone(),
            scheme: self.scheme,
            group_size: self.group_size,
            repeat: self.repeat,
            timeout: Duration::from_secs(self.timeout),
            look: Look { headed: self.headed, gpu: self.gpu },
            jobs: self.jobs.into(),
        })
    }
}

/// What `run` takes.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Which cells.
    #[command(flatten)]
    pub cells: CellArgs,

    /// Where records and reports go.
    #[command(flatten)]
    pub outputs: OutputArgs,

    /// Append each record to this file too, one JSON line each.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,

    /// A folder with a built page (index.html, page.js, worker.js, pkg/), used as it is instead of
    /// building one.
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<PathBuf>,
}

/// Where records and reports are.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// The database of all runs [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// The compatibility matrix.
    #[arg(long, value_name = "FILE", default_value = "matrix.html")]
    pub output_matrix: PathBuf,

    /// The performance report.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub output_report: PathBuf,
}

/// What `report` takes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  cargo harness report
      the latest run
  cargo harness report --list
      the runs that are stored
  cargo harness report --records nightly.jsonl --output-matrix nightly.html
      a run that was recorded elsewhere")]
pub struct ReportArgs {
    /// Where records and reports are.
    #[command(flatten)]
    pub outputs: OutputArgs,

    /// Read this file of JSON lines instead of the database.
    #[arg(long, value_name = "FILE", conflicts_with = "db")]
    pub records: Option<PathBuf>,

    /// The run to render [default: the latest].
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,

    /// List the runs instead.
    #[arg(long, conflicts_with = "run")]
    pub list: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_take_several_values() {
        let cli = parse("harness run --browsers chrome firefox --bits 4,adaptive --models a b");
        let Command::Run(args) = cli.unwrap().command else { panic!("another command") };
        assert_eq!(args.cells.browsers, [Browser::Chrome, Browser::Firefox]);
        assert_eq!(args.cells.bits, [Bits::Fixed(4), Bits::Adaptive]);
        assert_eq!(args.cells.models, ["a", "b"]);
        assert_eq!(args.cells.backends, [Backend::Webgpu, Backend::Wasm]);
    }

    #[test]
    fn what_is_not_known_is_answered_with_what_is() {
        for (line, said) in [
            ("harness run --browsers opera", "unknown browser \"opera\"; known: chrome firefox"),
            ("harness plan --bits 5", "unknown bit-width \"5\"; known: 32 16 8 4 3 2 adaptive"),
            ("harness plan --backends cuda", "unknown backend \"cuda\"; known: webgpu wasm"),
            ("harness run --scheme fancy", "unknown scheme \"fancy\"; known: auto symmetric"),
            ("harness run --group-size 48", "groups of 32, 64 or 128"),
            ("harness run --timeout 0", "0 is not in 1.."),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
