use super::*;
use crate::{
    cli::{Cli, Command},
    sample::{cell, record},
};
use clap::Parser;
use record::{Answered, Correctness, Memory, Record, Reference, Status};

const BUDGETS: Budgets = Budgets { max_loss: 5.0, max_slowdown: 10.0, max_growth: 1.0 };

/// A run of cells whose times differ by some per cent from those of other runs, as they do.
fn run_of(id: &str, seed: u64) -> Vec<Record> {
    let noise = engine::testing::uniform(seed, 12);
    let of = |(at, noise): (usize, f32)| {
        let mut record = record(id, Status::Pass);
        record.cell = cell(&format!("case-{at}"));
        let outcome = &mut record.outcome;
        let ms = (1.0 + at as f64) * (1.0 + 0.08 * (f64::from(noise) - 0.5));
        let timing = outcome.timing.as_mut().unwrap();
        (timing.samples_ms, timing.median_ms) = (vec![ms], ms);
        outcome.reference = Some(Reference::Transformers);
        let kl = Some(0.1 + at as f64);
        outcome.correctness = Some(Correctness { kl, ..Correctness::default() });
        outcome.answered =
            Some(Answered { samples: 100, answers: 100, right: 80, interval: [0.0, 1.0] });
        let (weights_bytes, kv_bytes) = (100_000, 5_000);
        outcome.memory = Some(Memory { weights_bytes, kv_bytes, ..Memory::default() });
        record
    };
    noise.into_iter().enumerate().map(of).collect()
}

/// The gates that break beside an equal run in which something was changed.
fn broken(seed: u64, change: impl Fn(&mut Record)) -> Vec<String> {
    let before = run_of("a", 2 * seed);
    let mut after = run_of("b", 2 * seed + 1);
    after.iter_mut().for_each(change);
    let gates = judge(&before, &after, BUDGETS).gates;
    let broken = gates.iter().filter(|gate| gate.state == State::Broken);
    broken.map(|gate| gate.name.clone()).collect()
}

#[test]
fn equal_runs_break_nothing() {
    for seed in 0..10 {
        assert_eq!(broken(seed, |_| {}), [""; 0]);
    }
}

#[test]
fn each_change_breaks_its_own_gate_and_no_other() {
    for seed in 0..10 {
        let lossy = |it: &mut Record| {
            let found = it.outcome.correctness.as_mut().unwrap();
            found.kl = found.kl.map(|kl| 1.1 * kl);
        };
        assert_eq!(broken(seed, lossy), ["loss"]);
        let slow = |it: &mut Record| {
            it.outcome.timing.as_mut().unwrap().samples_ms.iter_mut().for_each(|ms| *ms *= 1.15);
        };
        assert_eq!(broken(seed, slow), ["speed chrome wasm"]);
        let large = |it: &mut Record| it.outcome.memory.as_mut().unwrap().weights_bytes = 103_000;
        assert_eq!(broken(seed, large), ["sizes"]);
        let wrong = |it: &mut Record| it.outcome.answered.as_mut().unwrap().right = 78;
        assert_eq!(broken(seed, wrong), ["loss"]);
        let one_more = |it: &mut Record| it.outcome.answered.as_mut().unwrap().right = 79;
        assert_eq!(broken(seed, one_more), [""; 0]);
    }
}

#[test]
fn one_cell_that_fails_breaks_the_gate_of_verdicts() {
    let fails = |it: &mut Record| {
        if it.cell.case == "case-3" {
            it.outcome.status = Status::Fail;
        }
    };
    assert_eq!(broken(1, fails), ["verdicts"]);
    let no_session = |it: &mut Record| it.outcome.status = Status::Infra;
    assert_eq!(broken(1, no_session), [""; 0]);
}

#[test]
fn what_cannot_be_compared_is_not() {
    let before = run_of("a", 1);
    let mut after = run_of("b", 2);
    for record in &mut after {
        record.outcome.timing.as_mut().unwrap().samples_ms[0] *= 3.0;
        std::sync::Arc::make_mut(&mut record.environment).host.cpu = "another one".into();
    }
    let judged = judge(&before, &after, BUDGETS);
    let names: Vec<&str> = judged.gates.iter().map(|gate| gate.name.as_str()).collect();
    assert_eq!(names, ["verdicts", "loss", "sizes"], "times of two machines");
    let one = judge(&before[..1], &run_of("b", 2)[..1], BUDGETS);
    assert_eq!(one.gates[3].state, State::CannotTell);
    let apart = judge(&before[..2], &run_of("b", 2)[1..], BUDGETS);
    assert_eq!((apart.common, apart.apart), (1, 11));
}

/// A loss of nothing but rounding has nothing that could grow by a tenth.
#[test]
fn rounding_is_no_loss() {
    let tiny = |kl| {
        let mut run = run_of("a", 1);
        for record in &mut run {
            record.outcome.correctness.as_mut().unwrap().kl = Some(kl);
        }
        run
    };
    let state = |was, is| judge(&tiny(was), &tiny(is), BUDGETS).gates[1].state;
    assert_eq!(state(1e-7, 9e-6), State::Held);
    assert_eq!(state(1e-7, 2e-4), State::Broken);
}

#[test]
fn what_broke_is_told_to_people_and_to_programs() {
    let mut after = run_of("b", 2);
    after[0].outcome.status = Status::Crash;
    after[0].cell.case = "case-0".into();
    let gates = judge(&run_of("a", 1), &after, BUDGETS).gates;
    let text = lines(&gates[0]);
    assert!(text.starts_with("broken       verdicts: 1 of 12 cells"), "{text}");
    assert!(text.contains("case-0 4-bit wasm chrome: pass -> crash"), "{text}");
    let xml = junit(&gates).unwrap();
    assert!(xml.contains("<testcase name=\"verdicts\">") && xml.contains("case-0"), "{xml}");
    assert_eq!(xml.matches("<failure").count(), 1);
    let table = summary(&gates, "a|b");
    assert!(table.contains("✕ **broken**") && table.contains("Gates beside `a b`"), "{table}");
}

#[test]
fn budgets_are_per_cents() {
    let budgets = |words: &[&str]| {
        let words = [&["harness", "gate", "--baseline", "a"], words].concat();
        match Cli::try_parse_from(words)?.command {
            Command::Gate(args) => Ok(args.budgets),
            _ => unreachable!(),
        }
    };
    assert_eq!(
        budgets(&["--max-loss", "2.5%"]).map(|it| it.max_loss).map_err(|_: clap::Error| ()),
        Ok(2.5)
    );
    for wrong in ["-1", "much", "inf"] {
        assert!(budgets(&[&format!("--max-loss={wrong}")]).is_err(), "{wrong}");
    }
}
