//! A report as lines of text: the ceilings first, then a line for each call. The words are those of the page.

use matrix::view::bench::{BenchRun, CallLine, CeilingLine, call, ceiling, hardware, missing};
use record::{BenchReport, BenchRow, Ceiling};

/// What stands above the columns of calls. Text is set to the left and numbers to the right.
const HEADS: [&str; 10] =
    ["op", "call", "shape", "format", "µs", "±", "GB/s", "GFLOP/s", "of ceiling", "error"];
/// Columns of text.
const TEXTS: usize = 4;

/// The whole report.
pub(super) fn text(run: &BenchRun) -> String {
    let BenchRun { report, .. } = run;
    let mut lines = vec![who(run)];
    if let Some(why) = &report.unsupported {
        lines.push(format!("  cannot be measured: {why}"));
        return lines.join("\n");
    }
    lines.extend(report.ceilings.iter().map(of_ceiling));
    lines.push(String::new());
    let is_timed = |row: &&BenchRow| row.time.is_some();
    let timed: Vec<[String; 10]> = report.rows.iter().filter(is_timed).map(cells).collect();
    if !timed.is_empty() {
        lines.extend(aligned(&timed));
        lines.extend(note(report));
    }
    lines.extend(missing(report).into_iter().map(|(what, why)| format!("  {what}: {why}")));
    lines.push(String::new());
    lines.join("\n")
}

/// `chrome 156.0 on webgpu: google swiftshader, software; engine 0.1.0 1a2b3c4, subgroups; small shapes; 60 s`
fn who(run: &BenchRun) -> String {
    let BenchRun { browser, name, backend, report, .. } = run;
    let version = browser.as_ref().map(|browser| format!(" {}", browser.version));
    let engine = &report.engine;
    let shapes = if report.quick { "small shapes" } else { "shapes of published models" };
    format!(
        "{name}{} on {backend}: {}; engine {} {}, {}; {shapes}; {:.0} s",
        version.unwrap_or_default(),
        hardware(run),
        engine.version,
        engine.commit,
        engine.variant,
        report.duration_ms / 1e3
    )
}

fn of_ceiling(of: &Ceiling) -> String {
    let CeilingLine { name, value, note } = ceiling(of);
    let (number, unit) = value.split_once(' ').unwrap_or((&value, ""));
    let value = if of.value.is_some() { format!("{number:>8} {unit}") } else { value };
    let note = if note.is_empty() { note } else { format!(", {note}") };
    format!("  {name:<11} {value}{note}")
}

fn cells(row: &BenchRow) -> [String; 10] {
    let CallLine { call, shape, format, time, spread, gbps, gflops, share, of, .. } = call(row);
    let mark = if row.failure().is_some() { " WRONG" } else { "" };
    let error = row.check.as_ref().map(|check| format!("{:.0e}{mark}", check.rel_l2));
    let share = format!("{share} {of}");
    let error = error.unwrap_or_default();
    [row.op.clone(), call, shape, format, time, spread, gbps, gflops, share, error]
}

fn aligned(rows: &[[String; 10]]) -> Vec<String> {
    let heads = HEADS.map(str::to_owned);
    let all = || std::iter::once(&heads).chain(rows);
    let width = |at: usize| all().map(|cells| cells[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 10] = std::array::from_fn(width);
    let line = |cells: &[String; 10]| {
        let cells = cells.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0..TEXTS => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    all().map(line).collect()
}

/// What has to be known to read the lines above.
fn note(report: &BenchReport) -> Option<String> {
    let is_marked = |row: &BenchRow| row.time.is_some() && call(row).time.ends_with('*');
    let note = "  * by the host's clock, over many calls and one wait: no timestamps could be used";
    report.rows.iter().any(is_marked).then(|| note.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Backend, BenchCheck, CallTime, CeilingKind, Cost, Host, Share};

    fn measured() -> BenchRun {
        let ceiling = |kind, value: Option<f64>, skipped: Option<&str>| Ceiling {
            kind,
            value,
            time: None,
            work: 0,
            skipped: skipped.map(str::to_owned),
            error: None,
        };
        let time = CallTime { median_us: 12.34, quartiles_us: [12.0, 13.0], ..CallTime::default() };
        let right = BenchRow {
            op: "matmul".into(),
            call: "square, 1 row".into(),
            shape: "1×2048×2048".into(),
            format: "q4 symmetric g32".into(),
            dispatches: 1,
            cost: Cost { operations: 8_388_608, read_bytes: 2_367_488, written_bytes: 8192 },
            time: Some(time),
            check: Some(BenchCheck { rel_l2: 1.2e-6, bound: 2e-5, numbers: 16 }),
            gbps: Some(191.86),
            tflops: Some(0.68),
            share: Some(Share { of: CeilingKind::Read, share: 0.61 }),
            ..BenchRow::default()
        };
        let check = Some(BenchCheck { rel_l2: 0.5, bound: 2e-5, numbers: 16 });
        let wrong = BenchRow { op: "project".into(), check, ..right.clone() };
        let late = BenchRow {
            op: "conv".into(),
            call: "ViT patches".into(),
            skipped: Some("no time".into()),
            ..BenchRow::default()
        };
        let report = BenchReport {
            ceilings: vec![
                ceiling(CeilingKind::Read, Some(2345.6), None),
                ceiling(CeilingKind::F16, None, Some("the adapter has no shader-f16")),
            ],
            rows: vec![right, wrong, late],
            ..BenchReport::default()
        };
        let host = Host { cpu: "A processor".into(), ..Host::default() };
        BenchRun { browser: None, name: "host".into(), backend: Backend::Native, host, report }
    }

    #[test]
    fn each_call_has_a_line_and_whatever_is_left_out_a_reason() {
        let text = text(&measured());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("host on native: one thread of A processor"), "{text}");
        assert_eq!(lines[1], "  read            2346 GB/s");
        assert_eq!(lines[2], "  f16         skipped: the adapter has no shader-f16");
        assert!(lines[4].starts_with("  op       call           shape"), "{text}");
        let right: Vec<&str> = lines[5].split_whitespace().collect();
        let figures = ["12.3*", "4%", "192", "680", "61%", "read", "1e-6"];
        assert_eq!(right[right.len() - 7..], figures, "{text}");
        assert!(lines[6].ends_with("5e-1 WRONG"), "{text}");
        assert!(lines[7].starts_with("  * by the host's clock"), "{text}");
        assert_eq!(lines[8], "  conv ViT patches: skipped: no time");
        assert_eq!(lines[5].find("1×2048"), lines[4].find("shape"));
    }

    #[test]
    fn a_report_without_figures_says_why() {
        let mut measured = measured();
        measured.report.unsupported = Some("no navigator.gpu".into());
        assert!(text(&measured).ends_with("cannot be measured: no navigator.gpu"));
    }
}
