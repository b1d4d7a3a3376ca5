//! How long a call takes, or several that are timed in turn.
//!
//! A GPU is given many calls at once, each of which writes where the one before it wrote: they run one
//! after another, as those of a decode step do, and what a dispatch costs is in the time. Timestamps tell
//! what passes took on the GPU itself; where there are none, or where they contradict the host's clock,
//! the host's time for many calls and one wait is taken. On the CPU calls are made in a row.

use crate::{
    device::{CommandList, Device, Gpu, Kernel, Laps},
    error::{Error, Result},
    stats::{median, quartiles},
    tensor::Tensor,
    time::now_ms,
};
use record::{CallTime, Cost, TimedBy};
use std::{cell::Cell, collections::BTreeSet, rc::Rc};

/// Most dispatches of a sample.
const MOST_DISPATCHES: usize = 4096;
/// Pieces that a round through all copies is cut into.
pub(crate) const PIECES: usize = 8;
/// A wait is at most this share of a sample that the host times.
const WAIT_SHARE: f64 = 0.05;

/// How thoroughly is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Milliseconds that a sample takes at least.
    pub(crate) sample_ms: f64,
    /// Samples that are taken.
    pub(crate) samples: usize,
    /// Milliseconds that all samples may take; fewer are not taken.
    pub(crate) most_ms: f64,
}

/// Calls that are made in turn: call `i` takes the copy `i` of what it reads, and gives its output.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    pub(crate) count: usize,
    pub(crate) call: &'a dyn Fn(usize) -> Tensor,
}

/// What was measured of a call.
pub(crate) struct Ran {
    pub(crate) time: CallTime,
    pub(crate) kernels: BTreeSet<Kernel>,
    pub(crate) dispatches: u32,
    pub(crate) cost: Cost,
    /// What the last call that was timed gave.
    pub(crate) output: Tensor,
}

/// Times calls.
///
/// # Errors
///
/// [`Error::Unsupported`] where the samples would take longer than they may, or where an op runs on the
/// host in the midst of the GPU's work; and what the GPU refuses.
pub(crate) async fn time(device: &Device, calls: Calls<'_>, effort: Effort) -> Result<Ran> {
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

    let turn = Cell::new(0);
    let next = || {
        turn.set((turn.get() + 1) % pieces);
        gpu.replay(&lists[turn.get()]);
    };
    let mut timed = in_turn(gpu, device, &[Repeated { replay: &next, most }], effort).await?;
    let Timed { by, samples_ms, replays, wall_ms } = timed.remove(0);
    let time = summary(by, &samples_ms, replays * count, wall_ms);
    Ok(Ran {
        time,
        kernels: watched.kernels,
        dispatches: (dispatches / count) as u32,
        cost,
        output: lists[turn.get()].outputs().clone(),
    })
}

/// Work that is handed to a GPU again and again.
struct Repeated<'a> {
    replay: &'a dyn Fn(),
    /// Replays of a sample at most.
    most: usize,
}

/// What was measured of it.
struct Timed {
    by: TimedBy,
    /// Of all replays of a sample.
    samples_ms: Vec<f64>,
    replays: usize,
    /// The host's time for all samples.
    wall_ms: f64,
}

/// Times lists of calls, a sample of each after the other, so that whatever changes meanwhile does so for all;
/// each is told by one of its replays. They are all of them short.
///
/// # Errors
///
/// What the GPU refuses, and [`Error::Unsupported`] where all of it would take longer than it may.
pub(crate) async fn lists(
    gpu: &Rc<Gpu>,
    lists: &[&CommandList<()>],
    effort: Effort,
) -> Result<Vec<Vec<f64>>> {
    let replays: Vec<_> = lists.iter().map(|list| move || gpu.replay(*list)).collect();
    // All samples are laps of one clock.
    let room = Laps::room(lists.len() * effort.samples).min(MOST_DISPATCHES);
    let most = |list: &CommandList<()>| (room / list.dispatches().max(1)).max(1);
    let repeated: Vec<Repeated<'_>> = replays
        .iter()
        .zip(lists)
        .map(|(replay, list)| Repeated { replay, most: most(list) })
        .collect();
    let timed = in_turn(gpu, &Device::Gpu(Rc::clone(gpu)), &repeated, effort).await?;
    let each = |timed: Timed| {
        let Timed { samples_ms, replays, .. } = timed;
        samples_ms.into_iter().map(|ms| ms / replays as f64).collect()
    };
    Ok(timed.into_iter().map(each).collect())
}

async fn in_turn(
    gpu: &Gpu,
    device: &Device,
    repeated: &[Repeated<'_>],
    effort: Effort,
) -> Result<Vec<Timed>> {
    // What is read to have waited for all before it.
    let bell = gpu.alloc(&[1]);
    let replay = |of: &Repeated<'_>, times: usize| (0..times).for_each(|_| (of.replay)());
    let run = async |of: &[Repeated<'_>], times: usize| -> Result<f64> {
        let start = now_ms();
        of.iter().for_each(|of| replay(of, times));
        device.finish(&bell).await?;
        Ok(now_ms() - start)
    };
    gpu.prepare().await;
    effort.allows(run(repeated, 1).await?)?;
    let wait = run(&[], 0).await?;
    let wall = run(repeated, 1).await?;
    let laps = gpu.laps();
    for of in repeated {
        laps.start();
        replay(of, 1);
    }
    let laps = laps.end().await?.filter(|laps| laps.iter().all(|ms| *ms > 0.0));
    let is_lapped = laps.is_some();
    let once = match laps {
        Some(laps) => laps,
        None if repeated.len() == 1 => vec![(wall - wait).max(wall / 10.0)],
        None => {
            let mut walls = Vec::new();
            for of in repeated {
                let wall = run(std::slice::from_ref(of), 1).await?;
                walls.push((wall - wait).max(wall / 10.0));
            }
            walls
        }
    };
    effort.allows(once.iter().sum())?;
    gpu.spin_up().await?;

    if is_lapped {
        let replays: Vec<usize> =
            repeated.iter().zip(&once).map(|(of, ms)| effort.pieces(*ms, of.most)).collect();
        let begun = now_ms();
        let laps = gpu.laps();
        for _ in 0..effort.samples {
            for (of, replays) in repeated.iter().zip(&replays) {
                laps.start();
                replay(of, *replays);
            }
        }
        let samples = laps.end().await?;
        let wall_ms = now_ms() - begun;
        if let Some(samples) = samples.filter(|samples| are_plausible(samples, wall_ms)) {
            let of = |at: usize| samples.iter().skip(at).step_by(repeated.len()).copied().collect();
            let by = TimedBy::Timestamps;
            let timed = |(at, replays)| Timed { by, samples_ms: of(at), replays, wall_ms };
            return Ok(replays.into_iter().enumerate().map(timed).collect());
        }
    }
    let sample_ms = effort.sample_ms.max(wait / WAIT_SHARE);
    let mut timed: Vec<Timed> = Vec::new();
    for (of, ms) in repeated.iter().zip(&once) {
        let replays = Effort { sample_ms, ..effort }.pieces(*ms, of.most);
        timed.push(Timed { by: TimedBy::Batches, samples_ms: Vec::new(), replays, wall_ms: 0.0 });
    }
    for _ in 0..effort.samples {
        for (of, timed) in repeated.iter().zip(&mut timed) {
            let ms = run(std::slice::from_ref(of), timed.replays).await?;
            timed.samples_ms.push(ms);
            timed.wall_ms += ms;
        }
    }
    Ok(timed)
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
    pub(crate) fn pieces(&self, piece_ms: f64, most: usize) -> usize {
        let wanted = self.sample_ms.min(self.most_ms / self.samples as f64);
        ((wanted / piece_ms.max(1e-4)).ceil() as usize).clamp(1, most)
    }
}

/// Whether timestamps can be what they say: some drivers give zeros, or clocks of another speed.
fn are_plausible(samples: &[f64], wall_ms: f64) -> bool {
    samples.iter().all(|ms| *ms > 0.0) && samples.iter().sum::<f64>() <= wall_ms * 1.05
}

pub(crate) fn summary(by: TimedBy, samples_ms: &[f64], calls: usize, wall_ms: f64) -> CallTime {
    let samples_us: Vec<f64> = samples_ms.iter().map(|ms| ms * 1e3 / calls as f64).collect();
    let all = (calls * samples_ms.len()) as f64;
    CallTime {
        by,
        median_us: median(&samples_us),
        quartiles_us: quartiles(&samples_us),
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
