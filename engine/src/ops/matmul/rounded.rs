//! The operands of the CPU's products: rounded activations, the scales of weights, and 16-bit numbers.

use super::lanes;
use crate::{
    quant::{CHUNK, Format, View},
    threads,
};

/// Rows of activations in chunks of 32 integers.
///
/// Where one activation dwarfs its neighbours, as some channels of language models do, a step that
/// fits the large one is coarse for all others: such chunks get a second digit of 15 bits.
#[derive(Default)]
pub(super) struct Rounded {
    /// One a chunk of each row.
    first: Digits,
    /// `[M, chunks]`: sums of the rounded activations, second digits included.
    sums: Vec<f32>,
    /// Chunks that have a second digit, counted over all rows, ascending.
    fine_chunks: Vec<usize>,
    /// The second digits of those.
    second: Digits,
}

/// Chunks of integers.
#[derive(Default)]
struct Digits {
    /// 32 a chunk, in the order in which codes are unpacked.
    values: Vec<i16>,
    /// What one step is worth, by the scale of codes.
    scales: Vec<f32>,
    /// What is added to the products of a chunk, so that its codes count from their zero.
    centres: Vec<i32>,
}

/// Some of them.
#[derive(Clone, Copy)]
pub(super) struct DigitsView<'a> {
    pub values: &'a [i16],
    pub scales: &'a [f32],
    pub centres: &'a [i32],
}

impl DigitsView<'_> {
    /// Whether there are so many chunks.
    #[cfg(target_arch = "wasm32")]
    pub(super) fn has(&self, chunks: usize) -> bool {
        self.values.len() == chunks * CHUNK
            && self.scales.len() == chunks
            && self.centres.len() == chunks
    }
}

/// One row of activations.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub first: DigitsView<'a>,
    pub sums: &'a [f32],
    /// Which chunks have a second digit.
    pub fine: &'a [usize],
    pub second: DigitsView<'a>,
    /// The number of the row's first chunk, as `fine` counts them.
    pub at: usize,
}

/// What the first digit is worth in units of the second.
const DIGIT: f32 = 32_768.0;
/// What rounding a number takes, in operations.
const OPERATIONS: usize = 4;
/// A chunk gets a second digit when its largest activation is this many times its root mean square.
const CREST: f32 = 4.0;
/// Steps of a digit.
const STEPS: f32 = 32_767.0;

impl Digits {
    fn with_room(chunks: usize) -> Digits {
        Digits {
            values: Vec::with_capacity(chunks * CHUNK),
            scales: Vec::with_capacity(chunks),
            centres: Vec::with_capacity(chunks),
        }
    }

    fn append(&mut self, next: Digits) {
        self.values.extend(next.values);
        self.scales.extend(next.scales);
        self.centres.extend(next.centres);
    }

    /// Adds a chunk, and gives the sum of its integers.
    fn push(&mut self, numbers: [f32; CHUNK], scale: f32, codes: Codes) -> i32 {
        let integers = numbers.map(|number| number as i16);
        let sum = integers.iter().map(|number| i32::from(*number)).sum::<i32>();
        self.values.extend(lanes::order(codes.bits).map(|at| integers[at]));
        self.scales.push(scale * codes.unit());
        self.centres.push(-codes.zero() * sum);
        sum
    }

    fn view(&self, chunks: std::ops::Range<usize>) -> DigitsView<'_> {
        DigitsView {
            values: &self.values[chunks.start * CHUNK..chunks.end * CHUNK],
            scales: &self.scales[chunks.clone()],
            centres: &self.centres[chunks],
        }
    }
}

/// The codes that activations are to meet. Those of two bits count in halves, as their zero is one and a
/// half.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    pub bits: u32,
    pub asymmetric: bool,
}

impl Codes {
    /// What a step of an unpacked code is worth.
    fn unit(self) -> f32 {
        if self.bits == 2 { 0.5 } else { 1.0 }
    }

    /// The zero in such steps; where groups have a minimum of their own, codes count from that.
    fn zero(self) -> i32 {
        match self.bits {
            _ if self.asymmetric => 0,
            4 => 8,
            3 => 4,
            2 => 3,
            _ => 0,
        }
    }
}

impl Rounded {
    /// Rounds rows whose length is a multiple of 32.
    pub(super) fn new(x: &[f32], codes: Codes) -> Rounded {
        let parts = threads::map(x.len() / CHUNK, CHUNK * OPERATIONS, |chunks| {
            Rounded::part(&x[chunks.start * CHUNK..chunks.end * CHUNK], chunks.start, codes)
        });
        parts.into_iter().reduce(Rounded::with).unwrap_or_default()
    }

    /// Those of this part and, behind them, of the next.
    fn with(mut self, next: Rounded) -> Rounded {
        self.first.append(next.first);
        self.sums.extend(next.sums);
        self.fine_chunks.extend(next.fine_chunks);
        self.second.append(next.second);
        self
    }

    /// Rounds chunks, of which this is the number of the first.
    fn part(x: &[f32], first: usize, codes: Codes) -> Rounded {
        let chunks = x.len() / CHUNK;
        let mut rounded = Rounded {
            first: Digits::with_room(chunks),
            sums: Vec::with_capacity(chunks),
            ..Rounded::default()
        };
        for (at, chunk) in x.as_chunks::<CHUNK>().0.iter().enumerate() {
            let largest = largest(chunk);
            // The reciprocal of a step is infinite for a chunk of subnormals: such a chunk counts as zero.
            let inverse = if STEPS / largest < f32::MAX { STEPS / largest } else { 0.0 };
            let scale = if inverse > 0.0 { largest / STEPS } else { 0.0 };
            let exact = chunk.map(|x| x * inverse);
            let nearest = exact.map(nearest);
            let mut sum = rounded.first.push(nearest, scale, codes) as f32;
            if STEPS * STEPS * CHUNK as f32 > CREST * CREST * squares(&exact) && inverse > 0.0 {
                let rest = std::array::from_fn(|i| self::nearest((exact[i] - nearest[i]) * DIGIT));
                rounded.fine_chunks.push(first + at);
                sum += rounded.second.push(rest, scale / DIGIT, codes) as f32 / DIGIT;
            }
            rounded.sums.push(sum * scale);
        }
        rounded
    }

    /// One row, which has so many chunks.
    pub(super) fn row(&self, row: usize, chunks: usize) -> Row<'_> {
        let own = row * chunks..(row + 1) * chunks;
        let fine = self.fine_chunks.partition_point(|at| *at < own.start)
            ..self.fine_chunks.partition_point(|at| *at < own.end);
        Row {
            first: self.first.view(own.clone()),
            sums: &self.sums[own.clone()],
            fine: &self.fine_chunks[fine.clone()],
            second: self.second.view(fine),
            at: own.start,
        }
    }
}

/// The largest magnitude.
fn largest(chunk: &[f32; CHUNK]) -> f32 {
    let mut most = [0.0f32; 8];
    for eight in chunk.as_chunks::<8>().0 {
        for (most, x) in most.iter_mut().zip(eight) {
            *most = if x.abs() > *most { x.abs() } else { *most };
        }
    }
    most.into_iter().fold(0.0, f32::max)
}

/// The sum of squares.
fn squares(chunk: &[f32; CHUNK]) -> f32 {
    let mut sums = [0.0f32; 8];
    for eight in chunk.as_chunks::<8>().0 {
        sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x * x);
    }
    sums.into_iter().sum()
}

/// The nearest integer: adding and subtracting 1.5 · 2²³ rounds to it on every target.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    (x + 12_582_912.0) - 12_582_912.0
}

/// Scales of the chunks of one row of weights, and in the asymmetric scheme offsets.
#[derive(Default)]
pub(super) struct Affine {
    pub d: Vec<f32>,
    pub m: Vec<f32>,
}

impl Affine {
    /// Makes room for a row of so many chunks.
    pub(super) fn resize(&mut self, chunks: usize, codes: Codes) {
        self.d.resize(chunks, 0.0);
        self.m.resize(if codes.asymmetric { chunks } else { 0 }, 0.0);
    }

    pub(super) fn load(&mut self, w: &View<'_>, row: usize) {
        let Format::Grouped { asymmetric, group, .. } = w.format else { unreachable!() };
        let (scales, first) = w.scales(row);
        let repeat = usize::from(group) / CHUNK;
        // Nothing in these loops depends on the place, so that they vectorise.
        if asymmetric {
            let scales = &scales[first..];
            spread(&mut self.d, scales, repeat, |word| half(*word as u16));
            spread(&mut self.m, scales, repeat, |word| half((word >> 16) as u16));
        } else {
            let scales: &[u16] = bytemuck::cast_slice(scales);
            spread(&mut self.d, &scales[first..], repeat, |bits| half(*bits));
        }
    }
}

/// What the offsets of a row of weights add, in four sums side by side; nothing where there are none.
#[inline(always)]
pub(super) fn offsets(m: &[f32], x: &[f32]) -> f32 {
    let x = &x[..m.len()];
    let (fours, rest) = m.as_chunks::<4>();
    let (x_fours, x_rest) = x.as_chunks::<4>();
    let mut sums = [0.0f32; 4];
    for (m, x) in fours.iter().zip(x_fours) {
        for lane in 0..4 {
            sums[lane] += m[lane] * x[lane];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().zip(x_rest).map(|(m, x)| m * x).sum::<f32>()
}

/// Each number for so many chunks.
fn spread<T>(to: &mut [f32], from: &[T], repeat: usize, number: impl Fn(&T) -> f32) {
    if repeat == 1 {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = number(from));
    } else {
        to.chunks_mut(repeat).zip(from).for_each(|(to, from)| to.fill(number(from)));
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

    const CODES: Codes = Codes { bits: 8, asymmetric: false };

    #[test]
    fn the_smallest_numbers_round_to_nothing() {
        let mut x = [0.0; CHUNK];
        x[3] = f32::from_bits(1);
        x[4] = -1e-38;
        assert_eq!(Rounded::new(&x, CODES).first.values, [0; CHUNK]);
        x[5] = 1e-29;
        assert_eq!(Rounded::new(&x, CODES).first.values[5], 32_767);
    }

    #[test]
    fn rows_know_their_own_second_digits() {
        let mut x = [1.0; 4 * CHUNK];
        (x[0], x[2 * CHUNK], x[3 * CHUNK]) = (1e3, 1e3, 1e3);
        let rounded = Rounded::new(&x, CODES);
        let rows = [0, 1].map(|row| rounded.row(row, 2));
        assert_eq!(rows.map(|row| (row.at, row.fine)), [(0, &[0][..]), (2, &[2, 3])]);
        assert_eq!(rows.map(|row| row.second.values.len()), [CHUNK, 2 * CHUNK]);
    }

    #[test]
    fn halves_equal_the_crate_of_that_name() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            let expected = ::half::f16::from_bits(bits).to_f32();
            assert_eq!(half(bits).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
    }
}
