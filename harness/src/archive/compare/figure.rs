//! What is compared of a cell, figure by figure.

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
    from: From,
}

/// How a figure comes about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A value each measured pass.
    Passes,
    /// A value each visit to the cell.
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

/// Every figure that is compared. The time to compile is not, as it is a difference of two times of one
/// run; neither are bits per weight, which follow from the bytes.
pub const FIGURES: [Figure; 15] = [
    time("pass", "ms", Kind::Passes, |timing| timing.samples_ms.clone()),
    time(ON_THE_GPU, "ms", Kind::Passes, |timing| timing.gpu_samples_ms.clone()),
    Figure { less_is_worse: true, ..time("decode", "tok/s", Kind::Visits, decode) },
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
    /// Its values, in order of time; none where the cell has no such figure. Times and rates that are
    /// not positive are none.
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

/// The passes of each visit to a cell: one visit where nothing tells them apart.
pub fn visits<'a>(timing: &Timing, passes: &'a [f64]) -> Vec<&'a [f64]> {
    let counts = timing.round_passes.iter().map(|count| *count as usize);
    if counts.clone().sum::<usize>() != passes.len() {
        return vec![passes];
    }
    let mut rest = passes;
    let next = |count| {
        let (visit, behind) = rest.split_at(count);
        rest = behind;
        visit
    };
    counts.map(next).filter(|visit| !visit.is_empty()).collect()
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
    Figure { name, unit, less_is_worse: false, kind: ERROR, is_of_reference: false, from }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_belong_to_the_visits_that_took_them() {
        let passes = [1.0, 2.0, 3.0, 4.0, 5.0];
        let of = |round_passes| {
            let timing = Timing { round_passes, ..Timing::default() };
            visits(&timing, &passes).into_iter().map(<[f64]>::len).collect::<Vec<_>>()
        };
        assert_eq!(of(vec![3, 2]), [3, 2]);
        assert_eq!(of(vec![]), [5]);
        // A record whose counts do not fit, of the GPU's passes for example, has one visit.
        assert_eq!(of(vec![3, 3]), [5]);
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
