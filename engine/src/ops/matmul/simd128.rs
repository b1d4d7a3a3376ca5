//! The dot products of `cpu.rs` in WASM SIMD: of integers, eight 16-bit products an instruction, and of
//! floats, in the order that `cpu.rs` promises.

use super::rounded::{Affine, DigitsView, Row, offsets};
use crate::quant::{CHUNK, chunk_words};
use core::arch::wasm32::*;

/// The order of the 32 activations that unpacked codes meet. Four bits are unpacked by shifts of 16-bit
/// lanes, two codes of neighbouring bytes each.
pub(super) fn order(bits: u32) -> [usize; CHUNK] {
    std::array::from_fn(|at| match bits {
        4 => 2 * (at % 8) + 16 * (at / 8 % 2) + at / 16,
        _ => at,
    })
}

/// One packed row of weights by rows of activations.
pub(super) fn dot<const BITS: u32, const I: usize>(
    codes: &[u32],
    affine: &Affine,
    x: [Row<'_>; I],
) -> [f32; I] {
    let chunks = affine.d.len();
    assert!(codes.len() >= chunks * chunk_words(BITS));
    assert!(x.iter().all(|x| x.sums.len() == chunks && x.first.has(chunks)));
    assert!(x.iter().all(|x| x.second.has(x.fine.len())));
    let mut sums = [f32x4_splat(0.0); I];
    for chunk in 0..chunks {
        // SAFETY: there are so many chunks of codes and of activations, as was checked above.
        unsafe {
            let codes = unpack::<BITS>(codes.as_ptr().add(chunk * chunk_words(BITS)));
            let d = v128_load32_splat(affine.d.as_ptr().add(chunk).cast());
            for (sum, x) in sums.iter_mut().zip(&x) {
                *sum = f32x4_add(*sum, product(codes, d, x.first, chunk));
            }
        }
    }
    for (sum, x) in sums.iter_mut().zip(&x) {
        for (at, chunk) in x.fine.iter().enumerate() {
            let chunk = chunk - x.at;
            let d = f32x4_splat(affine.d[chunk]);
            // SAFETY: second digits were checked above, and there is a scale for each chunk of codes.
            *sum = f32x4_add(*sum, unsafe {
                let codes = unpack::<BITS>(codes.as_ptr().add(chunk * chunk_words(BITS)));
                product(codes, d, x.second, at)
            });
        }
    }
    std::array::from_fn(|i| total(sums[i]) + offsets(&affine.m, x[i].sums))
}

/// What a chunk of codes and one of activations add to four sums.
///
/// # Safety
/// There is a chunk of activations of this number.
#[inline(always)]
unsafe fn product(codes: [v128; 4], d: v128, x: DigitsView<'_>, at: usize) -> v128 {
    // SAFETY: see above.
    let (values, centre, scale) = unsafe {
        let values = x.values.as_ptr().add(at * CHUNK).cast::<v128>();
        (
            [0, 1, 2, 3].map(|i| v128_load(values.add(i))),
            v128_load32_zero(x.centres.as_ptr().add(at).cast()),
            v128_load32_splat(x.scales.as_ptr().add(at).cast()),
        )
    };
    let [a, b, c, e] = [0, 1, 2, 3].map(|i| i32x4_dot_i16x8(codes[i], values[i]));
    let sums = i32x4_add(i32x4_add(i32x4_add(a, b), i32x4_add(c, e)), centre);
    f32x4_mul(f32x4_convert_i32x4(sums), f32x4_mul(d, scale))
}

/// Rows of activations by rows of weights, of one length that is a multiple of eight.
pub(in crate::ops) fn dots<const I: usize, const J: usize>(
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

#[inline(always)]
fn total(sums: v128) -> f32 {
    (f32x4_extract_lane::<0>(sums) + f32x4_extract_lane::<1>(sums))
        + (f32x4_extract_lane::<2>(sums) + f32x4_extract_lane::<3>(sums))
}

/// The 32 codes of a chunk as 16-bit integers in [`order`]; those of two bits doubled.
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
            let codes = unsafe { v128_load(words.cast()) };
            let low = |codes| v128_and(codes, u16x8_splat(15));
            [low(codes), low(u16x8_shr(codes, 4)), low(u16x8_shr(codes, 8)), u16x8_shr(codes, 12)]
        }
        3 => {
            // SAFETY: there are three words.
            let (pairs, high) = unsafe {
                (u16x8_load_extend_u8x8(words.cast()), v128_load32_splat(words.add(2).cast()))
            };
            // The high bits of lanes 0 to 3 are the low ones of a byte each, and go where the others lie. A
            // product would do it as well, but compilers make shifts by lane of it, which WASM has not.
            let high = u16x8_extend_low_u8x16(high);
            let high = v128_bitselect(i16x8_shl(high, 4), high, i64x2(-1, 0));
            let two = |pairs| v128_and(pairs, u16x8_splat(3));
            let third = |high| v128_and(high, u16x8_splat(4));
            [
                v128_or(two(pairs), third(u16x8_shr(high, 2))),
                v128_or(two(u16x8_shr(pairs, 2)), third(u16x8_shr(high, 3))),
                v128_or(two(u16x8_shr(pairs, 4)), third(u16x8_shr(high, 4))),
                v128_or(u16x8_shr(pairs, 6), third(u16x8_shr(high, 5))),
            ]
        }
        _ => {
            // SAFETY: there are two words.
            let pairs = unsafe { u16x8_load_extend_u8x8(words.cast()) };
            let twice = |pairs| v128_and(pairs, u16x8_splat(6));
            [
                twice(i16x8_shl(pairs, 1)),
                twice(u16x8_shr(pairs, 1)),
                twice(u16x8_shr(pairs, 3)),
                twice(u16x8_shr(pairs, 5)),
            ]
        }
    }
}
