//! What a cell has found as lines of text: the calls of which another kernel is the faster one come first.

use record::{Cell, TunedCall, Tuning};

/// What stands above the columns. Text is set to the left and numbers to the right.
const HEADS: [&str; 7] = ["call", "calls", "µs", "µs picked", "gain", "rule", "pick"];
/// Columns of numbers.
const NUMBERS: std::ops::Range<usize> = 1..5;

/// The whole table.
pub(super) fn text(cell: &Cell, tuning: &Tuning) -> String {
    let mut lines = vec![format!("{cell}, {} on {}:", tuning.browser, tuning.adapter)];
    if let Some(note) = &tuning.note {
        lines.push(format!("  {note}"));
    }
    let mut entries: Vec<&TunedCall> = tuning.entries.iter().collect();
    let gain = |entry: &TunedCall| entry.gain().unwrap_or(-1.0);
    entries.sort_by(|a, b| gain(b).total_cmp(&gain(a)).then_with(|| a.call.cmp(&b.call)));
    let heads = std::iter::once(HEADS.map(str::to_owned));
    let rows: Vec<[String; 7]> = heads.chain(entries.into_iter().map(cells)).collect();
    if rows.len() == 1 {
        return lines.join("\n");
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    lines.extend(rows.iter().map(|row| {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| {
            if NUMBERS.contains(&at) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    }));
    lines.join("\n")
}

fn cells(entry: &TunedCall) -> [String; 7] {
    let TunedCall { call, calls, rule, pick, tried } = entry;
    let micros = |kernel: &str| {
        entry.tried(kernel).map(|tried| format!("{:.1}", tried.median_us)).unwrap_or_default()
    };
    let is_picked = pick != rule;
    let gain = match entry.gain() {
        Some(gain) if is_picked => format!("{gain:.0}%"),
        _ => String::new(),
    };
    let pick = match (is_picked, tried.len()) {
        (true, _) => pick.clone(),
        (false, 0) => "not measured".to_owned(),
        (false, count) => format!("the rule's, of {count}"),
    };
    let picked = if is_picked { micros(&entry.pick) } else { String::new() };
    [call.clone(), calls.to_string(), micros(rule), picked, gain, rule.clone(), pick]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::TriedKernel;

    #[test]
    fn calls_with_a_gain_come_first() {
        let tried = |kernel: &str, median_us| TriedKernel {
            kernel: kernel.into(),
            median_us,
            ..TriedKernel::default()
        };
        let entry = |call: &str, pick: &str, tried: &[TriedKernel]| TunedCall {
            call: call.into(),
            calls: 22,
            rule: "teams".into(),
            pick: pick.into(),
            tried: tried.to_vec(),
        };
        let both = [tried("teams", 40.0), tried("slabs", 30.0)];
        let tuning = Tuning {
            browser: "chrome 156.0".into(),
            adapter: "H200".into(),
            entries: vec![
                entry("a", "teams", &both),
                entry("b", "slabs", &both),
                entry("c", "teams", &[]),
            ],
            ..Tuning::default()
        };
        let text = text(&sample::cell("llama"), &tuning);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[0], "llama 4-bit wasm chrome, chrome 156.0 on H200:");
        assert_eq!(lines[1], "call calls µs µs picked gain rule pick");
        assert_eq!(lines[2], "b 22 40.0 30.0 25% teams slabs");
        assert_eq!(lines[3], "a 22 40.0 teams the rule's, of 2");
        assert_eq!(lines[4], "c 22 teams not measured");
    }

    #[test]
    fn without_calls_the_reason_is_all() {
        let tuning = Tuning { note: Some("refused".into()), ..Tuning::default() };
        let text = text(&sample::cell("llama"), &tuning);
        assert!(text.ends_with("refused") && text.lines().count() == 2);
    }
}
