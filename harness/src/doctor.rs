//! Says what is there and how to get what is not.

use crate::{
    browser::{Launch, Look},
    exit::Exit,
    host,
    pending::setup,
    ui::Ui,
};
use record::Browser;
use serde_json::json;

/// Prints one line for each thing a run needs.
pub fn run(ui: &Ui) -> Exit {
    let host = host::host();
    let gib = host.memory_bytes as f64 / f64::from(1 << 30);
    let text = format!("{}, {} × {}, {gib:.1} GiB", host.os, host.cores, host.cpu);
    ui.result(format!("ok       host: {text}"), json!({"what": "host", "found": text}));

    let mut checks = setup::checks();
    for browser in [Browser::Chrome, Browser::Firefox] {
        let launch = Launch::find(browser, Look::default());
        checks.push(setup::Check {
            what: format!("driving {browser}"),
            found: launch.as_ref().ok().map(|launch| launch.driver.display().to_string()),
            remedy: launch.err().map(|error| format!("{error:#}")).unwrap_or_default(),
        });
    }
    let mut exit = Exit::Ok;
    for setup::Check { what, found, remedy } in checks {
        let value = json!({"what": what, "found": found, "remedy": remedy});
        match found {
            Some(found) => ui.result(format!("ok       {what}: {found}"), value),
            None => {
                exit = Exit::Usage;
                ui.result(format!("missing  {what}: {remedy}"), value);
            }
        }
    }
    exit
}
