//! The CPU's matrix multiplication.
//!
//! Grouped weights stay integers: each chunk of 32 activations is rounded to 15 bits and a sign
//! with a scale of its own, so that a chunk's dot product is exact in i32 (32 · 32767 · 255 < 2³¹),
//! and 16-bit multiply-add, which SSE2 and WASM SIMD have, does eight products an instruction. With
//! `d · code + m` for a weight and `s · q` for an activation, a chunk adds
//! `d · s · Σ code·q + m · s · Σ q`.

use crate::quant::{CHUNK, Format, Matrix, Shard, chunk_words, unpack};

/// `[M, N]` from `x: [M, chunks · 32]`.
pub(super) fn matmul(x: &[f32], w: &Matrix, bias: Option<&[f32]>, exact: bool) -> Vec<f32> {
    let mut y = match w.format {
        Format::Grouped { bits, .. } if !exact => match bits {
            8 => integer::<8>(x, w),
            4 => integer::<4>(x, w),
            3 => integer::<3>(x, w),
            _ => integer::<2>(x, w),
        },
        _ => float(x, w),
    };
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(w.rows) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
    y
}

/// Dequantises a row of weights once for all rows of `x`.
fn float(x: &[f32], w: &Matrix) -> Vec<f32> {
    let width = w.chunks() * CHUNK;
    let m = x.len() / width;
    let mut row = vec![0.0; width];
    let mut y = vec![0.0; m * w.rows];
    for n in 0..w.rows {
        w.dequantise_row(n, &mut row);
        for (i, x) in x.chunks_exact(width).enumerate() {
            y[i * w.rows + n] = dot(x, &row);
        }
    }
    y
}

/// Eight sums side by side, which is what vectorises without reordering what was written.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// Activations in chunks of 32 integers.
///
/// Where one activation dwarfs its neighbours, as some channels of language models do, a step that
/// fits the large one is coarse for all others: such chunks get a second digit of 15 bits.
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
pub(super) const DIGIT: f32 = 32_768.0;
/// A chunk gets a second digit when its largest activation is this many times its root mean square.
const CREST: f32 = 4.0;

fn round(x: &[f32]) -> Rounded {
    const STEPS: f32 = 32_767.0;
    let chunks = x.len() / CHUNK;
    let mut rounded = Rounded {
        values: Vec::with_capacity(x.len()),
        scales: Vec::with_capacity(chunks),
        sums: Vec::with_capacity(chunks),
        fine_chunks: Vec::new(),
        fine_values: Vec::new(),
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
            rounded.fine_chunks.push(at);
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

/// The nearest integer: adding and subtracting 1.5 · 2²³ rounds to it on every target.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    (x + 12_582_912.0) - 12_582_912.0
}

impl Rounded {
    /// What the second digits of one row of activations add to a dot product with `codes`.
    fn fine<'a>(
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

fn integer<const BITS: u32>(x: &[f32], w: &Matrix) -> Vec<f32> {
    let chunks = w.chunks();
    let m = x.len() / (chunks * CHUNK);
    let x = round(x);
    let mut y = vec![0.0; m * w.rows];
    let mut affine = Affine::new(chunks);
    let mut panel = vec![0i16; if m > 1 { chunks * CHUNK } else { 0 }];
    for shard in w.shards.iter() {
        let words = chunks * chunk_words(BITS);
        for (row, codes) in shard.codes.cpu().chunks_exact(words).enumerate() {
            affine.load(w, shard, row);
            let n = shard.first + row;
            if m == 1 {
                let unpacked = |chunk| unpack::<BITS>(&codes[chunk * chunk_words(BITS)..]);
                y[n] =
                    dot_packed::<BITS>(codes, &affine, &x) + x.fine(0, chunks, &affine, unpacked);
                continue;
            }
            for (chunk, words) in codes.chunks_exact(chunk_words(BITS)).enumerate() {
                panel[chunk * CHUNK..][..CHUNK].copy_from_slice(&unpack::<BITS>(words));
            }
            for i in 0..m {
                let unpacked = |chunk| {
                    panel[chunk * CHUNK..][..CHUNK].try_into().expect("a chunk has 32 codes")
                };
                y[i * w.rows + n] =
                    dot_panel(&panel, &affine, &x, i) + x.fine(i, chunks, &affine, unpacked);
            }
        }
    }
    y
}

/// Scales and offsets of the chunks of one row of weights.
pub(super) struct Affine {
    pub d: Vec<f32>,
    pub m: Vec<f32>,
}

impl Affine {
    fn new(chunks: usize) -> Affine {
        Affine { d: vec![0.0; chunks], m: vec![0.0; chunks] }
    }

    fn load(&mut self, w: &Matrix, shard: &Shard, row: usize) {
        let Format::Grouped { asymmetric, group, .. } = w.format else { unreachable!() };
        let scales = shard.scales.cpu();
        let first = row * w.groups();
        let repeat = usize::from(group) / CHUNK;
        let zero = w.format.zero();
        for (chunk, (d, m)) in self.d.iter_mut().zip(&mut self.m).enumerate() {
            let at = first + chunk / repeat;
            if asymmetric {
                (*d, *m) = (half(scales[at]), half(scales[at] >> 16));
            } else {
                *d = half(scales[at / 2] >> (16 * (at % 2)));
                *m = -zero * *d;
            }
        }
    }
}

/// The f16 in the low half of a word. Shifting its exponent and mantissa into place leaves an
/// exponent that is 112 too small, denormal numbers included; loaders refuse infinities.
#[inline(always)]
fn half(word: u32) -> f32 {
    let magnitude = f32::from_bits((word & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (word & 0x8000) << 16)
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::{dot_packed, dot_panel};

/// One packed row of weights by one row of activations.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn dot_packed<const BITS: u32>(codes: &[u32], affine: &Affine, x: &Rounded) -> f32 {
    let mut sum = 0.0;
    for (chunk, words) in codes.chunks_exact(chunk_words(BITS)).enumerate() {
        sum += dot_chunk(&unpack::<BITS>(words), affine, x, chunk, chunk);
    }
    sum
}

/// One unpacked row of weights by one row of activations.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn dot_panel(panel: &[i16], affine: &Affine, x: &Rounded, row: usize) -> f32 {
    let chunks = panel.len() / CHUNK;
    let mut sum = 0.0;
    for (chunk, codes) in panel.chunks_exact(CHUNK).enumerate() {
        sum += dot_chunk(codes, affine, x, chunk, row * chunks + chunk);
    }
    sum
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn dot_chunk(codes: &[i16], affine: &Affine, x: &Rounded, chunk: usize, at: usize) -> f32 {
    let values = &x.values[at * CHUNK..(at + 1) * CHUNK];
    let sum: i32 = codes.iter().zip(values).map(|(c, q)| i32::from(*c) * i32::from(*q)).sum();
    affine.d[chunk] * x.scales[at] * sum as f32 + affine.m[chunk] * x.sums[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_numbers_round_to_nothing() {
        let mut x = [0.0; CHUNK];
        x[3] = f32::from_bits(1);
        x[4] = -1e-38;
        assert_eq!(round(&x).values, [0; CHUNK]);
        x[5] = 1e-29;
        assert_eq!(round(&x).values[5], 32_767);
    }

    #[test]
    fn halves_equal_the_crate_of_that_name() {
        for bits in (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00) {
            let expected = ::half::f16::from_bits(bits).to_f32();
            assert_eq!(half(u32::from(bits)).to_bits(), expected.to_bits(), "{bits:#06x}");
        }
    }
}
