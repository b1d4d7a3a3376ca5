//! Single calls of ops beside what the device can do at most: where the time of a pass goes, and what is
//! left to gain.
//!
//! `ceilings.rs` measures the device with kernels that only move or only compute, `processor.rs` the CPU.
//! `products.rs`, `attention.rs` and `others.rs` have the calls: through `ops`, in the shapes of published
//! models, on random weights; those lie there several times, and calls take the copies in turn.
//! `crate::timed` measures one, and `row.rs` has what it makes of its ceilings. Whatever is timed is judged: a
//! sample of each result is held to the exact CPU path.

mod attention;
mod ceilings;
mod others;
mod processor;
mod products;
mod row;

pub use ceilings::kernels;

use crate::{
    device::Device,
    embedder::Embedder,
    error::{Error, Result},
    open,
    probe::engine_info,
    quant::Format,
    selftest,
    tensor::Tensor,
    testing::{rel_l2, uniform},
    timed::{self, Calls, Effort},
};
use record::{
    BenchCheck, BenchReport, BenchRequest, BenchRow, Bits, Ceiling, CeilingKind, Event, Precision,
};
use shaders::{Dialect, Files};

/// The ops that are measured.
pub const OPS: [&str; 10] = [
    "matmul",
    "project",
    "attention",
    "conv",
    "rms_norm",
    "layer_norm",
    "softmax",
    "activation",
    "add",
    "log_mel",
];

/// Bytes of all copies of what a call reads: more than the caches of GPUs and processors hold.
const COLD_BYTES: u64 = 256 << 20;
/// The same on software adapters, and wherever small shapes are asked for.
const QUICK_COLD_BYTES: u64 = 64 << 20;
/// Most copies.
const MOST_COPIES: u64 = 256;

/// Measures what is asked for; whatever goes wrong is in the report.
pub(crate) async fn run(request: &BenchRequest, embedder: &dyn Embedder) -> BenchReport {
    let start = embedder.now();
    let mut report = BenchReport { engine: engine_info(None), ..BenchReport::default() };
    // The processor's ceilings are those of one thread.
    match open::device(request.backend, Some(1), embedder).await {
        Ok(device) => {
            report.engine = engine_info(Some(&device));
            if let Device::Gpu(gpu) = &device {
                report.adapter = Some(gpu.description().clone());
            }
            let mut bench = Bench::new(&device, request, embedder, start);
            bench.all().await;
            report.quick = bench.quick;
            report.ceilings = bench.ceilings;
            report.rows = bench.rows;
        }
        Err(Error::Unsupported { message }) => report.unsupported = Some(message),
        Err(error) => report.unsupported = Some(error.to_string()),
    }
    report.duration_ms = embedder.now() - start;
    report
}

/// What is measured on, and what has been measured.
struct Bench<'a> {
    device: &'a Device,
    request: &'a BenchRequest,
    embedder: &'a dyn Embedder,
    quick: bool,
    /// When the family of ops that is measured now has to be done, and all of it.
    until: f64,
    end: f64,
    ceilings: Vec<Ceiling>,
    rows: Vec<BenchRow>,
}

/// A call of an op: what it is called, what it does, and what part of its result is judged.
struct Subject<'a> {
    row: BenchRow,
    calls: Calls<'a>,
    /// What the exact CPU path gives.
    expected: &'a dyn Fn() -> Tensor,
    /// The same numbers of all that a call gave.
    sample: &'a dyn Fn(&[f32]) -> Vec<f32>,
}

impl<'a> Bench<'a> {
    fn new(
        device: &'a Device,
        request: &'a BenchRequest,
        embedder: &'a dyn Embedder,
        start: f64,
    ) -> Bench<'a> {
        let is_software = match device {
            Device::Cpu(_) => false,
            Device::Gpu(gpu) => gpu.terms().capabilities.software,
        };
        let end = start + request.budget_ms;
        let quick = request.quick.unwrap_or(is_software);
        let (ceilings, rows) = (Vec::new(), Vec::new());
        Bench { device, request, embedder, quick, until: end, end, ceilings, rows }
    }

    /// Products come last, as they have most rows, and first in the report.
    async fn all(&mut self) {
        match self.device {
            Device::Cpu(_) => self.ceilings = processor::measure(self.effort()),
            Device::Gpu(gpu) => {
                self.stage("ceilings");
                self.ceilings = ceilings::measure(gpu, self.embedder, self.effort()).await;
            }
        }
        self.give(0.15);
        others::measure(self).await;
        self.give(0.25);
        attention::measure(self).await;
        let others = std::mem::take(&mut self.rows);
        self.give(1.0);
        products::measure(self).await;
        self.rows.extend(others);
    }

    /// Gives what comes next a share of the time that is left.
    fn give(&mut self, share: f64) {
        let now = self.embedder.now();
        self.until = now + (self.end - now).max(0.0) * share;
    }

    fn left_ms(&self) -> f64 {
        self.until - self.embedder.now()
    }

    fn effort(&self) -> Effort {
        let most_ms = self.left_ms().max(0.0);
        match self.quick {
            true => Effort { sample_ms: 4.0, samples: 5, most_ms },
            false => Effort { sample_ms: 8.0, samples: 7, most_ms },
        }
    }

    fn stage(&self, what: impl Into<String>) {
        self.embedder.emit(Event::Stage { stage: what.into() });
    }

    /// Whether calls of an op are asked for.
    fn wants(&self, op: &str) -> bool {
        self.request.ops.is_empty() || self.request.ops.iter().any(|wanted| wanted == op)
    }

    /// The formats that are asked for, as `--scheme auto` stores weights of so many bits.
    fn formats(&self) -> Vec<(Bits, Format)> {
        let usual = [16, 8, 4, 3, 2].map(Bits::Fixed);
        let bits = if self.request.bits.is_empty() { &usual[..] } else { &self.request.bits };
        let format = |bits: &Bits| Some((*bits, Format::of(&Precision::of(*bits)).ok()?));
        bits.iter().filter_map(format).collect()
    }

    /// How many copies of so many bytes there have to be; none where not even one has room.
    fn copies(&self, bytes: u64) -> Option<usize> {
        let cold = if self.quick { QUICK_COLD_BYTES } else { COLD_BYTES };
        // A page addresses 4 GiB, and half of it is room for what is cut into pieces on the way.
        let room = self.embedder.memory_limit().filter(|_| matches!(self.device, Device::Cpu(_)));
        let room = room.map_or(u64::MAX, |limit| limit / 4);
        let copies = cold.div_ceil(bytes.max(1)).clamp(1, MOST_COPIES) as usize;
        let is_cut = copies >= 2 * timed::PIECES;
        (bytes <= room)
            .then(|| if is_cut { copies.next_multiple_of(timed::PIECES) } else { copies })
    }

    /// Notes why a call is not measured.
    fn skip(&mut self, row: BenchRow, why: impl Into<String>) {
        self.rows.push(BenchRow { skipped: Some(why.into()), ..row });
    }

    /// Whether the time is over; then the call is noted as one that was left out.
    fn is_late(&mut self, row: &BenchRow) -> bool {
        let is_late = self.left_ms() <= 0.0;
        if is_late {
            let seconds = self.request.budget_ms / 1e3;
            self.skip(row.clone(), format!("the {seconds:.0} s allowed were over; see --budget"));
        }
        is_late
    }

    /// Times a call, judges what it gives, and notes both.
    async fn measure(&mut self, subject: Subject<'_>) {
        if self.is_late(&subject.row) {
            return;
        }
        let mut row = subject.row.clone();
        self.stage(format!("{} {} {}", row.op, row.call, row.format));
        match self.judged(&subject, &mut row).await {
            Ok(arithmetic) => row::finish(&mut row, &self.ceilings, arithmetic),
            Err(Error::Unsupported { message }) => row.skipped = Some(message),
            Err(error) => row.error = Some(error.to_string()),
        }
        if let Device::Gpu(gpu) = self.device {
            // What one call has left waiting or refused is not to fail the next.
            gpu.forget();
        }
        self.rows.push(row);
    }

    /// Fills in what was measured, and says what the kernels multiply in.
    async fn judged(&self, subject: &Subject<'_>, row: &mut BenchRow) -> Result<CeilingKind> {
        let ran = timed::time(self.device, subject.calls, self.effort()).await?;
        let output = self.device.read(&[&ran.output]).await?.remove(0);
        let got = (subject.sample)(&output);
        let expected = (subject.expected)();
        let bound = selftest::tolerance(self.device, &ran.kernels);
        let rel_l2 = rel_l2(&got, expected.f32s()).min(f64::MAX);
        row.check = Some(BenchCheck { rel_l2, bound, numbers: got.len() as u64 });
        row.kernels = ran.kernels.iter().map(|kernel| format!("{kernel:?}")).collect();
        row.cost = ran.cost;
        row.dispatches = ran.dispatches;
        row.time = Some(ran.time);
        let multiplies_bytes = ran.kernels.iter().any(|kernel| {
            let text = kernel.text(&Files::default(), Dialect::HERE);
            text.is_ok_and(|text| text.contains("dot4I8Packed"))
        });
        Ok(if multiplies_bytes { CeilingKind::Dot4I8 } else { CeilingKind::F32 })
    }
}

/// Numbers between −1 and 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    uniform(seed, count).into_iter().map(|number| 2.0 * number - 1.0).collect()
}

/// Up to so many places among `count`, the first and the last with them.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let picks = most.min(count);
    (0..picks).map(|at| at * (count - 1) / (picks - 1).max(1)).collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
