//! Mozilla Firefox, driven by geckodriver.
//!
//! Known quirks:
//! - WebGPU is off by default on Linux and blocklisted on some GPUs; two preferences turn it on.
//! - A buffer map is answered by a timer of 100 ms
//!   (<https://bugzilla.mozilla.org/show_bug.cgi?id=1870699>), and whenever something is submitted: the
//!   engine submits nothing every few milliseconds while it waits, so times carry some 4 ms at most.
//! - There is no flag for a software adapter. On Linux the Vulkan loader is shown lavapipe alone; on
//!   macOS and Windows Firefox takes the GPU it finds, and the record names it.
//! - One session a geckodriver (<https://github.com/mozilla/geckodriver/issues/1946>), which does
//!   not matter here: each session has a driver of its own.

use super::{
    Gpu, Launch, Port, Programs, SessionOptions, choice::given_or, find, port_after, version,
};
use crate::setup::search::{Os, Places, Program};
use anyhow::Result;
use record::Browser;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// The browser.
pub(crate) static BROWSER: Program = Program {
    names: &["firefox", "firefox-esr"],
    folder_variable: Some("FIREFOX_FOLDER"),
    linux: &["/opt/firefox", "/usr/lib/firefox"],
    macos: &["Firefox.app/Contents/MacOS/firefox"],
    windows: &["Mozilla Firefox/firefox.exe"],
};

/// Its driver.
pub(crate) static DRIVER: Program = Program {
    names: &["geckodriver"],
    folder_variable: Some("GECKOWEBDRIVER"),
    linux: &[],
    macos: &[],
    windows: &[],
};

pub(super) fn launch(
    options: SessionOptions,
    programs: &Programs,
    places: &Places,
) -> Result<Launch> {
    let binary = given_or(&programs.binary, || find(Browser::Firefox, &BROWSER, places))?;
    let driver = given_or(&programs.driver, || find(Browser::Firefox, &DRIVER, places))?;
    let listening = |line: &str| port_after(line, "Listening on 127.0.0.1:");
    let capabilities = capabilities(&binary.to_string_lossy(), options);
    Ok(Launch {
        driver_args: ["--port", "0", "--websocket-port", "0"].map(str::to_owned).to_vec(),
        env: match (options.gpu, places.os) {
            (Gpu::Software, Os::Linux) => lavapipe(Path::new("/usr/share/vulkan/icd.d")),
            _ => Vec::new(),
        },
        driver_version: version::of_driver(&driver),
        flags: flags(options),
        ..Launch::of(driver, capabilities, Port::Printed(listening))
    })
}

/// Firefox has no flag for a software adapter, so on Linux the Vulkan loader is shown only
/// lavapipe's driver.
fn lavapipe(drivers: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(drivers).into_iter().flatten().flatten();
    let driver = entries.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("lvp_icd") && name.ends_with(".json")
    });
    match driver {
        Some(path) => vec![("VK_DRIVER_FILES".to_owned(), path.to_string_lossy().into_owned())],
        None => Vec::new(),
    }
}

fn args(options: SessionOptions) -> &'static [&'static str] {
    if options.headed { &[] } else { &["-headless"] }
}

fn prefs() -> Map<String, Value> {
    Map::from_iter([
        ("dom.webgpu.enabled".to_owned(), json!(true)),
        ("gfx.webgpu.ignore-blocklist".to_owned(), json!(true)),
        // A slow kernel is a result to record, not a script to ask the user about.
        ("dom.max_script_run_time".to_owned(), json!(0)),
    ])
}

fn flags(options: SessionOptions) -> Vec<String> {
    let prefs = prefs();
    let args = args(options).iter().map(|arg| (*arg).to_owned());
    args.chain(prefs.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

/// What a grid is asked for.
pub(super) fn request(options: SessionOptions) -> (Map<String, Value>, Vec<String>) {
    (capabilities("", options), flags(options))
}

fn capabilities(binary: &str, options: SessionOptions) -> Map<String, Value> {
    let firefox = json!({"binary": binary, "args": args(options), "prefs": prefs()});
    Map::from_iter([
        ("browserName".to_owned(), json!("firefox")),
        ("moz:firefoxOptions".to_owned(), firefox),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headless_session() {
        let json =
            serde_json::to_string_pretty(&capabilities("/bin/firefox", SessionOptions::default()));
        insta::assert_snapshot!(json.unwrap());
        assert_eq!(flags(SessionOptions::default())[..2], ["-headless", "dom.webgpu.enabled=true"]);
    }

    #[test]
    fn only_lavapipe_is_shown_to_the_vulkan_loader() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(lavapipe(folder.path()), []);
        for name in ["intel_icd.x86_64.json", "lvp_icd.x86_64.json"] {
            fs::write(folder.path().join(name), "{}").unwrap();
        }
        let path = folder.path().join("lvp_icd.x86_64.json").to_string_lossy().into_owned();
        assert_eq!(lavapipe(folder.path()), [("VK_DRIVER_FILES".to_owned(), path)]);
    }
}
