//! Reports of single ops, so that what a device can do at most stands beside what models do on it.
//!
//! They lie in a folder beside the database (`records.sqlite.bench`). Of one machine, adapter, browser and backend the
//! latest few are kept.

use super::beside::{Beside, rfc3339};
use anyhow::Result;
use jiff::Timestamp;
use matrix::view::{bench::BenchRun, device::Device};
use record::{Adapter, Backend, Host, Record};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Reports of one place that are kept.
const KEPT: usize = 5;

/// A report and when it was stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// RFC 3339 in UTC.
    pub at: String,
    /// The report.
    pub run: BenchRun,
}

/// Where reports of single ops are kept.
#[derive(Clone, Debug)]
pub struct Benches(Beside);

impl Benches {
    /// Those beside the database that is named, or beside the default one.
    pub fn of(database: Option<&Path>) -> Result<Benches> {
        Ok(Benches(Beside::of(database, ".bench")?))
    }

    /// Keeps a report, and forgets old ones of the same place; gives the file.
    pub fn put(&self, run: &BenchRun) -> Result<PathBuf> {
        let now = Timestamp::now();
        let kept = Kept { at: rfc3339(now), run: run.clone() };
        let path = self.0.put(&kept, now, &run.backend.to_string())?;
        let of_place = self.read().filter(|(_, old)| is_of_one_place(&old.run, run));
        self.0.forget(of_place.skip(KEPT).map(|(old, _)| old));
        Ok(path)
    }

    /// All reports, the latest first. What is no report is stepped over.
    pub fn all(&self) -> Vec<Kept> {
        self.read().map(|(_, kept)| kept).collect()
    }

    /// The latest report of the machine, adapter, browser and backend of each of these records.
    pub fn of_records(&self, records: &[Record]) -> Vec<Kept> {
        let mut all = self.all();
        let mut found: Vec<Kept> = Vec::new();
        for record in records {
            if found.iter().any(|kept| is_of(&kept.run, record)) {
                continue;
            }
            if let Some(place) = all.iter().position(|kept| is_of(&kept.run, record)) {
                found.push(all.remove(place));
            }
        }
        found
    }

    fn read(&self) -> impl Iterator<Item = (PathBuf, Kept)> {
        self.0.read().into_iter().filter_map(|(path, kept)| Some((path, kept.ok()?)))
    }
}

/// What the devices of these records can do at most, as far as `bench` measured it: none where it did not.
pub fn devices(database: Option<&Path>, records: &[Record]) -> Vec<Device> {
    let found = Benches::of(database).map(|benches| benches.of_records(records));
    found.unwrap_or_default().iter().map(|Kept { at, run }| Device::of(run, at)).collect()
}

/// Whether a report tells what the device of a record can do.
pub fn is_of(run: &BenchRun, record: &Record) -> bool {
    let cell = &record.cell;
    let environment = &record.environment;
    run.report.unsupported.is_none()
        && run.backend == cell.backend
        && run.name == cell.browser_name()
        && is_one_machine(&run.host, &environment.host)
        && is_one_adapter(run.backend, &run.report.adapter, &environment.adapter)
}

fn is_of_one_place(a: &BenchRun, b: &BenchRun) -> bool {
    (a.backend, &a.name) == (b.backend, &b.name)
        && is_one_machine(&a.host, &b.host)
        && is_one_adapter(a.backend, &a.report.adapter, &b.report.adapter)
}

fn is_one_machine(a: &Host, b: &Host) -> bool {
    (&a.os, &a.cpu, a.cores) == (&b.os, &b.cpu, b.cores)
}

/// Where a processor computes it does not matter which adapter is beside it.
fn is_one_adapter(backend: Backend, a: &Option<Adapter>, b: &Option<Adapter>) -> bool {
    let named = |adapter: &Option<Adapter>| {
        let Adapter { vendor, architecture, device, description, .. } = adapter.clone()?;
        Some([vendor, architecture, device, description])
    };
    backend == Backend::Wasm || named(a) == named(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::record;
    use record::{BenchReport, Status};
    use std::fs;

    fn run(record: &Record, duration_ms: f64) -> BenchRun {
        let environment = &record.environment;
        let adapter = environment.adapter.clone();
        BenchRun {
            browser: Some(environment.browser.clone()),
            name: record.cell.browser_name(),
            backend: record.cell.backend,
            host: environment.host.clone(),
            report: BenchReport { adapter, duration_ms, ..BenchReport::default() },
        }
    }

    fn benches(folder: &Path) -> Benches {
        Benches::of(Some(&folder.join("records.sqlite"))).unwrap()
    }

    #[test]
    fn the_latest_of_a_place_is_found_and_old_ones_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (benches, record) = (benches(folder.path()), record("r", Status::Pass));
        assert_eq!(benches.of_records(std::slice::from_ref(&record)), []);
        let mut elsewhere = run(&record, 100.0);
        elsewhere.host.cpu = "another".into();
        benches.put(&elsewhere).unwrap();
        for number in 0..KEPT + 2 {
            benches.put(&run(&record, number as f64)).unwrap();
        }
        let durations: Vec<f64> =
            benches.all().iter().map(|kept| kept.run.report.duration_ms).collect();
        assert_eq!(durations, [6.0, 5.0, 4.0, 3.0, 2.0, 100.0]);
        let found = benches.of_records(&[record.clone(), record.clone()]);
        let [latest] = &found[..] else { panic!("{found:?}") };
        assert_eq!(latest.run, run(&record, 6.0));
        assert!(latest.at.ends_with('Z'), "{}", latest.at);
    }

    #[test]
    fn a_report_is_of_the_same_machine_adapter_browser_and_backend() {
        let mut record = record("r", Status::Pass);
        record.cell.backend = Backend::Webgpu;
        let run = run(&record, 1.0);
        assert!(is_of(&run, &record));
        let mut labelled = record.clone();
        labelled.cell.axes.insert(record::Axis::Channel, "beta".to_owned());
        assert!(!is_of(&run, &labelled));
        let mut on_cpu = record.clone();
        on_cpu.cell.backend = Backend::Wasm;
        assert!(!is_of(&run, &on_cpu));
        let mut other = run.clone();
        other.report.adapter = Some(Adapter { device: "H200".into(), ..Adapter::default() });
        assert!(!is_of(&other, &record));
        (other.backend, other.report.unsupported) = (Backend::Wasm, None);
        assert!(is_of(&other, &on_cpu), "a processor has no adapter");
        other.report.unsupported = Some("no".to_owned());
        assert!(!is_of(&other, &on_cpu));
    }

    #[test]
    fn what_a_crash_left_is_no_report() {
        let folder = tempfile::tempdir().unwrap();
        let (benches, record) = (benches(folder.path()), record("r", Status::Pass));
        let file = benches.put(&run(&record, 1.0)).unwrap();
        fs::write(file.with_file_name("9.json"), "{\"at\":").unwrap();
        fs::write(file.with_file_name("9.part"), "").unwrap();
        assert_eq!(benches.all().len(), 1);
    }
}
