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

/// What two machines show by the yardstick.
const USUAL: Noise = Noise { run: 0.0, visit: 0.05, pass: 0.03 };
const FOUR: [u32; 4] = [3; 4];

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
    record.rounds = timing.round_passes.len().max(1) as u32;
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
fn equal_runs_are_the_same() {
    for (runs, noise) in [(0, USUAL), (12, USUAL), (0, Noise { visit: 0.1, ..USUAL })] {
        let [changed, unknown, same] = verdicts(&cells(1500, runs, noise, &FOUR, 1.0));
        assert!(changed <= 5, "{runs}: {changed} changed");
        assert!(unknown <= 100, "{runs}: {unknown} unknown");
        assert_eq!(changed + unknown + same, 1500);
    }
}

#[test]
fn a_fifth_is_found_at_four_visits() {
    for (runs, factor) in [(0, 1.2), (12, 1.2), (12, 1.0 / 1.2)] {
        let [changed, ..] = verdicts(&cells(500, runs, USUAL, &FOUR, factor));
        assert!(changed >= 450, "{changed} of 500 with {runs} runs before");
    }
    let cell = cells(1, 10, USUAL, &FOUR, 1.4).remove(0);
    assert_eq!(one(&cell).verdict, Verdict::Worse);
    assert_eq!(one(&(cell.0, cell.2, cell.1)).verdict, Verdict::Better);
}

#[test]
fn one_cell_of_many_is_found_as_well() {
    let mut cells = cells(600, 8, USUAL, &FOUR, 1.0);
    for number in [17, 203, 451] {
        let ms = 3.0 * one(&cells[number]).before;
        cells[number].2 = run(number as u64, ms, USUAL, &FOUR);
    }
    let [changed, unknown, _] = verdicts(&cells);
    assert!((3..=6).contains(&changed) && unknown <= 30, "{changed} changed, {unknown} unknown");
}

/// Two hardware threads of one core: whole visits take 1.7 times as long, and so does the work beside them.
#[test]
fn what_the_processor_does_besides_is_no_change() {
    let disturbed = |number: u64, ms: f64, with_yardstick: bool| {
        let mut record = run(number, ms, USUAL, &FOUR);
        let timing = record.outcome.timing.as_mut().unwrap();
        let shared = uniform(apart(number + 77), 4);
        let factor = |at: usize| if shared[at / 3] < 0.6 { 1.7 } else { 1.0 };
        timing.samples_ms.iter_mut().enumerate().for_each(|(at, ms)| *ms *= factor(at));
        if with_yardstick {
            timing.yardstick_ms = (0..12).map(|at| 0.1 * factor(at)).collect();
        }
        record
    };
    let found = |factor: f64, with_yardstick| {
        let cells: Vec<_> = (0..200)
            .map(|cell: u64| {
                let before = disturbed(10 * cell + 1, 5.0, with_yardstick);
                (History::default(), before, disturbed(10 * cell + 2, 5.0 * factor, with_yardstick))
            })
            .collect();
        let finding = one(&cells[0]);
        (verdicts(&cells)[0], finding.figure)
    };
    assert_eq!(found(1.0, true), (0, "pass by the yardstick"));
    let (steady, plain) = (found(1.2, true).0, found(1.2, false));
    assert!(steady >= 180 && plain.0 < 40, "{steady} with a yardstick, {plain:?} without");
    assert_eq!(plain.1, "pass");
}

#[test]
fn times_of_a_coarse_clock_are_ties_and_are_judged() {
    let coarse = |number, ms| {
        let mut record = run(number, ms, USUAL, &FOUR);
        let timing = record.outcome.timing.as_mut().unwrap();
        timing.samples_ms.iter_mut().for_each(|sample| *sample = sample.ceil());
        record
    };
    let verdict = |ms| one(&(History::default(), coarse(1, 4.5), coarse(2, ms))).verdict;
    assert_eq!((verdict(4.5), verdict(8.5)), (Verdict::Same, Verdict::Worse));
}

#[test]
fn too_few_visits_tell_nothing_however_far_apart() {
    let three = run(1, 1.0, USUAL, &[9; 3]);
    let finding = one(&(History::default(), three, run(2, 9.0, USUAL, &FOUR)));
    assert_eq!((finding.verdict, finding.visits, finding.p), (Verdict::CannotTell, [3, 4], None));
    let (before, after) = (run(1, 1.0, USUAL, &[9; 3]), run(2, 9.0, USUAL, &FOUR));
    let pair = Pair { before: &before, after: &after, past: Vec::new() };
    let finding = judge(&[pair], Rule::of_visits(3)).remove(0).remove(0);
    assert_eq!(finding.verdict, Verdict::Worse, "unless three are asked for");
}

#[test]
fn visits_that_overlap_cannot_be_told_apart() {
    // Some of the visits of either side wait for a timer; which of them is chance.
    let waits = |number, waiting: usize| {
        let samples_ms = (0..12).map(|at| if at < 3 * waiting { 100.0 } else { 3.0 }).collect();
        timed(number, Timing { samples_ms, round_passes: FOUR.to_vec(), ..Timing::default() })
    };
    let finding = one(&(History::default(), waits(1, 1), waits(2, 3)));
    assert_eq!(finding.verdict, Verdict::CannotTell);
    assert!(finding.share() > 10.0 && finding.has_enough());
}

#[test]
fn a_wall_time_that_waits_for_the_browser_gives_way_to_the_gpu() {
    let waits = |number, gpu_ms: f64| {
        let samples_ms = vec![100.0 + 3.0 * number as f64; 12];
        let gpu_samples_ms: Vec<f64> = (0..12).map(|at| gpu_ms + 0.01 * f64::from(at)).collect();
        let (median_ms, gpu_median_ms) = (median(&samples_ms), Some(median(&gpu_samples_ms)));
        let round_passes = FOUR.to_vec();
        timed(
            number,
            Timing {
                samples_ms,
                gpu_samples_ms,
                median_ms,
                gpu_median_ms,
                round_passes,
                ..Timing::default()
            },
        )
    };
    let computes = |number, gpu_ms| {
        let mut record = waits(number, gpu_ms);
        let timing = record.outcome.timing.as_mut().unwrap();
        (timing.samples_ms, timing.median_ms) = (timing.gpu_samples_ms.clone(), gpu_ms);
        record
    };
    // It is enough that one side waits.
    for (before, after) in [
        (waits(1, 1.0), waits(20, 2.0)),
        (waits(1, 1.0), computes(20, 2.0)),
        (computes(1, 1.0), waits(20, 2.0)),
    ] {
        let pair = Pair { before: &before, after: &after, past: Vec::new() };
        let findings = judge(&[pair], Rule::default()).remove(0);
        let found: Vec<_> = findings.iter().map(|one| (one.figure, one.verdict)).collect();
        assert_eq!(found, [("pass on the GPU", Verdict::Worse)]);
    }
}

#[test]
fn what_a_cell_does_without_a_cause_is_no_change() {
    let noise = Noise { run: 0.15, visit: 0.02, pass: 0.01 };
    let [changed, _, same] = verdicts(&cells(200, 12, noise, &FOUR, 1.2));
    assert!(changed <= 80 && same >= 100, "{changed} changed, {same} same");
    let finding = one(&cells(1, 12, noise, &FOUR, 1.2)[0]);
    assert!(finding.needed > 0.2, "{}", finding.needed);
    // Runs that visited their cells once say nothing of runs that did so four times.
    let (_, before, after) = cells(1, 0, USUAL, &FOUR, 1.4).remove(0);
    let once = (0..12).map(|number| run(number, 9.0, noise, &[10]));
    assert_eq!(one(&(history(once), before, after)).needed, FLOOR);
}

#[test]
fn runs_of_one_visit_are_held_against_the_moves_of_ten() {
    let noise = Noise { run: 0.02, visit: 0.0, pass: 0.01 };
    let [changed, unknown, _] = verdicts(&cells(300, 8, noise, &[10], 1.3));
    assert_eq!((changed, unknown), (0, 300), "nine runs are no history");
    let [changed, ..] = verdicts(&cells(300, 12, noise, &[10], 1.3));
    assert!(changed >= 270, "{changed} of 300");
    let [changed, ..] = verdicts(&cells(300, 12, noise, &[10], 1.0));
    assert!(changed <= 3, "{changed} of 300");
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

#[test]
fn what_moved_by_just_what_is_needed_is_the_same() {
    let mut finding = one(&cells(1, 0, USUAL, &FOUR, 1.4)[0]);
    assert_eq!(verdict(&FIGURES[0], &finding, true), Verdict::Worse);
    (finding.after, finding.needed) = (finding.before, 0.0);
    assert_eq!(verdict(&FIGURES[0], &finding, true), Verdict::Same);
}

#[test]
fn times_that_are_held_against_each_other_are_those_that_are_judged() {
    let timing = Timing {
        samples_ms: vec![3.0, 4.0, 5.0],
        gpu_samples_ms: vec![2.0],
        decode_tps: Some(250.0),
        load_ms: 70.0,
        ..Timing::default()
    };
    let slower = Timing { samples_ms: vec![8.0], gpu_samples_ms: vec![6.0], ..timing.clone() };
    let (before, after) = (timed(1, timing.clone()), timed(2, slower.clone()));
    assert_eq!(times(&before, &after), [("pass", [4.0, 8.0]), ("decode", [0.004, 0.004])]);

    // A pass that is mostly a wait on either side is told by the GPU.
    let waits = Timing { median_ms: 104.0, gpu_median_ms: Some(2.0), ..timing.clone() };
    let on_the_gpu = times(&timed(1, waits), &after);
    assert_eq!(on_the_gpu, [("pass on the GPU", [2.0, 6.0]), ("decode", [0.004, 0.004])]);

    let steady = |timing: Timing| {
        let yardstick_ms = vec![2.0; timing.samples_ms.len()];
        timed(1, Timing { yardstick_ms, decode_yardstick_ms: vec![2.0], ..timing })
    };
    let by_the_yardstick = times(&steady(timing), &steady(slower));
    let wanted = [("pass by the yardstick", [2.0, 4.0]), ("decode by the yardstick", [2.0, 2.0])];
    assert_eq!(by_the_yardstick, wanted);
    assert_eq!(times(&timed(1, Timing::default()), &after), []);
}
