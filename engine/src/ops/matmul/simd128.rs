//! The dot products of `cpu.rs` in WASM SIMD: of integers, eight 16-bit products an instruction, and of
//! floats, in the order that `cpu.rs` promises.

use super::rounded::{Affine, Rounded};
use crate::quant::{CHUNK, chunk_words};
use core::arch::wasm32::*;

/// One packed row of weights by one row of activations.
pub(super) fn dot_packed<const BITS: u32>(codes: &[u32], affine: &Affine, x: &Rounded) -> f32 {
    let chunks = codes.len() / chunk_words(BITS);
    assert!(
        x.values.len() >= chunks * CHUNK && affine.d.len() >= chunks && x.scales.len() >= chunks
    );
    let mut sums = f32x4_splat(0.0);
    for chunk in 0..chunks {
        // SAFETY: the lengths were checked above; a chunk has 32 activations and BITS words.
        let products = unsafe {
            let words = codes.as_ptr().add(chunk * chunk_words(BITS));
            let x = x.values.as_ptr().add(chunk * CHUNK).cast::<v128>();
            dot_chunk(unpack::<BITS>(words), x)
        };
        let scale = f32x4_splat(affine.d[chunk] * x.scales[chunk]);
        sums = f32x4_add(sums, f32x4_mul(f32x4_convert_i32x4(products), scale));
    }
    total(sums) + offsets(affine, &x.sums[..chunks])
}

/// One unpacked row of weights by one row of activations.
pub(super) fn dot_panel(panel: &[i16], affine: &Affine, x: &Rounded, row: usize) -> f32 {
    let chunks = panel.len() / CHUNK;
    let values = &x.values[row * panel.len()..(row + 1) * panel.len()];
    let scales = &x.scales[row * chunks..(row + 1) * chunks];
    assert!(affine.d.len() >= chunks);
    let mut sums = f32x4_splat(0.0);
    for (chunk, scale) in scales.iter().enumerate() {
        // SAFETY: `panel` and `values` have the same length, a multiple of 32.
        let products = unsafe {
            let codes = panel.as_ptr().add(chunk * CHUNK).cast::<v128>();
            let x = values.as_ptr().add(chunk * CHUNK).cast::<v128>();
            let codes = [0, 1, 2, 3].map(|i| v128_load(codes.add(i)));
            dot_chunk(codes, x)
        };
        let scale = f32x4_splat(affine.d[chunk] * scale);
        sums = f32x4_add(sums, f32x4_mul(f32x4_convert_i32x4(products), scale));
    }
    total(sums) + offsets(affine, &x.sums[row * chunks..(row + 1) * chunks])
}

/// Rows of activations by rows of weights, of one length that is a multiple of eight.
pub(super) fn dots<const I: usize, const J: usize>(
    x: [&[f32]; I],
    w: [&[f32]; J],
) -> [[f32; J]; I] {
    let length = w[0].len();
    assert!(x.iter().chain(&w).all(|row| row.len() == length) && length.is_multiple_of(8));
    let mut sums = [[[f32x4_splat(0.0); 2]; J]; I];
    for at in (0..length).step_by(8) {
        // SAFETY: eight numbers are left in each row, as was checked above.
        let (x, w) = unsafe { (x.map(|x| eight(x, at)), w.map(|w| eight(w, at))) };
        for i in 0..I {
            for j in 0..J {
                add_products(&mut sums[i][j], x[i], w[j]);
            }
        }
    }
    sums.map(|sums| sums.map(total_of_eight))
}

/// A row of activations by a row of 16-bit weights, of one length that is a multiple of eight.
pub(super) fn dot_halves(x: &[f32], w: &[u16]) -> f32 {
    assert!(x.len() == w.len() && x.len().is_multiple_of(8));
    let mut sums = [f32x4_splat(0.0); 2];
    for at in (0..x.len()).step_by(8) {
        // SAFETY: eight numbers are left in each row, as was checked above.
        let (x, w) = unsafe {
            let w = w.as_ptr().add(at);
            (eight(x, at), [w, w.add(4)].map(|w| i32x4_load_extend_i16x4(w.cast())))
        };
        add_products(&mut sums, x, w.map(halves));
    }
    total_of_eight(sums)
}

/// # Safety
/// There are eight numbers from `at` on.
#[inline(always)]
unsafe fn eight(row: &[f32], at: usize) -> [v128; 2] {
    // SAFETY: see above.
    [0, 4].map(|half| unsafe { v128_load(row.as_ptr().add(at + half).cast()) })
}

/// Four f16, each with its sign extended to 32 bits: see `half` in `rounded.rs`.
#[inline(always)]
fn halves(bits: v128) -> v128 {
    let shifted = v128_and(i32x4_shl(bits, 13), u32x4_splat(0x8fff_ffff));
    f32x4_mul(shifted, u32x4_splat(0x7780_0000))
}

#[inline(always)]
fn add_products(sums: &mut [v128; 2], x: [v128; 2], w: [v128; 2]) {
    for part in 0..2 {
        sums[part] = f32x4_add(sums[part], f32x4_mul(x[part], w[part]));
    }
}

/// One lane after the other, as without SIMD.
#[inline(always)]
fn total_of_eight(sums: [v128; 2]) -> f32 {
    let lanes = sums.map(|sums| {
        [
            f32x4_extract_lane::<0>(sums),
            f32x4_extract_lane::<1>(sums),
            f32x4_extract_lane::<2>(sums),
            f32x4_extract_lane::<3>(sums),
        ]
    });
    lanes.as_flattened().iter().sum()
}

fn offsets(affine: &Affine, sums: &[f32]) -> f32 {
    affine.m.iter().zip(sums).map(|(m, sum)| m * sum).sum()
}

#[inline(always)]
fn total(sums: v128) -> f32 {
    (f32x4_extract_lane::<0>(sums) + f32x4_extract_lane::<1>(sums))
        + (f32x4_extract_lane::<2>(sums) + f32x4_extract_lane::<3>(sums))
}

/// # Safety
/// `x` points to 32 activations.
#[inline(always)]
unsafe fn dot_chunk(codes: [v128; 4], x: *const v128) -> v128 {
    // SAFETY: see above.
    let [a, b, c, d] =
        [0, 1, 2, 3].map(|i| unsafe { i32x4_dot_i16x8(codes[i], v128_load(x.add(i))) });
    i32x4_add(i32x4_add(a, b), i32x4_add(c, d))
}

/// The 32 codes of a chunk as 16-bit integers in their order.
///
/// # Safety
/// `words` points to BITS words.
#[inline(always)]
unsafe fn unpack<const BITS: u32>(words: *const u32) -> [v128; 4] {
    match BITS {
        8 => {
            // SAFETY: there are eight words.
            let [a, b] = [0, 4].map(|at| unsafe { v128_load(words.add(at).cast()) });
            [
                i16x8_extend_low_i8x16(a),
                i16x8_extend_high_i8x16(a),
                i16x8_extend_low_i8x16(b),
                i16x8_extend_high_i8x16(b),
            ]
        }
        4 => {
            // SAFETY: there are four words.
            let both = unsafe { v128_load(words.cast()) };
            let low = v128_and(both, u8x16_splat(15));
            let high = u8x16_shr(both, 4);
            [
                i16x8_extend_low_u8x16(low),
                i16x8_extend_high_u8x16(low),
                i16x8_extend_low_u8x16(high),
                i16x8_extend_high_u8x16(high),
            ]
        }
        _ => {
            // SAFETY: there are at least two words.
            let pairs = unsafe { v128_load64_zero(words.cast()) };
            let low = |s: u32| v128_and(u8x16_shr(pairs, s), u8x16_splat(3));
            let mut codes = [low(0), low(2), low(4), low(6)];
            if BITS == 3 {
                // SAFETY: there are three words.
                let word = unsafe { v128_load32_splat(words.add(2)) };
                // Byte j < 4 has its bits in the low half of byte j, and byte 4 + j in the high.
                let bits = i8x16_shuffle::<0, 1, 2, 3, 16, 17, 18, 19, 0, 0, 0, 0, 0, 0, 0, 0>(
                    word,
                    u8x16_shr(word, 4),
                );
                for (s, code) in codes.iter_mut().enumerate() {
                    let high = v128_and(u8x16_shr(bits, s as u32), u8x16_splat(1));
                    *code = v128_or(*code, u8x16_shl(high, 2));
                }
            }
            codes.map(|bytes| i16x8_extend_low_u8x16(bytes))
        }
    }
}
