//! `harness test`: everything that must hold before a change is merged, on any machine and in CI.

use crate::{
    bundle, home,
    setup::{self, Need, cargo, linters},
    ui::Ui,
};
use anyhow::{Context, Result};
use record::Browser;
use std::{
    env,
    io::{self, Write},
    path::Path,
    process::{Command, ExitCode, ExitStatus},
    thread,
};

/// The quickest first.
const STEPS: [&[&str]; 4] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
    &["doc", "--workspace", "--no-deps", "--quiet"],
    &["test", "--workspace", "--lib", "--bins", "--tests", "--no-run", "--quiet"],
];

/// Those of libraries compute, and those in browsers wait half of their time: they run side by side.
const LIBRARIES: &[&str] = &["test", "--workspace", "--lib"];
const PROGRAMS: &[&str] = &["test", "--workspace", "--bins", "--test", "*"];

/// Says for how many minutes the tests kill at random.
const SOAK: &str = "FEWBIT_SOAK_MINUTES";

/// Arguments of `harness test`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Kill browsers, tabs, drivers and the harness at random for half an hour, or for
    /// FEWBIT_SOAK_MINUTES, and not for half a minute alone.
    #[arg(long)]
    pub faults: bool,
}

/// Runs the steps until one fails, and ends as that one did.
pub fn run(args: Args, ui: &Ui) -> Result<ExitCode> {
    let root = home::needed_checkout("the check of the whole project")?;
    let mut browsers = vec![Need::Browser(Browser::Chrome), Need::Browser(Browser::Firefox)];
    if cfg!(target_os = "linux") {
        browsers.extend([Need::Browser(Browser::Webkitgtk), Need::Grid]);
    }
    // The page is built while all else is brought, checked and built: much of it is linked by one thread.
    // Where a step fails, nobody waits for it.
    setup::ensure(&[Need::WasmBundle], ui)?;
    let page = {
        let ui = ui.clone();
        thread::spawn(move || bundle::ensure(&ui))
    };
    setup::ensure(&browsers, ui)?;
    let linters = linters::ensure(&root, ui)?;
    let command = |step: &[&str]| {
        let mut command = cargo();
        command.args(step).current_dir(&root).env("RUSTDOCFLAGS", "-D warnings");
        if args.faults && env::var_os(SOAK).is_none() {
            command.env(SOAK, "30");
        }
        command
    };
    for step in linters.into_iter().chain(STEPS.map(command)) {
        if let Some(code) = failed(step, ui)? {
            return Ok(code);
        }
    }
    page.join().expect("building the page does not panic")?;
    let mut libraries = command(LIBRARIES);
    ui.say(format!("{} beside what follows, and shown behind it", line(&libraries)));
    let libraries = thread::spawn(move || libraries.output());
    let programs = failed(command(PROGRAMS), ui);
    let libraries = libraries.join().expect("starting tests does not panic")?;
    io::stderr().write_all(&libraries.stderr)?;
    io::stdout().write_all(&libraries.stdout)?;
    let programs = programs?;
    if programs.is_some() {
        ui.warn(format!("{} failed, see above", line(&command(PROGRAMS))));
    }
    Ok(programs.or_else(|| code(libraries.status)).unwrap_or(ExitCode::SUCCESS))
}

/// Runs a step; how it ended if it failed.
fn failed(mut step: Command, ui: &Ui) -> Result<Option<ExitCode>> {
    let shown = line(&step);
    ui.say(&shown);
    Ok(code(step.status().with_context(|| format!("starting {shown}"))?))
}

/// What a step that failed exited with; one that a signal ended has no code.
fn code(status: ExitStatus) -> Option<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    (!status.success()).then(|| ExitCode::from(code))
}

/// A step in a line: a program by its name alone, wherever it is.
fn line(step: &Command) -> String {
    let program = Path::new(step.get_program()).file_stem().unwrap_or_default();
    let words = [program].into_iter().chain(step.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
