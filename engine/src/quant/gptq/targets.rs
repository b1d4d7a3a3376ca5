//! Weights that meet drifted inputs as the model's own meet those that it was trained with.

use super::factor::Factor;
use crate::{
    gemm::{Grid, product},
    quant::Moments,
    threads,
};

/// How far targets go from the model's weights to those of least error on the calibration text: all of the
/// way fits the text and not the language.
const SHARE: f32 = 0.5;

/// Rows `w + SHARE · w · D · A⁻¹`, with the drift `D` of the inputs.
pub(super) fn drifted(weights: &[f32], inputs: &Moments, factor: &Factor) -> Vec<f32> {
    let n = factor.columns;
    if inputs.drift.is_empty() {
        return weights.to_vec();
    }
    let moved = product(Grid::of(weights, n), Grid::of(&inputs.drift, n));
    let mut moved = factor.to_order(&moved);
    // Columns of L lie in rows here.
    let upper: Vec<f32> = (0..n * n).map(|at| factor.lower[at % n * n + at / n]).collect();
    threads::rows(&mut moved, n, n * n, |_, rows| {
        for row in rows.chunks_exact_mut(n) {
            solve(row, &factor.lower, &upper);
        }
    });
    let moved = factor.to_model(&moved);
    weights.iter().zip(moved).map(|(weight, by)| weight + SHARE * by).collect()
}

/// `row` becomes `row · (L·Lᵀ)⁻¹`.
fn solve(row: &mut [f32], lower: &[f32], upper: &[f32]) {
    let n = row.len();
    for at in 0..n {
        let sum = dot(&row[..at], &lower[at * n..at * n + at]);
        row[at] = (row[at] - sum) / lower[at * n + at];
    }
    for at in (0..n).rev() {
        let sum = dot(&row[at + 1..], &upper[at * n + at + 1..(at + 1) * n]);
        row[at] = (row[at] - sum) / lower[at * n + at];
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
