//! The findings as lines of text.

use super::verdict::{Finding, Judged, Verdict};

/// Most rows and reasons that are listed; the file of `--output` has all.
const SHOWN: usize = 12;

/// The table: a line for each group, the total, and how long either program took.
pub(super) fn text(judged: &Judged, is_of_models: bool) -> String {
    let first = if is_of_models { "class" } else { "op" };
    let heads = [first, "browser", "backend", "rows", "this build"].map(str::to_owned);
    let mut rows = vec![heads];
    rows.extend(judged.groups.iter().map(|group| {
        [
            group.group.clone(),
            group.browser.clone(),
            group.backend.to_string(),
            group.rows.to_string(),
            said(&group.finding),
        ]
    }));
    let count = judged.rows.len().to_string();
    let total = said(&judged.total);
    rows.push(["total".to_owned(), String::new(), String::new(), count, total]);
    if is_of_models {
        let [own, other] = judged.whole_s.map(|seconds| format!("{seconds:.1} s"));
        let whole = format!("{}: {own}, and {other} for the other", said(&judged.whole));
        rows.push(["whole run".to_owned(), String::new(), String::new(), String::new(), whole]);
    }
    if let Some(finding) = &judged.yardstick {
        let told = format!("{}: the unit of what a CPU computed", said(finding));
        let name = "yardstick".to_owned();
        rows.push([name, String::new(), String::new(), String::new(), told]);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            3 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.extend(left_out(judged));
    lines.join("\n")
}

/// `faster 1.32× [1.28, 1.37]`
pub(super) fn said(finding: &Finding) -> String {
    let Finding { ratio, interval, verdict } = *finding;
    let (word, ratio, interval) = match verdict {
        Verdict::Faster => ("faster", ratio, interval),
        // By how much it is slower, and not by how much the other is faster.
        Verdict::Slower => {
            ("slower", 1.0 / ratio, interval.map(|[low, high]| [1.0 / high, 1.0 / low]))
        }
        Verdict::CannotTell => ("cannot tell", ratio, interval),
    };
    match interval {
        Some([low, high]) => {
            let digits = if (high / low).ln() < 0.02 { 3 } else { 2 };
            format!("{word} {ratio:.digits$}× [{low:.digits$}, {high:.digits$}]")
        }
        None => format!("{word} {ratio:.2}×, of one round"),
    }
}

/// What was left out, those with one reason together.
fn left_out(judged: &Judged) -> Vec<String> {
    let mut lines: Vec<String> = judged
        .left_out
        .iter()
        .take(SHOWN)
        .map(|(what, why)| format!("  left out: {what}: {why}"))
        .collect();
    if judged.left_out.len() > SHOWN {
        lines.push(format!(
            "  left out: {} more; --output lists them",
            judged.left_out.len() - SHOWN
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{super::verdict::Group, *};
    use record::Backend;
    use std::collections::BTreeMap;

    fn finding(ratio: f64, interval: Option<[f64; 2]>, verdict: Verdict) -> Finding {
        Finding { ratio, interval, verdict }
    }

    #[test]
    fn a_ratio_is_told_as_what_this_build_is() {
        let faster = finding(1.32, Some([1.284, 1.366]), Verdict::Faster);
        assert_eq!(said(&faster), "faster 1.32× [1.28, 1.37]");
        let slower = finding(0.5, Some([0.4, 0.625]), Verdict::Slower);
        assert_eq!(said(&slower), "slower 2.00× [1.60, 2.50]");
        let same = finding(1.001, Some([0.998, 1.004]), Verdict::CannotTell);
        assert_eq!(said(&same), "cannot tell 1.001× [0.998, 1.004]");
        assert_eq!(
            said(&finding(1.0, None, Verdict::CannotTell)),
            "cannot tell 1.00×, of one round"
        );
    }

    #[test]
    fn each_group_has_a_line_and_what_is_left_out_a_reason() {
        let told = finding(1.5, Some([1.4, 1.6]), Verdict::Faster);
        let group = Group {
            group: "bert".into(),
            browser: "chrome".into(),
            backend: Backend::Wasm,
            rows: 5,
            finding: told,
        };
        let reasons = (0..14).map(|at| (format!("cell {at:02}"), "fail".to_owned()));
        let judged = Judged {
            rounds: 4,
            confidence: 0.975,
            groups: vec![group],
            total: told,
            whole: finding(1.0, Some([0.9, 1.1]), Verdict::CannotTell),
            whole_s: [12.34, 12.0],
            yardstick: Some(finding(1.0, Some([0.9, 1.1]), Verdict::CannotTell)),
            rows: Vec::new(),
            left_out: reasons.collect::<BTreeMap<_, _>>(),
        };
        let text = text(&judged, true);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[0], "class browser backend rows this build");
        assert_eq!(lines[1], "bert chrome wasm 5 faster 1.50× [1.40, 1.60]");
        assert_eq!(lines[2], "total 0 faster 1.50× [1.40, 1.60]");
        let whole = "whole run cannot tell 1.00× [0.90, 1.10]: 12.3 s, and 12.0 s for the other";
        assert_eq!(lines[3], whole);
        assert!(lines[4].starts_with("yardstick cannot tell 1.00× [0.90, 1.10]"), "{text}");
        assert_eq!(lines[5], "left out: cell 00: fail");
        assert_eq!(lines.last().unwrap(), "left out: 2 more; --output lists them");
        assert!(!super::text(&judged, false).contains("whole run"));
    }
}
