use super::*;
use crate::{archive::compare::noise::History, sample};
use engine::testing::{normal, uniform};
use record::{Correctness, Memory, Status, Timing};

/// How much a run, a visit and a pass add to a time, as standard deviations of its logarithm. One pass
/// in twenty takes half as long again, as it does where something else wakes up meanwhile.
#[derive(Clone, Copy)]
struct Noise {
    run: f64,
    visit: f64,
    pass: f64,
}

const QUIET: Noise = Noise { run: 0.015, visit: 0.0, pass: 0.03 };

/// Neighbouring seeds give neighbouring numbers of one sequence; these are far apart.
fn apart(number: u64) -> u64 {
    number.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// A run of a cell that takes `ms`, with so many passes in each of its visits.
fn run(number: u64, ms: f64, noise: Noise, visits: &[u32]) -> Record {
    let of_run = f64::from(normal(apart(number), 1)[0]) * noise.run;
    let mut samples_ms = Vec::new();
    for (visit, passes) in (1..).zip(visits) {
        let seed = apart(number + (visit << 32));
        let of_visit = f64::from(normal(apart(seed), 1)[0]) * noise.visit;
        let spread = normal(apart(seed + 1), *passes as usize);
        let woken = uniform(apart(seed + 2), *passes as usize);
        samples_ms.extend(spread.iter().zip(woken).map(|(pass, woken)| {
            let longer = if woken < 0.05 { 1.5 } else { 1.0 };
            longer * ms * (of_run + of_visit + f64::from(*pass) * noise.pass).exp()
        }));
    }
    let round_passes = if visits.len() > 1 { visits.to_vec() } else { Vec::new() };
    timed(number, Timing { samples_ms, round_passes, ..Timing::default() })
}

fn timed(number: u64, timing: Timing) -> Record {
    let mut record = sample::record(&number.to_string(), Status::Pass);
    record.outcome.timing = Some(timing);
    record
}

fn history(runs: impl IntoIterator<Item = Record>) -> History {
    let mut history = History::default();
    runs.into_iter().for_each(|run| history.add(&[run]));
    history
}

/// The verdict on the passes of many cells at once: `(worse or better, cannot tell, same)`.
fn verdicts(cells: &[(History, Record, Record)]) -> [usize; 3] {
    let pairs: Vec<_> = cells
        .iter()
        .map(|(history, before, after)| Pair { before, after, past: history.of(after) })
        .collect();
    let all = judge(&pairs, Rule::default());
    let count = |wanted: &[Verdict]| {
        all.iter().flatten().filter(|finding| wanted.contains(&finding.verdict)).count()
    };
    [
        count(&[Verdict::Worse, Verdict::Better]),
        count(&[Verdict::CannotTell]),
        count(&[Verdict::Same]),
    ]
}

/// `count` cells with `runs` earlier runs, then a run before and one after it that takes `factor` times
/// as long.
fn cells(
    count: u64,
    runs: u64,
    noise: Noise,
    visits: &[u32],
    factor: f64,
) -> Vec<(History, Record, Record)> {
    let cell = |cell: u64| {
        let ms = 0.5 * 1.7f64.powi((cell % 12) as i32);
        let number = |run: u64| (cell + 1) * 1000 + run;
        let past = (0..runs).map(|at| run(number(at), ms, noise, visits));
        let before = run(number(runs), ms, noise, visits);
        let after = run(number(runs + 1), factor * ms, noise, visits);
        (history(past.chain([before.clone()])), before, after)
    };
    (0..count).map(cell).collect()
}

fn one(cell: &(History, Record, Record)) -> Finding {
    let (history, before, after) = cell;
    let pair = Pair { before, after, past: history.of(after) };
    judge(&[pair], Rule::default()).remove(0).remove(0)
}

#[test]
fn equal_runs_are_the_same_though_passes_of_a_run_are_alike() {
    // The passes of a run share what the run adds, so the test alone finds a difference nearly always.
    let noise = Noise { run: 0.025, visit: 0.0, pass: 0.01 };
    for runs in [0, 4, 10, 25] {
        let [changed, unknown, same] = verdicts(&cells(1500, runs, noise, &[10], 1.0));
        assert!(changed <= 15 && unknown <= 15, "{runs}: {changed} changed, {unknown} unknown");
        assert_eq!(changed + unknown + same, 1500);
    }
    let alone = cells(200, 0, noise, &[10], 1.0);
    let p = alone.iter().map(|(_, before, after)| {
        let passes = |record: &Record| record.outcome.timing.clone().unwrap().samples_ms;
        rank_sum(&passes(before), &passes(after))
    });
    assert!(p.filter(|p| *p < 0.01).count() > 100);
}

#[test]
fn a_fifth_is_found_at_ten_samples() {
    for (runs, factor) in [(0, 1.2), (10, 1.2), (10, 1.0 / 1.2)] {
        let [changed, ..] = verdicts(&cells(500, runs, QUIET, &[10], factor));
        assert!(changed >= 450, "{changed} of 500 with {runs} runs before");
    }
    let cell = cells(1, 10, QUIET, &[10], 1.4).remove(0);
    assert_eq!(one(&cell).verdict, Verdict::Worse);
    assert_eq!(one(&(cell.0, cell.2, cell.1)).verdict, Verdict::Better);
}

#[test]
fn one_cell_of_many_is_found_as_well() {
    let mut cells = cells(600, 8, QUIET, &[10], 1.0);
    for number in [17, 203, 451] {
        cells[number].2 = run(number as u64, 3.0 * median_of(&cells[number].1), QUIET, &[10]);
    }
    let [changed, unknown, _] = verdicts(&cells);
    assert!((3..=6).contains(&changed) && unknown <= 6, "{changed} changed, {unknown} unknown");
}

fn median_of(record: &Record) -> f64 {
    median(&record.outcome.timing.as_ref().unwrap().samples_ms)
}

#[test]
fn times_of_a_coarse_clock_are_ties_and_are_judged() {
    let coarse = |number, ms| {
        let mut record = run(number, ms, QUIET, &[12]);
        let timing = record.outcome.timing.as_mut().unwrap();
        timing.samples_ms.iter_mut().for_each(|sample| *sample = sample.ceil());
        record
    };
    let verdict = |ms| one(&(History::default(), coarse(1, 4.2), coarse(2, ms))).verdict;
    assert_eq!((verdict(4.2), verdict(6.5)), (Verdict::Same, Verdict::Worse));
}

#[test]
fn too_few_samples_tell_nothing_however_far_apart() {
    let finding = one(&(History::default(), run(1, 1.0, QUIET, &[9]), run(2, 9.0, QUIET, &[30])));
    assert_eq!((finding.verdict, finding.samples, finding.p), (Verdict::CannotTell, [9, 30], None));
}

#[test]
fn samples_that_overlap_cannot_be_told_apart() {
    // Half the passes of either side wait for a timer; which half is chance.
    let waits = |number, waiting: usize| {
        let samples_ms = (0..12).map(|at| if at < waiting { 100.0 } else { 3.0 }).collect();
        timed(number, Timing { samples_ms, ..Timing::default() })
    };
    let finding = one(&(History::default(), waits(1, 5), waits(2, 7)));
    assert_eq!(finding.verdict, Verdict::CannotTell);
    assert!(finding.share() > 10.0 && finding.has_enough());
}

#[test]
fn a_wall_time_that_waits_for_the_browser_gives_way_to_the_gpu() {
    let waits = |number, gpu_ms: f64| {
        let samples_ms = vec![100.0 + 3.0 * number as f64; 10];
        let gpu_samples_ms: Vec<f64> = (0..10).map(|at| gpu_ms + 0.01 * f64::from(at)).collect();
        let (median_ms, gpu_median_ms) = (median(&samples_ms), Some(median(&gpu_samples_ms)));
        timed(
            number,
            Timing { samples_ms, gpu_samples_ms, median_ms, gpu_median_ms, ..Timing::default() },
        )
    };
    let (before, after) = (waits(1, 1.0), waits(20, 2.0));
    let pair = Pair { before: &before, after: &after, past: Vec::new() };
    let findings = judge(&[pair], Rule::default()).remove(0);
    let found: Vec<_> = findings.iter().map(|one| (one.figure, one.verdict)).collect();
    assert_eq!(found, [("pass on the GPU", Verdict::Worse)]);
}

#[test]
fn what_a_cell_does_without_a_cause_is_no_change() {
    let noise = Noise { run: 0.15, visit: 0.0, pass: 0.01 };
    let [changed, _, same] = verdicts(&cells(200, 10, noise, &[10], 1.2));
    assert!(changed <= 20 && same >= 170, "{changed} changed, {same} same");
    let finding = one(&cells(1, 10, noise, &[10], 1.2)[0]);
    assert!(finding.needed > 0.2, "{}", finding.needed);
}

#[test]
fn visits_of_the_two_runs_show_their_noise_where_there_is_no_history() {
    let noise = Noise { run: 0.0, visit: 0.25, pass: 0.01 };
    let one_visit = verdicts(&cells(300, 0, noise, &[12], 1.0));
    let rounds = verdicts(&cells(300, 0, noise, &[4, 4, 4], 1.0));
    assert!(one_visit[0] > 150, "without rounds nothing shows it: {one_visit:?}");
    assert!(rounds[0] < 45, "{rounds:?}");
    // Ten visits are samples themselves.
    let ten = cells(300, 0, Noise { visit: 0.04, ..noise }, &[1; 10], 1.0);
    assert_eq!(one(&ten[0]).samples, [10, 10]);
    assert!(verdicts(&ten)[0] <= 3);
    let slower = cells(300, 0, Noise { visit: 0.04, ..noise }, &[1; 10], 1.2);
    assert!(verdicts(&slower)[0] > 225);
}

#[test]
fn what_a_run_has_once_is_held_against_earlier_runs() {
    let load = |number: u64, ms: f64| {
        let load_ms = ms * (0.05 * f64::from(normal(apart(number), 1)[0])).exp();
        timed(number, Timing { load_ms, decode_tps: Some(1e3 / load_ms), ..Timing::default() })
    };
    let judged = |runs: u64, ms: f64| {
        let past = (1..=runs).map(|number| load(number, 100.0));
        let (history, before, after) = (history(past), load(runs, 100.0), load(99, ms));
        let pair = Pair { before: &before, after: &after, past: history.of(&after) };
        let findings = judge(&[pair], Rule::default()).remove(0);
        findings.into_iter().map(|finding| (finding.figure, finding.verdict)).collect::<Vec<_>>()
    };
    let all = |verdict| [("decode", verdict), ("load", verdict)];
    assert_eq!(judged(9, 300.0), all(Verdict::CannotTell));
    assert_eq!(judged(10, 300.0), all(Verdict::Worse));
    assert_eq!(judged(10, 30.0), all(Verdict::Better));
    assert_eq!(judged(10, 100.0), all(Verdict::Same));
}

#[test]
fn what_is_computed_changes_by_any_difference_beyond_rounding() {
    let record = |number: u64, bytes, kernel, cosine| {
        let mut record = timed(number, Timing::default());
        record.outcome.timing = None;
        record.outcome.memory = Some(Memory { weights_bytes: bytes, ..Memory::default() });
        record.outcome.correctness = Some(Correctness {
            kernel_rel_l2: Some(kernel),
            cosine: Some(cosine),
            ..Correctness::default()
        });
        record
    };
    let base = record(1, 1000, 1e-5, 0.99);
    let worse_or_better = |after: &Record, history: &History| -> Vec<_> {
        let pair = Pair { before: &base, after, past: history.of(after) };
        let findings = judge(&[pair], Rule::default()).remove(0).into_iter();
        let changed = findings.filter(|finding| finding.verdict != Verdict::Same);
        changed.map(|finding| (finding.figure, finding.verdict)).collect()
    };
    let none = History::default();
    assert_eq!(worse_or_better(&record(2, 1000, 1.05e-5, 0.99), &none), []);
    let found = worse_or_better(&record(2, 1001, 5e-5, 0.98), &none);
    let worse = ["weights", "kernel error", "cosine"].map(|figure| (figure, Verdict::Worse));
    assert_eq!(found, worse);
    assert_eq!(worse_or_better(&record(2, 999, 1e-5, 0.99), &none), [("weights", Verdict::Better)]);
    // A figure that equal builds do not agree on is none that can tell them apart.
    let unsteady = (10..20).map(|number| record(number, 1000 + number % 2, 1e-5, 0.99));
    assert_eq!(worse_or_better(&record(2, 1001, 1e-5, 0.99), &history(unsteady)), []);
}
