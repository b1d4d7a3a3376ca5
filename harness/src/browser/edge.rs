//! Microsoft Edge, driven by msedgedriver; its flags and quirks are Chromium's (`chromium.rs`).
//!
//! Known quirks:
//! - Edge takes `ms:edgeOptions` and the name `MicrosoftEdge`, and answers with the name `msedge`
//!   (<https://learn.microsoft.com/microsoft-edge/webdriver/capabilities-edge-options>).
//! - Edge updates itself in the background and its driver stays behind: the versions are compared
//!   before a session is asked for.

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
    names: &["microsoft-edge-stable", "microsoft-edge", "msedge", "Microsoft Edge"],
    folder_variable: Some("EDGE_FOLDER"),
    linux: &["/opt/microsoft/msedge"],
    macos: &["Microsoft Edge.app/Contents/MacOS/Microsoft Edge"],
    windows: &["Microsoft/Edge/Application/msedge.exe"],
};

/// Its driver.
pub(crate) static DRIVER: Program = Program {
    names: &["msedgedriver"],
    folder_variable: Some("EDGEWEBDRIVER"),
    linux: &[],
    macos: &[],
    windows: &[],
};

const REMEDY: &str = "put the msedgedriver of the browser's version \
                      (https://developer.microsoft.com/microsoft-edge/tools/webdriver) into a \
                      folder and name that in EDGEWEBDRIVER";

pub(super) fn launch(
    options: SessionOptions,
    programs: &Programs,
    places: &Places,
) -> Result<Launch> {
    let flags = chromium::flags(options, places.os, is_root());
    let pair = chromium::Pair::find(Browser::Edge, (&BROWSER, &DRIVER), programs, places, REMEDY)?;
    let capabilities = capabilities(&pair.binary.to_string_lossy(), &flags);
    Ok(Launch {
        flags,
        remedy: |said| said.contains("only supports Microsoft Edge version").then_some(REMEDY),
        ..pair.launch(capabilities)
    })
}

/// What a grid is asked for.
pub(super) fn request(options: SessionOptions, os: Os) -> (Map<String, Value>, Vec<String>) {
    let flags = chromium::flags(options, os, is_root());
    (capabilities("", &flags), flags)
}

fn capabilities(binary: &str, flags: &[String]) -> Map<String, Value> {
    Map::from_iter([
        ("browserName".to_owned(), json!("MicrosoftEdge")),
        ("ms:edgeOptions".to_owned(), json!({"binary": binary, "args": flags})),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{browser::Gpu, setup::search::Os};

    #[test]
    fn a_session_on_the_gpu_of_windows() {
        let options =
            SessionOptions { gpu: Gpu::Hardware, webnn: true, ..SessionOptions::default() };
        let flags = chromium::flags(options, Os::Windows, false);
        let binary = r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe";
        let json = serde_json::to_string_pretty(&capabilities(binary, &flags)).unwrap();
        insta::assert_snapshot!(json);
    }
}
