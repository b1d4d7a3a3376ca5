//! Successive halving (Jamieson and Talwalkar 2016): of the kernels that a call can have all are measured a little,
//! the faster half of them a little longer, and so on, beside the one that the rules take. Pure: whoever measures is
//! handed in.
//!
//! What is known of earlier times goes on with it, as a bandit would: what was clearly behind is not measured again,
//! and nothing is where one kernel is clearly ahead, or where so many samples could not tell two of them apart.

use crate::{
    error::Result,
    stats::{median, quartiles},
};

/// Samples of each kernel in the first round; twice as many in each that follows.
const FIRST_SAMPLES: usize = 4;
/// Rounds at most.
const ROUNDS: u32 = 3;
/// A kernel that takes no less than this of the time of another is not faster.
const FASTER: f64 = 0.97;
/// Samples of all times from which on what is not told apart will not be.
const ENOUGH: u32 = 100;

/// What is known of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) median: f64,
    pub(super) quartiles: [f64; 2],
    pub(super) samples: u32,
}

impl Told {
    /// Whether it is faster beyond noise: half of its samples and half of the other's do not meet.
    pub(super) fn is_faster_than(&self, other: &Told) -> bool {
        self.quartiles[1] < other.quartiles[0] && self.median <= FASTER * other.median
    }
}

/// A kernel in a contest.
#[derive(Clone, Debug, Default)]
pub(super) struct Arm {
    /// What is known of earlier times.
    before: Option<Told>,
    /// What was measured now.
    samples: Vec<f64>,
    is_out: bool,
}

impl Arm {
    pub(super) fn new(before: Option<Told>) -> Arm {
        Arm { before, ..Arm::default() }
    }

    /// What is known of it by now.
    pub(super) fn told(&self) -> Option<Told> {
        if self.samples.is_empty() {
            return self.before;
        }
        let before = self.before.map_or(0, |before| before.samples);
        Some(Told {
            median: median(&self.samples),
            quartiles: quartiles(&self.samples),
            samples: before + self.samples.len() as u32,
        })
    }
}

/// The kernels that a call can have; the first is the one that the rules take.
#[derive(Clone, Debug)]
pub(super) struct Contest {
    pub(super) arms: Vec<Arm>,
}

impl Contest {
    /// Leaves out what was clearly behind earlier, and all where nothing is left to find out.
    pub(super) fn new(arms: impl IntoIterator<Item = Option<Told>>) -> Contest {
        let mut contest = Contest { arms: arms.into_iter().map(Arm::new).collect() };
        let Some(best) = contest.best().and_then(|best| contest.arms[best].before) else {
            return contest;
        };
        for arm in &mut contest.arms[1..] {
            arm.is_out = arm.before.is_some_and(|told| best.is_faster_than(&told));
        }
        let is_known = |arm: &Arm| arm.before.is_some_and(|told| told.samples >= ENOUGH);
        let open: Vec<&Arm> = contest.arms.iter().filter(|arm| !arm.is_out).collect();
        // One is ahead of all others, that of the rules included; or no more is to be learnt.
        let is_ahead = open.len() == 2
            && contest.arms[0].before.is_some_and(|rule| best.is_faster_than(&rule));
        if open.iter().all(|arm| is_known(arm)) || (is_ahead && open[1].before.is_some()) {
            contest.arms.iter_mut().for_each(|arm| arm.is_out = true);
        }
        contest
    }

    /// Those that are to be measured: none where one alone is left.
    fn left(&self) -> Vec<usize> {
        let left: Vec<usize> = (0..self.arms.len()).filter(|at| !self.arms[*at].is_out).collect();
        if left.len() > 1 { left } else { Vec::new() }
    }

    /// Drops the slower half of what is beside the rules' kernel, down to one.
    fn halve(&mut self) {
        let mut left: Vec<(f64, usize)> = self
            .left()
            .into_iter()
            .filter(|at| *at > 0)
            .filter_map(|at| Some((self.arms[at].told()?.median, at)))
            .collect();
        left.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, at) in &left[left.len().div_ceil(2)..] {
            self.arms[*at].is_out = true;
        }
    }

    fn best(&self) -> Option<usize> {
        let told = |at: usize| Some((self.arms[at].told()?.median, at));
        (0..self.arms.len()).filter_map(told).min_by(|a, b| a.0.total_cmp(&b.0)).map(|best| best.1)
    }

    /// The kernel to take.
    pub(super) fn pick(&self) -> usize {
        let pick = || {
            let best = self.best()?;
            self.arms[best].told()?.is_faster_than(&self.arms[0].told()?).then_some(best)
        };
        pick().unwrap_or(0)
    }
}

/// Runs contests side by side while there is time. `measure` is given the contests and arms of a round and how many
/// samples are wanted of each, and gives none of what it cannot measure.
pub(super) async fn run(
    contests: &mut [Contest],
    has_time: impl Fn() -> bool,
    mut measure: impl AsyncFnMut(&[(usize, usize)], usize) -> Result<Vec<Option<Vec<f64>>>>,
) -> Result<()> {
    for round in 0..ROUNDS {
        let wanted: Vec<(usize, usize)> = contests
            .iter()
            .enumerate()
            .flat_map(|(at, contest)| contest.left().into_iter().map(move |arm| (at, arm)))
            .collect();
        if wanted.is_empty() || !has_time() {
            break;
        }
        let measured = measure(&wanted, FIRST_SAMPLES << round).await?;
        for ((contest, arm), samples) in wanted.iter().zip(measured) {
            let arm = &mut contests[*contest].arms[*arm];
            match samples {
                Some(samples) => arm.samples.extend(samples),
                None => arm.is_out = true,
            }
        }
        contests.iter_mut().for_each(Contest::halve);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;
    use std::cell::RefCell;

    /// A timer by which an arm takes what a table says, one sample in four a little more.
    fn timed(
        contests: &mut [Contest],
        times: &[&[f64]],
        rounds_allowed: usize,
    ) -> Vec<(Vec<(usize, usize)>, usize)> {
        let rounds = RefCell::new(Vec::new());
        let has_time = || rounds.borrow().len() < rounds_allowed;
        let measured = run(contests, has_time, async |wanted, samples| {
            rounds.borrow_mut().push((wanted.to_vec(), samples));
            let of = |(contest, arm): &(usize, usize)| {
                let time = times[*contest][*arm];
                let sample = |at: usize| if at % 4 == 3 { time * 1.01 } else { time };
                time.is_finite().then(|| (0..samples).map(sample).collect())
            };
            Ok(wanted.iter().map(of).collect())
        });
        block_on(measured).unwrap();
        rounds.into_inner()
    }

    fn fresh(arms: usize) -> Contest {
        Contest::new((0..arms).map(|_| None))
    }

    #[test]
    fn the_fastest_is_found_and_measured_longest() {
        let mut contests = [fresh(5), fresh(2)];
        let times: [&[f64]; 2] = [&[10.0, 9.0, 5.0, 8.0, 12.0], &[4.0, 6.0]];
        let rounds = timed(&mut contests, &times, usize::MAX);
        let of_first = |round: usize| {
            let arms = rounds[round].0.iter().filter(|(contest, _)| *contest == 0);
            arms.map(|(_, arm)| *arm).collect::<Vec<_>>()
        };
        assert_eq!(rounds.iter().map(|round| round.1).collect::<Vec<_>>(), [4, 8, 16]);
        assert_eq!(of_first(0), [0, 1, 2, 3, 4]);
        assert_eq!(of_first(1), [0, 2, 3], "the slower half is gone, the rules' stays");
        assert_eq!(of_first(2), [0, 2]);
        assert_eq!((contests[0].pick(), contests[1].pick()), (2, 0));
        let told = contests[0].arms[2].told().unwrap();
        assert_eq!((told.samples, told.median), (28, 5.0));
    }

    #[test]
    fn what_is_within_noise_or_hardly_faster_leaves_the_rules_alone() {
        let mut contests = [fresh(3)];
        timed(&mut contests, &[&[10.0, 9.8, 9.75]], usize::MAX);
        assert_eq!(contests[0].pick(), 0);
        let noisy = Told { median: 5.0, quartiles: [1.0, 9.0], samples: 9 };
        let rule = Told { median: 8.0, quartiles: [7.0, 9.5], samples: 9 };
        assert!(!noisy.is_faster_than(&rule));
        assert!(Told { quartiles: [4.5, 6.5], ..noisy }.is_faster_than(&rule));
    }

    #[test]
    fn what_cannot_be_measured_is_out_and_time_ends_all() {
        let mut contests = [fresh(3)];
        let rounds = timed(&mut contests, &[&[10.0, f64::NAN, 5.0]], usize::MAX);
        assert_eq!(rounds[1].0, [(0, 0), (0, 2)]);
        assert_eq!(contests[0].pick(), 2);
        let mut contests = [fresh(3)];
        assert_eq!(timed(&mut contests, &[&[10.0, 9.0, 5.0]], 0).len(), 0);
        assert_eq!(contests[0].pick(), 0, "nothing is known");
        assert_eq!(contests[0].arms[2].told(), None);
    }

    #[test]
    fn what_is_known_goes_on() {
        let told = |median: f64, samples| {
            let quartiles = [median * 0.99, median * 1.01];
            Some(Told { median, quartiles, samples })
        };
        // One is clearly ahead: nothing is measured, and it is taken.
        let mut settled = [Contest::new([told(10.0, 8), told(5.0, 8), told(7.0, 8)])];
        assert!(timed(&mut settled, &[&[1.0, 2.0, 3.0]], usize::MAX).is_empty());
        assert_eq!(settled[0].pick(), 1);
        // One is new, and one was clearly behind.
        let mut open = [Contest::new([told(10.0, 8), told(5.0, 8), told(7.0, 8), None])];
        let rounds = timed(&mut open, &[&[10.0, 5.0, 7.0, 4.0]], usize::MAX);
        assert_eq!(rounds[0].0, [(0, 0), (0, 1), (0, 3)]);
        assert_eq!(open[0].pick(), 3);
        assert_eq!(open[0].arms[1].told().unwrap().samples, 12, "counts go on");
        assert_eq!(open[0].arms[2].told(), told(7.0, 8));
        // Two are as fast: they are measured again until there is enough.
        let close = |samples| Contest::new([told(10.0, samples), told(9.95, samples)]);
        assert_eq!(timed(&mut [close(8)], &[&[10.0, 9.0]], usize::MAX).len(), 3);
        assert!(timed(&mut [close(ENOUGH)], &[&[10.0, 9.0]], usize::MAX).is_empty());
    }
}
