//! What one thread of the CPU can do at most: bytes that only move, and products and sums in f32.

use super::ceilings::ceiling;
use crate::{
    error::{Error, Result},
    time::now_ms,
    timed::{Effort, summary},
};
use record::{CallTime, Ceiling, CeilingKind, TimedBy};
use std::hint::black_box;

/// Words of a buffer: 64 MiB, which few processors keep.
const WORDS: usize = 8 << 20;
/// Sums that stay in registers.
const LANES: usize = 64;
/// Products and sums of each lane.
const ROUNDS: usize = 1 << 12;

/// Measures all there are.
pub(super) fn measure(effort: Effort) -> Vec<Ceiling> {
    let from: Vec<u64> = (0..WORDS as u64).collect();
    let mut to = vec![1u64; WORDS];
    let bytes = WORDS as u64 * 8;
    let read = timed(effort, || black_box(sum(black_box(&from))));
    let is_summed = sum(&from) == (WORDS as u64 * (WORDS as u64 - 1) / 2);
    let copy = timed(effort, || black_box(&mut to).copy_from_slice(black_box(&from)));
    let is_copied = to == from;
    let arithmetic = timed(effort, || black_box(multiply(black_box(0.5), black_box(1.0))));
    let is_right = multiply(0.5, 1.0).iter().all(|x| *x == 2.0);
    let judged = |time, work, is_right: bool| -> Result<(CallTime, u64)> {
        let wrong = || Error::device("the processor's ceilings", "the result is wrong");
        is_right.then_some((time, work)).ok_or_else(wrong)
    };
    let operations = (2 * LANES * ROUNDS) as u64;
    vec![
        ceiling(CeilingKind::Read, judged(read, bytes, is_summed)),
        ceiling(CeilingKind::Copy, judged(copy, 2 * bytes, is_copied)),
        ceiling(CeilingKind::F32, judged(arithmetic, operations, is_right)),
    ]
}

fn timed<T>(effort: Effort, mut work: impl FnMut() -> T) -> CallTime {
    let mut run = |count: usize| {
        let start = now_ms();
        (0..count).for_each(|_| drop(work()));
        now_ms() - start
    };
    run(1);
    let count = effort.pieces(run(4) / 4.0, usize::MAX);
    let begun = now_ms();
    let samples: Vec<f64> = (0..effort.samples).map(|_| run(count)).collect();
    summary(TimedBy::Batches, &samples, count, now_ms() - begun)
}

/// Eight sums side by side.
#[inline(never)]
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 8];
    for words in words.chunks_exact(8) {
        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

/// Numbers that go to b / (1 − a).
#[inline(never)]
fn multiply(a: f32, b: f32) -> [f32; LANES] {
    let mut lanes = [0f32; LANES];
    for _ in 0..ROUNDS {
        lanes.iter_mut().for_each(|lane| *lane = *lane * a + b);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_is_right() {
        assert_eq!(sum(&(0..80).collect::<Vec<u64>>()), 79 * 80 / 2);
        assert_eq!(multiply(0.5, 1.0), [2.0; LANES]);
    }
}
