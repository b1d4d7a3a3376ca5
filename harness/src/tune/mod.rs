//! `harness tune`: which kernels are the fastest for the calls of models, in browsers and on the host.
//!
//! It is a run of cells with `--tuning auto` that nobody keeps as a run: what each measured and passed with is kept for
//! its adapter and its version of the browser (`crate::tunings`), where `run --tuning fixed` finds it. What was kept
//! before goes on: calls of which one kernel is clearly ahead are not measured again. `table.rs` prints it.

mod table;

use crate::{
    browser::{BrowserArgs, GpuChoice, SessionOptions},
    cases::Size,
    config::{Config, Selection},
    exit::Exit,
    groups::Groups,
    plan::plan,
    prepared::{self, Preparation},
    runner::{self, Cut, Work},
    sizes::Sizes,
    store::{RunInfo, Store},
    suggest,
    ui::Ui,
};
use anyhow::{Context, Result, ensure};
use record::{Backend, Bits, Record, TuningMode};
use serde_json::json;
use std::{path::PathBuf, time::Duration};

/// How long a cell may take beyond the time that it is given to measure kernels.
const BEYOND: Duration = Duration::from_secs(300);

/// What `tune` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness tune --browsers chrome --gpu hardware --models smollm2-135m --bits 4
      the kernels of a model in Chrome on the real GPU; then `run --tuning fixed`
  cargo harness tune --backends native --models ./my-model --bits 8 4 --budget 60
      your own model on the host's GPU, a minute for each width")]
pub struct Args {
    /// Browsers to drive.
    #[command(flatten)]
    pub browsers: BrowserArgs,

    /// Where the arithmetic runs: webgpu in a page, native on the host; what has no kernels is left out.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = suggest::name::<Backend>)]
    pub backends: Vec<Backend>,

    /// Classes or models, as `run` takes them [default: all committed cases].
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub models: Vec<String>,

    /// Case folders and models, or folders of them, besides the models that are named.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub cases: Vec<PathBuf>,

    /// Which committed cases the names are looked for in.
    #[arg(long, value_enum, default_value = "tiny")]
    pub size: Size,

    /// Bits of the stored weights: 32, 16, 8, 4, 3 or 2.
    #[arg(long, num_args = 1.., value_delimiter = ',', default_value = "4")]
    #[arg(value_parser = suggest::name::<Bits>)]
    pub bits: Vec<Bits>,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// Tokens of the prompts of decoders [default: as the case has them].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: Vec<u32>,

    /// Seconds that each model at each width may measure kernels.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub budget: u64,

    /// Show the browsers' windows.
    #[arg(long)]
    pub headed: bool,

    /// What WebGPU runs on.
    #[arg(long, value_enum)]
    pub gpu: GpuChoice,

    /// Install and fetch nothing, and stop if something is missing.
    #[arg(long)]
    pub no_setup: bool,

    /// A folder with a built page, used as it is instead of building one.
    #[arg(long, value_name = "FOLDER")]
    pub bundle: Option<PathBuf>,
}

/// Carries out `harness tune`.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let config = config(args, ui)?;
    let cells = plan(&config);
    ensure!(
        !cells.is_empty(),
        "nothing here has kernels to choose from: name --browsers with WebGPU, or --backends native"
    );
    let how = Preparation {
        bundle: args.bundle.as_deref(),
        no_setup: args.no_setup,
        keep_going: false,
        are_default: args.browsers.are_default,
    };
    let web = prepared::page(&how, &config, &cells, ui)?;
    // What comes of these cells is no part of any run.
    let folder = tempfile::tempdir().context("making a folder for what is measured")?;
    let mut store = Store::open(&folder.path().join("records.sqlite"), None)?;
    let info = RunInfo::now(&runner::new_id()?, cells.clone());
    store.begin(&info)?;
    let work = Work { run_id: info.run_id, cells, shard: None, records: Vec::new() };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let finished = runtime.block_on(runner::run(&config, work, web.as_deref(), store, ui))?;
    for record in &finished.records {
        show(record, ui);
    }
    match finished.cut {
        Some(Cut::Signal | Cut::Time) => Ok(Exit::Interrupted),
        Some(Cut::Store(error)) => Err(error.context("keeping what was measured")),
        None => Ok(Exit::of(&finished.records)),
    }
}

fn config(args: &Args, ui: &Ui) -> Result<Config> {
    let selection = Selection {
        models: &args.models,
        paths: &args.cases,
        input: &[],
        size: args.size,
        may_fetch: !args.no_setup,
        makes: true,
    };
    let has_kernels = |backend: &&Backend| matches!(backend, Backend::Webgpu | Backend::Native);
    let budget = Duration::from_secs(args.budget);
    Ok(Config {
        browsers: args.browsers.targets(false)?,
        cases: selection.cases(ui)?,
        precisions: args.bits.iter().map(|bits| args.groups.precision(*bits)).collect(),
        backends: args.backends.iter().filter(has_kernels).copied().collect(),
        sizes: Sizes {
            tuning: vec![TuningMode::Auto],
            prompt_tokens: args.prompt_tokens.clone(),
            ..Sizes::default()
        },
        repeat: 1,
        rounds: 1,
        lower_to: None,
        trace: false,
        tuning_budget: budget,
        timeout: Some(budget + BEYOND),
        run_timeout: None,
        retries: 0,
        session: SessionOptions {
            headed: args.headed,
            gpu: args.gpu.settle(),
            webnn: false,
            precise_gpu_clock: true,
        },
        grid: None,
        listen: Default::default(),
        jobs: 1,
        expectations: Default::default(),
    })
}

/// Prints what a cell has found.
fn show(record: &Record, ui: &Ui) {
    if let Some(tuning) = &record.outcome.tuning {
        let value = json!({"cell": record.cell, "status": record.outcome.status, "tuning": tuning});
        ui.result(table::text(&record.cell, tuning), value);
    }
}
