//! Mozilla Firefox, driven by geckodriver.

use super::{Gpu, Launch, Look, find_program, port_after};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

pub(super) fn launch(look: Look) -> Result<Launch> {
    let binary = find_program(&["firefox", "firefox-esr"], "FIREFOX_FOLDER")?;
    Ok(Launch {
        driver: find_program(&["geckodriver"], "GECKOWEBDRIVER")?,
        driver_args: ["--port", "0", "--websocket-port", "0"].map(str::to_owned).to_vec(),
        env: match look.gpu {
            Gpu::Software => lavapipe(Path::new("/usr/share/vulkan/icd.d")),
            Gpu::Hardware => Vec::new(),
        },
        capabilities: capabilities(&binary.to_string_lossy(), look),
        flags: flags(look),
        listening: |line| port_after(line, "Listening on 127.0.0.1:"),
        driver_version: |answered| {
            answered.get("moz:geckodriverVersion")?.as_str().map(str::to_owned)
        },
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

fn args(look: Look) -> &'static [&'static str] {
    if look.headed { &[] } else { &["-headless"] }
}

fn prefs() -> Map<String, Value> {
    Map::from_iter([
        ("dom.webgpu.enabled".to_owned(), json!(true)),
        ("gfx.webgpu.ignore-blocklist".to_owned(), json!(true)),
        // A slow kernel is a result to record, not a script to ask the user about.
        ("dom.max_script_run_time".to_owned(), json!(0)),
    ])
}

fn flags(look: Look) -> Vec<String> {
    let prefs = prefs();
    let args = args(look).iter().map(|arg| (*arg).to_owned());
    args.chain(prefs.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn capabilities(binary: &str, look: Look) -> Map<String, Value> {
    let options = json!({"binary": binary, "args": args(look), "prefs": prefs()});
    Map::from_iter([
        ("browserName".to_owned(), json!("firefox")),
        ("moz:firefoxOptions".to_owned(), options),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headless_session() {
        let json = serde_json::to_string_pretty(&capabilities("/bin/firefox", Look::default()));
        insta::assert_snapshot!(json.unwrap());
        assert_eq!(flags(Look::default())[..2], ["-headless", "dom.webgpu.enabled=true"]);
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
