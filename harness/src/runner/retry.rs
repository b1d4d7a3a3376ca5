//! When a cell is tried again, after which wait, and what its attempts add up to.

use record::{Attempt, Outcome, Status};
use std::time::Duration;

/// How often a cell with this verdict may be tried again, where the user allows `wanted` retries. A
/// session that could not be had says nothing about the model, so that is tried once more even if
/// the user wants no retries.
pub(super) fn retries(status: Status, wanted: u32) -> u32 {
    match status {
        Status::Pass | Status::Flaky | Status::Unsupported | Status::Skip => 0,
        Status::Fail | Status::Timeout | Status::Crash | Status::Error => wanted,
        Status::Infra => wanted.max(1),
    }
}

/// The wait before the next attempt: doubles from half a second up to half a minute, and half of it
/// is drawn by lot, so that sessions which failed together do not come back together.
pub(super) fn delay(attempts: u32) -> Duration {
    let mut lot = [0; 2];
    // Without a lot the wait is the shortest, which is no reason to fail.
    let _ = getrandom::fill(&mut lot);
    delay_at(attempts, f64::from(u16::from_ne_bytes(lot)) / f64::from(u16::MAX))
}

fn delay_at(attempts: u32, lot: f64) -> Duration {
    let most = (0.5 * 2f64.powi(attempts.min(16) as i32 - 1)).min(30.0);
    Duration::from_secs_f64(most * (0.5 + 0.5 * lot))
}

/// The verdict over all attempts: what passed only after the model had its share in a failure is
/// flaky; sessions that could not be had do not count.
pub(super) fn judged(last: Outcome, earlier: &[Attempt]) -> Outcome {
    let failed = earlier.iter().find(|attempt| attempt.status != Status::Infra);
    match failed {
        Some(failed) if last.status == Status::Pass => Outcome {
            status: Status::Flaky,
            reason: Some(format!(
                "passed at attempt {} after {}: {}",
                earlier.len() + 1,
                failed.status.name(),
                failed.reason.as_deref().unwrap_or("no reason was given")
            )),
            ..last
        },
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(last: Status, earlier: &[Status]) -> Status {
        let attempt = |status: &Status| Attempt { status: *status, reason: None, duration_ms: 1.0 };
        let earlier: Vec<_> = earlier.iter().map(attempt).collect();
        judged(Outcome { status: last, ..Outcome::default() }, &earlier).status
    }

    #[test]
    fn only_what_failed_and_then_passed_is_flaky() {
        assert_eq!(judge(Status::Pass, &[]), Status::Pass);
        assert_eq!(judge(Status::Pass, &[Status::Infra]), Status::Pass);
        assert_eq!(judge(Status::Pass, &[Status::Infra, Status::Crash]), Status::Flaky);
        assert_eq!(judge(Status::Fail, &[Status::Crash]), Status::Fail);
        assert_eq!(judge(Status::Infra, &[Status::Fail]), Status::Infra);
    }

    #[test]
    fn a_flaky_cell_says_what_went_wrong_first() {
        let attempt = |status, reason: Option<&str>| Attempt {
            status,
            reason: reason.map(str::to_owned),
            duration_ms: 1.0,
        };
        let earlier = [attempt(Status::Infra, None), attempt(Status::Crash, Some("the tab died"))];
        let pass = Outcome { status: Status::Pass, ..Outcome::default() };
        let reason = judged(pass, &earlier).reason.unwrap();
        assert_eq!(reason, "passed at attempt 3 after crash: the tab died");
    }

    #[test]
    fn a_missing_session_is_always_tried_again() {
        assert_eq!(retries(Status::Infra, 0), 1);
        assert_eq!(retries(Status::Crash, 0), 0);
        assert_eq!(retries(Status::Crash, 2), 2);
        assert_eq!(retries(Status::Unsupported, 2), 0);
    }

    #[test]
    fn waits_double_are_spread_and_have_an_end() {
        let seconds = |attempts, lot| delay_at(attempts, lot).as_secs_f64();
        assert_eq!((seconds(1, 0.0), seconds(1, 1.0)), (0.25, 0.5));
        assert_eq!((seconds(3, 0.0), seconds(3, 1.0)), (1.0, 2.0));
        assert_eq!(seconds(40, 1.0), 30.0);
        // What is drawn lies between the ends, and is not the same each time.
        let drawn: Vec<Duration> = (0..64).map(|_| delay(3)).collect();
        let ends = delay_at(3, 0.0)..=delay_at(3, 1.0);
        assert!(drawn.iter().all(|wait| ends.contains(wait)), "{drawn:?}");
        assert!(drawn.iter().any(|wait| *wait != drawn[0]), "{drawn:?}");
    }
}
