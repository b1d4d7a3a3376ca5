//! How few bits each class can do with: what is said, and what is not.

#[path = "../examples/sample/records.rs"]
#[allow(dead_code, reason = "each test file uses its part of the samples")]
mod records;

use matrix::view::{
    Compatibility,
    grade::{Grade, grade},
    ladder::{Ladder, LadderRow},
};
use record::{Answered, Bits, Class, Correctness, Record, Status};

fn records_of(case: &str) -> Vec<Record> {
    let mut records = records::records();
    records.retain(|record| record.cell.case == case);
    for record in &mut records {
        record.outcome.status = Status::Pass;
    }
    records
}

fn ladder(records: &[Record]) -> Ladder {
    Compatibility::of(records).unwrap().ladder.expect("there are widths")
}

fn answered(right: usize) -> Option<Answered> {
    Some(Answered { samples: 100, answers: 100, right, interval: [0.0, 1.0] })
}

/// Bits, verdict and grade of each rung in the first column.
fn rungs(row: &LadderRow) -> Vec<(&str, &str, &str)> {
    row.boxes[0].rungs.iter().map(|it| (it.label.as_str(), it.status, it.grade)).collect()
}

#[test]
fn the_smallest_width_that_is_right_and_holds_is_the_best() {
    let mut records = records_of("smollm2-135m");
    let found = ladder(&records);
    let row = &found.rows[0];
    assert_eq!(row.graded_by, ["smollm2-135m"]);
    assert_eq!(
        rungs(row),
        [
            ("32", "pass", "holds"),
            ("16", "pass", "holds"),
            ("8", "pass", "holds"),
            ("4", "pass", "holds"),
            ("3", "pass", "drifts"),
            ("2", "pass", "lost"),
        ]
    );
    let best = row.boxes[0].best.as_ref().unwrap();
    assert_eq!(best.precision, "4-bit symmetric");
    assert!(best.time.ends_with(" ms") && best.of_fp16.ends_with("× fp16"), "{best:?}");
    assert!(
        found
            .sentence
            .contains("8 bits hold for 1, 4 bits for 1, 3 bits for none, 2 bits for none")
    );

    // A width whose kernels are wrong does not hold, whatever it has lost.
    let four = |record: &&mut Record| record.cell.precision.bits == Bits::Fixed(4);
    records.iter_mut().filter(four).for_each(|record| record.outcome.status = Status::Fail);
    let found = ladder(&records);
    assert_eq!(found.rows[0].boxes[0].best.as_ref().unwrap().precision, "8-bit symmetric");
    assert!(found.sentence.contains("4 bits for none"), "{}", found.sentence);
}

#[test]
fn one_browser_in_which_a_width_does_not_hold_speaks_against_it() {
    let mut records = records_of("smollm2-135m");
    let at = records.iter().rposition(|record| record.cell.precision.bits == Bits::Fixed(4));
    records[at.unwrap()].outcome.correctness =
        Some(Correctness { kl: Some(2.0), ..Correctness::default() });
    let found = ladder(&records);
    assert!(found.sentence.contains("8 bits hold for 1, 4 bits for none"), "{}", found.sentence);
    assert_eq!(found.rows[0].boxes[0].best.as_ref().unwrap().precision, "4-bit symmetric");
}

#[test]
fn the_worst_case_of_a_class_counts() {
    let mut records = records::records();
    records.retain(|record| record.cell.class == Class::Llama);
    for record in &mut records {
        record.outcome.status = Status::Pass;
        if record.cell.case == "llama-gqa" && record.cell.precision.bits == Bits::Fixed(8) {
            record.outcome.correctness =
                Some(Correctness { kl: Some(0.2), ..Correctness::default() });
        }
    }
    assert_eq!(rungs(&ladder(&records).rows[0])[2], ("8", "pass", "drifts"));
    // An untrained case has no say in it, but for its verdict.
    for record in records.iter_mut().filter(|record| record.cell.case == "llama-gqa") {
        record.untrained = true;
        record.outcome.status = Status::Fail;
    }
    let found = ladder(&records);
    assert_eq!(found.rows[0].graded_by, ["smollm2-135m"]);
    assert_eq!(rungs(&found.rows[0])[2], ("8", "fail", "holds"));
    assert!(found.rows[0].boxes[0].best.is_none());
}

#[test]
fn models_that_have_learnt_nothing_get_no_recommendation() {
    let mut records = records_of("llama-gqa");
    records.iter_mut().for_each(|record| record.untrained = true);
    let found = ladder(&records);
    assert!(found.rows[0].graded_by.is_empty() && found.rows[0].boxes[0].best.is_none());
    assert!(found.sentence.contains("None of these models has learnt anything"));
    assert!(found.rows[0].boxes[0].rungs[0].tip.contains("not model quality"));
    let page = matrix::compatibility(&records).unwrap().to_string();
    assert!(page.contains("kernels tested, not model quality"));
}

#[test]
fn the_measure_that_tells_most_decides() {
    let grade_of = |change: &dyn Fn(&mut Record), widest| {
        let mut record = records_of("smollm2-135m").remove(0);
        record.outcome.correctness = None;
        change(&mut record);
        grade(&record, widest).map(|graded| graded.grade)
    };
    let far = Correctness { kl: Some(9.0), ..Correctness::default() };
    for (right, grade) in
        [(99, Grade::Holds), (98, Grade::Holds), (95, Grade::Drifts), (90, Grade::Lost)]
    {
        let change = |record: &mut Record| {
            record.outcome.answered = answered(right);
            record.outcome.correctness = Some(far);
        };
        assert_eq!(grade_of(&change, Some(0.99)), Some(grade), "{right}");
    }
    for (found, grade) in [
        (far, Grade::Lost),
        (Correctness { kl: Some(0.04), cosine: Some(0.1), ..far }, Grade::Holds),
        (Correctness { kl: None, cosine: Some(0.96), ..far }, Grade::Drifts),
        (Correctness { kl: None, top1_agreement: Some(0.5), ..far }, Grade::Lost),
        (Correctness { kl: Some(f64::NAN), ..far }, Grade::Lost),
    ] {
        let change = |record: &mut Record| record.outcome.correctness = Some(found);
        assert_eq!(grade_of(&change, None), Some(grade));
    }
    let near = Some(Correctness { kl: Some(0.0), ..Correctness::default() });
    for spoil in [
        |record: &mut Record| record.untrained = true,
        |record: &mut Record| record.synthetic_weights = true,
        |record: &mut Record| record.outcome.synthetic_inputs = true,
        |record: &mut Record| record.outcome.status = Status::Crash,
        |record: &mut Record| record.outcome.correctness = None,
    ] {
        let change = |record: &mut Record| {
            record.outcome.correctness = near;
            spoil(record);
        };
        assert_eq!(grade_of(&change, None), None);
    }
}

/// Right answers are held to those at the widest width of the same case in the same column.
#[test]
fn answers_are_held_to_the_widest_width() {
    let mut records = records_of("smollm2-135m");
    for record in &mut records {
        record.outcome.answered = match record.cell.precision.bits {
            Bits::Fixed(32) => answered(80),
            Bits::Fixed(3) => answered(78),
            Bits::Fixed(2) => answered(20),
            _ => answered(80),
        };
    }
    let found = ladder(&records);
    assert_eq!(
        rungs(&found.rows[0]).iter().map(|(.., grade)| *grade).collect::<Vec<_>>(),
        ["holds", "holds", "holds", "holds", "drifts", "lost"]
    );
    assert!(found.rows[0].boxes[0].rungs[5].tip.contains("20.0% of 100 answers right"));
    // Without a wide one, the divergence is what is left to tell by.
    records.retain(|record| matches!(record.cell.precision.bits, Bits::Fixed(3 | 2)));
    let found = ladder(&records);
    assert!(found.rows[0].boxes[0].rungs[1].tip.contains("divergence"));
}
