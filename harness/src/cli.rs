//! The command line: names, defaults and help texts.

use crate::{
    archive::{compare, export, gate, gc, history},
    bench,
    browser::{BrowserArgs, GpuChoice, SessionOptions},
    cases::Size,
    check,
    config::{Config, Selection},
    estimate, evaluate, expectations,
    grid::local,
    groups::{Caches, Groups, Limits, megabytes},
    infer,
    merge::MergeArgs,
    models, outputs, pack, quantize, reference,
    report::ReportArgs,
    server::{Listen, PublicUrl},
    setup, shaders,
    shard::Part,
    sizes::Sizes,
    suggest, tune, tunings,
    ui::Ui,
    weights,
};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use record::{Backend, Bits, MemoryLimit, TuningMode};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

/// Measures few-bit inference in real browsers.
///
/// A run puts every combination of case, bit-width, backend and browser through an inference engine
/// in a page, keeps one record of each, and renders two HTML files from them: which combinations
/// are right, and how fast and small they are.
#[derive(Debug, Parser)]
#[command(name = "harness", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Show problems and results only.
    #[arg(long, global = true, help_heading = "Output")]
    pub quiet: bool,

    /// Print one JSON object per line on stdout: records, progress and problems.
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// Take the defaults of options from this profile, one of harness.toml or a built-in one:
    /// default, ci, nightly or gpu.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Configuration")]
    pub profile: Option<String>,

    /// Read this file instead of harness.toml.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all went as asked: each cell passed, is unsupported here or was skipped
  1    some cell failed: fail, error, crash or timeout, and was not expected to
  2    nothing was run: the command line, the cases or the set-up need a change
  3    no cell failed, but a browser session could not be had for some, or records not be stored
  4    all was run and is stored, but a file could not be written; `report` writes it again
  130  stopped by Ctrl-C, SIGTERM or --run-timeout; what was recorded is stored and rendered";

/// What `harness` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run cells in browsers and render the reports.
    Run(Box<RunArgs>),
    /// Print the cells that `run` with the same options would run.
    Plan(Box<PlanArgs>),
    /// Pack the weights of a model into a file that is loaded as it is.
    PackWeights(weights::PackArgs),
    /// Choose the codes of a model's weights on a text, and pack them.
    Quantize(quantize::Args),
    /// Say how far a quantised model is from another, by what both expect in a text.
    Evaluate(evaluate::Args),
    /// Put a question to a model: a text, a sound, an image.
    Infer(infer::Args),
    /// Measure single ops beside what the device can do at most.
    Bench(Box<bench::Args>),
    /// Measure which kernels are fastest for the calls of models, for `run --tuning fixed`.
    Tune(Box<tune::Args>),
    /// Say which tools are there, and how to get those that are not.
    Doctor,
    /// Install what is missing: browsers, drivers, the WASM target.
    Setup(setup::Args),
    /// Start a Selenium Grid with the browsers of this machine, until Ctrl-C.
    Grid(local::Args),
    /// Make a case folder of a model: its inputs, and what is expected of it.
    Case(reference::Args),
    /// List or fetch real models.
    #[command(subcommand)]
    Models(models::Command),
    /// Render the reports again from stored records.
    Report(ReportArgs),
    /// Join the parts of a plan that were run with `--shard`.
    Merge(MergeArgs),
    /// Show the values of options and where they come from.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what came of a cell, run after run.
    History(history::Args),
    /// Show what changed from one run to another.
    Compare(compare::Args),
    /// Say whether a run keeps to budgets of loss, speed and size beside another one.
    Gate(gate::Args),
    /// List the kernels, or show one as it is compiled, and why it was chosen.
    #[command(subcommand)]
    Shaders(shaders::Command),
    /// Write stored records as JSON lines, CSV or Parquet.
    Export(export::Args),
    /// Forget old runs.
    Gc(gc::Args),
    /// Rewrite a file of known failures from what a run found.
    UpdateExpectations(expectations::UpdateArgs),
    /// Check the whole project: set-up, format, lints, docs and every test. Takes a checkout.
    Test(check::Args),
    /// Make an archive that runs without Rust and without the repository. Takes a checkout.
    Pack(pack::Args),
    /// Supervise a driver: used by the harness itself.
    #[command(hide = true)]
    Guard {
        /// Start an X server without a screen for it.
        #[arg(long)]
        display: bool,
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
  cargo harness run --size published --models bert-base-uncased vit-base-patch16-224 --bits 4
      the shapes of published checkpoints with seeded weights: for speed and memory
  cargo harness run --models ./my-model other.gguf OWNER/NAME --bits 8 4
      your own models, as they were published; their reference is computed once, on this machine
  cargo harness run --cases ./my-case
      a case folder, as `cargo harness case` makes it, or a folder of them")]
pub struct CellArgs {
    /// Browsers to drive.
    #[command(flatten)]
    pub browsers: BrowserArgs,

    /// Classes or models to run: names such as `bert` or `smollm2-135m`, folders as Hugging Face
    /// publishes them, .gguf files, `OWNER/NAME[@REVISION]` on the Hub [default: all committed cases].
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub models: Vec<String>,

    /// Which committed cases the names are looked for in.
    #[arg(long, value_enum)]
    pub size: Size,

    /// Bits of the stored weights: 32, 16, 8, 4, 3, 2 or adaptive.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = suggest::name::<Bits>)]
    pub bits: Vec<Bits>,

    /// Where the arithmetic runs: webgpu, wasm or webnn in a page, native on the host.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = suggest::name::<Backend>)]
    pub backends: Vec<Backend>,

    /// Case folders and models, or folders of them, to run besides the models that are named.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub cases: Vec<PathBuf>,

    /// What models as they are published are given: texts, and files and folders of pictures, sounds
    /// and frames; each takes what it can [default: what is built in for its class].
    #[arg(long, num_args = 1.., value_name = "TEXT|FILE")]
    pub input: Vec<String>,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// How key-value caches are stored.
    #[command(flatten)]
    pub caches: Caches,

    /// How much memory models may take.
    #[command(flatten)]
    pub limits: Limits,

    /// Megabytes (10⁶ bytes) that weights and cache of a cell may take once it is measured: its model is then lowered
    /// to fewer bits where it lies, and judged again.
    #[arg(long, value_name = "MB", value_parser = megabytes)]
    pub lower_to: Option<MemoryLimit>,

    /// At which sizes decoders run, on how many threads, and by which kernels.
    #[command(flatten)]
    pub sizes: Sizes,

    /// Measured passes of each visit to a cell, at least: a cell that is quick is measured up to ten
    /// times within a tenth of a second.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,

    /// Visit each cell so many times, all others between two visits, and join the samples.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Say of each cell where the time of its passes goes, op by op: in its record, and below its line.
    #[arg(long)]
    pub trace: bool,

    /// Seconds allowed for each cell; a page's self-test before its first has 300 at least [default: 120,
    /// and 8 more a MB of the model where a software adapter computes].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,

    /// Seconds allowed for the whole run; what is left then can be run with `--resume`.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub run_timeout: Option<u64>,

    /// Try a cell that failed so many times more; one that then passes is `flaky`. A session that
    /// cannot be had is tried once more in any case.
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=10))]
    pub retries: u32,

    /// Show the browsers' windows.
    #[arg(long)]
    pub headed: bool,

    /// What WebGPU runs on.
    #[arg(long, value_enum)]
    pub gpu: GpuChoice,

    /// Browsers to run at once; more than one disturbs the timings of each other.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: u16,

    /// Take the browsers of this Selenium Grid, as many at a time as it has slots. Its nodes must reach
    /// the page: see --bind and --public-url.
    #[arg(long, value_name = "URL")]
    pub grid: Option<String>,

    /// Run one part of the cells, such as 2/4: the other machines run the others, and `merge` joins
    /// their records.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Part>,

    /// Balance the parts by how long the cells of these records took; every part must be given the
    /// same file [default: by the sizes of the models].
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub durations: Option<PathBuf>,

    /// Serve the page and the models here, for browsers on other machines; only who knows the random
    /// token in the page's URL is answered.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bind: SocketAddr,

    /// How browsers reach the page, such as `https://runner.example:8443`. They offer WebGPU only
    /// to pages from https or from their own machine.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Install and fetch nothing, and stop if something is missing.
    #[arg(long)]
    pub no_setup: bool,
}

impl CellArgs {
    /// Resolves every name. For a run, models are fetched and become cases; a plan needs neither.
    pub fn config(&self, is_run: bool, ui: &Ui) -> Result<Config> {
        let selection = Selection {
            models: &self.models,
            paths: &self.cases,
            input: &self.input,
            size: self.size,
            may_fetch: is_run && !self.no_setup,
            makes: is_run,
        };
        let precisions: Vec<_> =
            self.bits.iter().map(|bits| self.groups.precision(*bits)).collect();
        Ok(Config {
            browsers: self.browsers.targets(self.grid.is_some())?,
            cases: selection.cases(ui)?,
            precisions: self.limits.with(&self.caches.with(&precisions)),
            backends: self.backends.clone(),
            sizes: self.sizes.clone(),
            repeat: self.repeat,
            rounds: self.rounds,
            lower_to: self.lower_to,
            trace: self.trace,
            tuning_budget: tunings::USUAL_BUDGET,
            timeout: self.timeout.map(Duration::from_secs),
            run_timeout: self.run_timeout.map(Duration::from_secs),
            retries: self.retries,
            grid: self.grid.clone(),
            listen: Listen { bind: self.bind, public_url: self.public_url.clone() },
            session: SessionOptions {
                headed: self.headed,
                gpu: self.gpu.settle(),
                webnn: self.backends.contains(&Backend::Webnn),
                precise_gpu_clock: self.trace || self.sizes.tuning.contains(&TuningMode::Auto),
            },
            jobs: self.jobs.into(),
            expectations: Default::default(),
        })
    }
}

/// What `plan` takes.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Which cells.
    #[command(flatten)]
    pub cells: CellArgs,

    /// Print what the weights of a model are stored as instead, at each of --bits: a model that `run`
    /// knows by name, a case folder, a folder as Hugging Face has it, or a .gguf file. No weight is
    /// read.
    #[arg(long, value_name = "MODEL", conflicts_with = "github_matrix")]
    pub weights: Option<String>,

    /// What they take at least.
    #[command(flatten)]
    pub estimate: estimate::Args,

    /// Print the job matrix of a GitHub workflow instead: a job for each runner, browser and part.
    #[arg(long)]
    pub github_matrix: bool,

    /// Parts for each runner and browser.
    #[arg(long, value_name = "N", default_value = "1", requires = "github_matrix")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: u32,
}

/// What `run` takes.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Which cells.
    #[command(flatten)]
    pub cells: CellArgs,

    /// Where records and reports go.
    #[command(flatten)]
    pub outputs: outputs::OutputArgs,

    /// Go on with a run that was cut short: its ID, or `latest`. Its own options are used, and those
    /// given here go over them.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<String>,

    /// Run the other cells although a browser that was named is absent; its own are `infra`.
    #[arg(long)]
    pub keep_going: bool,

    /// Known failures.
    #[command(flatten)]
    pub expectations: expectations::Args,

    /// Append each record to this file too, one JSON line each.
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,

    /// A folder with a built page (index.html, page.js, worker.js, pkg/), used as it is instead of
    /// building one.
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<PathBuf>,
}

/// Options of `config show`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what `run` with the same options would use, and where each value comes from.
    Show(ShowArgs),
    /// Print the built-in profiles, which are the manual of harness.toml.
    Manual,
}

/// What `config show` takes.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// Options of `run`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub options: Vec<OsString>,
}
