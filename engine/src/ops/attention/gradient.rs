//! The gradient of a decoder's attention to itself, of whole sequences: what turns and attends is computed once
//! more, a head at a time, as large products.

use super::{Attention, Sizes, seen};
use crate::{
    gemm::{Grid, add_product},
    threads,
};
use std::ops::Range;

/// How much each query attends to each key of its head.
struct Head {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// `[T, T]`.
    weights: Vec<f32>,
}

/// The gradient of `x: [B, T, (H + 2 · KV) · D]` from `dy: [B, T, H · D]`. `table: [T, D / 2, 2]` turns queries and
/// keys.
pub(super) fn back(
    x: &[f32],
    table: &[f32],
    (batch, tokens, width): (usize, usize, usize),
    how: Attention<'_>,
    dy: &[f32],
) -> Vec<f32> {
    let Attention { heads, kv_heads, scale, .. } = how;
    let (all, shared) = (heads + 2 * kv_heads, heads / kv_heads);
    let sizes = Sizes { batch, tokens, width, keys: tokens, before: 0 };
    let seen: Vec<Range<usize>> = (0..tokens).map(|t| seen(&how, &sizes, t)).collect();
    let column = |values: &[f32], b: usize, heads: usize, head: usize| -> Vec<f32> {
        let rows = (0..tokens).map(|t| ((b * tokens + t) * heads + head) * width);
        rows.flat_map(|at| &values[at..at + width]).copied().collect()
    };
    let operations = shared * tokens * tokens * width * 6;
    // Of each sequence and head of keys: gradients of its queries, one head after another, keys and values.
    let parts = threads::map(batch * kv_heads, operations, |range| {
        let each = range.map(|at| {
            let (b, kv) = (at / kv_heads, at % kv_heads);
            let k = turned(&column(x, b, all, heads + kv), table, width, false);
            let v = column(x, b, all, heads + kv_heads + kv);
            let (mut dk, mut dv) = (vec![0.0; k.len()], vec![0.0; v.len()]);
            let mut queries = Vec::with_capacity(shared);
            for head in kv * shared..(kv + 1) * shared {
                let q = turned(&column(x, b, all, head), table, width, false);
                let head_of = Head::of(q, k.clone(), v.clone(), &seen, scale);
                let dy = column(dy, b, heads, head);
                let dq = head_of.back(&dy, width, scale, &mut dk, &mut dv);
                queries.push(turned(&dq, table, width, true));
            }
            (queries, turned(&dk, table, width, true), dv)
        });
        each.collect::<Vec<_>>()
    });
    let mut dx = vec![0.0; x.len()];
    for (at, (queries, keys, values)) in parts.into_iter().flatten().enumerate() {
        let (b, kv) = (at / kv_heads, at % kv_heads);
        let mut put = |head: usize, rows: &[f32]| {
            for (t, row) in rows.chunks_exact(width).enumerate() {
                dx[((b * tokens + t) * all + head) * width..][..width].copy_from_slice(row);
            }
        };
        for (own, rows) in queries.iter().enumerate() {
            put(kv * shared + own, rows);
        }
        put(heads + kv, &keys);
        put(heads + kv_heads + kv, &values);
    }
    dx
}

impl Head {
    fn of(q: Vec<f32>, k: Vec<f32>, v: Vec<f32>, seen: &[Range<usize>], scale: f32) -> Head {
        let tokens = seen.len();
        let width = q.len() / tokens;
        let mut weights = vec![0.0; tokens * tokens];
        add_product(&mut weights, Grid::of(&q, width), Grid::of(&k, width).transposed());
        for (row, seen) in weights.chunks_exact_mut(tokens).zip(seen) {
            let scores = &mut row[seen.clone()];
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().for_each(|score| *score = ((*score - largest) * scale).exp());
            let sum: f32 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
        }
        Head { q, k, v, weights }
    }

    /// The gradient of the turned queries; those of keys and values are added to `dk` and `dv`.
    fn back(
        self,
        dy: &[f32],
        width: usize,
        scale: f32,
        dk: &mut [f32],
        dv: &mut [f32],
    ) -> Vec<f32> {
        let Head { q, k, v, mut weights } = self;
        let tokens = dy.len() / width;
        let dy = Grid::of(dy, width);
        add_product(dv, Grid::of(&weights, tokens).transposed(), dy);
        let mut scores = vec![0.0; tokens * tokens];
        add_product(&mut scores, dy, Grid::of(&v, width).transposed());
        // Through the softmax: p · (dp − Σ p · dp), and the scale.
        for (p, dp) in weights.chunks_exact_mut(tokens).zip(scores.chunks_exact(tokens)) {
            let sum: f32 = p.iter().zip(dp).map(|(p, dp)| p * dp).sum();
            p.iter_mut().zip(dp).for_each(|(p, dp)| *p *= (dp - sum) * scale);
        }
        add_product(dk, Grid::of(&weights, tokens).transposed(), Grid::of(&q, width));
        let mut dq = vec![0.0; q.len()];
        add_product(&mut dq, Grid::of(&weights, tokens), Grid::of(&k, width));
        dq
    }
}

/// Rows turned by the angles of their positions, or back: the gradient of what turns is turned the other way.
fn turned(rows: &[f32], table: &[f32], width: usize, is_back: bool) -> Vec<f32> {
    let half = width / 2;
    let mut turned = vec![0.0; rows.len()];
    let each = turned.chunks_exact_mut(width).zip(rows.chunks_exact(width));
    for ((turned, row), angles) in each.zip(table.chunks_exact(width)) {
        for i in 0..half {
            let (cos, sin) = (angles[2 * i], angles[2 * i + 1]);
            let sin = if is_back { -sin } else { sin };
            turned[i] = row[i] * cos - row[half + i] * sin;
            turned[half + i] = row[half + i] * cos + row[i] * sin;
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use crate::{
        device::{Device, check_gradients},
        kv::{CacheShape, KvCache},
        ops::{Angles, Attention, RopeScaling, self_attention},
        testing::normal,
    };
    use record::KvFormat;

    #[test]
    fn the_gradient_of_attention_is_the_slope() {
        let (batch, tokens, heads, kv_heads, width) = (2, 5, 4, 2, 8);
        for (window, scaling) in [
            (None, RopeScaling::Default),
            (Some(3), RopeScaling::Yarn { factor: 4.0, low: 0.0, high: 3.0, stretch: 1.2 }),
        ] {
            let columns = (heads + 2 * kv_heads) * width;
            let x = normal(1, batch * tokens * columns);
            check_gradients(&[(&[batch, tokens, columns], x)], |device: &Device, x| {
                let format = KvFormat::F32;
                let shape = CacheShape { format, batch, heads: kv_heads, width, capacity: tokens };
                let cache = KvCache::new(device, 1, shape);
                let angles = Angles::new(device, tokens, width, 100.0, scaling);
                let how =
                    Attention { kv_heads, causal: true, window, ..Attention::new(heads, width) };
                self_attention(device, &x[0], &angles, (&cache, 0), how)
            });
        }
    }
}
