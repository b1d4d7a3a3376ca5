//! The CPU's attention. Threads share heads of queries: each goes through its keys alone.

use super::{Attention, Layout, Sizes, seen};
use crate::threads;
use std::ops::Range;

pub(super) fn cpu(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    sizes: &Sizes,
    layout: &Layout,
    how: Attention<'_>,
) -> Vec<f32> {
    let Sizes { batch, tokens, width, keys, before } = *sizes;
    let Attention { heads, kv_heads, scale, .. } = how;
    let mask = how.mask.map(|mask| (mask.f32s(), mask.columns()));
    let bias = how.bias.map(|bias| {
        let [groups, _, rows, columns] = bias.shape()[..] else { panic!("four axes wanted") };
        (bias.f32s(), [groups, rows, columns])
    });
    let seen: Vec<Range<usize>> = (0..tokens).map(|t| seen(&how, sizes, t)).collect();
    let mut y = vec![0.0; q.len()];
    // Of what a query sees, and `exp` of it.
    let operations = |at: usize| seen[at / heads % tokens].len() * (2 * width + 16);
    let operations: Vec<usize> = (0..batch * tokens * heads).map(operations).collect();
    threads::uneven_rows(&mut y, width, &operations, |first, y| {
        let mut scores = vec![0.0; keys];
        for (at, y) in (first..).zip(y.chunks_exact_mut(width)) {
            let (head, t, b) = (at % heads, at / heads % tokens, at / (heads * tokens));
            let base = b * layout.batch + head / (heads / kv_heads) * layout.head;
            let seen = seen[t].clone();
            let mask = mask.map(|(mask, columns)| &mask[b * columns..]);
            let bias = bias.map(|(bias, [groups, rows, columns])| {
                let row = (b % groups * heads + head) * rows + before + t;
                &bias[row * columns..(row + 1) * columns]
            });
            let query = &q[at * width..(at + 1) * width];
            let mut largest = f32::NEG_INFINITY;
            for (key, score) in seen.clone().zip(&mut scores[seen.clone()]) {
                let visible = mask.is_none_or(|mask| mask[key] > 0.5);
                *score = if visible {
                    let k = &k[base + key * layout.token..][..width];
                    let score = dot(query, k) * scale;
                    score + bias.map_or(0.0, |bias| bias[key])
                } else {
                    f32::NEG_INFINITY
                };
                largest = largest.max(*score);
            }
            if largest == f32::NEG_INFINITY {
                continue;
            }
            let mut sum = 0.0;
            for score in &mut scores[seen.clone()] {
                *score = (*score - largest).exp();
                sum += *score;
            }
            for (key, score) in seen.clone().zip(&scores[seen]) {
                let weight = score / sum;
                let v = &v[base + key * layout.token..][..width];
                y.iter_mut().zip(v).for_each(|(y, v)| *y += weight * v);
            }
        }
    });
    y
}

/// Eight sums side by side, which is what vectorises without reordering what was written.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0f32; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum::<f32>();
    for (a, b) in left.zip(right) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
