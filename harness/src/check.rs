//! `harness test`: everything that must hold before a change is merged, on any machine and in CI.

use crate::{
    setup::{self, Need},
    ui::Ui,
};
use anyhow::{Context, Result};
use record::Browser;
use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

const STEPS: [&[&str]; 5] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
    &["doc", "--workspace", "--no-deps", "--quiet"],
    &["test", "--workspace", "--doc", "--quiet"],
    // The last, so that its summary is the last that is printed.
    &["test", "--workspace", "--lib", "--bins", "--tests"],
];

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
    let mut needs =
        vec![Need::WasmBundle, Need::Browser(Browser::Chrome), Need::Browser(Browser::Firefox)];
    if cfg!(target_os = "linux") {
        needs.extend([Need::Browser(Browser::Webkitgtk), Need::Grid]);
    }
    setup::ensure(&needs, ui)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for step in STEPS {
        ui.say(format!("cargo {}", step.join(" ")));
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(step).current_dir(&root).env("RUSTDOCFLAGS", "-D warnings");
        if args.faults && env::var_os(SOAK).is_none() {
            command.env(SOAK, "30");
        }
        let status = command.status().with_context(|| format!("starting cargo {}", step[0]))?;
        if !status.success() {
            // A step that a signal ended has no code.
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
    }
    Ok(ExitCode::SUCCESS)
}
