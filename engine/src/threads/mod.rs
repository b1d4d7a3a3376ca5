//! Work of the CPU that is spread over threads.
//!
//! Work is cut into slices of neighbouring outputs, several a thread, which take one after another: who
//! wakes late, or shares a processor, computes fewer. Each output is computed by one thread, in the order in
//! which it would be computed alone, so that results are the same to the last bit for any number of threads,
//! whoever computes a slice.
//!
//! `pool.rs` has the threads. Over how many work is spread is a property of the thread that asks for
//! it: one until [`spread`] says otherwise, and always one where a page has no shared memory.

// Without shared memory there are no members, and nobody calls what they do.
#[cfg_attr(all(target_arch = "wasm32", not(target_feature = "atomics")), allow(dead_code))]
mod pool;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use pool::grow;
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub(crate) use pool::{abandon, enlist, serve};
pub(crate) use pool::{count, spread, started};

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Threads that are of use where nobody asks for a number.
pub(crate) const MOST: usize = 8;

/// Slices that there are for each thread, where there is enough work.
const TURNS: usize = 4;

/// Multiplications and additions that a slice must have: two microseconds of products. The data of tests is
/// small.
const WORTH: usize = if cfg!(test) { 8 } else { 1 << 15 };

/// Calls `f` with the rows of `y` that each slice has, and the number of the first; a row takes so many
/// operations.
pub(crate) fn rows<T: Send>(
    y: &mut [T],
    width: usize,
    operations: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let count = y.len() / width;
    share(y, width, cut(count, operations, TURNS), f);
}

/// As [`rows`] in one slice a thread, where each slice costs something by itself.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn tall_rows<T: Send>(
    y: &mut [T],
    width: usize,
    operations: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let count = y.len() / width;
    share(y, width, cut(count, operations, 1), f);
}

/// As [`rows`], where each row takes operations of its own.
pub(crate) fn uneven_rows<T: Send>(
    y: &mut [T],
    width: usize,
    operations: &[usize],
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let total = operations.iter().sum::<usize>();
    let slices = slices(operations.len(), total, TURNS);
    let (mut row, mut done) = (0, 0);
    let shares = (1..=slices).map(|slice| {
        let first = row;
        while row < operations.len() && (done < total * slice / slices || slice == slices) {
            done += operations[row];
            row += 1;
        }
        first..row
    });
    share(y, width, shares, f);
}

fn share<T: Send>(
    mut y: &mut [T],
    width: usize,
    shares: impl Iterator<Item = Range<usize>>,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let own = |rows: Range<usize>| {
        let own = y.split_off_mut(..rows.len() * width).expect("there are as many rows");
        (rows.start, own)
    };
    each(shares.map(own).collect(), |(first, rows)| f(first, rows));
}

/// Calls `f` with the columns of `y` that each slice has, and with what lies in them of each row; a
/// column takes so many operations in all rows.
pub(crate) fn columns<T: Send>(
    y: &mut [T],
    width: usize,
    operations: usize,
    f: impl Fn(Range<usize>, &mut [&mut [T]]) + Sync,
) {
    let rows = y.len() / width;
    let mut slices: Vec<(Range<usize>, Vec<&mut [T]>)> =
        cut(width, operations, TURNS).map(|columns| (columns, Vec::with_capacity(rows))).collect();
    for mut row in y.chunks_exact_mut(width) {
        for (columns, parts) in &mut slices {
            parts.extend(row.split_off_mut(..columns.len()));
        }
    }
    each(slices, |(columns, mut parts)| f(columns, &mut parts));
}

/// What `f` makes of the share of `0..parts` that each slice has, in their order; a part takes so many
/// operations.
pub(crate) fn map<R: Send>(
    parts: usize,
    operations: usize,
    f: impl Fn(Range<usize>) -> R + Sync,
) -> Vec<R> {
    let shares: Vec<Range<usize>> = cut(parts, operations, TURNS).collect();
    let mut made: Vec<Option<R>> = shares.iter().map(|_| None).collect();
    let slices = shares.into_iter().zip(&mut made).collect();
    each(slices, |(share, made)| *made = Some(f(share)));
    made.into_iter().flatten().collect()
}

/// Cuts `0..parts` into shares, one a slice.
fn cut(parts: usize, operations: usize, turns: usize) -> impl Iterator<Item = Range<usize>> {
    let slices = slices(parts, parts.saturating_mul(operations), turns);
    (0..slices).map(move |slice| parts * slice / slices..parts * (slice + 1) / slices)
}

/// A few slices a thread; no more than there are parts, and than are worth one.
fn slices(parts: usize, operations: usize, turns: usize) -> usize {
    if count() == 1 {
        return 1;
    }
    (turns * count()).min(parts).min(operations / WORTH).max(1)
}

/// Hands each slice what is its own.
fn each<S: Send>(slices: Vec<S>, f: impl Fn(S) + Sync) {
    let slices: Vec<Mutex<Option<S>>> =
        slices.into_iter().map(|own| Mutex::new(Some(own))).collect();
    pool::broadcast(slices.len(), &|slice| {
        let own = slices[slice].lock().unwrap_or_else(PoisonError::into_inner).take();
        own.into_iter().for_each(&f);
    });
}

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod tests;
