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

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use record::{Browser, BrowserInfo};
use serde_json::{Map, Value};
use std::{
    env,
    path::{Path, PathBuf},
};

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

/// The program that the environment variable `given` names; else the first of `names` that is in the
/// folder which it names, on PATH or in cargo's folder of programs.
fn find_program(names: &[&str], given: &str) -> Result<PathBuf> {
    let cargo_bin = env::home_dir().map(|home| home.join(".cargo/bin"));
    let given_path = env::var_os(given).map(PathBuf::from);
    if let Some(path) = given_path.as_ref().filter(|path| is_program(path)) {
        return Ok(path.clone());
    }
    let folders: Vec<PathBuf> = given_path
        .into_iter()
        .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default()))
        .chain(cargo_bin)
        .collect();
    find_in(names, &folders).with_context(|| {
        let names = names.join(" or ");
        format!("{names} is not there; `cargo harness setup` installs it, or {given} names it")
    })
}

fn find_in(names: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let file = |name: &&str| {
        folders.iter().map(move |folder| folder.join(name)).find(|path: &PathBuf| is_program(path))
    };
    names.iter().find_map(file)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
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
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn programs_are_found_in_the_order_of_names_and_must_be_executable() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("second", 0o755);
        put("third", 0o755);
        put("first", 0o644);
        let found = find_in(&["first", "second", "third"], &[folder.path().to_owned()]);
        assert_eq!(found, Some(folder.path().join("second")));
        assert_eq!(find_in(&["fourth"], &[folder.path().to_owned()]), None);
    }

    #[test]
    fn ports_are_read_from_what_drivers_print() {
        let chrome = "ChromeDriver was started successfully on port 40123.";
        assert_eq!(port_after(chrome, " on port "), Some(40123));
        assert_eq!(port_after("Listening on 127.0.0.1:4444", "127.0.0.1:"), Some(4444));
        assert_eq!(port_after("Starting ChromeDriver 156 on port 0", " on port "), Some(0));
        assert_eq!(port_after("no such thing", " on port "), None);
    }
}
