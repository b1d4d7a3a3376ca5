//! What is compared of a cell, figure by figure.

use engine::stats::median;
use record::{Correctness, Memory, Outcome, Timing};

/// A figure of a cell.
#[derive(Debug)]
pub struct Figure {
    /// What people call it.
    pub name: &'static str,
    /// Its unit, where it has one.
    pub unit: &'static str,
    /// Whether less of it is worse.
    pub less_is_worse: bool,
    /// How it comes about, which decides how it is judged.
    pub kind: Kind,
    /// Whether it is told against what is expected, and so against somebody's outputs.
    pub is_of_reference: bool,
    /// The figure that it takes the place of where both sides have it.
    pub instead_of: Option<&'static str>,
    from: From,
}

/// How a figure comes about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Measured once each visit to the cell, as the median of its passes.
    Passes,
    /// Measured once each visit, or once each run.
    Visits,
    /// Computed, and the same whenever it is computed in the same way.
    Exact {
        /// A difference that is rounding, as a share of the larger value.
        share: f64,
        /// A difference that is rounding whatever the values are.
        least: f64,
    },
}

/// Where in an outcome it stands.
#[derive(Debug)]
enum From {
    Timing(fn(&Timing) -> Vec<f64>),
    Memory(fn(&Memory) -> Option<u64>),
    Correctness(fn(&Correctness) -> Option<f64>),
}

/// The name of the time that the adapter tells.
const ON_THE_GPU: &str = "pass on the GPU";
/// Bytes are counted, and the same counts are the same.
const SIZE: Kind = Kind::Exact { share: 0.0, least: 0.0 };
/// A peak depends a little on when the host gives back what it no longer needs.
const PEAK: Kind = Kind::Exact { share: 0.01, least: 65_536.0 };
/// What sums in another order make of f32: a millionth, and a thousandth of any larger figure.
const ERROR: Kind = Kind::Exact { share: 1e-3, least: 1e-6 };

/// Every figure that is compared. By the yardstick, a time is a multiple of the fixed work that its thread
/// did beside it, and so free of what the processor did besides (`engine/src/measure/yardstick.rs`). The
/// time to compile is not compared, as it is a difference of two times of one run; neither are bits per
/// weight, which follow from the bytes.
pub const FIGURES: [Figure; 17] = [
    time("pass", "ms", Kind::Passes, |timing| by_visit(timing, &timing.samples_ms)),
    steady("pass", time("pass by the yardstick", "", Kind::Passes, steady_passes)),
    time(ON_THE_GPU, "ms", Kind::Passes, |timing| by_visit(timing, &timing.gpu_samples_ms)),
    rate(time("decode", "tok/s", Kind::Visits, decode)),
    steady("decode", rate(time("decode by the yardstick", "tokens", Kind::Visits, steady_decode))),
    time("load", "ms", Kind::Visits, |timing| vec![timing.load_ms]),
    size("weights", SIZE, |memory| Some(memory.weights_bytes)),
    size("KV cache", SIZE, |memory| Some(memory.kv_bytes)),
    size("GPU peak", PEAK, |memory| memory.gpu_peak_bytes),
    size("WASM heap", PEAK, |memory| memory.wasm_heap_bytes),
    error("kernel error", |found| found.kernel_rel_l2),
    error("largest kernel error", |found| found.kernel_max_abs),
    loss("reference error", |found| found.reference_rel_l2),
    loss("KL divergence", |found| found.kl),
    agreement("cosine", |found| found.cosine),
    agreement("top-1 agreement", |found| found.top1_agreement),
    agreement("text repeated", |found| found.generated_match),
];

impl Figure {
    /// Its value in each visit, in order of time; none where the cell has no such figure. Times and rates
    /// that are not positive are none.
    pub fn values(&self, outcome: &Outcome) -> Vec<f64> {
        let mut values = match self.from {
            From::Timing(values) => outcome.timing.as_ref().map(values).unwrap_or_default(),
            From::Memory(value) => {
                let bytes = outcome.memory.as_ref().and_then(value);
                bytes.map(|bytes| bytes as f64).into_iter().collect()
            }
            From::Correctness(value) => {
                outcome.correctness.as_ref().and_then(value).into_iter().collect()
            }
        };
        if matches!(self.from, From::Timing(_)) {
            values.retain(|value| *value > 0.0 && value.is_finite());
        }
        values
    }

    /// Whether it is the time or the rate of passes, or of tokens behind them.
    pub fn is_of_a_pass(&self) -> bool {
        self.kind == Kind::Passes || (self.kind == Kind::Visits && self.less_is_worse)
    }

    /// Whether it was told by the adapter's own clock.
    pub fn is_on_the_gpu(&self) -> bool {
        self.name == ON_THE_GPU
    }

    /// How far `after` is from `before`: positive if there is more of it. Of a measured figure, the
    /// logarithm of the ratio.
    pub fn moved(&self, before: f64, after: f64) -> f64 {
        match self.kind {
            Kind::Exact { .. } => after - before,
            Kind::Passes | Kind::Visits => (after / before).ln(),
        }
    }
}

/// The median of each visit to a cell: one visit where nothing tells the passes apart.
fn by_visit(timing: &Timing, passes: &[f64]) -> Vec<f64> {
    let counts = timing.round_passes.iter().map(|count| *count as usize);
    if counts.clone().sum::<usize>() != passes.len() {
        return if passes.is_empty() { Vec::new() } else { vec![median(passes)] };
    }
    let mut rest = passes;
    let next = |count| {
        let (visit, behind) = rest.split_at(count);
        rest = behind;
        visit
    };
    counts.map(next).filter(|visit| !visit.is_empty()).map(median).collect()
}

/// What one does while the other does one; none where they do not belong together.
fn paired(some: &[f64], others: &[f64], of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    match some.len() == others.len() {
        true => some.iter().zip(others).map(|(one, other)| of(*one, *other)).collect(),
        false => Vec::new(),
    }
}

fn steady_passes(timing: &Timing) -> Vec<f64> {
    by_visit(timing, &paired(&timing.samples_ms, &timing.yardstick_ms, |ms, unit| ms / unit))
}

fn steady_decode(timing: &Timing) -> Vec<f64> {
    paired(&decode(timing), &timing.decode_yardstick_ms, |tps, unit| tps * unit / 1e3)
}

fn decode(timing: &Timing) -> Vec<f64> {
    match timing.decode_samples_tps.as_slice() {
        [] => timing.decode_tps.into_iter().collect(),
        rounds => rounds.to_vec(),
    }
}

const fn time(
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    values: fn(&Timing) -> Vec<f64>,
) -> Figure {
    Figure { kind, ..figure(name, unit, From::Timing(values)) }
}

const fn rate(figure: Figure) -> Figure {
    Figure { less_is_worse: true, ..figure }
}

const fn steady(name: &'static str, figure: Figure) -> Figure {
    Figure { instead_of: Some(name), ..figure }
}

const fn size(name: &'static str, kind: Kind, value: fn(&Memory) -> Option<u64>) -> Figure {
    Figure { kind, ..figure(name, "bytes", From::Memory(value)) }
}

const fn error(name: &'static str, value: fn(&Correctness) -> Option<f64>) -> Figure {
    figure(name, "", From::Correctness(value))
}

const fn loss(name: &'static str, value: fn(&Correctness) -> Option<f64>) -> Figure {
    Figure { is_of_reference: true, ..error(name, value) }
}

const fn agreement(name: &'static str, value: fn(&Correctness) -> Option<f64>) -> Figure {
    Figure { less_is_worse: true, ..loss(name, value) }
}

const fn figure(name: &'static str, unit: &'static str, from: From) -> Figure {
    Figure {
        name,
        unit,
        less_is_worse: false,
        kind: ERROR,
        is_of_reference: false,
        instead_of: None,
        from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_belong_to_the_visits_that_took_them() {
        let of = |round_passes| {
            let samples_ms = vec![1.0, 2.0, 3.0, 4.0, 6.0];
            by_visit(&Timing { round_passes, ..Timing::default() }, &samples_ms)
        };
        assert_eq!(of(vec![3, 2]), [2.0, 5.0]);
        assert_eq!(of(vec![]), [3.0]);
        // A record whose counts do not fit, of the GPU's passes for example, has one visit.
        assert_eq!(of(vec![3, 3]), [3.0]);
        assert_eq!(by_visit(&Timing::default(), &[]), [0.0; 0]);
    }

    #[test]
    fn by_the_yardstick_a_disturbed_visit_is_as_any_other() {
        let timing = Timing {
            samples_ms: vec![1.0, 1.1, 1.7, 1.87],
            yardstick_ms: vec![0.1, 0.1, 0.17, 0.17],
            round_passes: vec![2, 2],
            decode_samples_tps: vec![100.0, 50.0],
            decode_yardstick_ms: vec![0.1, 0.2],
            ..Timing::default()
        };
        let [first, second] = steady_passes(&timing)[..] else { panic!("two visits") };
        assert!((first - 10.5).abs() < 1e-9 && (second - 10.5).abs() < 1e-9);
        assert_eq!(steady_decode(&timing), [0.01; 2]);
        let without = Timing { yardstick_ms: vec![0.1], decode_yardstick_ms: vec![], ..timing };
        assert_eq!((steady_passes(&without), steady_decode(&without)), (vec![], vec![]));
    }

    #[test]
    fn rates_of_a_single_round_and_of_several_are_found() {
        let one = Timing { decode_tps: Some(7.0), ..Timing::default() };
        let two = Timing { decode_samples_tps: vec![6.0, 8.0], ..one.clone() };
        assert_eq!((decode(&one), decode(&two)), (vec![7.0], vec![6.0, 8.0]));
        let outcome = Outcome { timing: Some(one), ..Outcome::default() };
        let found: Vec<_> =
            FIGURES.iter().filter(|figure| !figure.values(&outcome).is_empty()).collect();
        assert_eq!(found.iter().map(|figure| figure.name).collect::<Vec<_>>(), ["decode"]);
    }
}
