//! The CPU's matrix multiplication.
//!
//! Grouped weights stay integers: each chunk of 32 activations is rounded to 15 bits and a sign
//! with a scale of its own, so that a chunk's dot product is exact in i32 (32 · 32767 · 255 < 2³¹),
//! and 16-bit multiply-add, which SSE2 and WASM SIMD have, does eight products an instruction. With
//! `d · code + m` for a weight and `s · q` for an activation, a chunk adds
//! `d · s · Σ code·q + m · s · Σ q`.

use super::rounded::{Affine, Rounded};
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
