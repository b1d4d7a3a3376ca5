//! What each browser needs to be driven: one file a browser.
//!
//! A browser file knows the names of its binary and driver, the capabilities and flags that give
//! WebGPU in it, and how its driver says which port it took. It knows nothing about sessions, which
//! are the same for all (`session.rs`). `driver.rs` starts the driver, and `guard.rs` is the process
//! between the harness and the driver that lets neither driver nor browser outlive a run:
//!
//! ```text
//! harness ──spawns──> harness guard ──spawns──> chromedriver ──spawns──> chromium …
//!        <──pipe────  (a POSIX session of its own, TMPDIR = the scratch folder)
//! ```

mod chrome;
pub mod driver;
mod firefox;
pub mod guard;

use crate::setup::search::Places;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use record::{Browser, BrowserInfo};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// What to run WebGPU on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Gpu {
    /// A software rasteriser: the same everywhere, slow.
    #[default]
    Software,
    /// Whatever GPU the browser picks on this machine.
    Hardware,
}

/// How a session is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// With windows.
    pub headed: bool,
    /// What to run WebGPU on.
    pub gpu: Gpu,
}

/// All that is needed to start one session of a browser.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The driver.
    pub driver: PathBuf,
    /// Its arguments.
    pub driver_args: Vec<String>,
    /// Environment variables for it and so for the browser.
    pub env: Vec<(String, String)>,
    /// Capabilities of the new session.
    pub capabilities: Map<String, Value>,
    /// Flags and preferences as the record states them.
    pub flags: Vec<String>,
    /// Finds the port in a line that the driver prints.
    pub listening: fn(&str) -> Option<u16>,
    /// Finds the version of the driver in the capabilities that it answers with.
    pub driver_version: fn(&Map<String, Value>) -> Option<String>,
}

impl Launch {
    /// Finds binary and driver of `browser` on this machine.
    pub fn find(browser: Browser, look: Look) -> Result<Launch> {
        match browser {
            Browser::Chrome => chrome::launch(look),
            Browser::Firefox => firefox::launch(look),
            Browser::Edge | Browser::Safari | Browser::Webkitgtk => {
                bail!("{browser} cannot be driven yet; use --browsers chrome firefox")
            }
            Browser::Host => bail!("the host is no browser; it runs the native backend"),
        }
    }

    /// What a record says about browser and driver, from the capabilities of the new session.
    pub fn info(&self, look: Look, answered: &Map<String, Value>) -> BrowserInfo {
        let text = |key: &str| answered.get(key).and_then(Value::as_str).unwrap_or_default();
        BrowserInfo {
            name: text("browserName").to_owned(),
            version: text("browserVersion").to_owned(),
            driver: self.driver.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            driver_version: (self.driver_version)(answered).unwrap_or_default(),
            headless: !look.headed,
            flags: self.flags.clone(),
        }
    }
}

/// The first of `names` in the folder that `folder_variable` names, or where programs are.
fn find_program(names: &[&str], folder_variable: &str) -> Result<PathBuf> {
    Places::of_this_process().program(names, Some(folder_variable)).with_context(|| {
        let names = names.join(" or ");
        format!("{names} is not there; `cargo harness setup` installs it")
    })
}

/// The digits that follow `before` in `line`.
fn port_after(line: &str, before: &str) -> Option<u16> {
    let rest = &line[line.find(before)? + before.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_what_drivers_print() {
        let chrome = "ChromeDriver was started successfully on port 40123.";
        assert_eq!(port_after(chrome, " on port "), Some(40123));
        assert_eq!(port_after("Listening on 127.0.0.1:4444", "127.0.0.1:"), Some(4444));
        assert_eq!(port_after("Starting ChromeDriver 156 on port 0", " on port "), Some(0));
        assert_eq!(port_after("no such thing", " on port "), None);
    }
}
