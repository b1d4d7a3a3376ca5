//! Apple Safari, driven by the safaridriver of macOS.
//!
//! Known quirks:
//! - It takes no binary, no flags and no port of its own choice, and always shows its window
//!   (<https://developer.apple.com/documentation/webkit/about-webdriver-for-safari>).
//! - One session at a time on a machine; a second one is refused with "already paired with another
//!   WebDriver session" (<https://github.com/SeleniumHQ/selenium/issues/5057>), so harnesses take
//!   turns by a lock file.
//! - Automation must be allowed once, by `safaridriver --enable`.
//! - WebGPU is on by default from Safari 26 on macOS 26; before, the page has no `navigator.gpu`,
//!   and the record says so.

use super::{Launch, Port, find};
use crate::setup::search::{Os, Places, Program};
use anyhow::{Result, ensure};
use record::Browser;
use serde_json::{Map, Value, json};

/// The driver: a part of the system, as the browser is.
pub(crate) static DRIVER: Program = Program {
    names: &["safaridriver"],
    folder_variable: Some("SAFARIWEBDRIVER"),
    linux: &[],
    macos: &[],
    windows: &[],
};

pub(super) fn launch(places: &Places) -> Result<Launch> {
    let is_here = places.os == Os::Macos || places.find(&DRIVER).is_some();
    ensure!(is_here, "not on this platform: Safari runs on macOS only");
    let driver = find(Browser::Safari, &DRIVER, places)?;
    let port = |port: u16| vec!["--port".to_owned(), port.to_string()];
    Ok(Launch {
        // `Included with Safari 26.0 (21622.1.22.11.14)`
        driver_version: super::version::of_driver(&driver),
        always_headed: true,
        takes_turns: Some(Browser::Safari),
        remedy,
        ..Launch::of(driver, capabilities(), Port::Given(port))
    })
}

/// What a grid is asked for.
pub(super) fn request() -> (Map<String, Value>, Vec<String>) {
    (capabilities(), Vec::new())
}

fn capabilities() -> Map<String, Value> {
    Map::from_iter([("browserName".to_owned(), json!("safari"))])
}

/// What to do about a session that was refused.
fn remedy(said: &str) -> Option<&'static str> {
    if said.contains("Allow Remote Automation") || said.contains("remote automation") {
        return Some("run `safaridriver --enable` once, as an administrator");
    }
    let pairing = "quit Safari and whatever else drives it: it takes one session at a time";
    said.contains("already paired").then_some(pairing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_asks_for_safari_and_nothing_else() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&capabilities()).unwrap());
    }

    #[test]
    fn refusals_have_remedies() {
        let off = "Could not create a session: You must enable 'Allow remote automation' in the \
                   Developer section of Safari Settings to control Safari via WebDriver.";
        assert!(remedy(off).unwrap().contains("safaridriver --enable"));
        let taken = "Could not create a session: The Safari instance is already paired with \
                     another WebDriver session.";
        assert!(remedy(taken).unwrap().contains("quit Safari"));
        assert_eq!(remedy("no such window"), None);
    }
}
