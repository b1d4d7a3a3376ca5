//! The CPU's matrix multiplication.
//!
//! Grouped weights stay integers: each chunk of 32 activations is rounded to 15 bits and a sign
//! with a scale of its own, so that a chunk's dot product is exact in i32 (32 · 32767 · 255 < 2³¹),
//! and 16-bit multiply-add, which SSE2 and WASM SIMD have, does eight products an instruction. With
//! `d · code + m` for a weight and `s · q` for an activation, a chunk adds
//! `d · s · Σ code·q + m · s · Σ q`.
//!
//! All else is multiplied in f32. Each output is the sum of eight sums in an order of its own, whatever
//! else is computed beside it: with few rows or many, in SIMD or not, it is the same to the last bit.

use super::rounded::{Affine, Rounded, half};
use crate::quant::{CHUNK, Format, Matrix, chunk_words, unpack};

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

fn float(x: &[f32], w: &Matrix) -> Vec<f32> {
    match w.format {
        Format::F32 if x.len() == w.chunks() * CHUNK => {
            float_row(x, w, |x, w| dots([x], [w])[0][0])
        }
        Format::F16 if x.len() == w.chunks() * CHUNK => float_row(x, w, dot_halves),
        _ => float_rows(x, w),
    }
}

/// One row of `x`: each weight is needed once, so it is multiplied where it lies.
fn float_row<T: bytemuck::Pod>(
    x: &[f32],
    w: &Matrix,
    dot: impl Fn(&[f32], &[T]) -> f32,
) -> Vec<f32> {
    let shards = w.shards.iter().map(|shard| bytemuck::cast_slice(shard.codes.cpu()));
    shards.flat_map(|weights| weights.chunks_exact(x.len())).map(|w| dot(x, w)).collect()
}

/// Many rows of `x`: a panel of weights is dequantised once for all of them, and small enough to stay
/// in a cache meanwhile. Pairs of rows meet pairs of rows, so that each number is loaded half as often.
fn float_rows(x: &[f32], w: &Matrix) -> Vec<f32> {
    const PANEL: usize = 1 << 15;
    let width = w.chunks() * CHUNK;
    let height = (PANEL / width).clamp(2, 64).min(w.rows);
    let mut panel = vec![0.0; height * width];
    let mut y = vec![0.0; x.len() / width * w.rows];
    for first in (0..w.rows).step_by(height) {
        let panel = &mut panel[..height.min(w.rows - first) * width];
        for (row, numbers) in panel.chunks_exact_mut(width).enumerate() {
            dequantise_row(w, first + row, numbers);
        }
        let outputs = y.chunks_mut(2 * w.rows);
        for (x, y) in x.chunks(2 * width).zip(outputs) {
            let (x, more_x) = x.split_at(width);
            let (y, more_y) = y.split_at_mut(w.rows);
            if more_x.is_empty() {
                multiply([x], panel, [&mut y[first..]]);
            } else {
                multiply([x, more_x], panel, [&mut y[first..], &mut more_y[first..]]);
            }
        }
    }
    y
}

/// Rows of `x` by rows of weights, each into the first outputs of its row.
fn multiply<const I: usize>(x: [&[f32]; I], weights: &[f32], y: [&mut [f32]; I]) {
    let width = x[0].len();
    for (pair, weights) in weights.chunks(2 * width).enumerate() {
        let (w, more_w) = weights.split_at(width);
        if more_w.is_empty() {
            let sums = dots(x, [w]);
            (0..I).for_each(|i| y[i][2 * pair] = sums[i][0]);
        } else {
            let sums = dots(x, [w, more_w]);
            (0..I).for_each(|i| y[i][2 * pair..][..2].copy_from_slice(&sums[i]));
        }
    }
}

/// As [`Matrix::dequantise_row`], without its care for infinities in 16 bits, which vectorises.
fn dequantise_row(w: &Matrix, row: usize, out: &mut [f32]) {
    if w.format != Format::F16 {
        return w.dequantise_row(row, out);
    }
    let (shard, row) = w.locate(row);
    let halves: &[u16] = bytemuck::cast_slice(shard.codes.cpu());
    let halves = &halves[row * out.len()..];
    for (number, bits) in out.iter_mut().zip(halves) {
        *number = half(*bits);
    }
}

fn integer<const BITS: u32>(x: &[f32], w: &Matrix) -> Vec<f32> {
    let chunks = w.chunks();
    let m = x.len() / (chunks * CHUNK);
    let x = Rounded::new(x);
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

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use super::simd128::{dot_halves, dot_packed, dot_panel, dots};

/// Rows of activations by rows of weights.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn dots<const I: usize, const J: usize>(x: [&[f32]; I], w: [&[f32]; J]) -> [[f32; J]; I] {
    x.map(|x| w.map(|w| dot(x, w, |w| w)))
}

/// A row of activations by a row of 16-bit weights.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn dot_halves(x: &[f32], w: &[u16]) -> f32 {
    dot(x, w, half)
}

/// Eight sums side by side, which is what vectorises without reordering what was written.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn dot<T: Copy>(x: &[f32], w: &[T], number: impl Fn(T) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    for (x, w) in x.chunks_exact(8).zip(w.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += x[lane] * number(w[lane]);
        }
    }
    sums.iter().sum()
}

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
