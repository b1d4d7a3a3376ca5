//! `harness shaders`: which kernels there are, which of them an adapter gets, and why.
//!
//! What a browser can do comes from the latest record that it left in the store, or from the browser
//! itself with `--probe`; never from its name.

use crate::{
    archive::DatabaseArgs,
    browser::{Gpu, Launch, SessionOptions},
    bundle, native,
    server::Server,
    session::{Fault, Session},
    store::{self, Filter},
    ui::Ui,
};
use ::shaders::{Dialect, Files};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use engine::{
    device::{Capabilities, Kernel, Terms},
    ops::{Choice, choices},
};
use record::{Adapter, Answer, Backend, Bits, Browser, EngineInfo, Request};
use serde_json::json;
use std::time::Duration;

/// How long a browser may take to check every op.
const PATIENCE: Duration = Duration::from_secs(300);

/// Without a window and on software, as `run` drives browsers where there is no GPU.
const LOOK: SessionOptions =
    SessionOptions { headed: false, gpu: Gpu::Software, webnn: false, precise_gpu_clock: false };

/// What to show.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// One line for each choice that an op has: the kernel, and why no other.
    #[command(after_help = "\
Examples:
  cargo harness shaders list --op matmul --bits 4
      the kernels of 4-bit products on this machine's own GPU
  cargo harness shaders list --browser firefox
      all kernels with what Firefox's adapter offered in the latest record")]
    List(Choose),
    /// The text of the chosen kernels as it is compiled.
    #[command(after_help = "\
Examples:
  cargo harness shaders show --op matmul --bits 4 --browser chrome --probe
      what Chrome on this machine compiles; it is started and asked what it can do")]
    Show(Choose),
}

/// Which kernels, and for whom.
#[derive(Args, Clone, Debug)]
pub struct Choose {
    /// Only this op.
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,

    /// Only kernels that read weights of so many bits.
    #[arg(long)]
    pub bits: Option<Bits>,

    /// For the adapter that this browser gives; `host` is this machine's own.
    #[arg(long, default_value = "host")]
    pub browser: Browser,

    /// Ask the browser now rather than its latest record.
    #[arg(long)]
    pub probe: bool,

    /// Where the records are.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// Shows what is asked for.
pub fn run(command: &Command, ui: &Ui) -> Result<()> {
    let (choose, whole) = match command {
        Command::List(choose) => (choose, false),
        Command::Show(choose) => (choose, true),
    };
    let choices: Vec<Choice> =
        choices().into_iter().filter(|choice| choose.wants(choice)).collect();
    ensure!(!choices.is_empty(), "no op has such a kernel; `shaders list` shows all");
    let (adapter, engine) = match (choose.browser, choose.probe) {
        (Browser::Host, _) => probe(Browser::Host, ui)?,
        (browser, true) => probe(browser, ui)?,
        (browser, false) => stored(browser, choose, ui)?,
    };
    let terms = terms(&adapter, &engine, &choices);
    let dialect = if choose.browser == Browser::Host { Dialect::Naga } else { Dialect::Browser };
    for choice in &choices {
        let chosen = terms.choose(choice.kernels.iter().copied());
        let text = match (&chosen, whole) {
            (Some(kernel), true) => kernel.text(&Files::default(), dialect)?,
            _ => String::new(),
        };
        let value = json!({
            "op": choice.op,
            "call": choice.call,
            "kernel": chosen.map(|kernel| format!("{kernel:?}")),
            "not": against(choice, &terms),
            "text": whole.then_some(&text),
        });
        let prefix = if whole { "// " } else { "" };
        let head: Vec<String> =
            lines(choice, chosen, &terms).iter().map(|line| format!("{prefix}{line}")).collect();
        ui.result(format!("{}{}{text}", head.join("\n"), if whole { "\n" } else { "" }), value);
    }
    Ok(())
}

impl Choose {
    fn wants(&self, choice: &Choice) -> bool {
        let bits = |kernel: &Kernel| match self.bits {
            None => true,
            Some(Bits::Fixed(bits)) => kernel.value("BITS") == u32::from(bits),
            Some(_) => kernel.value("BITS") != 0,
        };
        self.op.as_ref().is_none_or(|op| op == choice.op) && choice.kernels.iter().any(bits)
    }
}

/// The kernels that come before the chosen one, with what speaks against each.
fn against(choice: &Choice, terms: &Terms) -> Vec<(String, &'static str)> {
    let reason = |kernel: &Kernel| Some((kernel.to_string(), terms.against(kernel)?));
    choice.kernels.iter().map_while(reason).collect()
}

/// What is chosen for a call, and why nothing else.
fn lines(choice: &Choice, chosen: Option<Kernel>, terms: &Terms) -> Vec<String> {
    let call = match choice.call.is_empty() {
        true => choice.op.to_owned(),
        false => format!("{} ({})", choice.op, choice.call),
    };
    let kernel = match chosen {
        Some(kernel) => format!("{kernel:?}"),
        None => "runs on the CPU".to_owned(),
    };
    let not = against(choice, terms).into_iter().map(|(name, why)| format!("  not {name}: {why}"));
    std::iter::once(format!("{call}: {kernel}")).chain(not).collect()
}

/// What decides, of an adapter and of the self-test on it.
fn terms(adapter: &Adapter, engine: &EngineInfo, choices: &[Choice]) -> Terms {
    let failed = |kernel: &&Kernel| {
        let name = kernel.to_string();
        engine.refused.iter().any(|refused| refused.kernel == name)
    };
    let kernels = choices.iter().flat_map(|choice| &choice.kernels);
    Terms {
        capabilities: Capabilities::of(adapter),
        refused: kernels.filter(failed).copied().collect(),
        ..Terms::default()
    }
}

/// What the latest record of a browser says.
fn stored(browser: Browser, choose: &Choose, ui: &Ui) -> Result<(Adapter, EngineInfo)> {
    let store = store::open(choose.database.db.as_deref(), None, ui)?;
    let filter = Filter {
        browser: Some(browser),
        backend: Some(Backend::Webgpu),
        limit: Some(1),
        ..Filter::default()
    };
    let latest = store.history(&filter)?.pop();
    let environment = latest.map(|record| record.environment);
    let environment = environment.with_context(|| {
        format!("no record of {browser} on WebGPU is stored; `--probe` asks {browser} itself")
    })?;
    let adapter = environment.adapter.clone();
    let adapter = adapter.with_context(|| format!("{browser} gave no adapter when it ran last"))?;
    Ok((adapter, environment.engine.clone()))
}

/// What a browser, or the host, says when it is asked.
fn probe(browser: Browser, ui: &Ui) -> Result<(Adapter, EngineInfo)> {
    let backend = if browser == Browser::Host { Backend::Native } else { Backend::Webgpu };
    let request = Request::Probe { backend, self_test: true };
    let asked = tokio::runtime::Runtime::new()?.block_on(async {
        if browser == Browser::Host {
            return anyhow::Ok(native::ask(&request, PATIENCE, &mut |_| {}).await);
        }
        let page = bundle::ensure(ui)?;
        let server = Server::start(Some(&page), &[], &Default::default()).await?;
        let launch = Launch::find(browser, LOOK)?;
        let mut session = Session::open(&launch, LOOK, &server.page_url()).await?;
        let answer = session.ask(&request, PATIENCE, &mut |_| {}).await;
        session.close().await;
        Ok(answer)
    });
    match asked?.map_err(|Fault { message, .. }| anyhow::anyhow!(message))? {
        Answer::Probe(report) => match report.adapter {
            Some(adapter) => Ok((adapter, report.engine)),
            None => bail!("{browser} gives no adapter: {}", report.unsupported.unwrap_or_default()),
        },
        _ => bail!("{browser} answered something else"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::RefusedKernel;

    fn choice() -> Choice {
        let wants = |choice: &Choice| choice.call == "q4 symmetric g32, a row, few outputs";
        choices().into_iter().find(wants).expect("a product of 4 bits")
    }

    #[test]
    fn a_choice_follows_the_adapter_and_the_self_test() {
        let choice = choice();
        let subgroups = Adapter { features: vec!["subgroups".to_owned()], ..Adapter::default() };
        let show = |adapter: &Adapter, engine: &EngineInfo| {
            let terms = terms(adapter, engine, std::slice::from_ref(&choice));
            lines(&choice, terms.choose(choice.kernels.iter().copied()), &terms)
        };
        let call = "matmul (q4 symmetric g32, a row, few outputs)";
        let plain = "matvec_digits HARDWARE=1 WIDE=1 ROWS=2 BITS=4 GROUP=32 ASYM=0";
        let fast = format!("{plain} SUBGROUPS=1");
        let in_floats = "matvec WIDE=1 ROWS=4 BITS=4 GROUP=32 ASYM=0";
        let fast_in_floats = format!("{in_floats} SUBGROUPS=1");
        let small = ["matvec SOFTWARE=1 WIDE=1 ROWS=4 BITS=4 GROUP=32 ASYM=0"]
            .map(|plain| [format!("{plain} SUBGROUPS=1"), plain.to_owned()])
            .concat();
        let size = "WG=256 TILE=256×1";
        let nothing = EngineInfo::default();
        let chosen = |kernel: &str, size: &str| vec![format!("{call}: {kernel} {size}")];
        let not = |kernels: &[String], why: &str| -> Vec<String> {
            kernels.iter().map(|kernel| format!("  not {kernel}: {why}")).collect()
        };
        let not_small = not(&small, "it is for software adapters");
        assert_eq!(show(&subgroups, &nothing), [chosen(&fast, size), not_small.clone()].concat());
        let software = Adapter { software: Some(true), ..subgroups.clone() };
        assert_eq!(show(&software, &nothing), chosen(&small[0], "WG=16 TILE=16×1"));
        let lacks = ["the adapter has no subgroups", "it is for software adapters"];
        assert_eq!(
            show(&Adapter::default(), &nothing),
            [
                chosen(plain, size),
                not(&small[..1], lacks[0]),
                not(&small[1..], lacks[1]),
                not(std::slice::from_ref(&fast), lacks[0])
            ]
            .concat()
        );
        let refuse = |kernel: &str| RefusedKernel { kernel: kernel.to_owned(), why: String::new() };
        // What comes behind the rules' kernels for a tuning; smaller workgroups have no name of their own.
        let rounded = "matvec_row HARDWARE=1 WIDE=1 ROWS=2 ROUNDED=1 BITS=4 GROUP=32 ASYM=0";
        let fast_rounded = format!("{rounded} SUBGROUPS=1");
        let refused = [
            &fast,
            plain,
            &fast_in_floats,
            in_floats,
            &fast_rounded,
            rounded,
            &fast,
            plain,
            &fast_rounded,
            rounded,
        ];
        let wrong = EngineInfo { refused: refused.map(refuse).into(), ..nothing };
        assert_eq!(
            show(&subgroups, &wrong),
            [
                vec![format!("{call}: runs on the CPU")],
                not_small,
                not(&refused.map(str::to_owned), "it failed the self-test")
            ]
            .concat()
        );
    }

    #[test]
    fn kernels_are_found_by_op_and_bits() {
        let database = DatabaseArgs { db: None };
        let choose = |op: Option<&str>, bits| Choose {
            op: op.map(str::to_owned),
            bits,
            browser: Browser::Host,
            probe: false,
            database: database.clone(),
        };
        let count = |choose: &Choose| choices().iter().filter(|it| choose.wants(it)).count();
        // Three groups, with and without a minimum: one row of chunks and of pairs for few and for many outputs, a
        // long one, few rows of either, several, and many for few and for many outputs.
        assert_eq!(count(&choose(Some("matmul"), Some(Bits::Fixed(4)))), 60);
        assert_eq!(count(&choose(Some("softmax"), None)), 1);
        assert_eq!(count(&choose(Some("softmax"), Some(Bits::Fixed(4)))), 0);
    }
}
