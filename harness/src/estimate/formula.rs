//! What a pass takes at least on a device whose ceilings are known. Pure.
//!
//! A call takes the longest of bytes over the rate at which the device reads, operations over the rate at
//! which it computes, and its dispatches; a pass takes the sum over its calls. Kernels that multiply bytes
//! compute at the rate of `dot4 i8`, where that was measured.

use anyhow::{Context, Result, ensure};
use record::{BenchReport, CallTrace, CeilingKind, Cost};
use serde::Serialize;
use shaders::Files;

/// The formula in a line, which stands wherever an estimate is shown.
pub(crate) const FORMULA: &str =
    "the sum over calls of max(bytes / read, operations / arithmetic, dispatches · dispatch)";

/// What a device can do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ceilings {
    /// Bytes a millisecond.
    bytes: f64,
    /// Operations a millisecond, in f32.
    f32: f64,
    /// The same of kernels that multiply bytes.
    dot4: f64,
    /// Milliseconds a dispatch; none of what computes on a CPU.
    dispatch: f64,
}

/// What a pass takes by the formula, and how much of that each ceiling binds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Estimate {
    /// Milliseconds.
    pub ms: f64,
    /// Of these, of calls that bytes bind.
    pub bytes_ms: f64,
    /// Of calls that operations bind.
    pub operations_ms: f64,
    /// Of calls that dispatches bind.
    pub dispatches_ms: f64,
}

impl Ceilings {
    /// Those of a report.
    ///
    /// # Errors
    ///
    /// If it does not have what every estimate needs.
    pub fn of(report: &BenchReport) -> Result<Ceilings> {
        if let Some(why) = &report.unsupported {
            ensure!(report.unsupported.is_none(), "nothing could be measured: {why}");
        }
        // The faster of both, as what reads almost alone is not held to what also writes.
        let memory = [CeilingKind::Read, CeilingKind::Copy].map(|kind| report.ceiling(kind));
        let gbps = memory.into_iter().flatten().max_by(f64::total_cmp);
        let gbps = gbps.context("it has no ceiling of memory")?;
        let tflops = report.ceiling(CeilingKind::F32).context("it has no ceiling of arithmetic")?;
        let dispatch_us = report.ceiling(CeilingKind::Dispatch);
        ensure!(gbps > 0.0 && tflops > 0.0, "its ceilings are zero");
        Ok(Ceilings {
            bytes: gbps * 1e6,
            f32: tflops * 1e9,
            dot4: report.ceiling(CeilingKind::Dot4I8).unwrap_or(tflops).max(tflops) * 1e9,
            dispatch: dispatch_us.unwrap_or(0.0) * 1e-3,
        })
    }

    /// What calls take that are alike, of so many dispatches together.
    fn calls(&self, cost: &Cost, dispatches: f64, multiplies_bytes: bool) -> Estimate {
        let arithmetic = if multiplies_bytes { self.dot4 } else { self.f32 };
        let bytes = (cost.read_bytes + cost.written_bytes) as f64 / self.bytes;
        let operations = cost.operations as f64 / arithmetic;
        let dispatches = dispatches * self.dispatch;
        let ms = bytes.max(operations).max(dispatches);
        let mut estimate = Estimate { ms, ..Estimate::default() };
        let binds = match ms {
            ms if ms == bytes => &mut estimate.bytes_ms,
            ms if ms == operations => &mut estimate.operations_ms,
            _ => &mut estimate.dispatches_ms,
        };
        *binds = ms;
        estimate
    }

    /// What a pass takes that consists of these calls. Calls whose kernels nobody noted, as they were
    /// traced on a CPU, count as one dispatch each.
    pub fn pass(&self, calls: &[CallTrace]) -> Estimate {
        let each = calls.iter().map(|call| {
            let dispatches = call.kernels.len().max(1) as f64 * f64::from(call.calls);
            self.calls(&call.cost, dispatches, multiplies_bytes(&call.kernels))
        });
        each.fold(Estimate::default(), |sum, one| Estimate {
            ms: sum.ms + one.ms,
            bytes_ms: sum.bytes_ms + one.bytes_ms,
            operations_ms: sum.operations_ms + one.operations_ms,
            dispatches_ms: sum.dispatches_ms + one.dispatches_ms,
        })
    }

    /// What a pass takes at least of which only the sum of its costs is known: less than by its calls.
    pub fn whole(&self, cost: &Cost) -> Estimate {
        self.calls(cost, 1.0, false)
    }
}

impl Estimate {
    /// What binds most of it.
    pub fn binds(&self) -> &'static str {
        let all = [
            (self.bytes_ms, "bytes"),
            (self.operations_ms, "operations"),
            (self.dispatches_ms, "dispatches"),
        ];
        all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |(_, name)| name)
    }
}

/// Whether one of these kernels, or a file that it includes, multiplies four bytes at once.
fn multiplies_bytes(kernels: &[String]) -> bool {
    let files = Files::default();
    kernels.iter().any(|kernel| {
        let own = kernel.split_whitespace().next().unwrap_or_default();
        let all = files.of(own, &[]).unwrap_or_default();
        all.iter().filter_map(|file| files.text(file)).any(|text| text.contains("dot4I8Packed("))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Ceiling;

    fn report(values: &[(CeilingKind, f64)]) -> BenchReport {
        let ceiling = |(kind, value): &(CeilingKind, f64)| Ceiling {
            kind: *kind,
            value: Some(*value),
            time: None,
            work: 0,
            skipped: None,
            error: None,
        };
        BenchReport { ceilings: values.iter().map(ceiling).collect(), ..BenchReport::default() }
    }

    fn call(operations: u64, bytes: u64, calls: u32, kernels: &[&str]) -> CallTrace {
        CallTrace {
            calls,
            kernels: kernels.iter().map(|kernel| (*kernel).to_owned()).collect(),
            cost: Cost { operations, read_bytes: bytes, written_bytes: 0 },
            ..CallTrace::default()
        }
    }

    const GPU: [(CeilingKind, f64); 5] = [
        (CeilingKind::Copy, 100.0),
        (CeilingKind::Read, 200.0),
        (CeilingKind::F32, 1.0),
        (CeilingKind::Dot4I8, 4.0),
        (CeilingKind::Dispatch, 5.0),
    ];

    #[test]
    fn each_call_takes_what_binds_it_and_a_pass_takes_all() {
        let ceilings = Ceilings::of(&report(&GPU)).unwrap();
        // 2 MB at 200 GB/s are 10 µs, 40 million operations at 1 TFLOP/s 40 µs, a dispatch 5 µs.
        let bytes = call(1_000, 2_000_000, 1, &["add"]);
        let operations = call(40_000_000, 1_000, 1, &["matmul WG=64"]);
        let dispatches = call(10, 10, 4, &["softmax", "add"]);
        let pass = ceilings.pass(&[bytes, operations, dispatches]);
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}");
        near(pass.bytes_ms, 0.010);
        near(pass.operations_ms, 0.040);
        near(pass.dispatches_ms, 0.040);
        near(pass.ms, 0.090);
        let whole = Cost { operations: 80_000_000, read_bytes: 1, written_bytes: 1 };
        near(ceilings.whole(&whole).ms, 0.080);
        assert_eq!(ceilings.whole(&whole).binds(), "operations");
        // Nothing is known of the kernels of a CPU's trace: a dispatch a call.
        near(ceilings.pass(&[call(10, 10, 4, &[])]).dispatches_ms, 0.020);
    }

    #[test]
    fn kernels_that_multiply_bytes_compute_faster() {
        let ceilings = Ceilings::of(&report(&GPU)).unwrap();
        let of = |kernel| ceilings.pass(&[call(40_000_000, 0, 1, &[kernel])]).ms;
        assert!((of("matvec_digits BITS=4 WG=64") - 0.010).abs() < 1e-9);
        assert!((of("no_such_kernel") - 0.040).abs() < 1e-9);
    }

    #[test]
    fn a_processor_dispatches_nothing_and_a_report_may_be_of_no_use() {
        let processor = Ceilings::of(&report(&GPU[1..3])).unwrap();
        assert_eq!(processor.pass(&[call(0, 0, 9, &[])]), Estimate::default());
        let error = Ceilings::of(&report(&GPU[..1])).unwrap_err().to_string();
        assert!(error.contains("no ceiling of arithmetic"), "{error}");
        let nothing = BenchReport { unsupported: Some("no GPU".into()), ..BenchReport::default() };
        assert!(Ceilings::of(&nothing).unwrap_err().to_string().contains("no GPU"));
    }
}
