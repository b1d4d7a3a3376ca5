//! Says what is there and how to get what is not.

use crate::{
    browser::{Launch, Look},
    exit::Exit,
    host,
    setup::{self, search::Places, wasm::Toolchain},
    ui::Ui,
};
use record::Browser;
use serde_json::json;

/// Prints one line for each tool that any command can use, and whether a plain `run` can start.
pub fn run(ui: &Ui) -> Exit {
    let host = host::host();
    let gib = host.memory_bytes as f64 / f64::from(1 << 30);
    let text = format!("{}, {} × {}, {gib:.1} GiB", host.os, host.cores, host.cpu);
    ui.result(format!("ok       host: {text}"), json!({"what": "host", "found": text}));
    for setup::Check { what, found, remedy } in setup::checks() {
        let text = match &found {
            Some(found) => format!("ok       {what}: {found}"),
            None => format!("absent   {what}: {remedy}"),
        };
        ui.result(text, json!({"what": what, "found": found, "remedy": remedy}));
    }

    // Of the tools above a run takes those for the page and for the browsers that it defaults to.
    let drives = |browser| Launch::find(browser, Look::default()).is_ok();
    let is_ready = Toolchain::find(&Places::of_this_process()).is_some()
        && [Browser::Chrome, Browser::Firefox].into_iter().all(drives);
    let (text, exit) = match is_ready {
        true => ("ready for `cargo harness run`", Exit::Ok),
        false => ("not ready; `cargo harness setup` installs what is needed", Exit::Usage),
    };
    ui.result(text, json!({"ready": is_ready}));
    exit
}
