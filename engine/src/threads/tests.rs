use super::*;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Spreads what `run` does over so many threads.
pub(crate) fn over<R>(threads: usize, run: impl FnOnce() -> R) -> R {
    grow(threads);
    spread(threads);
    let result = run();
    spread(1);
    result
}

#[test]
fn every_row_is_handed_out_once_and_knows_its_number() {
    for threads in [1, 2, 3, 5] {
        let mut y = vec![0usize; 7 * 3];
        over(threads, || {
            rows(&mut y, 3, WORTH, |first, rows| {
                for (row, numbers) in rows.chunks_exact_mut(3).enumerate() {
                    numbers.iter_mut().for_each(|number| *number += first + row + 1);
                }
            });
        });
        let expected: Vec<usize> = (0..21).map(|at| at / 3 + 1).collect();
        assert_eq!(y, expected, "{threads} threads");
    }
}

#[test]
fn rows_that_take_longer_are_fewer() {
    let firsts = |threads, operations: &[usize]| {
        over(threads, || {
            let mut y = vec![usize::MAX; operations.len()];
            uneven_rows(&mut y, 1, operations, |first, rows| rows.fill(first));
            y
        })
    };
    let causal: Vec<usize> = (1..=8).map(|seen| seen * WORTH).collect();
    assert_eq!(firsts(2, &causal), [0, 0, 0, 3, 4, 5, 6, 7]);
    assert_eq!(firsts(1, &causal), [0; 8]);
    assert_eq!(firsts(3, &[WORTH, 0, 0, 5 * WORTH, 0]), [0, 0, 0, 0, 4]);
    assert_eq!(firsts(2, &[0; 3]), [0; 3]);
}

#[test]
fn every_column_is_handed_out_once_with_all_its_rows() {
    for threads in [1, 2, 3, 5] {
        let mut y = vec![0usize; 4 * 6];
        over(threads, || {
            columns(&mut y, 6, WORTH, |columns, parts| {
                for (row, part) in parts.iter_mut().enumerate() {
                    assert_eq!(part.len(), columns.len());
                    let numbers = columns.clone().map(|column| 10 * row + column + 1);
                    part.iter_mut().zip(numbers).for_each(|(y, number)| *y += number);
                }
            });
        });
        let expected: Vec<usize> = (0..24).map(|at| 10 * (at / 6) + at % 6 + 1).collect();
        assert_eq!(y, expected, "{threads} threads");
    }
}

#[test]
fn what_slices_make_comes_in_their_order() {
    let shares = |threads, operations| {
        over(threads, || map(10, operations, |share| (share.start, share.end)))
    };
    assert_eq!(shares(3, 3), [(0, 3), (3, 6), (6, 10)], "work for three of twelve slices");
    assert_eq!(shares(1, WORTH), [(0, 10)]);
    assert_eq!(shares(20, WORTH).len(), 10, "there are ten parts");
    assert_eq!(shares(4, WORTH / 4), [(0, 5), (5, 10)], "and work for two");
    assert_eq!(shares(4, 1), [(0, 10)]);
    assert_eq!(over(4, || map(0, WORTH, |share| share.len())), [0]);
}

#[test]
fn slices_run_on_threads_of_their_own_and_do_not_cut_again() {
    // The caller takes what nobody has begun: here all begin before one is done.
    let begun = Barrier::new(3);
    let slice = |_| {
        begun.wait();
        (thread::current().id(), count(), map(9, WORTH, |_| ()).len())
    };
    let ids = over(3, || map(3, WORTH, slice));
    assert!(ids.iter().any(|(id, ..)| *id == thread::current().id()));
    assert!(ids[1].0 != ids[0].0 && ids[2].0 != ids[0].0 && ids[1].0 != ids[2].0);
    assert!(ids.iter().all(|(_, count, slices)| (*count, *slices) == (1, 1)));
}

/// Thousands of jobs of all sizes one after another, from two threads that share the pool.
#[test]
fn no_job_is_lost_and_none_is_done_twice() {
    let work = || {
        for job in 0..3_000 {
            let parts = 1 + job % 5;
            let done = AtomicUsize::new(0);
            over(5, || map(parts, WORTH, |share| done.fetch_add(share.len(), Ordering::Relaxed)));
            assert_eq!(done.into_inner(), parts);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

#[test]
fn a_panic_in_a_slice_is_the_callers_and_the_pool_lives_on() {
    for culprit in [0, 1] {
        let begun = Barrier::new(2);
        let slice = |share: Range<usize>| {
            begun.wait();
            assert_ne!(share.start, culprit, "slice {culprit}");
        };
        let run = AssertUnwindSafe(|| over(2, || map(2, WORTH, slice)));
        let panic = catch_unwind(run).expect_err("a slice panicked");
        let text = panic.downcast_ref::<String>().expect("with a message");
        assert!(text.contains(&format!("slice {culprit}")), "{text}");
        spread(1);
        assert_eq!(over(2, || map(2, WORTH, |share| share.start)), [0, 1]);
    }
}
