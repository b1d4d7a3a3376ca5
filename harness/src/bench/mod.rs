//! `harness bench`: single calls of ops in browsers and on the host, beside what each device can do at most.
//!
//! A report is asked of every browser and backend in turn: in a session as `run` has it, and on the host in a
//! child. `table.rs` prints it. Every figure is the engine's (`engine/src/bench`). `against` holds this build to
//! another one.

mod against;
mod table;

pub use against::FailOn;

pub use matrix::view::bench::BenchRun;

use crate::{
    browser::{BrowserArgs, GpuChoice, Launch, Programs, SessionOptions, Target},
    bundle,
    cases::Size,
    exit::Exit,
    host, native,
    outputs::probe_file,
    server::Server,
    session::{Fault, Session},
    setup::{self, Need},
    store::Benches,
    suggest,
    ui::Ui,
};
use anyhow::{Context, Result, bail, ensure};
use record::{Answer, Backend, BenchRequest, Bits, Browser, BrowserInfo, Event, Request, Status};
use serde_json::json;
use std::{fs, path::PathBuf, time::Duration};

/// How long each browser and backend may measure where nobody says.
const BUDGET: Duration = Duration::from_secs(60);
/// How long a page may take beyond the time that it is given to measure: it compiles kernels, and makes
/// sure of their results.
const BEYOND: Duration = Duration::from_secs(300);

/// What `bench` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness bench
      every op in Chrome and Firefox, on WebGPU and on WASM
  cargo harness bench --backends native --ops matmul project --bits 4 3
      products of few bits on the host's GPU, without a browser
  cargo harness bench --browsers chrome --gpu hardware --budget 5m --output bench.json
      all of it on the real GPU, and a file with every sample; --page writes a page
  cargo harness bench --against ../before/target/debug/harness --ops matmul --bits 4
      is this build faster or slower than another one? Both take turns until that is known
  cargo harness bench --against ./fewbit-0.1 --models bert llama --bits 4 --fail-on slower
      the same of whole models, class by class; exits with 1 if one is slower")]
pub struct Args {
    /// Browsers to drive.
    #[command(flatten)]
    pub browsers: BrowserArgs,

    /// Where the arithmetic runs: webgpu or wasm in a page, native on the host.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = suggest::name::<Backend>)]
    pub backends: Vec<Backend>,

    /// Ops to measure: matmul, project, attention, conv, rms_norm, layer_norm, softmax, activation, add or
    /// log_mel [default: all].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = op)]
    pub ops: Vec<String>,

    /// Bits of the weights: 32, 16, 8, 4, 3 or 2 [default: 16 8 4 3 2].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_parser = bits)]
    pub bits: Vec<Bits>,

    /// How long each browser and backend may measure: seconds, or such as 90s or 5m. Calls that there is no
    /// time for are named. With --against, how long all of it may take [default: 60s; with --against 10m].
    #[arg(long, value_name = "TIME", value_parser = budget)]
    pub budget: Option<Duration>,

    /// Say whether this build is faster or slower than another one: its harness, or the folder of a packed
    /// one. Both measure in turns, A B B A, until each op, or each class, is known to be either, or the time
    /// is over.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "page")]
    pub against: Option<PathBuf>,

    /// Compare the passes of these models and not single ops, as `run --models` takes them; all committed
    /// cases with `all` or no name.
    #[arg(long, num_args = 0.., value_delimiter = ',', requires = "against", conflicts_with = "ops")]
    pub models: Option<Vec<String>>,

    /// Which committed cases the names of models are looked for in [default: tiny].
    #[arg(long, value_enum, requires = "models")]
    pub size: Option<Size>,

    /// Exit with 1 if some op or class is slower than in the other build.
    #[arg(long, value_enum, num_args = 1.., value_delimiter = ',', requires = "against")]
    pub fail_on: Vec<FailOn>,

    /// Small shapes, as software adapters are given in any case.
    #[arg(long)]
    pub quick: bool,

    /// The shapes of published models on software adapters as well.
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,

    /// Write the reports to this file as JSON, every sample with them.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write a page with the reports to this file.
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,

    /// The database of all runs, beside which the reports are kept for `plan --estimate` and for pages
    /// [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

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

fn op(text: &str) -> Result<String, String> {
    let known = engine::bench::OPS;
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = suggest::did_you_mean(text, known.iter().copied());
    Err(format!("no such op is measured; known: {}{hint}", known.join(" ")))
}

fn bits(text: &str) -> Result<Bits, String> {
    match suggest::name::<Bits>(text)? {
        Bits::Adaptive => Err("a call has weights of one width: 32, 16, 8, 4, 3 or 2".to_owned()),
        bits => Ok(bits),
    }
}

fn budget(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(number) => (number, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    let seconds = seconds.filter(|seconds| (1.0..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or("a time is seconds, or such as 90s or 5m, from 1s to 1440m")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Carries out `harness bench`.
pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    for (option, path) in [("--output", &args.output), ("--page", &args.page)] {
        let Some(path) = path else { continue };
        probe_file(path).with_context(|| {
            format!("{} cannot be written; name another file with {option}", path.display())
        })?;
    }
    ensure!(
        !args.backends.contains(&Backend::Webnn),
        "the engine has no WebNN kernels to measure; use webgpu, wasm or native"
    );
    if let Some(other) = &args.against {
        return against::run(args, other, ui);
    }
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let mut bench = Bench { args, ui, measured: Vec::new(), exit: Exit::Ok };
    let done = runtime.block_on(async {
        tokio::select! {
            done = bench.all() => done,
            // Dropping what is asked ends the browser or the child.
            _ = tokio::signal::ctrl_c() => {
                bench.exit = Exit::Interrupted;
                Ok(())
            }
        }
    });
    // What was measured is kept whatever came after it.
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&json!({"reports": bench.measured}))?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &args.page {
        let page = matrix::bench(&bench.measured).to_string();
        fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    done.map(|()| bench.exit)
}

struct Bench<'a> {
    args: &'a Args,
    ui: &'a Ui,
    measured: Vec<BenchRun>,
    exit: Exit,
}

impl Bench<'_> {
    async fn all(&mut self) -> Result<()> {
        let (on_host, in_pages): (Vec<Backend>, Vec<Backend>) =
            self.args.backends.iter().partition(|backend| **backend == Backend::Native);
        if !in_pages.is_empty() {
            self.pages(&in_pages).await?;
        }
        for backend in on_host {
            let request = self.request(backend);
            let bar = self.ui.bar(format!("host, {backend}"), None, crate::ui::Unit::Steps);
            let answer = native::ask(&request, self.limit(), &mut |event| show(&bar, event)).await;
            bar.finish();
            self.take(None, Browser::Host.name().to_owned(), backend, answer)?;
        }
        Ok(())
    }

    async fn pages(&mut self, backends: &[Backend]) -> Result<()> {
        let Args { browsers, headed, gpu, .. } = self.args;
        let options =
            SessionOptions { headed: *headed, gpu: gpu.settle(), ..SessionOptions::default() };
        let targets = browsers.targets(false)?;
        ensure!(!targets.is_empty(), "pages need a browser: name one with --browsers");
        let page = self.page(&targets)?;
        let mut launches = Vec::new();
        for target in targets {
            match Launch::of_target(&target, options) {
                Ok(launch) => launches.push((target, launch)),
                Err(error) if browsers.are_default => {
                    self.ui.warn(format!("{} cannot be driven: {error:#}", target.id));
                }
                Err(error) => return Err(error.context(format!("{} cannot be driven", target.id))),
            }
        }
        ensure!(!launches.is_empty(), "no browser can be driven");
        let server = Server::start(Some(&page), &[], &Default::default()).await?;
        for (target, launch) in launches {
            let name = target.id.to_string();
            launch.warning.iter().for_each(|warning| self.ui.warn(warning));
            let mut session = match Session::open(&launch, options, &server.page_url()).await {
                Ok(session) => session,
                Err(error) => {
                    self.ui.error(format!("{name} does not start: {error:#}"));
                    self.exit = self.exit.or(Exit::Infra);
                    continue;
                }
            };
            for backend in backends {
                let request = self.request(*backend);
                let bar = self.ui.bar(format!("{name}, {backend}"), None, crate::ui::Unit::Steps);
                let on_event = &mut |event: &Event| show(&bar, event);
                let answer = session.ask(&request, self.limit(), on_event).await;
                bar.finish();
                let is_over = matches!(&answer, Err(fault) if fault.is_fatal);
                self.take(Some(session.info().clone()), name.clone(), *backend, answer)?;
                if is_over {
                    break;
                }
            }
            session.close().await;
        }
        Ok(())
    }

    fn request(&self, backend: Backend) -> Request {
        let Args { ops, bits, quick, full, .. } = self.args;
        Request::Bench(BenchRequest {
            backend,
            ops: ops.clone(),
            bits: bits.clone(),
            budget_ms: self.budget().as_secs_f64() * 1e3,
            quick: (*quick || *full).then_some(*quick),
        })
    }

    fn budget(&self) -> Duration {
        self.args.budget.unwrap_or(BUDGET)
    }

    fn limit(&self) -> Duration {
        self.budget() * 2 + BEYOND
    }

    /// The folder with the page.
    fn page(&self, targets: &[Target]) -> Result<PathBuf> {
        let mut needs: Vec<Need> = targets
            .iter()
            .filter_map(|target| match (target.id.family, &target.programs) {
                (family, Programs { binary: None, .. }) => Some(Need::Browser(family)),
                (family, Programs { driver: None, .. }) => Some(Need::Driver(family)),
                _ => None,
            })
            .collect();
        if self.args.bundle.is_none() {
            needs.push(Need::WasmBundle);
        }
        if !self.args.no_setup
            && let Err(error) = setup::ensure(&needs, self.ui)
        {
            self.ui.warn(format!("set-up: {error:#}"));
        }
        match &self.args.bundle {
            Some(folder) => Ok(folder.clone()),
            None => bundle::ensure(self.ui).context("building the page"),
        }
    }

    /// Prints an answer and keeps it.
    fn take(
        &mut self,
        browser: Option<BrowserInfo>,
        name: String,
        backend: Backend,
        answer: Result<Answer, Fault>,
    ) -> Result<()> {
        let report = match answer {
            Ok(Answer::Bench(report)) => *report,
            Ok(_) => bail!("the engine answered another request"),
            Err(Fault { status, stage, message, .. }) => {
                let status_name = status.name();
                self.ui.error(format!("{name}, {backend}: {status_name} in {stage}: {message}"));
                let exit = if status == Status::Infra { Exit::Infra } else { Exit::CellFailed };
                self.exit = self.exit.or(exit);
                return Ok(());
            }
        };
        let measured = BenchRun { browser, name, backend, host: host::host(), report };
        self.ui.result(table::text(&measured), json!(measured));
        // A report of some ops has the ceilings as well, and is the latest that is known of them.
        if measured.report.unsupported.is_none()
            && let Err(error) =
                Benches::of(self.args.db.as_deref()).and_then(|it| it.put(&measured))
        {
            self.ui.warn(format!("{error:#}"));
        }
        for failure in measured.report.failures() {
            self.ui.error(format!("{}, {backend}: {failure}", measured.name));
            self.exit = self.exit.or(Exit::CellFailed);
        }
        self.measured.push(measured);
        Ok(())
    }
}

fn show(bar: &crate::ui::Bar, event: &Event) {
    if let Event::Stage { stage } = event {
        bar.message(stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_seconds_or_minutes() {
        for (text, seconds) in [("60s", 60.0), ("90", 90.0), ("1.5m", 90.0), ("1440m", 86_400.0)] {
            assert_eq!(budget(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "0s", "s", "-1s", "1h", "NaN", "inf", "99999m"] {
            assert!(budget(wrong).unwrap_err().contains("such as 90s or 5m"), "{wrong}");
        }
    }

    #[test]
    fn ops_and_bits_are_known_by_name() {
        assert_eq!(op("attention"), Ok("attention".to_owned()));
        let error = op("matmull").unwrap_err();
        assert!(error.contains("did you mean") && error.contains("matmul"), "{error}");
        assert_eq!(bits("3"), Ok(Bits::Fixed(3)));
        assert!(bits("adaptive").unwrap_err().contains("one width"));
    }
}
