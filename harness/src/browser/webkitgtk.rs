//! WebKitGTK's MiniBrowser, driven by WebKitWebDriver: the engine of Safari, and not Safari.
//!
//! Known quirks:
//! - WebKitGTK has no WebGPU, so the page has no `navigator.gpu`
//!   (<https://github.com/gpuweb/gpuweb/wiki/Implementation-Status>).
//! - It has no headless mode. Unless windows are asked for, the guard starts an X server without a
//!   screen, which ends with the session.
//! - Its sandbox does not start as root; a variable that says in its name what it is turns it off
//!   (<https://webkitgtk.org/security.html>).
//! - The driver takes a port and tells neither when it listens nor its version; it is part of the
//!   same build as the engine.

use super::{Launch, Port, Programs, SessionOptions, choice::given_or, find};
use crate::{
    host::is_root,
    setup::search::{Os, Places, Program},
};
use anyhow::{Result, ensure};
use record::Browser;
use serde_json::{Map, Value, json};

/// The browser; not a program for people, so it is on no PATH.
pub(crate) static BROWSER: Program = Program {
    names: &["MiniBrowser"],
    folder_variable: Some("WEBKITGTK_FOLDER"),
    linux: &[
        "/usr/lib/*/webkitgtk-6.0",
        "/usr/lib/*/webkit2gtk-4.1",
        "/usr/lib/*/webkit2gtk-4.0",
        "/usr/libexec/webkitgtk-6.0",
        "/usr/libexec/webkit2gtk-4.1",
        "/usr/lib/webkitgtk-6.0",
        "/usr/lib/webkit2gtk-4.1",
    ],
    macos: &[],
    windows: &[],
};

/// Its driver.
pub(crate) static DRIVER: Program = Program {
    names: &["WebKitWebDriver"],
    folder_variable: Some("WEBKITGTKWEBDRIVER"),
    linux: &["/usr/lib/*/webkit2gtk-4.1", "/usr/libexec/webkit2gtk-4.1"],
    macos: &[],
    windows: &[],
};

/// The X server without a screen.
pub(crate) static DISPLAY: Program =
    Program { names: &["Xvfb"], folder_variable: None, linux: &[], macos: &[], windows: &[] };

pub(super) fn launch(
    options: SessionOptions,
    programs: &Programs,
    places: &Places,
) -> Result<Launch> {
    let is_here = places.os == Os::Linux || places.find(&DRIVER).is_some();
    ensure!(is_here, "not on this platform: WebKitGTK's driver runs on Linux only");
    let binary = given_or(&programs.binary, || find(Browser::Webkitgtk, &BROWSER, places))?;
    let driver = given_or(&programs.driver, || find(Browser::Webkitgtk, &DRIVER, places))?;
    if !options.headed {
        let there = places.find(&DISPLAY).is_some();
        ensure!(there, "Xvfb is not there; {}, or use --headed", super::setup(Browser::Webkitgtk));
    }
    let port = |port: u16| vec![format!("--port={port}")];
    Ok(Launch {
        env: env(options, is_root()),
        flags: flags(options),
        needs_display: !options.headed,
        ..Launch::of(driver, capabilities(&binary.to_string_lossy()), Port::Given(port))
    })
}

fn flags(options: SessionOptions) -> Vec<String> {
    let display = (!options.headed).then_some("Xvfb");
    ["--automation"].into_iter().chain(display).map(str::to_owned).collect()
}

fn env(options: SessionOptions, root: bool) -> Vec<(String, String)> {
    let x11 = (!options.headed).then_some(("GDK_BACKEND", "x11"));
    let sandbox = root.then_some(("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1"));
    let variables = x11.into_iter().chain(sandbox);
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a grid is asked for.
pub(super) fn request(options: SessionOptions) -> (Map<String, Value>, Vec<String>) {
    (capabilities(""), flags(options))
}

fn capabilities(binary: &str) -> Map<String, Value> {
    let options = json!({"binary": binary, "args": ["--automation"]});
    Map::from_iter([
        ("browserName".to_owned(), json!("MiniBrowser")),
        ("webkitgtk:browserOptions".to_owned(), options),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session() {
        let binary = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";
        insta::assert_snapshot!(serde_json::to_string_pretty(&capabilities(binary)).unwrap());
    }

    #[test]
    fn a_window_needs_neither_display_nor_x11() {
        let options = SessionOptions { headed: true, ..SessionOptions::default() };
        assert_eq!(flags(options), ["--automation"]);
        assert_eq!(env(options, false), []);
        assert_eq!(flags(SessionOptions::default()), ["--automation", "Xvfb"]);
        assert_eq!(env(SessionOptions::default(), true).len(), 2);
    }
}
