//! Google Chrome and Chromium, driven by chromedriver; their flags and quirks are in `chromium.rs`.

use super::{Launch, Programs, SessionOptions, chromium};
use crate::{
    host::is_root,
    setup::search::{Os, Places, Program},
};
use anyhow::Result;
use record::Browser;
use serde_json::{Map, Value, json};

/// The browser.
pub(crate) static BROWSER: Program = Program {
    names: &[
        "google-chrome-stable",
        "google-chrome",
        "chromium",
        "chromium-browser",
        "chrome",
        "Google Chrome",
    ],
    folder_variable: Some("CHROME_FOLDER"),
    linux: &["/opt/google/chrome"],
    macos: &[
        "Google Chrome.app/Contents/MacOS/Google Chrome",
        "Chromium.app/Contents/MacOS/Chromium",
    ],
    windows: &["Google/Chrome/Application/chrome.exe", "Chromium/Application/chrome.exe"],
};

/// Its driver.
pub(crate) static DRIVER: Program = Program {
    names: &["chromedriver"],
    folder_variable: Some("CHROMEWEBDRIVER"),
    linux: &["/usr/lib/chromium-browser", "/usr/lib/chromium"],
    macos: &[],
    windows: &[],
};

const REMEDY: &str = "upgrade both from one place, or put the chromedriver of the browser's version \
                      (https://googlechromelabs.github.io/chrome-for-testing/) into a folder and \
                      name that in CHROMEWEBDRIVER";

pub(super) fn launch(
    options: SessionOptions,
    programs: &Programs,
    places: &Places,
) -> Result<Launch> {
    let flags = chromium::flags(options, places.os, is_root());
    let pair =
        chromium::Pair::find(Browser::Chrome, (&BROWSER, &DRIVER), programs, places, REMEDY)?;
    let capabilities = capabilities(&pair.binary.to_string_lossy(), &flags);
    Ok(Launch { flags, ..pair.launch(capabilities) })
}

/// What a grid is asked for.
pub(super) fn request(options: SessionOptions, os: Os) -> (Map<String, Value>, Vec<String>) {
    let flags = chromium::flags(options, os, is_root());
    (capabilities("", &flags), flags)
}

fn capabilities(binary: &str, flags: &[String]) -> Map<String, Value> {
    Map::from_iter([
        ("browserName".to_owned(), json!("chrome")),
        // Without `w3c` older drivers fall back to the protocol before the standard.
        ("goog:chromeOptions".to_owned(), json!({"binary": binary, "args": flags, "w3c": true})),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_software_session_of_root() {
        let flags = chromium::flags(SessionOptions::default(), Os::Linux, true);
        let json = serde_json::to_string_pretty(&capabilities("/bin/chromium", &flags)).unwrap();
        insta::assert_snapshot!(json);
    }
}
