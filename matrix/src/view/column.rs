//! What a column is called.

use crate::grid::{Column, Grid, Hardware};
use record::{Backend, Browser};
use serde::Serialize;
use std::collections::BTreeSet;

/// The head of a column.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnHead {
    /// The browser as people write it, with its label where it has one.
    pub browser: String,
    /// Its versions, that of the latest record first.
    pub versions: Vec<String>,
    /// Where the arithmetic runs, and on how many threads where the processor computes.
    pub backend: String,
    /// The adapter, or the processor where there is none.
    pub hardware: String,
    /// `software`, `gpu`, `cpu` or `unknown`.
    pub kind: &'static str,
    /// Operating system.
    pub os: String,
}

impl ColumnHead {
    /// The heads of all columns.
    pub fn all(grid: &Grid) -> Vec<ColumnHead> {
        grid.columns.iter().map(|column| ColumnHead::of(grid, column)).collect()
    }

    fn of(grid: &Grid, column: &Column) -> ColumnHead {
        let mut versions = Vec::<String>::new();
        for &index in column.records.iter().rev() {
            let version = &grid.records[index].environment.browser.version;
            if !version.is_empty() && !versions.contains(version) {
                versions.push(version.clone());
            }
        }
        let platform = column.platform;
        let (hardware, kind) = hardware(platform.hardware, platform.backend);
        ColumnHead {
            browser: browser(platform.browser, platform.channel),
            versions,
            backend: format!("{}{}", platform.backend, threads(grid, column)),
            hardware,
            kind,
            os: platform.os.to_owned(),
        }
    }

    /// Browser, versions and backend in one line. All versions, since a column can hold cells that
    /// only an older one ran.
    pub fn name(&self) -> String {
        let versions = self.versions.join(", ");
        let space = if versions.is_empty() { "" } else { " " };
        format!("{}{space}{versions} · {}", self.browser, self.backend)
    }

    /// Whether its times are those of a software rasteriser.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

/// `, 2 threads`, or several numbers where the records of a column differ.
fn threads(grid: &Grid, column: &Column) -> String {
    let of_record =
        |&index: &usize| grid.records[index].outcome.timing.as_ref().and_then(|time| time.threads);
    let counts: BTreeSet<u32> = column.records.iter().filter_map(of_record).collect();
    let word = match counts.last() {
        None => return String::new(),
        Some(1) => "thread",
        Some(_) => "threads",
    };
    let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
    format!(", {} {word}", counts.join(" or "))
}

fn browser(browser: Browser, label: Option<&str>) -> String {
    let name = match browser {
        Browser::Chrome => "Chrome",
        Browser::Firefox => "Firefox",
        Browser::Edge => "Edge",
        Browser::Safari => "Safari",
        Browser::Webkitgtk => "WebKitGTK",
        Browser::Host => "Host",
    };
    match label {
        Some(label) => format!("{name} {label}"),
        None => name.to_owned(),
    }
}

fn hardware(hardware: Hardware, backend: Backend) -> (String, &'static str) {
    match hardware {
        Hardware::Cpu("") => ("processor not recorded".to_owned(), "cpu"),
        Hardware::Cpu(name) => (name.to_owned(), "cpu"),
        Hardware::Unknown if backend == Backend::Webnn => ("no adapter".to_owned(), "unknown"),
        Hardware::Unknown => ("no adapter was reached".to_owned(), "unknown"),
        Hardware::Adapter { vendor, architecture, device, description, software } => {
            let name = match (description.trim(), device.trim()) {
                ("", "") => format!("{vendor} {architecture}").trim().to_owned(),
                ("", device) => device.to_owned(),
                (description, _) => description.to_owned(),
            };
            let name = match name.as_str() {
                "" => "adapter not named by the browser".to_owned(),
                _ => name,
            };
            let kind = match software {
                Some(true) => "software",
                Some(false) => "gpu",
                None => "unknown",
            };
            (name, kind)
        }
    }
}
