//! Rounds: each cell is visited once before any is visited again, so that a machine that grows warm
//! or busy meanwhile disturbs all cells alike. The samples of all visits make one record.

use engine::stats::{median, median_ci95};
use record::{Cell, Outcome, Record, Status, Timing};

/// A cell that waits for a visit.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) cell: Cell,
    /// What earlier visits gave.
    pub(super) before: Option<Box<Record>>,
}

impl Visit {
    pub(super) fn first(cell: Cell) -> Visit {
        Visit { cell, before: None }
    }

    /// This visit and those after it.
    pub(super) fn left(&self, rounds: u32) -> u32 {
        rounds - self.before.as_ref().map_or(0, |record| record.rounds)
    }

    /// The visit after `record`, if there are to be `rounds`: what failed is not measured further.
    pub(super) fn after(record: &Record, rounds: u32) -> Option<Visit> {
        let is_well = matches!(record.outcome.status, Status::Pass | Status::Flaky);
        let visit = || Visit { cell: record.cell.clone(), before: Some(Box::new(record.clone())) };
        (is_well && record.rounds < rounds).then(visit)
    }
}

/// The record of a cell after another visit.
pub(super) fn joined(before: Record, now: Record) -> Record {
    Record {
        started_at: before.started_at,
        rounds: before.rounds + 1,
        attempts: before.attempts + now.attempts - 1,
        duration_ms: before.duration_ms + now.duration_ms,
        earlier: [before.earlier, now.earlier].concat(),
        outcome: joined_outcomes(before.outcome, now.outcome, before.rounds + 1),
        ..now
    }
}

fn joined_outcomes(before: Outcome, now: Outcome, round: u32) -> Outcome {
    match (before.status, now.status) {
        (_, Status::Pass | Status::Flaky) => {
            // What was flaky once is flaky.
            let flaky = [&now, &before].into_iter().find(|one| one.status == Status::Flaky);
            let (status, reason) = match flaky {
                Some(flaky) => (Status::Flaky, flaky.reason.clone()),
                None => (now.status, now.reason.clone()),
            };
            let timing = match (before.timing, now.timing) {
                (Some(before), Some(now)) => Some(joined_timings(before, now)),
                (before, now) => now.or(before),
            };
            Outcome { status, reason, timing, ..now }
        }
        _ => {
            let reason = now.reason.unwrap_or_else(|| "no reason was given".to_owned());
            Outcome { reason: Some(format!("in round {round}: {reason}")), ..now }
        }
    }
}

/// Loading and compiling are told as they were at first, when nothing was cached.
fn joined_timings(before: Timing, now: Timing) -> Timing {
    let mut round_passes = before.round_passes;
    if round_passes.is_empty() {
        round_passes.push(before.samples_ms.len() as u32);
    }
    round_passes.push(now.samples_ms.len() as u32);
    let samples_ms = [before.samples_ms, now.samples_ms].concat();
    let gpu_samples_ms = [before.gpu_samples_ms, now.gpu_samples_ms].concat();
    let yardstick_ms = [before.yardstick_ms, now.yardstick_ms].concat();
    let median_ms = median(&samples_ms);
    let mut decode_samples_tps = before.decode_samples_tps;
    if decode_samples_tps.is_empty() {
        decode_samples_tps.extend(before.decode_tps);
    }
    decode_samples_tps.extend(now.decode_tps);
    Timing {
        load_ms: before.load_ms,
        compile_ms: before.compile_ms,
        load: before.load,
        pass_cost: before.pass_cost,
        threads: now.threads,
        median_ms,
        ci95_ms: median_ci95(&samples_ms),
        gpu_median_ms: (!gpu_samples_ms.is_empty()).then(|| median(&gpu_samples_ms)),
        // The same tokens over the median of all passes.
        prefill_tps: now.prefill_tps.map(|tps| tps * now.median_ms / median_ms),
        decode_tps: (!decode_samples_tps.is_empty()).then(|| median(&decode_samples_tps)),
        samples_ms,
        yardstick_ms,
        round_passes,
        gpu_samples_ms,
        decode_samples_tps,
        decode_yardstick_ms: [before.decode_yardstick_ms, now.decode_yardstick_ms].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::record;

    fn visit(status: Status, samples: &[f64]) -> Record {
        let mut visit = record("r", status);
        let timing = visit.outcome.timing.get_or_insert_default();
        timing.samples_ms = samples.to_vec();
        timing.median_ms = median(samples);
        timing.prefill_tps = Some(1000.0 / timing.median_ms);
        timing.decode_tps = Some(samples[0]);
        timing.yardstick_ms = vec![0.1; samples.len()];
        timing.decode_yardstick_ms = vec![0.1];
        visit
    }

    #[test]
    fn the_samples_of_all_rounds_make_one_record() {
        let first = joined(visit(Status::Pass, &[1.0, 2.0]), visit(Status::Pass, &[4.0, 8.0, 3.0]));
        let all = joined(first, visit(Status::Pass, &[3.0]));
        let timing = all.outcome.timing.unwrap();
        assert_eq!((all.rounds, all.attempts, all.outcome.status), (3, 1, Status::Pass));
        assert_eq!(timing.samples_ms, [1.0, 2.0, 4.0, 8.0, 3.0, 3.0]);
        assert_eq!(timing.round_passes, [2, 3, 1]);
        assert_eq!((timing.median_ms, timing.prefill_tps), (3.0, Some(1000.0 / 3.0)));
        assert_eq!(timing.decode_samples_tps, [1.0, 4.0, 3.0]);
        assert_eq!((timing.yardstick_ms, timing.decode_yardstick_ms), (vec![0.1; 6], vec![0.1; 3]));
        assert_eq!(timing.decode_tps, Some(3.0));
        assert_eq!(timing.ci95_ms, Some([1.0, 8.0]));
    }

    #[test]
    fn a_failure_ends_the_visits_and_a_flaky_visit_is_remembered() {
        let pass = || visit(Status::Pass, &[1.0]);
        let failed = joined(pass(), visit(Status::Timeout, &[1.0]));
        assert_eq!(failed.outcome.status, Status::Timeout);
        assert!(failed.outcome.reason.as_ref().unwrap().starts_with("in round 2: "));
        assert!(Visit::after(&failed, 3).is_none());
        let flaky = joined(visit(Status::Flaky, &[1.0]), pass());
        assert_eq!(flaky.outcome.status, Status::Flaky);
        assert!(Visit::after(&flaky, 3).is_some() && Visit::after(&flaky, 2).is_none());
    }
}
