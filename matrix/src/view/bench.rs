//! The context of the page of single ops: what each device can do at most, and calls beside it.

use super::figure::{plain, small};
use askama::Template;
use record::{
    Adapter, Backend, BenchReport, BenchRow, BrowserInfo, CallTime, Ceiling, Host, TimedBy,
};
use serde::{Deserialize, Serialize};

/// A report and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRun {
    /// The browser; none of the host.
    #[serde(default)]
    pub browser: Option<BrowserInfo>,
    /// Its name on the command line.
    pub name: String,
    /// Where the arithmetic ran.
    pub backend: Backend,
    /// The machine.
    pub host: Host,
    /// What was measured.
    pub report: BenchReport,
}

/// The page.
#[derive(Clone, Debug, Serialize, Template)]
#[template(path = "bench.html", whitespace = "minimize")]
pub struct Bench {
    /// One a report.
    pub sections: Vec<BenchSection>,
}

/// What was measured in one browser on one backend.
#[derive(Clone, Debug, Serialize)]
pub struct BenchSection {
    /// Browser and backend.
    pub title: String,
    /// The adapter or the processor.
    pub hardware: String,
    /// Whether a CPU plays a GPU.
    pub is_software: bool,
    /// Engine, shapes, machine, duration.
    pub facts: Vec<(&'static str, String)>,
    /// Why there is nothing; empty where there is.
    pub unsupported: String,
    /// The ceilings.
    pub ceilings: Vec<CeilingLine>,
    /// Calls by op.
    pub groups: Vec<CallGroup>,
    /// What was not measured, and why.
    pub missing: Vec<(String, String)>,
}

/// A ceiling.
#[derive(Clone, Debug, Serialize)]
pub struct CeilingLine {
    /// Of what.
    pub name: String,
    /// Its value and unit, or why there is none.
    pub value: String,
    /// What else is to be known.
    pub note: String,
}

/// The calls of an op.
#[derive(Clone, Debug, Serialize)]
pub struct CallGroup {
    /// Its name.
    pub op: String,
    /// The calls.
    pub calls: Vec<CallLine>,
}

/// A call.
#[derive(Clone, Debug, Serialize)]
pub struct CallLine {
    /// What sets it apart.
    pub call: String,
    /// Its shapes.
    pub shape: String,
    /// How its weights are stored.
    pub format: String,
    /// Microseconds.
    pub time: String,
    /// Half the distance between the quartiles, in percent of the median.
    pub spread: String,
    /// GB/s.
    pub gbps: String,
    /// GFLOP/s.
    pub gflops: String,
    /// Percent of the ceiling that binds.
    pub share: String,
    /// Which that is.
    pub of: String,
    /// The share as the length of a bar, at most 100.
    pub bar: String,
    /// Distance from the exact CPU path.
    pub error: String,
    /// Whether it is too large.
    pub is_wrong: bool,
    /// Kernels, copies, samples.
    pub tip: String,
}

impl Bench {
    /// The page of these reports, in their order.
    pub fn of(runs: &[BenchRun]) -> Bench {
        Bench { sections: runs.iter().map(section).collect() }
    }
}

fn section(run: &BenchRun) -> BenchSection {
    let BenchRun { browser, name, backend, host, report } = run;
    let version = browser.as_ref().map(|browser| format!(" {}", browser.version));
    let engine = &report.engine;
    let shapes = if report.quick { "small" } else { "of published models" };
    let mut groups: Vec<CallGroup> = Vec::new();
    for row in report.rows.iter().filter(|row| row.time.is_some()) {
        let line = call(row);
        match groups.iter_mut().find(|group| group.op == row.op) {
            Some(group) => group.calls.push(line),
            None => groups.push(CallGroup { op: row.op.clone(), calls: vec![line] }),
        }
    }
    let processor = format!("{}, {} cores", host.cpu, host.cores);
    BenchSection {
        title: format!("{name}{} on {backend}", version.unwrap_or_default()),
        hardware: hardware(run),
        is_software: report.adapter.as_ref().is_some_and(|it| it.software == Some(true)),
        facts: vec![
            ("Engine", format!("{} {}, {}", engine.version, engine.commit, engine.variant)),
            ("Shapes", shapes.to_owned()),
            ("Machine", format!("{}, {processor}", host.os)),
            ("Took", format!("{} s", plain(report.duration_ms / 1e3))),
        ],
        unsupported: report.unsupported.clone().unwrap_or_default(),
        ceilings: report.ceilings.iter().map(ceiling).collect(),
        groups,
        missing: missing(report),
    }
}

/// The adapter in the words that it has for itself, or the processor.
pub fn hardware(BenchRun { host, report, .. }: &BenchRun) -> String {
    match &report.adapter {
        Some(adapter) => named(adapter),
        None => format!("one thread of {}", host.cpu),
    }
}

/// What an adapter calls itself, and what it is.
pub fn named(adapter: &Adapter) -> String {
    let words = [&adapter.vendor, &adapter.architecture, &adapter.device, &adapter.description];
    let words: Vec<&str> =
        words.into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let kind = match adapter.software {
        Some(true) => ", software",
        Some(false) => "",
        None => ", hardware or software: it does not say",
    };
    match words.is_empty() {
        true => format!("an adapter without a name{kind}"),
        false => format!("{}{kind}", words.join(" ")),
    }
}

/// What was not measured and why; calls that differ in their format alone are one.
pub fn missing(report: &BenchReport) -> Vec<(String, String)> {
    let mut missing: Vec<(String, Vec<&str>, String)> = Vec::new();
    for row in report.rows.iter().filter(|row| row.time.is_none()) {
        let why = match (&row.error, &row.skipped) {
            (Some(error), _) => format!("failed: {error}"),
            (None, Some(skipped)) => format!("skipped: {skipped}"),
            (None, None) => "not measured".to_owned(),
        };
        let call = format!("{} {}", row.op, row.call);
        match missing.iter_mut().find(|(known, _, reason)| *known == call && *reason == why) {
            Some((_, formats, _)) => formats.push(&row.format),
            None => missing.push((call, vec![&row.format], why)),
        }
    }
    let named = |(call, formats, why): (String, Vec<&str>, String)| {
        let formats = formats.join(", ");
        let name = if formats.is_empty() { call } else { format!("{call} ({formats})") };
        (name, why)
    };
    missing.into_iter().map(named).collect()
}

/// A ceiling's value with its unit, and what else is to be known of it.
pub fn ceiling(ceiling: &Ceiling) -> CeilingLine {
    let (kind, time) = (ceiling.kind, ceiling.time.as_ref());
    // A processor's arithmetic in TFLOP/s would be zeros.
    let (factor, unit) = match kind.unit() {
        "TFLOP/s" => (1e3, "GFLOP/s"),
        unit => (1.0, unit),
    };
    let value = match (ceiling.value, &ceiling.error, &ceiling.skipped) {
        (Some(value), ..) => format!("{} {unit}", plain(value * factor)),
        (None, Some(error), _) => format!("failed: {error}"),
        (None, None, why) => format!("skipped: {}", why.as_deref().unwrap_or("not measured")),
    };
    let by_timestamps = time.filter(|time| time.by == TimedBy::Timestamps && unit == "µs");
    let note = by_timestamps.map(|time| format!("{} µs on the host", plain(time.wall_us)));
    CeilingLine { name: kind.to_string(), value, note: note.unwrap_or_default() }
}

/// A call as text.
pub fn call(row: &BenchRow) -> CallLine {
    let time = row.time.clone().unwrap_or_default();
    let CallTime { median_us, quartiles_us: [low, high], by, calls, .. } = time;
    let spread = if median_us > 0.0 { (high - low) / 2.0 / median_us * 100.0 } else { 0.0 };
    let by_host = by == TimedBy::Batches && row.dispatches > 0;
    let share = row.share.map(|share| share.share * 100.0);
    let kernels = match row.kernels.is_empty() {
        true => "on the CPU".to_owned(),
        false => row.kernels.join(", "),
    };
    CallLine {
        call: row.call.clone(),
        shape: row.shape.clone(),
        format: row.format.clone(),
        time: format!("{}{}", plain(median_us), if by_host { "*" } else { "" }),
        spread: format!("{spread:.0}%"),
        gbps: row.gbps.map(plain).unwrap_or_default(),
        gflops: row.tflops.map(|tflops| plain(tflops * 1e3)).unwrap_or_default(),
        share: share.map(|share| format!("{share:.0}%")).unwrap_or_default(),
        of: row.share.map(|share| share.of.to_string()).unwrap_or_default(),
        bar: format!("{:.1}", share.unwrap_or_default().clamp(0.0, 100.0)),
        error: row.check.as_ref().map(|check| small(check.rel_l2)).unwrap_or_default(),
        is_wrong: row.failure().is_some(),
        tip: format!(
            "{kernels}\n{} dispatches, {} copies in turn, {} samples of {calls} calls",
            row.dispatches,
            row.copies,
            time.samples_us.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Adapter, BenchCheck, CeilingKind, Share};

    fn run() -> BenchRun {
        let check = |rel_l2| Some(BenchCheck { rel_l2, bound: 2e-5, numbers: 16 });
        let time = CallTime { median_us: 12.34, quartiles_us: [12.0, 13.0], ..CallTime::default() };
        let right = BenchRow {
            op: "matmul".into(),
            call: "square, 1 row".into(),
            format: "q4 symmetric g32".into(),
            dispatches: 1,
            time: Some(time),
            check: check(1.2e-6),
            tflops: Some(0.68),
            share: Some(Share { of: CeilingKind::Read, share: 1.61 }),
            ..BenchRow::default()
        };
        let late = |format: &str| BenchRow {
            op: "conv".into(),
            call: "<b>".into(),
            format: format.into(),
            skipped: Some("no time".into()),
            ..BenchRow::default()
        };
        let wrong = BenchRow { check: check(0.5), ..right.clone() };
        let adapter = Adapter { software: Some(true), ..Adapter::default() };
        let report = BenchReport {
            rows: vec![right, wrong, late("f16"), late("q4 symmetric g32")],
            adapter: Some(adapter),
            ..BenchReport::default()
        };
        let host = Host::default();
        BenchRun { browser: None, name: "host".into(), backend: Backend::Native, host, report }
    }

    #[test]
    fn a_call_is_text_and_a_bar_that_ends_at_the_ceiling() {
        let section = &Bench::of(&[run()]).sections[0];
        assert_eq!(section.groups.len(), 1);
        let [right, wrong] = &section.groups[0].calls[..] else { panic!("two calls") };
        assert_eq!((right.time.as_str(), right.spread.as_str()), ("12.3*", "4%"));
        assert_eq!((right.share.as_str(), right.bar.as_str()), ("161%", "100.0"));
        assert_eq!((right.gflops.as_str(), right.is_wrong, wrong.is_wrong), ("680", false, true));
        assert!(section.is_software && section.hardware.ends_with(", software"));
    }

    #[test]
    fn what_is_missing_is_named_once_with_its_formats() {
        let section = &Bench::of(&[run()]).sections[0];
        let name = "conv <b> (f16, q4 symmetric g32)".to_owned();
        assert_eq!(section.missing, [(name, "skipped: no time".to_owned())]);
    }

    #[test]
    fn text_is_never_markup() {
        let page = Bench::of(&[run()]).to_string();
        assert!(!page.contains("conv <b>") && page.contains("no time"));
        assert!(page.contains("software adapter"));
    }
}
