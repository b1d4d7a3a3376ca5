//! Estimates in columns, with what was measured beside them.

use super::{Estimated, Line};
use matrix::view::figure;

/// The cells, a line each, and below them where their counts come from.
pub(super) fn text(lines: &[Line]) -> String {
    let is_measured = lines.iter().any(|line| line.measured.is_some());
    let mut heads = vec!["cell", "pass ms", "binds", "token ms", "binds", "memory"];
    if is_measured {
        heads.extend(["measured ms", "×", "token ms", "×", "memory"]);
    }
    let mut sources: Vec<&str> = Vec::new();
    let mut rows = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for line in lines {
        let counts = line.estimated.counts.as_str();
        let source = sources.iter().position(|known| *known == counts).unwrap_or_else(|| {
            sources.push(counts);
            sources.len() - 1
        });
        let mut row = estimates(line, source + 1);
        if is_measured {
            row.extend(measured(line));
        }
        rows.push(row);
    }
    let columns = rows[0].len();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 2 | 4 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    let mut text: Vec<String> = rows.iter().map(line).collect();
    let notes = sources.iter().zip(1..).map(|(source, number)| format!("  [{number}] {source}"));
    text.extend(notes);
    if lines.iter().any(|line| line.measured.as_ref().is_some_and(|it| it.on_the_gpu)) {
        text.push("  * on the GPU, by timestamps".to_owned());
    }
    text.join("\n")
}

fn estimates(line: &Line, source: usize) -> Vec<String> {
    let Estimated { pass, token, bytes, .. } = &line.estimated;
    let ms = |ms: Option<f64>| ms.map(|ms| format!("~{}", figure::plain(ms))).unwrap_or_default();
    let binds = |binds: Option<&'static str>| binds.unwrap_or_default().to_owned();
    vec![
        format!("{} [{source}]", line.cell),
        ms(pass.map(|pass| pass.ms)),
        binds(pass.map(|pass| pass.binds())),
        ms(token.map(|token| token.ms)),
        binds(token.map(|token| token.binds())),
        bytes.map(|bytes| format!("~{}", figure::bytes(bytes as f64))).unwrap_or_default(),
    ]
}

fn measured(line: &Line) -> [String; 5] {
    let Some(measured) = &line.measured else { return Default::default() };
    let Estimated { pass, token, .. } = &line.estimated;
    let over = |measured: Option<f64>, estimated: Option<f64>| {
        let ratio = measured.zip(estimated).map(|(measured, estimated)| measured / estimated);
        ratio
            .filter(|ratio| ratio.is_finite())
            .map(|ratio| format!("{ratio:.1}"))
            .unwrap_or_default()
    };
    let mark = if measured.on_the_gpu { "*" } else { "" };
    [
        format!("{}{mark}", figure::plain(measured.pass_ms)),
        over(Some(measured.pass_ms), pass.map(|pass| pass.ms)),
        measured.token_ms.map(figure::plain).unwrap_or_default(),
        over(measured.token_ms, token.map(|token| token.ms)),
        measured.bytes.map(|bytes| figure::bytes(bytes as f64)).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Measured, formula::Estimate},
        *,
    };
    use crate::sample;
    use record::Status;

    fn line(measured: Option<Measured>) -> Line {
        let pass = Estimate { ms: 2.0, bytes_ms: 2.0, ..Estimate::default() };
        let estimated = Estimated {
            pass: Some(pass),
            token: Some(Estimate { ms: 0.5, dispatches_ms: 0.5, ..Estimate::default() }),
            bytes: Some(1_500_000),
            counts: "traced somewhere".to_owned(),
        };
        Line { cell: sample::record("r", Status::Pass).cell, estimated, measured }
    }

    #[test]
    fn an_estimate_looks_like_one_and_what_was_measured_does_not() {
        let measured = Measured {
            pass_ms: 5.0,
            on_the_gpu: true,
            token_ms: Some(1.0),
            bytes: Some(2_000_000),
        };
        let text = text(&[line(Some(measured)), line(None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("pass ms") && lines[0].contains("measured ms"), "{text}");
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        let start = words.iter().position(|word| *word == "[1]").unwrap();
        let plain = |number: f64| figure::plain(number);
        let wanted = [
            "[1]".to_owned(),
            format!("~{}", plain(2.0)),
            "bytes".to_owned(),
            format!("~{}", plain(0.5)),
            "dispatches".to_owned(),
        ];
        assert_eq!(words[start..start + 5], wanted);
        assert!(
            lines[1].contains(&format!("{}*", plain(5.0))) && lines[1].contains("2.5"),
            "{text}"
        );
        assert!(!lines[2].contains('*'), "{text}");
        assert_eq!(lines[3], "  [1] traced somewhere");
        assert_eq!(lines[4], "  * on the GPU, by timestamps");
        assert!(!super::text(&[line(None)]).contains("measured"));
    }
}
