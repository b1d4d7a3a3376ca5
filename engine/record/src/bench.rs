//! What `harness bench` asks of a page, and what the page measured: the ceilings of its device, and single
//! calls of ops beside them.
//!
//! Every figure is a measurement but for the cost of a call, which is what its op states of it. Fields are
//! added and never renamed: a report of an older program is read with what it has.

use crate::{Adapter, Backend, Bits, Cost, EngineInfo};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchRequest {
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// Names of the ops to measure; all of them where there is none.
    #[serde(default)]
    pub ops: Vec<String>,
    /// Widths of the weights to measure; the usual ones where there is none.
    #[serde(default)]
    pub bits: Vec<Bits>,
    /// How long all of it may take.
    pub budget_ms: f64,
    /// Whether the small shapes are measured; where nobody says, on software adapters.
    #[serde(default)]
    pub quick: Option<bool>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchReport {
    /// The engine that measured.
    pub engine: EngineInfo,
    /// The adapter, where the backend has one.
    pub adapter: Option<Adapter>,
    /// Why nothing can be measured here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Whether the small shapes were measured.
    pub quick: bool,
    /// What the device can do at most, as far as simple kernels show it.
    pub ceilings: Vec<Ceiling>,
    /// Calls of ops.
    pub rows: Vec<BenchRow>,
    /// How long all of it took.
    pub duration_ms: f64,
}

impl BenchReport {
    /// What is wrong: figures without a right result behind them.
    pub fn failures(&self) -> Vec<String> {
        let ceilings = self.ceilings.iter().filter_map(|ceiling| {
            let error = ceiling.error.as_ref()?;
            Some(format!("{}: {error}", ceiling.kind))
        });
        let rows = self.rows.iter().filter_map(|row| {
            let error = row.failure()?;
            Some(format!("{}: {error}", row.name()))
        });
        ceilings.chain(rows).collect()
    }

    /// The ceiling of a kind, where it was measured.
    pub fn ceiling(&self, kind: CeilingKind) -> Option<f64> {
        self.ceilings.iter().find(|ceiling| ceiling.kind == kind)?.value
    }
}

/// Something that bounds what kernels can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CeilingKind {
    /// A kernel, or the CPU, that copies far more than a cache holds: bytes read and written.
    Copy,
    /// The same that only reads.
    Read,
    /// `copyBufferToBuffer`: bytes read and written.
    CopyBuffer,
    /// Products and sums in f32, two operations each pair.
    F32,
    /// The same in f16.
    F16,
    /// `dot4I8Packed`: eight operations each.
    Dot4I8,
    /// An almost empty kernel that depends on the one before it.
    Dispatch,
    /// From handing over a dispatch to having four bytes of its result.
    ReadBack,
}

impl CeilingKind {
    /// What its values are counted in.
    pub fn unit(self) -> &'static str {
        match self {
            CeilingKind::Copy | CeilingKind::Read | CeilingKind::CopyBuffer => "GB/s",
            CeilingKind::F32 | CeilingKind::F16 | CeilingKind::Dot4I8 => "TFLOP/s",
            CeilingKind::Dispatch | CeilingKind::ReadBack => "µs",
        }
    }
}

impl fmt::Display for CeilingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CeilingKind::Copy => "copy",
            CeilingKind::Read => "read",
            CeilingKind::CopyBuffer => "copy buffer",
            CeilingKind::F32 => "f32",
            CeilingKind::F16 => "f16",
            CeilingKind::Dot4I8 => "dot4 i8",
            CeilingKind::Dispatch => "dispatch",
            CeilingKind::ReadBack => "read-back",
        })
    }
}

/// What was measured of a ceiling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Of what.
    pub kind: CeilingKind,
    /// In the unit of its kind; none where it could not be measured.
    #[serde(default)]
    pub value: Option<f64>,
    /// The times behind the value: those of one piece of work, of one dispatch, of one read-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<CallTime>,
    /// Bytes or operations of one piece of work.
    #[serde(default)]
    pub work: u64,
    /// Why it was not measured, though nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One call of an op.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchRow {
    /// The op's name.
    pub op: String,
    /// What sets this call apart, such as `TinyLlama gate and up`.
    pub call: String,
    /// Its shapes.
    pub shape: String,
    /// How its weights are stored; empty where it has none.
    pub format: String,
    /// Bits of a stored weight, scales apart.
    pub bits: Option<Bits>,
    /// The kernels that were dispatched.
    pub kernels: Vec<String>,
    /// Dispatches of a call; none on the CPU.
    pub dispatches: u32,
    /// What the call takes at least, as its ops state it.
    pub cost: Cost,
    /// Copies of its weights or caches that calls take in turn, so that none is found in a cache.
    pub copies: u32,
    /// Bytes of all copies.
    pub copied_bytes: u64,
    /// How long a call took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<CallTime>,
    /// Whether its numbers are right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<BenchCheck>,
    /// Bytes read and written at least, over the median time, in GB/s.
    pub gbps: Option<f64>,
    /// Operations over the median time, in TFLOP/s.
    pub tflops: Option<f64>,
    /// How much of the ceiling that binds was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Why it was not measured, though nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl BenchRow {
    /// Op, call and format, as far as it has them.
    pub fn name(&self) -> String {
        let words = [&self.op, &self.call, &self.format].map(String::as_str);
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// What is wrong with it.
    pub fn failure(&self) -> Option<String> {
        if self.error.is_some() {
            return self.error.clone();
        }
        let BenchCheck { rel_l2, bound, .. } = self.check.as_ref()?;
        // What is not a number is within no bound.
        let is_right = rel_l2 <= bound;
        (!is_right)
            .then(|| format!("{rel_l2:.1e} away from the exact CPU path, {bound:.0e} is allowed"))
    }
}

/// How a time was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimedBy {
    /// Timestamps of the GPU at the ends of passes of many calls.
    Timestamps,
    /// The clock of the host around many calls and one wait.
    #[default]
    Batches,
}

/// How long a call took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallTime {
    /// How the samples were taken.
    pub by: TimedBy,
    /// Median of the samples.
    pub median_us: f64,
    /// First and third quartile of the samples.
    pub quartiles_us: [f64; 2],
    /// Microseconds a call, a sample each.
    pub samples_us: Vec<f64>,
    /// Calls of each sample.
    pub calls: u32,
    /// The host's time a call over all samples, recording, submissions and waits included.
    pub wall_us: f64,
}

/// Whether numbers are right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchCheck {
    /// Distance from the exact CPU path.
    pub rel_l2: f64,
    /// Largest distance that is allowed.
    pub bound: f64,
    /// How many numbers of the output were compared.
    pub numbers: u64,
}

/// How much of a ceiling was reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The ceiling that binds: of all, the one that leaves the call the longest time.
    pub of: CeilingKind,
    /// The time that it leaves over the time that was taken.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rel_l2: f64, error: Option<&str>) -> BenchRow {
        let check = Some(BenchCheck { rel_l2, bound: 2e-5, numbers: 16 });
        BenchRow {
            op: "matmul".into(),
            call: "2048²".into(),
            format: "f16".into(),
            check,
            error: error.map(str::to_owned),
            ..BenchRow::default()
        }
    }

    #[test]
    fn what_is_far_away_or_no_number_is_a_failure() {
        let rows =
            vec![row(1e-6, None), row(1e-3, None), row(f64::NAN, None), row(0.0, Some("lost"))];
        let failures = BenchReport { rows, ..BenchReport::default() }.failures();
        assert_eq!(failures.len(), 3);
        let far = "matmul 2048² f16: 1.0e-3 away from the exact CPU path, 2e-5 is allowed";
        assert_eq!(failures[0], far);
        assert_eq!(failures[2], "matmul 2048² f16: lost");
    }

    #[test]
    fn fields_that_an_older_program_lacks_have_defaults() {
        let report: BenchReport = serde_json::from_str(
            r#"{"rows": [{"op": "matmul"}], "ceilings": [{"kind": "dot4_i8"}], "later": 1}"#,
        )
        .unwrap();
        assert_eq!((report.rows[0].op.as_str(), report.rows[0].copies), ("matmul", 0));
        assert_eq!(report.ceilings[0].kind, CeilingKind::Dot4I8);
        let request: BenchRequest =
            serde_json::from_str(r#"{"backend": "wasm", "budget_ms": 1.0}"#).unwrap();
        assert_eq!((request.backend, request.quick), (Backend::Wasm, None));
    }
}
