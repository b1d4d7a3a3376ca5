//! Where the time of a cell's passes goes, as lines of text: the dearest calls first.

use record::{CallTrace, PassTrace, TimedBy};

/// What stands above the columns. Text is set to the left and numbers to the right.
const HEADS: [&str; 9] =
    ["op", "inputs", "calls", "µs each", "ms", "share", "GB/s", "GFLOP/s", "kernels"];

/// The tables of all passes.
pub(super) fn text(passes: &[PassTrace]) -> String {
    passes.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn table(pass: &PassTrace) -> String {
    let sum: f64 = pass.calls.iter().map(|call| call.ms).sum();
    let clock = match pass.by {
        TimedBy::Timestamps => "of the GPU",
        TimedBy::Batches => "of the host",
    };
    let mut lines =
        vec![format!("  {}: {:.3} ms {clock}, one by one {sum:.3}", pass.pass, pass.ms)];
    let mut calls: Vec<&CallTrace> = pass.calls.iter().collect();
    calls.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let rows: Vec<[String; 9]> = std::iter::once(HEADS.map(str::to_owned))
        .chain(calls.into_iter().map(|call| cells(call, sum)))
        .collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    lines.extend(rows.iter().map(|row| {
        let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            0 | 1 | 8 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("    {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    }));
    lines.join("\n")
}

fn cells(call: &CallTrace, sum: f64) -> [String; 9] {
    let shape =
        |sizes: &Vec<usize>| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
    let bytes = call.cost.read_bytes + call.cost.written_bytes;
    // Bytes and operations a millisecond are millions of each a second. What is too short for the clock has
    // no rate.
    let rate = |work: u64| match call.ms > 0.0 {
        true => format!("{:.0}", work as f64 / call.ms / 1e6),
        false => String::new(),
    };
    [
        call.op.clone(),
        call.inputs.iter().map(shape).collect::<Vec<_>>().join(" "),
        call.calls.to_string(),
        format!("{:.1}", call.ms * 1e3 / f64::from(call.calls.max(1))),
        format!("{:.3}", call.ms),
        format!("{:.0}%", 100.0 * call.ms / sum.max(1e-9)),
        rate(bytes),
        rate(call.cost.operations),
        call.kernels.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Cost;

    #[test]
    fn the_dearest_call_comes_first_with_what_it_reached() {
        let call = |op: &str, calls, ms| CallTrace {
            op: op.to_owned(),
            inputs: vec![vec![1, 64], vec![32, 64]],
            kernels: vec!["matvec".to_owned()],
            calls,
            ms,
            cost: Cost { operations: 3_000_000, read_bytes: 900_000, written_bytes: 100_000 },
        };
        let pass = PassTrace {
            pass: "step".to_owned(),
            by: TimedBy::Timestamps,
            ms: 3.5,
            calls: vec![call("add", 2, 1.0), call("matmul", 4, 3.0)],
        };
        let text = text(&[pass]);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].join(" "), "step: 3.500 ms of the GPU, one by one 4.000");
        let wanted = ["matmul", "1×64", "32×64", "4", "750.0", "3.000", "75%", "0", "1", "matvec"];
        assert_eq!(lines[2], wanted);
        assert_eq!(lines[3][3..7], ["2", "500.0", "1.000", "25%"]);
        assert_eq!(lines[3][7..9], ["1", "3"]);
    }
}
