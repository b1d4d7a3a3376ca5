//! What records say about a claim. Two records are compared only if one run has both, on one machine.

use super::claim::Measure;
use crate::view::bench::{BenchRun, hardware, named};
use record::{Axis, Backend, Bits, Browser, Cell, KvFormat, Record, Status};
use std::collections::{HashMap, HashSet};

/// A figure, and where it comes from.
#[derive(Clone, Debug)]
pub struct Finding {
    /// In the measure's unit.
    pub value: f64,
    /// Which cell, or call.
    pub what: String,
    /// Browser and hardware.
    pub place: String,
    /// When.
    pub at: String,
    /// What repeats it.
    pub repro: String,
}

/// Records that count, and reports of single ops.
pub struct Evidence<'a> {
    records: Vec<&'a Record>,
    /// Runs, and the machines of theirs on which some browser said that it has a GPU.
    with_gpu: HashSet<(&'a str, &'a str)>,
    benches: &'a [BenchRun],
}

impl<'a> Evidence<'a> {
    /// Of all that passed; of several records of one cell in one place the latest.
    pub fn new(records: &'a [Record], benches: &'a [BenchRun]) -> Evidence<'a> {
        let mut latest: HashMap<(&Cell, String), &Record> = HashMap::new();
        let passed = |it: &&Record| matches!(it.outcome.status, Status::Pass | Status::Flaky);
        for record in records.iter().filter(passed) {
            let known = latest.entry((&record.cell, place(record))).or_insert(record);
            if record.started_at > known.started_at {
                *known = record;
            }
        }
        let mut records: Vec<&Record> = latest.into_values().collect();
        records.sort_by(|a, b| (&a.cell, &a.started_at).cmp(&(&b.cell, &b.started_at)));
        let has_gpu = |it: &&&Record| software(it) == Some(false);
        let machine = |it: &&'a Record| (it.run_id.as_str(), it.environment.host.cpu.as_str());
        let with_gpu = records.iter().filter(has_gpu).map(machine).collect();
        Evidence { records, with_gpu, benches }
    }

    /// All that they say about a measure.
    pub fn of(&self, measure: &Measure) -> Vec<Finding> {
        match measure {
            Measure::Saved { bits, beside, classes, browser } => {
                let meant = |it: &&Record| {
                    is_of_width(it, *bits)
                        && (classes.is_empty() || classes.contains(&it.cell.class))
                        && browser.is_none_or(|browser| it.cell.browser == browser)
                };
                self.each(meant, |it| {
                    let memory = it.outcome.memory?;
                    let whole = memory.weights_fp16_bytes as f64 * f64::from(*beside) / 16.0;
                    Some(100.0 * (1.0 - memory.weights_bytes as f64 / whole))
                })
            }
            Measure::Lost { bits } => {
                let of = |it: &&Record| {
                    let kv = it.cell.precision.kv;
                    (of_pair(it), kv, it.cell.browser_name(), it.cell.backend)
                };
                let is_wide = |it: &&Record| is_of_width(it, 32) || is_of_width(it, 16);
                self.pairs(
                    of,
                    |it| is_of_width(it, *bits),
                    is_wide,
                    |few, wide| {
                        let [few, wide] =
                            [few, wide].map(|it| it.outcome.answered.map(|it| it.share()));
                        Some(100.0 * (wide? - few?))
                    },
                )
            }
            Measure::Size { case, bits } => self.each(
                |it| it.cell.case == *case && is_of_width(it, *bits),
                |it| Some(it.outcome.memory?.weights_bytes as f64 / 1e9),
            ),
            Measure::Context { kv, case } => {
                let of = |it: &&Record| {
                    let bits = it.cell.precision.bits;
                    (of_pair(it), bits, it.cell.browser_name(), it.cell.backend)
                };
                let meant = |it: &&Record| {
                    it.cell.precision.kv == *kv
                        && case.as_ref().is_none_or(|case| it.cell.case == *case)
                };
                self.pairs(
                    of,
                    meant,
                    |it| it.cell.precision.kv == KvFormat::F16,
                    |few, wide| {
                        let [few, wide] =
                            [few, wide].map(|it| Some(it.outcome.memory?.kv_bytes as f64));
                        few.filter(|bytes| *bytes > 0.0).map(|few| wide.unwrap_or(0.0) / few)
                    },
                )
            }
            Measure::Speed { bits, browser, tuned, case } => {
                let of = |it: &&Record| (of_pair(it), it.cell.precision.kv, it.cell.browser_name());
                let meant = |it: &&Record| {
                    is_of_width(it, *bits)
                        && it.cell.axis(Axis::Tuning).is_some_and(|it| it != "off") == *tuned
                        && browser.is_none_or(|browser| it.cell.browser == browser)
                        && case.as_ref().is_none_or(|case| it.cell.case == *case)
                };
                let meant = |it: &&Record| meant(it) && self.is_on_gpu(it);
                self.pairs(of, meant, |it| is_of_width(it, 16) && self.is_on_gpu(it), faster)
            }
            Measure::Token { case, bits } => self.each(
                |it| it.cell.case == *case && is_of_width(it, *bits) && self.is_on_gpu(it),
                |it| Some(1e3 / it.outcome.timing.as_ref()?.decode_tps?),
            ),
            Measure::Beside { browser, than, classes } => {
                let of = |it: &&Record| (of_pair(it), it.cell.precision.to_string());
                let meant = |it: &&Record| {
                    (classes.is_empty() || classes.contains(&it.cell.class)) && self.is_on_gpu(it)
                };
                let first = |it: &&Record| it.cell.browser == *browser && meant(it);
                self.pairs(of, first, |it| it.cell.browser == *than && meant(it), faster)
            }
            Measure::Fallback => {
                let of = |it: &&Record| {
                    (
                        it.run_id.clone(),
                        it.cell.case.clone(),
                        it.cell.precision.to_string(),
                        it.cell.browser_name(),
                    )
                };
                let on_wasm = |it: &&Record| it.cell.backend == Backend::Wasm;
                self.pairs(of, on_wasm, |it| self.is_on_gpu(it), faster)
            }
            Measure::Power { browser, than } => {
                let of = |it: &&Record| (of_pair(it), it.cell.precision.to_string());
                let first = |it: &&Record| it.cell.browser == *browser;
                self.pairs(
                    of,
                    first,
                    |it| it.cell.browser == *than,
                    |one, other| Some(other.outcome.energy?.joules / one.outcome.energy?.joules),
                )
            }
            Measure::Runs { case } => self.each(
                |it| it.cell.case == *case && it.cell.browser != Browser::Host,
                |_| Some(1.0),
            ),
            Measure::Spectrum => self.spectra(),
            Measure::Unbuilt { .. } | Measure::Own => Vec::new(),
        }
    }

    fn each(
        &self,
        meant: impl Fn(&&Record) -> bool,
        value: impl Fn(&Record) -> Option<f64>,
    ) -> Vec<Finding> {
        let meant = self.records.iter().copied().filter(meant);
        meant.filter_map(|it| Some(finding(it, value(it)?))).collect()
    }

    /// Of each record that is meant and the one beside it, which has the same key.
    fn pairs<K: Eq + std::hash::Hash>(
        &self,
        key: impl Fn(&&Record) -> K,
        meant: impl Fn(&&Record) -> bool,
        beside: impl Fn(&&Record) -> bool,
        value: impl Fn(&Record, &Record) -> Option<f64>,
    ) -> Vec<Finding> {
        let others: HashMap<K, &Record> =
            self.records.iter().filter(|it| beside(it)).map(|it| (key(it), *it)).collect();
        let meant = self.records.iter().copied().filter(meant);
        meant
            .filter_map(|it| Some(finding(it, value(it, others.get(&key(&it))?)?)))
            .filter(|it| it.value.is_finite())
            .collect()
    }

    /// Firefox does not say what its adapter is; another browser of the same run may have.
    fn is_on_gpu(&self, record: &Record) -> bool {
        record.cell.backend == Backend::Webgpu
            && match software(record) {
                Some(software) => !software,
                None => {
                    let machine = (record.run_id.as_str(), record.environment.host.cpu.as_str());
                    self.with_gpu.contains(&machine)
                }
            }
    }

    fn spectra(&self) -> Vec<Finding> {
        let time = |run: &BenchRun, size: &str| {
            let rows = run.report.rows.iter();
            let mut rows = rows.filter(|row| row.op == "log_mel" && row.call.ends_with(size));
            Some(rows.next()?.time.as_ref()?.median_us)
        };
        let of = |name: &'static str| {
            self.benches
                .iter()
                .filter(move |run| run.name == name && run.backend == Backend::Webgpu)
        };
        let is_hardware = |run: &BenchRun| {
            run.report.adapter.as_ref().is_some_and(|it| it.software == Some(false))
        };
        let mut found = Vec::new();
        for chrome in of("chrome").filter(|run| is_hardware(run)) {
            for firefox in of("firefox").filter(|run| run.host == chrome.host) {
                if let (Some(one), Some(other)) =
                    (time(firefox, "256 × 1"), time(chrome, "128 × 2"))
                {
                    found.push(Finding {
                        value: other / one,
                        what: format!("spectra of Whisper: {one:.1} and {other:.1} µs"),
                        place: format!("firefox and chrome · {}", hardware(chrome)),
                        at: String::new(),
                        repro: "harness bench --ops log_mel --browsers chrome firefox --backends webgpu --gpu hardware".to_owned(),
                    });
                }
            }
        }
        found
    }
}

fn software(record: &Record) -> Option<bool> {
    record.environment.adapter.as_ref().and_then(|it| it.software)
}

/// What two records must have in common to be compared, beside what is compared.
fn of_pair(record: &Record) -> (String, String, Vec<(Axis, String)>) {
    let others = record.cell.variations().filter(|(axis, _)| *axis != Axis::Tuning);
    let others = others.map(|(axis, value)| (axis, value.to_owned())).collect();
    (record.run_id.clone(), record.cell.case.clone(), others)
}

fn is_of_width(record: &Record, bits: u8) -> bool {
    record.cell.precision.bits == Bits::Fixed(bits)
}

/// How many times as fast the first one is: a token where both write, else a pass, on the GPU's clock where both
/// have that.
fn faster(one: &Record, other: &Record) -> Option<f64> {
    let [one, other] = [one, other].map(|it| it.outcome.timing.as_ref());
    let (one, other) = (one?, other?);
    if let (Some(one), Some(other)) = (one.decode_tps, other.decode_tps) {
        return Some(one / other);
    }
    if let (Some(one), Some(other)) = (one.gpu_median_ms, other.gpu_median_ms) {
        return Some(other / one);
    }
    Some(other.median_ms / one.median_ms)
}

fn place(record: &Record) -> String {
    let environment = &record.environment;
    let browser = &environment.browser;
    let hardware = match (&environment.adapter, record.cell.backend) {
        (Some(adapter), Backend::Webgpu | Backend::Native) => named(adapter),
        _ => environment.host.cpu.clone(),
    };
    format!(
        "{} {} · {} · {hardware}",
        record.cell.browser_name(),
        browser.version,
        record.cell.backend
    )
}

fn finding(record: &Record, value: f64) -> Finding {
    Finding {
        value,
        what: record.cell.title() + " " + &record.cell.precision.to_string(),
        place: place(record),
        at: record.started_at.clone(),
        repro: record.repro.clone(),
    }
}
