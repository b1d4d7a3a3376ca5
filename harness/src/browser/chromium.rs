//! What Chrome and Edge have in common: both are Chromium, and their drivers are chromedriver.
//!
//! Known quirks:
//! - Linux builds give WebGPU only with `--enable-unsafe-webgpu`
//!   (<https://developer.chrome.com/docs/web-platform/webgpu/troubleshooting-tips>), and a real GPU
//!   only with Vulkan on (<https://github.com/gpuweb/gpuweb/issues/5022>).
//! - Of several `--enable-features` only the last one counts
//!   (<https://github.com/ungoogled-software/ungoogled-chromium/issues/3126>).
//! - The first `requestAdapter` can answer null while the GPU process starts; the page asks again.

use super::{
    Gpu, Launch, Port, Programs, SessionOptions, choice::given_or, find, port_after, version,
};
use crate::setup::search::{Os, Places, Program};
use anyhow::Result;
use record::Browser;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A browser and its driver.
pub(super) struct Pair {
    /// The browser's program.
    pub binary: PathBuf,
    driver: PathBuf,
    driver_version: Option<String>,
    warning: Option<String>,
}

impl Pair {
    /// Finds both. Versions of programs that were found must match; of those that were named nothing
    /// is known but that somebody wants them together, so the driver is told to try.
    pub(super) fn find(
        browser: Browser,
        (binary, driver): (&Program, &Program),
        programs: &Programs,
        places: &Places,
        remedy: &str,
    ) -> Result<Pair> {
        let driver_name = driver.names[0];
        let binary = given_or(&programs.binary, || find(browser, binary, places))?;
        let driver = given_or(&programs.driver, || find(browser, driver, places))?;
        let driver_version = version::of_driver(&driver);
        let matches = version::must_match(
            (browser.name(), version::of_browser(&binary, places.os).as_deref()),
            (driver_name, driver_version.as_deref()),
            remedy,
        );
        let warning = match matches {
            Err(error) if *programs != Programs::default() => {
                Some(format!("{error:#}; it is tried all the same"))
            }
            other => other.map(|()| None)?,
        };
        Ok(Pair { binary, driver, driver_version, warning })
    }

    /// Starts the driver, which picks a port and prints it.
    pub(super) fn launch(self, capabilities: Map<String, Value>) -> Launch {
        let any_version = self.warning.is_some().then_some("--disable-build-check");
        let args = ["--port=0"].into_iter().chain(any_version);
        Launch {
            driver_args: args.map(str::to_owned).collect(),
            driver_version: self.driver_version,
            answers_while_waiting: true,
            warning: self.warning,
            ..Launch::of(self.driver, capabilities, Port::Printed(listening))
        }
    }
}

/// The port in a line that the driver prints. It first says that it starts on port 0, so only the
/// line with the port it took counts.
fn listening(line: &str) -> Option<u16> {
    port_after(line, "started successfully on port ")
}

/// The flags of the browser.
pub(super) fn flags(options: SessionOptions, os: Os, root: bool) -> Vec<String> {
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
    let mut features = Vec::new();
    match (options.gpu, os) {
        (Gpu::Software, _) => flags.push("--use-webgpu-adapter=swiftshader"),
        (Gpu::Hardware, Os::Linux) => {
            features.push("Vulkan");
            flags.extend(["--use-angle=vulkan", "--disable-vulkan-surface"]);
            flags.push("--ignore-gpu-blocklist");
        }
        (Gpu::Hardware, Os::Macos | Os::Windows) => flags.push("--ignore-gpu-blocklist"),
    }
    if options.precise_gpu_clock {
        flags.push("--enable-webgpu-developer-features");
    }
    if options.webnn {
        features.push("WebMachineLearningNeuralNetwork");
    }
    if !options.headed {
        flags.push("--headless=new");
    }
    // The browser refuses to start as root with its sandbox on.
    if root {
        flags.push("--no-sandbox");
    }
    let mut flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    if !features.is_empty() {
        flags.push(format!("--enable-features={}", features.join(",")));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_on_a_real_gpu_keeps_the_sandbox() {
        let options =
            SessionOptions { headed: true, gpu: Gpu::Hardware, ..SessionOptions::default() };
        let flags = flags(options, Os::Linux, false);
        for absent in ["--headless=new", "--no-sandbox", "--use-webgpu-adapter=swiftshader"] {
            assert!(!flags.iter().any(|flag| flag == absent), "{absent} in {flags:?}");
        }
        assert!(flags.iter().any(|flag| flag == "--use-angle=vulkan"), "{flags:?}");
    }

    #[test]
    fn vulkan_is_for_linux_and_features_are_named_once() {
        let options =
            SessionOptions { gpu: Gpu::Hardware, webnn: true, ..SessionOptions::default() };
        let features = |os| {
            let flags = flags(options, os, false);
            let features = flags.into_iter().filter(|flag| flag.contains("--enable-features"));
            features.collect::<Vec<_>>().join(" ")
        };
        let on_linux = "--enable-features=Vulkan,WebMachineLearningNeuralNetwork";
        assert_eq!(features(Os::Linux), on_linux);
        assert_eq!(features(Os::Windows), "--enable-features=WebMachineLearningNeuralNetwork");
    }

    #[test]
    fn only_the_port_that_was_taken_counts() {
        assert_eq!(listening("Starting ChromeDriver 156 on port 0"), None);
        let said = "ChromeDriver was started successfully on port 40123.";
        assert_eq!(listening(said), Some(40123));
        let said = "Microsoft Edge WebDriver was started successfully on port 9515.";
        assert_eq!(listening(said), Some(9515));
    }
}
