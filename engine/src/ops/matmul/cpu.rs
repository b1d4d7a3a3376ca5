//! The CPU's matrix multiplication.
//!
//! Grouped weights stay integers: each chunk of 32 activations is rounded to 15 bits and a sign
//! with a scale of its own, so that a chunk's dot product is exact in i32 (32 · 32767 · 255 < 2³¹),
//! and 16-bit multiply-add, which SSE2 and WASM SIMD have, does eight products an instruction. With
//! `d · (code − zero)` for a weight and `s · q` for an activation, a chunk adds
//! `d · s · (Σ code·q − zero · Σ q)`, of which the second sum is known before any weight is; with
//! `d · code + m` for a weight, `d · s · Σ code·q + m · s · Σ q`.
//!
//! All else is multiplied in f32. Each output is the sum of eight sums in an order of its own, whatever
//! else is computed beside it: with few rows or many it is the same to the last bit.

use super::{
    lanes::{dot, dot_halves, dots},
    rounded::{Affine, Codes, Rounded, Row, half},
};
use crate::{
    quant::{CHUNK, Format, Matrix, View},
    threads,
};
use std::{cell::RefCell, ops::Range};

/// `[M, N]` from `x: [M, chunks · 32]`. Threads share the rows of weights, so that each of these is
/// unpacked once.
pub(super) fn matmul(x: &[f32], w: &Matrix, bias: Option<&[f32]>, exact: bool) -> Vec<f32> {
    let w = &w.view();
    let width = w.chunks() * CHUNK;
    let codes = match w.format {
        Format::Grouped { bits, asymmetric, .. } if !exact => {
            Some(Codes { bits: bits.into(), asymmetric })
        }
        _ => None,
    };
    let rounded = codes.map(|codes| (Rounded::new(x, codes), codes));
    let mut y = vec![0.0; x.len() / width * w.rows];
    let rows_of_x: Vec<Row<'_>> = match &rounded {
        Some((rounded, _)) => {
            (0..x.len() / width).map(|row| rounded.row(row, w.chunks())).collect()
        }
        None => Vec::new(),
    };
    threads::columns(&mut y, w.rows, x.len(), |rows, y| {
        match &rounded {
            Some((_, codes)) => match codes.bits {
                8 => integer::<8>(&rows_of_x, *codes, w, rows.clone(), y),
                4 => integer::<4>(&rows_of_x, *codes, w, rows.clone(), y),
                3 => integer::<3>(&rows_of_x, *codes, w, rows.clone(), y),
                _ => integer::<2>(&rows_of_x, *codes, w, rows.clone(), y),
            },
            None => float(x, w, rows.clone(), y),
        }
        if let Some(bias) = bias.map(|bias| &bias[rows]) {
            for row in y {
                row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    });
    y
}

fn float(x: &[f32], w: &View<'_>, rows: Range<usize>, y: &mut [&mut [f32]]) {
    match (w.format, y) {
        (Format::F32, [y]) => float_row(x, w, rows, y, |x, w| dots([x], [w])[0][0]),
        (Format::F16, [y]) => float_row(x, w, rows, y, dot_halves),
        (_, y) => float_rows(x, w, rows, y),
    }
}

/// One row of `x`: each weight is needed once, so it is multiplied where it lies.
fn float_row<T: bytemuck::Pod>(
    x: &[f32],
    w: &View<'_>,
    rows: Range<usize>,
    y: &mut [f32],
    dot: impl Fn(&[f32], &[T]) -> f32,
) {
    for (y, row) in y.iter_mut().zip(rows) {
        *y = dot(x, bytemuck::cast_slice(w.codes(row)));
    }
}

/// Many rows of `x`: a panel of weights is dequantised once for all of them, and small enough to stay
/// in a cache meanwhile. Pairs of rows meet pairs of rows, so that each number is loaded half as often.
fn float_rows(x: &[f32], w: &View<'_>, rows: Range<usize>, y: &mut [&mut [f32]]) {
    const PANEL: usize = 1 << 15;
    let width = w.chunks() * CHUNK;
    let height = (PANEL / width).clamp(2, 64).min(rows.len());
    let mut panel = vec![0.0; height * width];
    for first in (0..rows.len()).step_by(height) {
        let panel = &mut panel[..height.min(rows.len() - first) * width];
        for (row, numbers) in panel.chunks_exact_mut(width).enumerate() {
            dequantise_row(w, rows.start + first + row, numbers);
        }
        for (x, y) in x.chunks(2 * width).zip(y.chunks_mut(2)) {
            let (x, more_x) = x.split_at(width);
            match y {
                [y, more_y] => {
                    multiply([x, more_x], panel, [&mut y[first..], &mut more_y[first..]]);
                }
                y => multiply([x], panel, [&mut y[0][first..]]),
            }
        }
    }
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

/// As [`View::dequantise_row`], without its care for infinities in 16 bits, which vectorises.
fn dequantise_row(w: &View<'_>, row: usize, out: &mut [f32]) {
    if w.format != Format::F16 {
        return w.dequantise_row(row, out);
    }
    let halves: &[u16] = bytemuck::cast_slice(w.codes(row));
    for (number, bits) in out.iter_mut().zip(halves) {
        *number = half(*bits);
    }
}

thread_local! {
    /// The scales of a row of weights. A thread keeps its own: those of a page share an allocator that lets one in
    /// at a time, and who waits for it sleeps for longer than a slice takes.
    static AFFINE: RefCell<Affine> = RefCell::default();
}

/// A row of weights meets four rows of `x` at once, which then share what it takes to unpack it.
fn integer<const BITS: u32>(
    x: &[Row<'_>],
    codes: Codes,
    w: &View<'_>,
    rows: Range<usize>,
    y: &mut [&mut [f32]],
) {
    let (fours, rest) = x.as_chunks::<4>();
    AFFINE.with_borrow_mut(|affine| {
        affine.resize(w.chunks(), codes);
        for (at, row) in rows.enumerate() {
            affine.load(w, row);
            let codes = w.codes(row);
            for (x, y) in fours.iter().zip(y.as_chunks_mut::<4>().0) {
                let sums = dot::<BITS, 4>(codes, affine, *x);
                y.iter_mut().zip(sums).for_each(|(y, sum)| y[at] = sum);
            }
            for (x, y) in rest.iter().zip(&mut y[4 * fours.len()..]) {
                [y[at]] = dot::<BITS, 1>(codes, affine, [*x]);
            }
        }
    });
}
