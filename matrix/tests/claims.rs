//! What is said about claims, and from what.

#[path = "../examples/sample/records.rs"]
#[allow(dead_code, reason = "each test file uses its part of the samples")]
mod records;

use matrix::view::{
    bench::BenchRun,
    claims::{ClaimRow, ClaimsPage, Judged},
};
use record::{
    Adapter, Answered, Backend, BenchReport, BenchRow, Bits, Browser, CallTime, Host, KvFormat,
    Memory, Record, Status, TimedBy,
};
use std::{fs, path::Path, sync::Arc};

/// A record that passed at so many bits, of one run on one machine with a GPU.
fn passed(bits: u8) -> Record {
    let of = |it: &Record| it.cell.case == "smollm2-135m" && it.cell.backend == Backend::Webgpu;
    let mut record = records::records().into_iter().find(of).expect("there is one");
    record.run_id = "one".to_owned();
    record.cell.precision.bits = Bits::Fixed(bits);
    record.outcome.status = Status::Pass;
    let mut environment = (*record.environment).clone();
    environment.adapter = Some(Adapter { software: Some(false), ..Adapter::default() });
    record.environment = Arc::new(environment);
    record
}

fn with_tokens(bits: u8, tps: f64) -> Record {
    let mut record = passed(bits);
    record.outcome.timing.as_mut().expect("it was timed").decode_tps = Some(tps);
    record
}

fn row(records: &[Record], benches: &[BenchRun], line: u32, asked: &str) -> ClaimRow {
    let page = ClaimsPage::of(records, benches);
    let is_it =
        |row: &&ClaimRow| row.quotes.iter().any(|(at, _)| *at == line) && row.asked.contains(asked);
    page.rows.iter().find(is_it).expect("there is such a claim").clone()
}

#[test]
fn without_records_nothing_is_said() {
    let page = ClaimsPage::of(&[], &[]);
    for row in &page.rows {
        assert!(matches!(row.judged, Judged::Open | Judged::NoClaim), "{:?}", row.quotes);
        assert!(row.found.is_empty() && !row.note.is_empty(), "{:?}", row.quotes);
    }
    let total: usize = page.counts.iter().map(|(_, count)| count).sum();
    assert_eq!(total, page.rows.iter().map(|row| row.quotes.len()).sum::<usize>());
    assert!(page.sentence.contains(" 0 are confirmed, 0 in part, and 0 refuted"));
}

#[test]
fn sizes_are_held_to_what_was_said() {
    let sized = |case: &str, bytes| {
        let mut record = passed(2);
        record.cell.case = case.to_owned();
        let memory = Memory { weights_fp16_bytes: 1000, weights_bytes: bytes, ..Memory::default() };
        record.outcome.memory = Some(memory);
        record
    };
    let judged = |records: &[Record]| row(records, &[], 9, "saved at 2 bits");
    assert_eq!(judged(&[sized("a", 125)]).judged, Judged::Confirmed);
    let refuted = judged(&[sized("a", 156)]);
    assert_eq!((refuted.judged, refuted.found.as_str()), (Judged::Refuted, "84.4%"));
    let part = judged(&[sized("a", 156), sized("b", 120)]);
    assert_eq!((part.judged, part.note.as_str()), (Judged::InPart, "1 of 2 are as good"));
    assert_eq!(part.evidence.iter().map(|it| it.is_met).collect::<Vec<_>>(), [false, true]);
    let mut failed = sized("a", 125);
    failed.outcome.status = Status::Fail;
    assert_eq!(judged(&[failed]).judged, Judged::Open);
}

#[test]
fn speeds_are_those_of_one_run_on_one_gpu() {
    let judged = |records: &[Record]| row(records, &[], 25, "speed at 4 bits");
    let (wide, few) = (with_tokens(16, 100.0), with_tokens(4, 165.0));
    let found = judged(&[wide.clone(), few.clone()]);
    assert_eq!((found.judged, found.found.as_str()), (Judged::Confirmed, "1.65 ×"));
    assert_eq!(found.evidence[0].repro, few.repro);
    let slow = judged(&[wide.clone(), with_tokens(4, 120.0)]);
    assert_eq!(slow.judged, Judged::Refuted);
    let mut later = few.clone();
    later.run_id = "two".to_owned();
    assert_eq!(judged(&[wide.clone(), later]).judged, Judged::Open, "of another run");
    let on_software = |mut record: Record| {
        let mut environment = (*record.environment).clone();
        environment.adapter = Some(Adapter { software: Some(true), ..Adapter::default() });
        record.environment = Arc::new(environment);
        record
    };
    assert_eq!(judged(&[on_software(wide), on_software(few)]).judged, Judged::Open);
}

#[test]
fn losses_are_right_answers_fewer() {
    let answered = |bits, right| {
        let mut record = passed(bits);
        record.outcome.answered =
            Some(Answered { samples: 100, answers: 100, right, interval: [0.0, 1.0] });
        record
    };
    let judged = |right| row(&[answered(32, 98), answered(2, right)], &[], 9, "fewer at 2 bits");
    assert_eq!(judged(94).judged, Judged::Confirmed);
    assert_eq!(judged(92).found, "6.00 points");
    assert_eq!(judged(92).judged, Judged::Refuted);
}

#[test]
fn contexts_are_bytes_of_caches() {
    let cached = |kv, bytes| {
        let mut record = passed(4);
        record.cell.precision.kv = kv;
        record.outcome.memory = Some(Memory { kv_bytes: bytes, ..Memory::default() });
        record
    };
    let records = [cached(KvFormat::F16, 128), cached(KvFormat::Q4, 36)];
    let found = row(&records, &[], 13, "tokens in the bytes");
    assert_eq!((found.judged, found.found.as_str()), (Judged::Refuted, "3.56 ×"));
}

#[test]
fn spectra_are_those_of_both_browsers_on_one_machine() {
    let bench = |name: &str, cpu: &str, call: &str, us| {
        let time = CallTime {
            by: TimedBy::Timestamps,
            median_us: us,
            quartiles_us: [us, us],
            samples_us: vec![us],
            calls: 1,
            wall_us: us,
        };
        let row = BenchRow {
            op: "log_mel".to_owned(),
            call: call.to_owned(),
            time: Some(time),
            ..BenchRow::default()
        };
        BenchRun {
            browser: None,
            name: name.to_owned(),
            backend: Backend::Webgpu,
            host: Host { cpu: cpu.to_owned(), ..Host::default() },
            report: BenchReport {
                adapter: Some(Adapter { software: Some(false), ..Adapter::default() }),
                rows: vec![row],
                ..BenchReport::default()
            },
        }
    };
    let chrome = bench("chrome", "a", "Whisper, workgroups of 128 × 2", 41.0);
    let firefox = |cpu| bench("firefox", cpu, "Whisper, workgroups of 256 × 1", 55.6);
    let found = row(&[], &[chrome.clone(), firefox("a")], 381, "spectrum");
    assert_eq!((found.judged, found.found.as_str()), (Judged::Refuted, "0.737 ×"));
    assert_eq!(row(&[], &[chrome, firefox("b")], 381, "spectrum").judged, Judged::Open);
}

#[test]
fn browsers_that_are_not_there_are_said_to_be_missing() {
    let found = row(&records::records(), &[], 15, "safari");
    assert_eq!(found.judged, Judged::Open);
    assert!(found.note.contains("macOS"), "{}", found.note);
    assert!(records::records().iter().all(|it| it.cell.browser != Browser::Safari));
}

#[test]
fn hostile_text_stays_text() {
    let mut record = with_tokens(4, 165.0);
    record.repro = "<script>alert(1)</script>".to_owned();
    let page = ClaimsPage::of(&[record, with_tokens(16, 100.0)], &[]).to_string();
    assert!(!page.contains("<script") && page.contains("alert(1)"));
}

/// Where the document is at hand, it has each quote in its line, and no number in its prose that is not held to
/// anything. It is no part of this repository.
#[test]
fn every_number_of_the_document_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/seed");
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let page = ClaimsPage::of(&[], &[]);
    let quotes: Vec<&(u32, String)> = page.rows.iter().flat_map(|row| &row.quotes).collect();
    assert!(quotes.len() >= 100);
    for text in texts.filter(|text| text.starts_with("# WebGPU Ultra-Low Precision")) {
        let lines: Vec<&str> = text.lines().collect();
        for (line, quote) in &quotes {
            assert!(lines[*line as usize - 1].contains(quote.as_str()), "line {line}: {quote}");
        }
        let mut is_code = false;
        for (line, text) in (1u32..).zip(lines) {
            is_code ^= text.trim_start().starts_with("```");
            if !is_code && has_number(text) {
                assert!(quotes.iter().any(|(at, _)| *at == line), "line {line}: {text}");
            }
        }
    }
}

/// Whether a digit is followed by what makes it a figure.
fn has_number(text: &str) -> bool {
    let units = ["%", "x ", "x1", "x)", " GB", " ms", "x|", " tokens"];
    let digits = text.char_indices().filter(|(_, character)| character.is_ascii_digit());
    digits.into_iter().any(|(at, _)| units.iter().any(|unit| text[at + 1..].starts_with(unit)))
}
