//! The operands of the CPU's products: rounded activations, the scales of weights, and 16-bit numbers.

use crate::{
    quant::{CHUNK, Format, View},
    threads,
};

/// Activations in chunks of 32 integers.
///
/// Where one activation dwarfs its neighbours, as some channels of language models do, a step that
/// fits the large one is coarse for all others: such chunks get a second digit of 15 bits.
#[derive(Default)]
pub(super) struct Rounded {
    /// `[M, chunks · 32]`.
    pub values: Vec<i16>,
    /// `[M, chunks]`: what one step is worth.
    pub scales: Vec<f32>,
    /// `[M, chunks]`: sums of the rounded activations, second digits included.
    pub sums: Vec<f32>,
    /// Chunks that have a second digit, counted over all rows, ascending.
    pub fine_chunks: Vec<usize>,
    /// The second digits of those chunks, each worth a step over [`DIGIT`].
    pub fine_values: Vec<i16>,
}

/// What the first digit is worth in units of the second.
const DIGIT: f32 = 32_768.0;
/// What rounding a number takes, in operations.
const OPERATIONS: usize = 8;
/// A chunk gets a second digit when its largest activation is this many times its root mean square.
const CREST: f32 = 4.0;

impl Rounded {
    /// Rounds rows whose length is a multiple of 32.
    pub(super) fn new(x: &[f32]) -> Rounded {
        let parts = threads::map(x.len() / CHUNK, CHUNK * OPERATIONS, |chunks| {
            Rounded::part(&x[chunks.start * CHUNK..chunks.end * CHUNK], chunks.start)
        });
        parts.into_iter().reduce(Rounded::with).unwrap_or_default()
    }

    /// Those of this part and, behind them, of the next.
    fn with(mut self, next: Rounded) -> Rounded {
        self.values.extend(next.values);
        self.scales.extend(next.scales);
        self.sums.extend(next.sums);
        self.fine_chunks.extend(next.fine_chunks);
        self.fine_values.extend(next.fine_values);
        self
    }

    /// Rounds chunks, of which this is the number of the first.
    fn part(x: &[f32], first: usize) -> Rounded {
        const STEPS: f32 = 32_767.0;
        let chunks = x.len() / CHUNK;
        let mut rounded = Rounded {
            values: Vec::with_capacity(x.len()),
            scales: Vec::with_capacity(chunks),
            sums: Vec::with_capacity(chunks),
            ..Rounded::default()
        };
        for (at, chunk) in x.chunks_exact(CHUNK).enumerate() {
            let largest = chunk.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            // The reciprocal of a step is infinite for a chunk of subnormals: such a chunk counts as zero.
            let inverse = if STEPS / largest < f32::MAX { STEPS / largest } else { 0.0 };
            let scale = if inverse > 0.0 { largest / STEPS } else { 0.0 };
            let mut sum = 0i32;
            for x in chunk {
                let q = nearest(x * inverse);
                sum += q as i32;
                rounded.values.push(q as i16);
            }
            let mut fine_sum = 0i32;
            let squares: f32 = chunk.iter().map(|x| (x * inverse) * (x * inverse)).sum();
            if STEPS * STEPS * CHUNK as f32 > CREST * CREST * squares && inverse > 0.0 {
                rounded.fine_chunks.push(first + at);
                for x in chunk {
                    let q = nearest((x * inverse - nearest(x * inverse)) * DIGIT);
                    fine_sum += q as i32;
                    rounded.fine_values.push(q as i16);
                }
            }
            rounded.scales.push(scale);
            rounded.sums.push((sum as f32 + fine_sum as f32 / DIGIT) * scale);
        }
        rounded
    }

    /// What the second digits of one row of activations add to a dot product with `codes`.
    pub(super) fn fine<'a>(
        &'a self,
        row: usize,
        chunks: usize,
        affine: &'a Affine,
        codes: impl Fn(usize) -> [i16; CHUNK] + 'a,
    ) -> f32 {
        let from = self.fine_chunks.partition_point(|at| *at < row * chunks);
        let mut total = 0.0;
        for (at, values) in
            self.fine_chunks.iter().zip(self.fine_values.chunks_exact(CHUNK)).skip(from)
        {
            if *at >= (row + 1) * chunks {
                break;
            }
            let chunk = at - row * chunks;
            let pairs = codes(chunk).into_iter().zip(values);
            let sum: i32 = pairs.map(|(c, q)| i32::from(c) * i32::from(*q)).sum();
            total += affine.d[chunk] * self.scales[*at] * sum as f32;
        }
        total / DIGIT
    }
}

/// The nearest integer: adding and subtracting 1.5 · 2²³ rounds to it on every target.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    (x + 12_582_912.0) - 12_582_912.0
}

/// Scales and offsets of the chunks of one row of weights.
pub(super) struct Affine {
    pub d: Vec<f32>,
    pub m: Vec<f32>,
}

impl Affine {
    pub(super) fn new(chunks: usize) -> Affine {
        Affine { d: vec![0.0; chunks], m: vec![0.0; chunks] }
    }

    pub(super) fn load(&mut self, w: &View<'_>, row: usize) {
        let Format::Grouped { asymmetric, group, .. } = w.format else { unreachable!() };
        let (scales, first) = w.scales(row);
        let repeat = usize::from(group) / CHUNK;
        let zero = w.format.zero();
        let pair = |word: u32| (half(word as u16), half((word >> 16) as u16));
        if asymmetric && repeat == 1 {
            // Nothing here depends on the place, which vectorises.
            for ((d, m), word) in self.d.iter_mut().zip(&mut self.m).zip(&scales[first..]) {
                (*d, *m) = pair(*word);
            }
            return;
        }
        let groups = self.d.chunks_mut(repeat).zip(self.m.chunks_mut(repeat));
        for (at, (ds, ms)) in (first..).zip(groups) {
            let (d, m) = if asymmetric {
                pair(scales[at])
            } else {
                let d = half((scales[at / 2] >> (16 * (at % 2))) as u16);
                (d, -zero * d)
            };
            for (own_d, own_m) in ds.iter_mut().zip(ms) {
                (*own_d, *own_m) = (d, m);
            }
        }
    }
}

/// An f16. Shifting its exponent and mantissa into place leaves an exponent that is 112 too small,
/// denormal numbers included; loaders refuse infinities. The sign is extended beyond the place that it
/// goes to, so that one mask keeps it there and clears what it left on the way.
#[inline(always)]
pub(super) fn half(bits: u16) -> f32 {
    let shifted = (i32::from(bits as i16) << 13) as u32;
    f32::from_bits(shifted & 0x8fff_ffff) * f32::from_bits(0x7780_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_numbers_round_to_nothing() {
        let mut x = [0.0; CHUNK];
        x[3] = f32::from_bits(1);
        x[4] = -1e-38;
        assert_eq!(Rounded::new(&x).values, [0; CHUNK]);
        x[5] = 1e-29;
        assert_eq!(Rounded::new(&x).values[5], 32_767);
    }

    #[test]
    fn halves_equal_the_crate_of_that_name() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            let expected = ::half::f16::from_bits(bits).to_f32();
            assert_eq!(half(bits).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
    }
}
