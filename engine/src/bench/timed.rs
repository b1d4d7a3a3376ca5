//! How long a call takes.
//!
//! A GPU is given many calls at once, each of which writes where the one before it wrote: they run one
//! after another, as those of a decode step do, and what a dispatch costs is in the time. Timestamps tell
//! what passes took on the GPU itself; where there are none, or where they contradict the host's clock,
//! the host's time for many calls and one wait is taken. On the CPU calls are made in a row.

use crate::{
    device::{Device, Gpu, Kernel},
    error::{Error, Result},
    stats::median,
    tensor::Tensor,
    time::now_ms,
};
use record::{CallTime, Cost, TimedBy};
use std::{cell::Cell, collections::BTreeSet, rc::Rc};

/// Most dispatches of a sample.
const MOST_DISPATCHES: usize = 4096;
/// Pieces that a round through all copies is cut into.
pub(super) const PIECES: usize = 8;
/// A wait is at most this share of a sample that the host times.
const WAIT_SHARE: f64 = 0.05;

/// How thoroughly is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Milliseconds that a sample takes at least.
    pub(super) sample_ms: f64,
    /// Samples that are taken.
    pub(super) samples: usize,
    /// Milliseconds that all samples may take; fewer are not taken.
    pub(super) most_ms: f64,
}

/// Calls that are made in turn: call `i` takes the copy `i` of what it reads, and gives its output.
#[derive(Clone, Copy)]
pub(super) struct Calls<'a> {
    pub(super) count: usize,
    pub(super) call: &'a dyn Fn(usize) -> Tensor,
}

/// What was measured of a call.
pub(super) struct Ran {
    pub(super) time: CallTime,
    pub(super) kernels: BTreeSet<Kernel>,
    pub(super) dispatches: u32,
    pub(super) cost: Cost,
    /// What the last call that was timed gave.
    pub(super) output: Tensor,
}

/// Times calls.
///
/// # Errors
///
/// [`Error::Unsupported`] where the samples would take longer than they may, or where an op runs on the
/// host in the midst of the GPU's work; and what the GPU refuses.
pub(super) async fn time(device: &Device, calls: Calls<'_>, effort: Effort) -> Result<Ran> {
    match device {
        Device::Cpu(_) => on_cpu(device, calls, effort),
        Device::Gpu(gpu) => on_gpu(gpu, device, calls, effort).await,
    }
}

fn on_cpu(device: &Device, calls: Calls<'_>, effort: Effort) -> Result<Ran> {
    let mut next = 0;
    let mut run = |count: usize| {
        let start = now_ms();
        let mut output = (calls.call)(next);
        for _ in 1..count {
            next = (next + 1) % calls.count;
            output = (calls.call)(next);
        }
        next = (next + 1) % calls.count;
        (output, now_ms() - start)
    };
    let trace = device.trace();
    let (mut output, first) = run(1);
    let cost = trace.end().iter().map(|call| call.cost).sum();
    effort.allows(first)?;
    let each = run(1).1;
    let count = effort.pieces(each, usize::MAX);
    let (mut samples, begun) = (Vec::new(), now_ms());
    for _ in 0..effort.samples {
        let (last, took) = run(count);
        output = last;
        samples.push(took);
    }
    let time = summary(TimedBy::Batches, &samples, count, now_ms() - begun);
    Ok(Ran { time, kernels: BTreeSet::new(), dispatches: 0, cost, output })
}

async fn on_gpu(
    gpu: &Rc<Gpu>,
    device: &Device,
    Calls { count, call }: Calls<'_>,
    effort: Effort,
) -> Result<Ran> {
    // Pieces of a round through all copies: a sample need not be a whole round for each copy to have been
    // forgotten by the caches when its turn comes again.
    let pieces = if count >= 2 * PIECES { PIECES } else { 1 };
    let count = count / pieces;
    let record = |piece: usize| {
        gpu.record(|| {
            let mut output = call(piece * count);
            for at in 1..count {
                // It is given back before the next one is asked for, which then is the same buffer.
                drop(output);
                output = call(piece * count + at);
            }
            output
        })
    };
    let trace = device.trace();
    let (first, watched) = gpu.watch(|| record(0));
    let all: Cost = trace.end().iter().map(|call| call.cost).sum();
    if let Some(op) = watched.hosted.first() {
        return Err(Error::unsupported(format!("{op} runs on the CPU in the midst of the pass")));
    }
    let each = |sum: u64| sum / count as u64;
    let cost = Cost {
        operations: each(all.operations),
        read_bytes: each(all.read_bytes),
        written_bytes: each(all.written_bytes),
    };
    let dispatches = first.dispatches();
    let lists: Vec<_> = std::iter::once(first).chain((1..pieces).map(record)).collect();
    // A write ends a submission, and a clock holds only so many passes.
    let most = if lists[0].writes() { 1 } else { (MOST_DISPATCHES / dispatches.max(1)).max(1) };

    // What is read to have waited for all before it.
    let bell = gpu.alloc(&[1]);
    let turn = Cell::new(0);
    let replay = |times: usize| {
        for _ in 0..times {
            turn.set((turn.get() + 1) % pieces);
            gpu.replay(&lists[turn.get()]);
        }
    };
    let run = async |times: usize| -> Result<f64> {
        let start = now_ms();
        replay(times);
        device.finish(&bell).await?;
        Ok(now_ms() - start)
    };
    gpu.prepare().await;
    effort.allows(run(1).await?)?;
    let wait = run(0).await?;
    let wall = run(1).await?;
    let laps = gpu.laps();
    laps.start();
    replay(1);
    let lap = laps.end().await?.and_then(|laps| laps.first().copied()).filter(|ms| *ms > 0.0);
    let once = lap.unwrap_or((wall - wait).max(wall / 10.0));
    effort.allows(once)?;
    gpu.spin_up().await?;

    let mut time = None;
    if lap.is_some() {
        let replays = effort.pieces(once, most);
        let begun = now_ms();
        let laps = gpu.laps();
        for _ in 0..effort.samples {
            laps.start();
            replay(replays);
        }
        let samples = laps.end().await?;
        let wall = now_ms() - begun;
        time = samples
            .filter(|samples| are_plausible(samples, wall))
            .map(|samples| summary(TimedBy::Timestamps, &samples, replays * count, wall));
    }
    if time.is_none() {
        let sample_ms = effort.sample_ms.max(wait / WAIT_SHARE);
        let replays = Effort { sample_ms, ..effort }.pieces(once, most);
        let begun = now_ms();
        let mut samples = Vec::new();
        for _ in 0..effort.samples {
            samples.push(run(replays).await?);
        }
        let wall = now_ms() - begun;
        time = Some(summary(TimedBy::Batches, &samples, replays * count, wall));
    }
    Ok(Ran {
        time: time.unwrap_or_default(),
        kernels: watched.kernels,
        dispatches: (dispatches / count) as u32,
        cost,
        output: lists[turn.get()].outputs().clone(),
    })
}

impl Effort {
    /// Refuses what takes so long that its samples would take more than they may.
    fn allows(&self, piece_ms: f64) -> Result<()> {
        let needed = piece_ms * self.samples as f64;
        if needed <= self.most_ms {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "one piece of it takes {:.1} s, and {} of them more time than is left; use a larger --budget",
            piece_ms / 1e3,
            self.samples
        )))
    }

    /// How many pieces make a sample.
    pub(super) fn pieces(&self, piece_ms: f64, most: usize) -> usize {
        let wanted = self.sample_ms.min(self.most_ms / self.samples as f64);
        ((wanted / piece_ms.max(1e-4)).ceil() as usize).clamp(1, most)
    }
}

/// Whether timestamps can be what they say: some drivers give zeros, or clocks of another speed.
fn are_plausible(samples: &[f64], wall_ms: f64) -> bool {
    samples.iter().all(|ms| *ms > 0.0) && samples.iter().sum::<f64>() <= wall_ms * 1.05
}

pub(super) fn summary(by: TimedBy, samples_ms: &[f64], calls: usize, wall_ms: f64) -> CallTime {
    let mut sorted: Vec<f64> = samples_ms.iter().map(|ms| ms * 1e3 / calls as f64).collect();
    let samples_us = sorted.clone();
    sorted.sort_by(f64::total_cmp);
    // The medians of both halves, of which each has the one in the middle.
    let half = sorted.len().div_ceil(2);
    let quartiles_us = [median(&sorted[..half]), median(&sorted[sorted.len() - half..])];
    let all = (calls * samples_ms.len()) as f64;
    CallTime {
        by,
        median_us: median(&sorted),
        quartiles_us,
        samples_us,
        calls: calls as u32,
        wall_us: wall_ms * 1e3 / all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_one_call() {
        let time = summary(TimedBy::Batches, &[4.0, 1.0, 2.0, 3.0, 5.0], 10, 20.0);
        assert_eq!((time.median_us, time.quartiles_us), (300.0, [200.0, 400.0]));
        assert_eq!((time.samples_us[0], time.calls, time.wall_us), (400.0, 10, 400.0));
    }

    #[test]
    fn a_sample_is_long_enough_and_all_of_them_are_not_too_long() {
        let effort = Effort { sample_ms: 10.0, samples: 5, most_ms: 1000.0 };
        assert_eq!(effort.pieces(3.0, usize::MAX), 4);
        assert_eq!(effort.pieces(3.0, 2), 2);
        assert_eq!(effort.pieces(30.0, 9), 1);
        assert_eq!(Effort { most_ms: 25.0, ..effort }.pieces(1.0, 9), 5);
        assert!(effort.allows(200.0).is_ok());
        let error = effort.allows(201.0).unwrap_err().to_string();
        assert!(error.contains("one piece of it takes 0.2 s"), "{error}");
    }

    #[test]
    fn timestamps_that_cannot_be_are_not_believed() {
        assert!(are_plausible(&[1.0, 2.0], 3.0));
        assert!(!are_plausible(&[1.0, 0.0], 3.0));
        assert!(!are_plausible(&[2.0, 2.0], 3.0));
    }

    #[test]
    fn calls_are_made_in_turn_and_their_cost_is_that_of_one() {
        use std::cell::RefCell;
        let device = Device::cpu();
        let made = RefCell::new(Vec::new());
        let x = device.upload(&[2, 32], vec![1.0; 64]);
        let call = |at: usize| {
            made.borrow_mut().push(at);
            crate::ops::add(&device, &x, &x)
        };
        let calls = Calls { count: 3, call: &call };
        let effort = Effort { sample_ms: 0.0, samples: 5, most_ms: 1e9 };
        let ran = pollster::block_on(time(&device, calls, effort)).unwrap();
        assert_eq!(ran.output.f32s(), [2.0; 64]);
        assert_eq!((ran.cost.operations, ran.cost.read_bytes), (64, 512));
        assert_eq!(ran.time.samples_us.len(), 5);
        assert_eq!(*made.borrow(), [0, 1, 2, 0, 1, 2, 0]);
    }
}
