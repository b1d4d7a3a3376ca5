//! The CPU's attention. Threads share heads of queries: each goes through its keys alone.

use super::{Attention, Layout, Sizes, seen};
use crate::{
    kv::Rows,
    ops::{exp::exp_of_distances, matmul::dots},
    threads,
};
use std::{array, cell::Cell, ops::Range};

thread_local! {
    /// A query's scores. A thread keeps its own: see `ops/matmul/cpu.rs`.
    static SCORES: Cell<Vec<f32>> = Cell::default();
}

/// Keys that a query meets at once, so that it is loaded once for all of them.
const KEYS: usize = 4;

/// Keys, or values.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a> {
    /// As they are.
    Plain(&'a [f32]),
    /// In rows of a cache.
    Rows(&'a [u32], Rows),
}

impl<'a> Numbers<'a> {
    /// Those of a cache, in rows if there are some.
    pub(super) fn of(words: &'a [u32], rows: Option<Rows>) -> Numbers<'a> {
        match rows {
            None => Numbers::Plain(bytemuck::cast_slice(words)),
            Some(rows) => Numbers::Rows(words, rows),
        }
    }

    /// A head at each of these places; rows come into `room`.
    fn heads<'b, const COUNT: usize>(
        self,
        places: [usize; COUNT],
        width: usize,
        room: &'b mut [f32],
    ) -> [&'b [f32]; COUNT]
    where
        'a: 'b,
    {
        let (words, rows) = match self {
            Numbers::Plain(numbers) => return places.map(|at| &numbers[at..][..width]),
            Numbers::Rows(words, rows) => (words, rows),
        };
        for (at, room) in places.into_iter().zip(room.chunks_exact_mut(width)) {
            rows.read(&words[at * rows.words()..], room);
        }
        let room = &*room;
        array::from_fn(|i| &room[i * width..][..width])
    }
}

/// With `sinks` there are queries of their own for so many keys from the first.
pub(super) fn cpu(
    q: &[f32],
    [k, v]: [Numbers<'_>; 2],
    sizes: &Sizes,
    layout: &Layout,
    how: Attention<'_>,
    sinks: Option<(&[f32], usize)>,
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
        let mut own = SCORES.take();
        own.resize(keys, 0.0);
        let scores = &mut own[..];
        let mut room = vec![0.0; KEYS * width];
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
            for first in seen.clone().step_by(KEYS) {
                // Beyond the last key the last one again: what comes of it is not taken.
                let places: [usize; KEYS] = array::from_fn(|i| (first + i).min(seen.end - 1));
                let places = places.map(|key| base + key * layout.token);
                let met = k.heads(places, width, &mut room);
                let mut products = products(query, met);
                if let Some((queries, count)) = sinks
                    && first < count
                {
                    let theirs = self::products(&queries[at * width..][..width], met);
                    products[..(count - first).min(KEYS)]
                        .copy_from_slice(&theirs[..(count - first).min(KEYS)]);
                }
                for (key, product) in (first..seen.end).zip(products) {
                    let visible = mask.is_none_or(|mask| mask[key] > 0.5);
                    let score = product * scale + bias.map_or(0.0, |bias| bias[key]);
                    scores[key] = if visible { score } else { f32::NEG_INFINITY };
                }
            }
            let scores = &mut scores[seen.clone()];
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if largest == f32::NEG_INFINITY {
                continue;
            }
            let sum = exp_of_distances(scores, largest);
            let (fours, rest) = scores.as_chunks::<KEYS>();
            for (first, weights) in seen.clone().step_by(KEYS).zip(fours) {
                let places = array::from_fn(|i| base + (first + i) * layout.token);
                let [a, b, c, d] = v.heads::<KEYS>(places, width, &mut room);
                for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *y = *y + weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d;
                }
            }
            for (key, weight) in (seen.end - rest.len()..).zip(rest) {
                let [v] = v.heads([base + key * layout.token], width, &mut room);
                y.iter_mut().zip(v).for_each(|(y, v)| *y += weight * v);
            }
            let scale = 1.0 / sum;
            y.iter_mut().for_each(|y| *y *= scale);
        }
        SCORES.set(own);
    });
    y
}

/// The products of a query with some keys, each the sum of eight sums side by side.
fn products(query: &[f32], keys: [&[f32]; KEYS]) -> [f32; KEYS] {
    let (eights, rest) = query.split_at(query.len() / 8 * 8);
    let [mut sums] = dots([eights], keys.map(|key| &key[..eights.len()]));
    for (sum, key) in sums.iter_mut().zip(keys) {
        *sum += rest.iter().zip(&key[eights.len()..]).map(|(q, k)| q * k).sum::<f32>();
    }
    sums
}
