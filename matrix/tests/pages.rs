//! What the pages hold, and what nothing can put into them.

#[path = "../examples/sample/records.rs"]
#[allow(dead_code, reason = "each test file uses its part of the samples")]
mod records;

use matrix::view::{bench::BenchRun, device::Device};
use record::{Backend, BenchReport, Expectation, Host, Record, Status, Verdict};
use serde_json::Value;
use std::time::Instant;

type Render = fn(&[Record]) -> Result<String, matrix::Error>;
const REPORTS: [Render; 2] = [
    |records| matrix::compatibility(records).map(|page| page.to_string()),
    |records| matrix::performance(records).map(|page| page.to_string()),
];

/// The markup without the records, which stand in a page as JSON.
fn markup(html: &str) -> &str {
    html.split("<script type=\"application/json\"").next().expect("a split has a first part")
}

/// The JSON lines of the script with this id.
fn lines<'a>(html: &'a str, id: &str) -> Vec<&'a str> {
    let open = format!("<script type=\"application/json\" id=\"{id}\">");
    let rest = html.split_once(&open).expect("the script is there").1;
    rest.split_once("</script>").expect("the script ends").0.trim().lines().collect()
}

/// Puts `text` into every string of a record that is not a name from a list.
fn fill(value: &mut Value, text: &str) {
    const NAMES: [&str; 8] =
        ["class", "bits", "scheme", "backend", "browser", "status", "source", "verdict"];
    match value {
        Value::String(string) => *string = text.to_owned(),
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, text)),
        Value::Object(fields) => {
            if let Some(limits) = fields.get_mut("limits").and_then(Value::as_object_mut) {
                *limits = std::iter::once((text.to_owned(), 1.into())).collect();
            }
            if let Some(wasm) = fields.get_mut("wasm").and_then(Value::as_object_mut) {
                *wasm = std::iter::once((text.to_owned(), true.into())).collect();
            }
            for (name, value) in fields {
                if !NAMES.contains(&name.as_str()) || value.is_object() {
                    fill(value, text);
                }
            }
        }
        _ => {}
    }
}

fn known(verdict: Verdict) -> Expectation {
    Expectation { verdict, status: vec![Status::Fail], reason: "sums".into(), link: None }
}

fn filled(text: &str) -> Vec<Record> {
    let records = records::records().into_iter().map(|mut record| {
        record.expectation = Some(known(Verdict::Unexpected));
        let mut value = serde_json::to_value(record).unwrap();
        fill(&mut value, text);
        serde_json::from_value(value).unwrap()
    });
    records.collect()
}

#[test]
fn hostile_strings_add_no_tag_and_no_attribute() {
    let count = |html: &str| ['<', '>', '"', '\''].map(|mark| html.matches(mark).count());
    for render in REPORTS {
        let harmless = render(&filled("harmless")).unwrap();
        for text in [
            "<script>alert(1)</script>",
            "\" onmouseover=\"alert(1)",
            "' onmouseover='alert(1)",
            "</script><!--<script>\u{2028}\u{2029}]]>",
            "{{ x }}{% raw %}&lt;",
        ] {
            let html = render(&filled(text)).unwrap();
            assert_eq!(count(markup(&html)), count(markup(&harmless)), "{text}");
            for id in ["records", "environments"] {
                let unsafe_in_html = ['<', '>', '&', '\u{2028}', '\u{2029}'];
                assert!(lines(&html, id).iter().all(|line| !line.contains(unsafe_in_html)));
            }
            assert_eq!(html.matches("<script").count(), harmless.matches("<script").count());
        }
    }
}

#[test]
fn every_record_can_be_read_back_from_the_page() {
    let records = records::records();
    for render in REPORTS {
        let html = render(&records).unwrap();
        let environments = lines(&html, "environments");
        assert!(environments.len() < 10, "environments repeat: {}", environments.len());
        // Compared as text: a number must keep every digit it had in the store.
        for (line, record) in lines(&html, "records").into_iter().zip(&records) {
            let value: Value = serde_json::from_str(line).unwrap();
            let number = value["environment"].as_u64().unwrap() as usize;
            let reference = format!("\"environment\":{number}");
            let whole = format!("\"environment\":{}", environments[number]);
            let line = line.replacen(&reference, &whole, 1);
            assert_eq!(line, serde_json::to_string(record).unwrap());
        }
        assert_eq!(lines(&html, "records").len(), records.len());
    }
}

#[test]
fn pages_refer_to_nothing_outside() {
    for render in REPORTS {
        let html = render(&records::records()).unwrap();
        for reference in
            ["http:", "https:", "\"//", " src=", "@import", "url(", "<link", "<img", "<iframe"]
        {
            assert!(!html.contains(reference), "{reference}");
        }
        assert!(html.contains("default-src 'none'"));
        let targets = html.split(" href=\"").skip(1);
        assert!(
            targets.clone().count() > 0 && targets.clone().all(|target| target.starts_with('#'))
        );
    }
}

#[test]
fn what_the_devices_can_do_is_shown_where_it_is_known() {
    let records = records::records();
    let html = |devices| matrix::performance(&records).unwrap().on(devices).to_string();
    assert!(!html(Vec::new()).contains("What this device can do"));
    let report: BenchReport = serde_json::from_str(
        r#"{"adapter": {"vendor": "<b>", "software": true}, "ceilings": [
            {"kind": "read", "value": 2345.6}, {"kind": "f16", "skipped": "no \"f16\""}]}"#,
    )
    .unwrap();
    let (name, host) = ("chrome".to_owned(), Host::default());
    let run = BenchRun { browser: None, name, backend: Backend::Webgpu, host, report };
    let html = html(vec![Device::of(&run, "2026-01-02T03:04:05Z")]);
    assert!(html.contains("What this device can do") && html.contains("<td>2346</td>"));
    assert!(html.contains(", measured 2026-01-02"));
    assert!(!html.contains("<b>,") && html.contains("software adapter</span>"));
    assert!(html.contains("skipped: no ") && !html.contains("no \"f16\""));
}

#[test]
fn software_adapters_and_estimates_say_so() {
    let records = records::records();
    assert!(matrix::compatibility(&records).unwrap().to_string().contains(">software</span>"));
    let html = matrix::performance(&records).unwrap().to_string();
    // Two WebGPU columns in each of the four cases.
    assert_eq!(html.matches("software adapter: not representative of a GPU</span>").count(), 8);
    assert!(html.contains("12.4 <em>estimated</em>"));
}

#[test]
fn what_a_file_of_known_failures_says_is_shown() {
    let mut records = records::records();
    let verdicts = [Verdict::Expected, Verdict::Expected, Verdict::NewlyPassing];
    for (record, verdict) in records.iter_mut().zip(verdicts) {
        record.expectation = Some(known(verdict));
    }
    let html = matrix::compatibility(&records).unwrap().to_string();
    assert!(html.contains("; 2 known failures, 1 newly passing</small>"));
    assert!(html.contains("newly passing; was a known failure: sums"));
}

#[test]
fn synthetic_weights_are_named_beside_every_figure() {
    let mut records = records::records();
    for render in REPORTS {
        assert!(!render(&records).unwrap().contains(">synthetic weights</span>"));
    }
    for record in records.iter_mut().filter(|record| record.cell.case == "minilm") {
        record.synthetic_weights = true;
    }
    let label = |html: String| html.matches(">synthetic weights</span>").count();
    // The row of the matrix; the heading and both tables of the report.
    assert_eq!(label(matrix::compatibility(&records).unwrap().to_string()), 1);
    assert_eq!(label(matrix::performance(&records).unwrap().to_string()), 3);
    // Each of the 24 chips, and in the report those of both tables.
    let tips = |html: String| html.matches("\nsynthetic weights").count();
    assert_eq!(tips(matrix::compatibility(&records).unwrap().to_string()), 24);
    assert_eq!(tips(matrix::performance(&records).unwrap().to_string()), 48);
}

/// Loss against this engine's own reference is never shown as if transformers had computed that; and
/// what has other axes is another row.
#[test]
fn own_references_synthetic_inputs_and_axes_are_named() {
    let mut records = records::records();
    let rows = |records: &[_]| {
        matrix::compatibility(records).unwrap().to_string().matches("<tr data-case").count()
    };
    let before = rows(&records);
    for record in records.iter_mut().filter(|record| record.cell.case == "minilm") {
        record.outcome.reference = Some(record::Reference::EngineF32);
        record.outcome.synthetic_inputs = true;
    }
    for (render, count) in REPORTS.into_iter().zip([1, 2]) {
        let html = render(&records).unwrap();
        for note in [">reference: this engine, f32</span>", ">synthetic inputs</span>"] {
            assert_eq!(html.matches(note).count(), count, "{note}");
        }
    }
    // A row whose cells have it of two names both, and each chip says whose it is.
    let first = records.iter_mut().find(|record| record.cell.case == "minilm").unwrap();
    first.outcome.reference = None;
    let html = matrix::compatibility(&records).unwrap().to_string();
    assert!(html.contains(">references: transformers, f32; this engine, f32</span>"));
    assert_eq!(html.matches("\nreference: this engine, f32").count(), 21);

    let mut wide = records.iter().find(|record| record.cell.case == "minilm").unwrap().clone();
    wide.cell.axes.insert(record::Axis::Batch, "4".to_owned());
    let mut wider = wide.clone();
    wider.cell.axes.insert(record::Axis::Batch, "16".to_owned());
    records.extend([wider, wide]);
    assert_eq!(rows(&records), before + 2);
    // Told apart by name, in the order of numbers and not of their text.
    let titles = ["minilm", "minilm batch=4", "minilm batch=16"];
    for render in REPORTS {
        let html = render(&records).unwrap();
        let at = titles.map(|title| html.find(&format!("data-case=\"{title}\"")).unwrap());
        assert!(at.is_sorted(), "{at:?}");
    }
}

/// A time that misleads has a word beside it, which needs no colour, and whose meaning the legend has.
#[test]
fn times_to_be_read_with_care_are_flagged() {
    let records = records::records();
    let html = matrix::performance(&records).unwrap().to_string().replace("&#39;", "'");
    for flag in record::Flag::ALL {
        let wanted = records.iter().filter(|record| record.flags().contains(flag)).count();
        // Beside the figure of each record, and once in the legend.
        assert_eq!(html.matches(&format!("\">{flag}</span> ")).count(), wanted + 1, "{flag}");
    }
    assert!(html.contains(">browser's timer</span> 100</td>"));
    assert!(!matrix::compatibility(&records).unwrap().to_string().contains("class=\"flag\""));
}

#[test]
fn a_column_says_how_many_threads_computed() {
    let mut records = records::records();
    let mut wasm = records.iter_mut().filter(|record| {
        record.cell.backend == record::Backend::Wasm && record.outcome.timing.is_some()
    });
    wasm.next().unwrap().outcome.timing.as_mut().unwrap().threads = Some(2);
    let html = matrix::compatibility(&records).unwrap().to_string();
    assert!(html.contains("<span class=\"backend\">wasm, 2 threads</span>"));
    assert!(html.contains("<span class=\"backend\">webgpu</span>"));
}

#[test]
fn no_records_say_what_to_do_and_one_is_enough() {
    for render in REPORTS {
        let empty = render(&[]).unwrap();
        assert!(empty.contains("No records yet") && !empty.contains("<table"));
        let single = render(&records::records()[..1]).unwrap();
        assert!(single.contains("bert-base-tiny") && single.contains("<table"));
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let records = records::records();
    for render in REPORTS {
        assert_eq!(render(&records).unwrap(), render(&records).unwrap());
    }
}

#[test]
fn ten_times_the_records_take_about_ten_times_as_long() {
    let sample = records::records();
    let rendered = |count: usize| {
        let record = |number: usize| {
            let mut record = sample[number % sample.len()].clone();
            record.cell.case = format!("{}-{}", record.cell.case, number / sample.len());
            record
        };
        let records: Vec<_> = (0..count).map(record).collect();
        let start = Instant::now();
        for render in REPORTS {
            let html = render(&records).unwrap();
            assert_eq!(lines(&html, "records").len(), count);
        }
        start.elapsed()
    };
    // What looks at every record for every record takes a hundred times as long; a busy machine slows both.
    let (few, many) = (rendered(1_000), rendered(10_000));
    assert!(many < 50 * few, "{few:?} and {many:?}");
}
