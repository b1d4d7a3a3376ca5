//! What each browser needs to be driven: one file a browser.
//!
//! A browser file knows where its binary and driver lie on each system, the capabilities and flags
//! that give WebGPU in it, how its driver comes to a port, and its known quirks. It knows nothing
//! about sessions, which are the same for all (`session.rs`). `choice.rs` says which browsers a run
//! drives, `chromium.rs` is what Chrome and Edge share, `gpu.rs` looks for a real GPU, `version.rs` compares browser and driver, and `turn.rs` makes
//! sessions wait for each other where only one can be had. `driver.rs` starts the driver, and
//! `guard` is the process between the harness and the driver that lets neither driver nor browser
//! outlive a run:
//!
//! ```text
//! harness ──spawns──> harness guard ──spawns──> chromedriver ──spawns──> chromium …
//!        <──pipe────  (a POSIX session or a job object, temporary files in the scratch folder)
//!                      └─spawns──> Xvfb, for a browser without a headless mode
//! ```

mod choice;
pub(crate) mod chrome;
mod chromium;
pub mod driver;
pub(crate) mod edge;
pub(crate) mod firefox;
mod gpu;
pub mod guard;
pub(crate) mod safari;
mod turn;
mod version;
pub(crate) mod webkitgtk;

pub use choice::{BrowserArg, BrowserArgs, BrowserId, ProgramArg, Programs, Target};
pub use gpu::{Gpu, GpuChoice};

use crate::{
    home,
    setup::search::{Places, Program},
};
use anyhow::{Context, Result, bail};
use record::{Browser, BrowserInfo};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// What sessions have in common, whatever the browser.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// With windows.
    pub headed: bool,
    /// What to run WebGPU on.
    pub gpu: Gpu,
    /// Whether WebNN is asked for, which browsers keep behind a flag.
    pub webnn: bool,
    /// Whether the GPU's timestamps are wanted as they are: Chromium rounds them to a tenth of a millisecond,
    /// which is more than most dispatches take.
    pub precise_gpu_clock: bool,
}

/// All that is needed to start one session of a browser.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The driver.
    pub driver: PathBuf,
    /// Its arguments.
    pub driver_args: Vec<String>,
    /// How it comes to its port.
    pub port: Port,
    /// Its version, where it says one.
    pub driver_version: Option<String>,
    /// Environment variables for it and so for the browser.
    pub env: Vec<(String, String)>,
    /// Whether the driver answers others while it waits for the browser, so that the two can be told
    /// apart when one of them hangs.
    pub answers_while_waiting: bool,
    /// Whether it needs an X server that shows nothing.
    pub needs_display: bool,
    /// The browser of which only one session can be had at a time on a machine.
    pub takes_turns: Option<Browser>,
    /// Whether the browser has a window whatever is asked for.
    pub always_headed: bool,
    /// Capabilities of the new session.
    pub capabilities: Map<String, Value>,
    /// Flags and preferences as the record states them.
    pub flags: Vec<String>,
    /// What to do about a session that was refused with this message.
    pub remedy: fn(&str) -> Option<&'static str>,
    /// What may go wrong with these programs, where it is not certain.
    pub warning: Option<String>,
}

/// What is asked of a grid, whose nodes know where their browsers and drivers are.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// Capabilities of the new session.
    pub capabilities: Map<String, Value>,
    /// Flags and preferences as the record states them.
    pub flags: Vec<String>,
}

impl SessionRequest {
    /// What a session of `browser` is asked for with. Nodes are taken to run the same system as this
    /// machine, and with the same rights.
    pub fn of(browser: Browser, options: SessionOptions) -> Result<SessionRequest> {
        let os = Places::of_this_process().os;
        let (mut capabilities, flags) = match browser {
            Browser::Chrome => chrome::request(options, os),
            Browser::Edge => edge::request(options, os),
            Browser::Firefox => firefox::request(options),
            Browser::Safari => safari::request(),
            Browser::Webkitgtk => webkitgtk::request(options),
            Browser::Host => bail!("the host is no browser; it runs the native backend"),
        };
        for options in capabilities.values_mut().filter_map(Value::as_object_mut) {
            options.remove("binary");
        }
        Ok(SessionRequest { capabilities, flags })
    }
}

/// How a driver comes to its port.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// It picks one and prints it, in a line in which this finds it.
    Printed(fn(&str) -> Option<u16>),
    /// It is given one, in these arguments, and prints nothing.
    Given(fn(u16) -> Vec<String>),
}

impl Launch {
    /// Finds binary and driver of `browser` on this machine.
    pub fn find(browser: Browser, options: SessionOptions) -> Result<Launch> {
        Launch::of_target(&browser.into(), options)
    }

    /// Finds what of a browser's programs is not named.
    pub fn of_target(Target { id, programs }: &Target, options: SessionOptions) -> Result<Launch> {
        let places = Places::of_this_process();
        match id.family {
            Browser::Chrome => chrome::launch(options, programs, &places),
            Browser::Firefox => firefox::launch(options, programs, &places),
            Browser::Edge => edge::launch(options, programs, &places),
            Browser::Safari => safari::launch(&places),
            Browser::Webkitgtk => webkitgtk::launch(options, programs, &places),
            Browser::Host => bail!("the host is no browser; it runs the native backend"),
        }
    }

    /// A driver and a browser without peculiarities.
    pub(crate) fn of(driver: PathBuf, capabilities: Map<String, Value>, port: Port) -> Launch {
        Launch {
            driver,
            driver_args: Vec::new(),
            port,
            driver_version: None,
            env: Vec::new(),
            answers_while_waiting: false,
            needs_display: false,
            takes_turns: None,
            always_headed: false,
            capabilities,
            flags: Vec::new(),
            remedy: |_| None,
            warning: None,
        }
    }

    /// What a record says about browser and driver, from the capabilities of the new session.
    pub fn info(&self, options: SessionOptions, answered: &Map<String, Value>) -> BrowserInfo {
        let text = |key: &str| answered.get(key).and_then(Value::as_str).unwrap_or_default();
        BrowserInfo {
            name: text("browserName").to_owned(),
            version: text("browserVersion").to_owned(),
            driver: self.driver.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            driver_version: self.driver_version.clone().unwrap_or_default(),
            headless: !options.headed && !self.always_headed,
            flags: self.flags.clone(),
        }
    }
}

/// Where a program of `browser` is.
fn find(browser: Browser, program: &Program, places: &Places) -> Result<PathBuf> {
    places.find(program).with_context(|| {
        let names = program.names.join(", ");
        let none = if program.names.len() > 1 { "none of them is" } else { "it is not" };
        format!("looked for {names}: {none} there; {}", setup(browser))
    })
}

/// What to do about a program of `browser` that is absent.
fn setup(browser: Browser) -> String {
    format!("`{} setup --browsers {browser}` installs it or says how", home::command())
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
    fn a_grid_is_asked_for_no_binary_of_this_machine() {
        for browser in Browser::ALL.iter().filter(|browser| **browser != Browser::Host) {
            let request = SessionRequest::of(*browser, SessionOptions::default()).unwrap();
            let text = serde_json::to_string(&request.capabilities).unwrap();
            assert!(text.contains("browserName") && !text.contains("binary"), "{text}");
        }
        assert!(SessionRequest::of(Browser::Host, SessionOptions::default()).is_err());
    }

    #[test]
    fn ports_are_read_from_what_drivers_print() {
        let chrome = "ChromeDriver was started successfully on port 40123.";
        assert_eq!(port_after(chrome, " on port "), Some(40123));
        assert_eq!(port_after("Listening on 127.0.0.1:4444", "127.0.0.1:"), Some(4444));
        assert_eq!(port_after("no such thing", " on port "), None);
    }
}
