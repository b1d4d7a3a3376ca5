//! Records for tests. Nobody measured them.

use record::*;
use std::sync::Arc;

/// A cell at 4 bits in Chrome on WASM.
pub fn cell(case: &str) -> Cell {
    Cell {
        class: Class::Bert,
        case: case.into(),
        precision: Precision::of(Bits::Fixed(4)),
        backend: Backend::Wasm,
        browser: Browser::Chrome,
        axes: Axes::default(),
    }
}

/// A record of `bert-tiny` that ended so, with a time and little else.
pub fn record(run_id: &str, status: Status) -> Record {
    Record {
        schema_version: SCHEMA_VERSION,
        run_id: run_id.into(),
        started_at: "2026-01-02T03:04:05Z".into(),
        cell: cell("bert-tiny"),
        environment: Arc::new(Environment {
            browser: BrowserInfo {
                name: "chrome".into(),
                version: "156.0.7000.1".into(),
                ..Default::default()
            },
            host: Host { os: "Debian GNU/Linux 12".into(), ..Default::default() },
            ..Default::default()
        }),
        outcome: Outcome {
            status,
            timing: Some(Timing {
                samples_ms: vec![1.5],
                median_ms: 1.5,
                ci95_ms: Some([1.25, 1.75]),
                ..Default::default()
            }),
            ..Default::default()
        },
        attempts: 1,
        rounds: 1,
        earlier: Vec::new(),
        duration_ms: 12.25,
        expectation: None,
        shard: None,
        synthetic_weights: false,
        untrained: false,
        repro: "cargo harness run".into(),
    }
}

/// Text as nobody honest would write it into a page, a model or a driver's answer.
pub const HOSTILE: &str =
    "=cmd|' /C calc'!A0 ]]> <script>alert(1)</script> `x` | [a](b) \u{0}\u{1b}[31m\r\n& \u{ffff}";

/// A failure that tells [`HOSTILE`] wherever a record takes text.
pub fn hostile() -> Record {
    let text = || HOSTILE.to_owned();
    let mut record = record("hostile", Status::Fail);
    record.cell.case = text();
    Arc::make_mut(&mut record.environment).browser.version = text();
    Arc::make_mut(&mut record.environment).host.os = text();
    Arc::make_mut(&mut record.environment).engine.commit = text();
    Arc::make_mut(&mut record.environment).adapter =
        Some(Adapter { description: text(), ..Default::default() });
    record.outcome.reason = Some(text());
    record.outcome.stage = Some(text());
    record.outcome.message = Some(text());
    record.expectation = Some(Expectation {
        verdict: Verdict::Unexpected,
        status: vec![Status::Timeout],
        reason: text(),
        link: Some(text()),
    });
    record.earlier =
        vec![Attempt { status: Status::Crash, reason: Some(text()), duration_ms: 1.0 }];
    record.repro = text();
    record
}
