use super::*;
use crate::sample;
use record::{Adapter, Correctness, Memory, Reference, Timing};
use std::{collections::BTreeSet, sync::Arc};

fn compared(before: &[Record], after: &[Record]) -> Comparison {
    compare(before, after, &History::default(), Rule::default())
}

/// A cell that was visited as often as it has samples.
fn timed(samples_ms: Vec<f64>) -> Record {
    let mut record = sample::record("r", Status::Pass);
    record.repro = "cargo harness run --rounds 3 --models 'my model'".into();
    let round_passes = vec![1; samples_ms.len()];
    record.outcome.timing = Some(Timing { samples_ms, round_passes, ..Timing::default() });
    record
}

#[test]
fn statuses_are_good_bad_or_neither() {
    for (was, is, expected) in [
        (Status::Pass, Status::Fail, Kind::Regressed),
        (Status::Flaky, Status::Unsupported, Kind::Regressed),
        (Status::Crash, Status::Pass, Kind::Improved),
        (Status::Pass, Status::Flaky, Kind::StatusChanged),
        (Status::Fail, Status::Timeout, Kind::StatusChanged),
        (Status::Pass, Status::Infra, Kind::StatusChanged),
    ] {
        let [old, new] = [was, is].map(|status| sample::record("r", status));
        let found = compared(&[old], &[new]);
        assert_eq!(found.changes[0].change, expected, "{was:?} {is:?}");
        assert_eq!(found.same(), 0);
    }
    let failed = [sample::record("r", Status::Fail)];
    assert!(compared(&failed, &failed).changes.is_empty());
}

#[test]
fn cells_of_one_side_are_listed_and_the_last_record_of_a_cell_counts() {
    let mut other = sample::record("r", Status::Pass);
    other.cell.case = "other".into();
    let [fail, pass] = [Status::Fail, Status::Pass].map(|status| sample::record("r", status));
    let of = |found: &Comparison, wanted: Kind| -> Vec<_> {
        let changes = found.changes.iter().filter(|change| change.change == wanted);
        changes.map(|change| (change.cell.case.clone(), change.detail.clone())).collect()
    };
    let found = compared(&[fail, pass.clone()], &[pass.clone(), other.clone()]);
    assert_eq!(of(&found, Kind::New), [("other".to_owned(), "pass".to_owned())]);
    assert_eq!((of(&found, Kind::Improved).len(), found.common), (0, 1));
    let found = compared(&[other, pass.clone()], &[pass]);
    assert_eq!(of(&found, Kind::Gone), [("other".to_owned(), "was pass".to_owned())]);
}

#[test]
fn too_few_visits_say_so_and_name_the_command_that_would_tell() {
    let found = compared(&[timed(vec![9.0, 10.0, 11.0])], &[timed(vec![19.0, 20.0, 21.0])]);
    let [change] = &found.changes[..] else { panic!("{found:?}") };
    assert_eq!(change.change, Kind::CannotTell);
    assert_eq!(change.detail, "pass 10.00 -> 20.00 ms (+100%, 3 and 3 visits)");
    let command = "cargo harness run --rounds 4 --models 'my model'";
    assert_eq!(change.to_tell.as_deref(), Some(command));
    assert_eq!(with_rounds("cargo harness run", 7), "cargo harness run --rounds 7");
}

/// The same loss against another's outputs is another figure.
#[test]
fn loss_is_not_held_against_loss_of_another_reference() {
    let lossy = |kl, by| {
        let mut record = sample::record("r", Status::Pass);
        record.outcome.timing = None;
        record.outcome.reference = by;
        record.outcome.correctness = Some(Correctness {
            kl: Some(kl),
            reference_rel_l2: Some(kl),
            kernel_rel_l2: Some(1e-6),
            ..Correctness::default()
        });
        record
    };
    let own = Some(Reference::EngineF32);
    let found = compared(&[lossy(0.1, None)], &[lossy(0.3, own)]);
    assert_eq!((found.same(), found.apart), (1, 1), "{found:?}");
    assert_eq!(found.differs["reference: transformers, f32 -> this engine, f32"], 1);
    // A record that does not say whose it is has it of transformers.
    for by in [None, Some(Reference::Transformers)] {
        let found = compared(&[lossy(0.1, None)], &[lossy(0.3, by)]);
        assert_eq!((found.changes[0].change, found.apart), (Kind::Regressed, 0));
    }
    // What is no loss is compared all the same.
    let mut wrong = lossy(0.3, own);
    wrong.outcome.correctness.as_mut().unwrap().kernel_rel_l2 = Some(5e-4);
    let found = compared(&[lossy(0.1, None)], &[wrong]);
    assert_eq!(found.changes[0].detail, "kernel error 1.000e-6 -> 5.000e-4");
}

/// Runs against another reference are no history of a loss.
#[test]
fn a_loss_moves_by_runs_of_its_own_reference() {
    let mut history = History::default();
    let run = |number: usize, kl, by| {
        let mut record = sample::record(&number.to_string(), Status::Pass);
        record.outcome.reference = Some(by);
        record.outcome.correctness = Some(Correctness {
            kl: Some(kl),
            reference_rel_l2: Some(0.5),
            ..Correctness::default()
        });
        record
    };
    for number in 0..12 {
        let (kl, by) = match number % 2 {
            0 => (0.1, Reference::Transformers),
            _ => (0.9, Reference::EngineF32),
        };
        history.add(&[run(number, kl, by)]);
    }
    let [before, after] =
        [(20, 0.1), (21, 0.2)].map(|(number, kl)| [run(number, kl, Reference::Transformers)]);
    let found = compare(&before, &after, &history, Rule::default());
    assert_eq!(found.changes[0].change, Kind::Regressed, "{found:?}");
}

#[test]
fn another_machine_is_not_compared_and_another_build_is_told() {
    let old = timed(vec![1.0; 10]);
    let mut new = timed(vec![9.0; 10]);
    let environment = Arc::make_mut(&mut new.environment);
    environment.engine.variant = "subgroups".into();
    let found = compared(std::slice::from_ref(&old), std::slice::from_ref(&new));
    assert_eq!(found.changes[0].change, Kind::Regressed);
    assert_eq!(found.changes[0].differs, ["kernel variant:  -> subgroups"]);
    assert_eq!(found.differs["kernel variant:  -> subgroups"], 1);
    let environment = Arc::make_mut(&mut new.environment);
    environment.adapter = Some(Adapter { description: "H200".into(), ..Default::default() });
    let found = compared(std::slice::from_ref(&old), std::slice::from_ref(&new));
    assert_eq!(found.changes[0].change, Kind::Incomparable);
    assert_eq!(found.changes[0].detail, "adapter: none -> H200");
    // A verdict is one on any machine.
    new.outcome.status = Status::Fail;
    assert_eq!(compared(&[old], &[new]).changes[0].change, Kind::Regressed);
}

#[test]
fn each_record_is_held_against_the_one_before_it() {
    let run = |number: usize, ms: f64| Record {
        run_id: number.to_string(),
        started_at: format!("2026-01-{number:02}T00:00:00Z"),
        ..timed((0..10).map(|pass| ms + 0.01 * f64::from(pass)).collect())
    };
    let times = [10.0, 10.1, 10.0, 10.1, 10.0, 13.0, 13.1, 10.0];
    let mut records: Vec<_> = (1..).zip(times).map(|(number, ms)| run(number, ms)).collect();
    records.reverse();
    let changed = since_before(&records, Rule::default());
    let verdicts: Vec<_> =
        changed.iter().map(|found| found.first().map(|one| one.verdict)).collect();
    let (worse, better) = (Some(Verdict::Worse), Some(Verdict::Better));
    assert_eq!(verdicts, [better, None, worse, None, None, None, None, None]);
}

#[test]
fn of_a_run_of_several_machines_like_is_compared_with_like() {
    let on = |cpu: &str, ms: f64| {
        let mut record = timed(vec![ms; 10]);
        Arc::make_mut(&mut record.environment).host.cpu = cpu.into();
        record
    };
    let found = compared(&[on("a", 1.0), on("b", 5.0)], &[on("b", 5.0), on("a", 1.0)]);
    assert_eq!((found.common, found.changes.len(), found.same()), (2, 0, 2));
}

#[test]
fn cells_that_show_no_change_of_a_fifth_are_counted() {
    let [old, new] = [timed(vec![10.0; 4]), timed(vec![12.0; 4])];
    let pair = Pair { before: &old, after: &new, past: Vec::new() };
    let mut compared = Comparison::default();
    for (needed, noisy) in [(0.2, 0), (0.21, 1), (0.1, 1), (0.5, 2)] {
        let mut findings = judge(std::slice::from_ref(&pair), Rule::default()).remove(0);
        findings.iter_mut().for_each(|finding| finding.needed = needed);
        compared.add(&pair, findings, Rule::default());
        assert_eq!(compared.noisy, noisy, "{needed}");
    }
}

#[test]
fn what_a_run_has_once_is_counted_as_not_judged_and_decides_nothing() {
    let once = |case: &str, ms: f64| {
        let mut record = timed(vec![ms]);
        record.cell.case = case.into();
        let timing = record.outcome.timing.as_mut().unwrap();
        (timing.load_ms, timing.decode_tps) = (10.0 * ms, Some(ms));
        record
    };
    let [before, after] = [3.0, 4.5].map(|ms| ["a", "b"].map(|case| once(case, ms)));
    let found = compared(&before, &after);
    assert_eq!(found.unjudged, BTreeMap::from([("decode", 2), ("load", 2)]));
    let [change, _] = &found.changes[..] else { panic!("{found:?}") };
    assert_eq!((change.change, change.figures.len()), (Kind::CannotTell, 1));
    assert_eq!(change.detail, "pass 3.00 -> 4.50 ms (+50%, one visit each)");
    // One visit on one side is not one on each.
    let found = compared(&[timed(vec![3.0])], &[timed(vec![3.0; 2])]);
    assert_eq!(found.changes[0].detail, "pass 3.00 -> 3.00 ms (+0%, 1 and 2 visits)");
    let found = compared(&[timed(vec![3.0; 2])], &[timed(vec![3.0])]);
    assert_eq!(found.changes[0].detail, "pass 3.00 -> 3.00 ms (+0%, 2 and 1 visits)");
    // What is judged is not among them.
    let enough = [timed(vec![1.0; 4])];
    assert!(compared(&enough, &enough).unjudged.is_empty());
}

/// The means are 2.2 standard errors apart: more than is needed, and not believed.
#[test]
fn enough_visits_that_overlap_ask_for_twice_as_many() {
    let four = |apart: f64| {
        timed([-1.0, -0.5, 0.5, 1.0].map(|at: f64| 10.0 * (0.219 * at + apart).exp()).to_vec())
    };
    let found = compared(&[four(0.0)], &[four(0.311)]);
    let [change] = &found.changes[..] else { panic!("{found:?}") };
    assert_eq!(change.change, Kind::CannotTell);
    assert!(change.detail.ends_with("(+36%, 4 and 4 visits overlap)"), "{}", change.detail);
    let command = "cargo harness run --rounds 8 --models 'my model'";
    assert_eq!(change.to_tell.as_deref(), Some(command));
}

#[test]
fn a_command_is_given_rounds_wherever_it_has_them() {
    assert_eq!(with_rounds("harness run --rounds", 7), "harness run --rounds --rounds 7");
    assert_eq!(with_rounds("harness run --rounds 2", 7), "harness run --rounds 7");
    assert_eq!(with_rounds("it's no command", 7), "it's no command");
}

#[test]
fn bytes_are_told_as_they_are() {
    let sized = |weights_bytes| {
        let mut record = sample::record("r", Status::Pass);
        record.outcome.timing = None;
        record.outcome.memory = Some(Memory { weights_bytes, ..Memory::default() });
        record
    };
    let found = compared(&[sized(1000)], &[sized(1250)]);
    assert_eq!(found.changes[0].detail, "weights 1000 -> 1250 bytes (+25.0%)");
    // A change of a time names what it had to go beyond.
    let found = compared(&[timed(vec![10.0; 4])], &[timed(vec![13.0; 4])]);
    assert_eq!(found.changes[0].detail, "pass 10.00 -> 13.00 ms (+30%, more than 10%)");
}

/// Runs of one visit are held against the moves of those before them, and of these alone.
#[test]
fn a_record_is_held_against_the_runs_before_it() {
    let run = |number: usize| {
        let ms = if number == 14 { 13.0 } else { 10.0 + 0.1 * (number % 3) as f64 };
        Record { run_id: number.to_string(), ..timed(vec![ms]) }
    };
    let records: Vec<_> = (1..=15).rev().map(run).collect();
    let found = since_before(&records, Rule::default());
    let verdicts: Vec<_> = found.iter().map(|found| found.first().map(|one| one.verdict)).collect();
    let (worse, better) = (Some(Verdict::Worse), Some(Verdict::Better));
    assert_eq!(verdicts[..3], [better, worse, None]);
    assert!(verdicts[3..].iter().all(Option::is_none));
}

/// The record before another is of the same cell and machine, and of another run.
#[test]
fn a_record_is_held_against_its_own_kind() {
    let record = |run: &str, case: &str, cpu: &str, ms: f64| {
        let mut record = timed(vec![ms; 4]);
        (record.run_id, record.cell.case) = (run.into(), case.into());
        Arc::make_mut(&mut record.environment).host.cpu = cpu.into();
        record
    };
    let records = [
        record("3", "a", "one", 20.0),
        record("3", "b", "one", 20.0),
        record("3", "a", "two", 20.0),
        record("2", "b", "one", 20.0),
        record("2", "a", "two", 20.0),
        record("1", "a", "one", 10.0),
    ];
    let found = since_before(&records, Rule::default());
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0, 0, 0]);
    assert_eq!((found[0][0].before, found[0][0].after), (10.0, 20.0));
}

#[test]
fn each_kind_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = Kind::ALL.map(Kind::name).into();
    assert_eq!(names.len(), Kind::ALL.len());
}
