//! What the templates are given, as golden JSON.
//!
//! Where a change is meant, `INSTA_UPDATE=always cargo test -p matrix` accepts it.

#[path = "../examples/sample/records.rs"]
#[allow(dead_code, reason = "each test file uses its part of the samples")]
mod records;

use matrix::view::{Compatibility, Figures, Performance};
use record::{Backend, Bits, Browser, Record, Scheme};

/// Two cases on WebGPU, with a failure, an error, no session, an estimate and a repeated cell.
fn few() -> Vec<Record> {
    let mut records = records::records();
    records.retain(|record| {
        let cell = &record.cell;
        let is_spoilt = cell.browser == Browser::Firefox
            && matches!(cell.precision.bits, Bits::Fixed(8 | 3 | 2));
        ["minilm", "llama-gqa"].contains(&cell.case.as_str())
            && cell.backend == Backend::Webgpu
            && (is_spoilt || matches!(cell.precision.bits, Bits::Fixed(32 | 4)))
    });
    records
}

#[test]
fn compatibility() {
    insta::assert_json_snapshot!(Compatibility::of(&few()).unwrap());
}

#[test]
fn performance() {
    insta::assert_json_snapshot!(Performance::of(&few()).unwrap());
}

#[test]
fn every_status_is_counted_and_infra_apart() {
    let summary = Compatibility::of(&records::records()).unwrap().summary;
    let counts: Vec<_> = summary.counts.iter().map(|count| (count.status, count.cells)).collect();
    assert_eq!(
        counts,
        [
            ("pass", 88),
            ("flaky", 1),
            ("fail", 1),
            ("unsupported", 1),
            ("timeout", 1),
            ("crash", 1),
            ("error", 1),
            ("skip", 1),
        ]
    );
    assert_eq!((summary.judged, summary.infra.cells), (95, 1));
}

#[test]
fn precisions_are_named_in_full_only_where_bits_do_not_tell_them_apart() {
    let mut records = few();
    records.retain(|record| matches!(record.cell.precision.bits, Bits::Fixed(32 | 4)));
    records[1].cell.precision.scheme = Scheme::Asymmetric;
    let view = Compatibility::of(&records).unwrap();
    let chips = view.classes.iter().flat_map(|class| &class.rows).flat_map(|row| &row.boxes);
    let labels: std::collections::BTreeSet<_> =
        chips.flatten().map(|chip| chip.label.as_str()).collect();
    assert_eq!(Vec::from_iter(labels), ["32", "4 asymmetric", "4 symmetric"]);
}

#[test]
fn numbers_that_are_none_draw_nothing() {
    let mut records = few();
    for record in &mut records {
        if let Some(timing) = &mut record.outcome.timing {
            timing.median_ms = f64::NAN;
        }
        if let Some(correctness) = &mut record.outcome.correctness {
            (correctness.kl, correctness.cosine) = (Some(f64::NAN), Some(f64::INFINITY));
        }
    }
    let view = Performance::of(&records).unwrap();
    for case in &view.cases {
        assert!(case.chart.is_none());
        let rows = case.groups.iter().flat_map(|group| &group.rows);
        for row in rows {
            if let Figures::Measured(measured) = &row.figures {
                assert!(measured.bar.is_none());
                assert_eq!(measured.median_ms.text, "NaN");
            }
        }
    }
}
