//! Every kernel compiles in real browsers, with the language features that naga refuses as well.

use engine::ops::choices;
use record::{Browser, Status};
use serde_json::json;
use shaders::{Dialect, Files};
use std::fs;
use tests::Faults;

fn every_kernel_compiles_in(browser: Browser, feature: &str) {
    let faults = Faults::with(&["compiles kernels"]);
    let kernels: Vec<_> = choices()
        .into_iter()
        .flat_map(|choice| choice.kernels)
        .chain(engine::bench::kernels())
        .map(|kernel| {
            let switches = [("SUBGROUPS", "subgroups"), ("F16", "shader-f16")];
            let needs = switches.into_iter().filter(|(name, _)| kernel.value(name) != 0);
            json!({
                "name": kernel.to_string(),
                "text": kernel.text(&Files::default(), Dialect::Browser).unwrap(),
                "needs": needs.map(|(_, feature)| feature).collect::<Vec<_>>(),
            })
        })
        .collect();
    let file = faults.path("cases/compiles kernels/kernels.json");
    fs::write(file, json!(kernels).to_string()).unwrap();
    let status = faults.command(browser, &["wasm"]).status().unwrap();
    let outcome = faults.record("compiles kernels").outcome;
    assert_eq!(outcome.status, Status::Pass, "{outcome:?}");
    assert!(status.success());
    let reason = outcome.reason.unwrap();
    assert!(reason.contains(feature), "{reason}");
}

/// SwiftShader has subgroups.
#[test]
fn every_kernel_compiles_in_chrome() {
    every_kernel_compiles_in(Browser::Chrome, "subgroups");
}

/// Firefox has none, and lavapipe has 16-bit floats.
#[test]
fn every_kernel_compiles_in_firefox() {
    every_kernel_compiles_in(Browser::Firefox, "shader-f16");
}
