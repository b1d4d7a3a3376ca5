//! The dot products of `cpu.rs` in plain loops, which compilers vectorise: of integers, and of floats in the
//! order that `cpu.rs` promises. `simd128.rs` is the same for WASM.

use super::rounded::{Affine, DigitsView, Row, half, offsets};
use crate::quant::{CHUNK, chunk_words, unpack};

/// The order of the 32 activations that unpacked codes meet.
pub(super) fn order(_bits: u32) -> [usize; CHUNK] {
    std::array::from_fn(|at| at)
}

/// One packed row of weights by rows of activations.
pub(super) fn dot<const BITS: u32, const I: usize>(
    codes: &[u32],
    affine: &Affine,
    x: [Row<'_>; I],
) -> [f32; I] {
    let mut sums = [0.0; I];
    let code = |chunk: usize| unpack::<BITS>(&codes[chunk * chunk_words(BITS)..]);
    for (chunk, d) in affine.d.iter().enumerate() {
        let codes = code(chunk);
        for (sum, x) in sums.iter_mut().zip(&x) {
            *sum += product::<BITS>(&codes, *d, x.first, chunk);
        }
    }
    for (sum, x) in sums.iter_mut().zip(x) {
        for (at, chunk) in x.fine.iter().enumerate() {
            let chunk = chunk - x.at;
            *sum += product::<BITS>(&code(chunk), affine.d[chunk], x.second, at);
        }
        *sum += offsets(&affine.m, x.sums);
    }
    sums
}

#[inline(always)]
fn product<const BITS: u32>(codes: &[i16; CHUNK], d: f32, x: DigitsView<'_>, at: usize) -> f32 {
    let values = &x.values[at * CHUNK..(at + 1) * CHUNK];
    let sum: i32 = codes.iter().zip(values).map(|(c, q)| i32::from(*c) * i32::from(*q)).sum();
    let steps = if BITS == 2 { 2 } else { 1 };
    (steps * sum + x.centres[at]) as f32 * (d * x.scales[at])
}

/// Rows of activations by rows of weights.
pub(in crate::ops) fn dots<const I: usize, const J: usize>(
    x: [&[f32]; I],
    w: [&[f32]; J],
) -> [[f32; J]; I] {
    x.map(|x| w.map(|w| sum(x, w, |w| w)))
}

/// A row of activations by a row of 16-bit weights.
pub(super) fn dot_halves(x: &[f32], w: &[u16]) -> f32 {
    sum(x, w, half)
}

/// Eight sums side by side, which is what vectorises without reordering what was written.
#[inline(always)]
fn sum<T: Copy>(x: &[f32], w: &[T], number: impl Fn(T) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    for (x, w) in x.chunks_exact(8).zip(w.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += x[lane] * number(w[lane]);
        }
    }
    sums.iter().sum()
}
