//! Google Chrome and Chromium, driven by chromedriver.

use super::{Gpu, Launch, Look, find_program, port_after};
use anyhow::Result;
use nix::unistd::geteuid;
use serde_json::{Map, Value, json};

pub(super) fn launch(look: Look) -> Result<Launch> {
    let names = ["google-chrome-stable", "google-chrome", "chromium", "chromium-browser"];
    let binary = find_program(&names, "CHROME_FOLDER")?;
    let flags = flags(look, geteuid().is_root());
    Ok(Launch {
        driver: find_program(&["chromedriver"], "CHROMEWEBDRIVER")?,
        driver_args: vec!["--port=0".into()],
        env: Vec::new(),
        capabilities: capabilities(&binary.to_string_lossy(), &flags),
        flags,
        // It first says that it starts on port 0, so only the line with the port it took counts.
        listening: |line| port_after(line, "started successfully on port "),
        driver_version: |answered| {
            let version = answered.get("chrome")?.get("chromedriverVersion")?.as_str()?;
            // The commit follows after a space.
            version.split(' ').next().map(str::to_owned)
        },
    })
}

fn flags(look: Look, root: bool) -> Vec<String> {
    let mut flags = vec![
        // Linux builds keep WebGPU behind this flag.
        "--enable-unsafe-webgpu",
        // Nothing in the background may take time from a measurement or go to the network.
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ];
    match look.gpu {
        Gpu::Software => flags.push("--use-webgpu-adapter=swiftshader"),
        Gpu::Hardware => flags.extend([
            "--use-angle=vulkan",
            "--enable-features=Vulkan",
            "--disable-vulkan-surface",
            "--ignore-gpu-blocklist",
        ]),
    }
    if !look.headed {
        flags.push("--headless=new");
    }
    // Chrome refuses to start as root with its sandbox on.
    if root {
        flags.push("--no-sandbox");
    }
    flags.into_iter().map(str::to_owned).collect()
}

fn capabilities(binary: &str, flags: &[String]) -> Map<String, Value> {
    Map::from_iter([
        ("browserName".to_owned(), json!("chrome")),
        ("goog:chromeOptions".to_owned(), json!({"binary": binary, "args": flags})),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_software_session_of_root() {
        let flags = flags(Look::default(), true);
        let json = serde_json::to_string_pretty(&capabilities("/bin/chromium", &flags)).unwrap();
        insta::assert_snapshot!(json);
    }

    #[test]
    fn a_window_on_a_real_gpu_keeps_the_sandbox() {
        let flags = flags(Look { headed: true, gpu: Gpu::Hardware }, false);
        for absent in ["--headless=new", "--no-sandbox", "--use-webgpu-adapter=swiftshader"] {
            assert!(!flags.iter().any(|flag| flag == absent), "{absent} in {flags:?}");
        }
        assert!(flags.iter().any(|flag| flag == "--use-angle=vulkan"), "{flags:?}");
    }
}
