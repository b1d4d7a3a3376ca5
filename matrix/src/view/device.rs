//! What the devices of a report can do at most: the ceilings that `bench` measured, in a small table.

use super::bench::{BenchRun, ceiling, hardware};
use record::{Ceiling, CeilingKind};
use serde::Serialize;

/// The columns: a kind, what it is called, its unit, and what it bounds.
pub const CEILINGS: [(CeilingKind, &str, &str); 7] = [
    (CeilingKind::Read, "read", "GB/s"),
    (CeilingKind::Copy, "copy", "GB/s"),
    (CeilingKind::F32, "f32", "GFLOP/s"),
    (CeilingKind::F16, "f16", "GFLOP/s"),
    (CeilingKind::Dot4I8, "dot4 i8", "GFLOP/s"),
    (CeilingKind::Dispatch, "dispatch", "µs"),
    (CeilingKind::ReadBack, "read-back", "µs"),
];

/// A browser's backend on a device, and what that can do at most.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Browser and backend.
    pub name: String,
    /// The adapter or the processor.
    pub hardware: String,
    /// Whether a CPU plays a GPU.
    pub is_software: bool,
    /// On which day it was measured, and by which engine.
    pub measured: String,
    /// In the order of [`CEILINGS`].
    pub ceilings: Vec<Value>,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Value {
    /// The number; empty where there is none.
    pub number: String,
    /// Why there is none, or what else is to be known.
    pub note: String,
}

impl Device {
    /// The line of a report that was measured at this time.
    pub fn of(run: &BenchRun, at: &str) -> Device {
        let version = run.browser.as_ref().map(|browser| format!(" {}", browser.version));
        let day = at.split('T').next().unwrap_or_default();
        let commit = &run.report.engine.commit;
        let is_known = !commit.is_empty() && commit != "unknown";
        let by = if is_known { format!(" by engine {commit}") } else { String::new() };
        Device {
            name: format!("{}{} · {}", run.name, version.unwrap_or_default(), run.backend),
            // Beside it stands a mark that says so.
            hardware: hardware(run).trim_end_matches(", software").to_owned(),
            is_software: run.report.adapter.as_ref().is_some_and(|it| it.software == Some(true)),
            measured: format!("measured {day}{by}"),
            ceilings: CEILINGS.iter().map(|(kind, ..)| value(run, *kind)).collect(),
        }
    }
}

fn value(run: &BenchRun, kind: CeilingKind) -> Value {
    let found: Option<&Ceiling> = run.report.ceilings.iter().find(|found| found.kind == kind);
    let Some(found) = found else {
        return Value { number: String::new(), note: "not measured".to_owned() };
    };
    let line = ceiling(found);
    match found.value {
        Some(_) => {
            let number = line.value.split(' ').next().unwrap_or_default().to_owned();
            Value { number, note: line.note }
        }
        None => Value { number: String::new(), note: line.value },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Adapter, Backend, BenchReport, Host};

    #[test]
    fn a_device_has_a_figure_or_a_reason_for_each_ceiling() {
        let ceiling = |kind, value, skipped: Option<&str>| Ceiling {
            kind,
            value,
            time: None,
            work: 0,
            skipped: skipped.map(str::to_owned),
            error: None,
        };
        let report = BenchReport {
            adapter: Some(Adapter { software: Some(true), ..Adapter::default() }),
            ceilings: vec![
                ceiling(CeilingKind::Read, Some(2345.6), None),
                ceiling(CeilingKind::F32, Some(1.5), None),
                ceiling(CeilingKind::F16, None, Some("the adapter has no shader-f16")),
            ],
            ..BenchReport::default()
        };
        let (name, host) = ("chrome".to_owned(), Host::default());
        let run = BenchRun { browser: None, name, backend: Backend::Webgpu, host, report };
        let device = Device::of(&run, "2026-01-02T03:04:05Z");
        assert_eq!((device.name.as_str(), device.is_software), ("chrome · webgpu", true));
        assert_eq!(device.measured, "measured 2026-01-02");
        let numbers: Vec<&str> = device.ceilings.iter().map(|value| &*value.number).collect();
        assert_eq!(numbers, ["2346", "", "1500", "", "", "", ""]);
        assert_eq!(device.ceilings[3].note, "skipped: the adapter has no shader-f16");
        assert_eq!(device.ceilings[1].note, "not measured");
    }
}
