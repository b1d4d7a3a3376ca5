use super::{update::update, *};
use crate::sample::record;
use record::{Adapter, Backend, Bits, Browser, Class};
use std::sync::Arc;

const TWO: &str = r#"# Known failures of the nightly run.

# Why this one is here.
[[expect]]
class = "bert"
bits = [4, 3]
browser = ["firefox", "chrome"]
version = ">=150"
os = "debian"
status = "fail"
reason = "sums overflow"  # for now
link = "https://example.org/1"

# The other one.
[[expect]]
case = "llama-tiny"
status = ["timeout", "fail"]
reason = "slow"
"#;

fn judged(status: Status) -> Option<Verdict> {
    let expectations: Expectations = TWO.parse().unwrap();
    expectations.judge(&record("r", status)).map(|expectation| expectation.verdict)
}

#[test]
fn a_status_is_expected_unexpected_or_newly_passing() {
    assert_eq!(judged(Status::Fail), Some(Verdict::Expected));
    assert_eq!(judged(Status::Crash), Some(Verdict::Unexpected));
    assert_eq!(judged(Status::Pass), Some(Verdict::NewlyPassing));
    assert_eq!(judged(Status::Flaky), Some(Verdict::NewlyPassing));
    assert_eq!(judged(Status::Infra), None);
}

#[test]
fn a_file_is_read_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.toml");
    let args = Args { expectations: Some(path.clone()) };
    assert!(args.load().unwrap_err().to_string().ends_with("known.toml"));
    fs::write(&path, TWO).unwrap();
    assert_eq!(args.load().unwrap().entries.len(), 2);
    assert!(Args::default().load().unwrap().entries.is_empty());
}

#[test]
fn every_condition_must_hold() {
    let all = r#"
        [[expect]]
        class = "bert"
        case = "bert-tiny"
        bits = 4
        backend = "webgpu"
        browser = "chrome"
        version = "156"
        os = "debian"
        adapter = "SWIFT"
        status = "fail"
        reason = "known"
    "#;
    let expectations: Expectations = all.parse().unwrap();
    let mut good = record("r", Status::Fail);
    good.cell.backend = Backend::Webgpu;
    Arc::make_mut(&mut good.environment).adapter =
        Some(Adapter { description: "SwiftShader".into(), ..Adapter::default() });
    assert!(expectations.judge(&good).is_some());
    let changes: [fn(&mut Record); 8] = [
        |record| record.cell.class = Class::Llama,
        |record| record.cell.case = "other".into(),
        |record| record.cell.precision.bits = Bits::Fixed(3),
        |record| record.cell.backend = Backend::Wasm,
        |record| record.cell.browser = Browser::Firefox,
        |record| Arc::make_mut(&mut record.environment).browser.version = "157.0".into(),
        |record| Arc::make_mut(&mut record.environment).host.os = "Fedora".into(),
        |record| Arc::make_mut(&mut record.environment).adapter = None,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = good.clone();
        change(&mut other);
        assert_eq!(expectations.judge(&other), None, "condition {number}");
    }
}

#[test]
fn entries_without_a_use_are_named() {
    let expectations: Expectations = TWO.parse().unwrap();
    let unused = expectations.unused(&[record("r", Status::Fail)]);
    assert_eq!(unused, ["entry 2 (llama-tiny: slow)"]);
}

#[test]
fn a_bad_file_says_what_is_wrong() {
    for (text, said) in [
        ("[[expect]]\nstatus = \"fail\"", "missing field `reason`"),
        ("[[expect]]\nreason = \"r\"", "missing field `status`"),
        ("[[expect]]\nstatus = \"fail\"\nreason = \" \"", "entry 1: reason says"),
        ("[[expect]]\nstatus = []\nreason = \"r\"", "an empty list"),
        ("[[expect]]\nbits = 5\nstatus = \"fail\"\nreason = \"r\"", "unknown bit-width \"5\""),
        (
            "[[expect]]\nclass = \"gpt2\"\nstatus = \"fail\"\nreason = \"r\"",
            "expected one of `bert`",
        ),
        (
            "[[expect]]\nversion = \"new\"\nstatus = \"fail\"\nreason = \"r\"",
            "no range of versions",
        ),
        ("[[expect]]\nmodel = \"x\"\nstatus = \"fail\"\nreason = \"r\"", "unknown field `model`"),
        ("[[expected]]\n", "unknown field `expected`"),
    ] {
        let error = format!("{:#}", text.parse::<Expectations>().unwrap_err());
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn the_manual_explains_what_can_be_read() {
    assert!(MANUAL.parse::<Expectations>().unwrap().entries.is_empty());
    let example = MANUAL.split_once("#\n").unwrap().1.replace("\n# ", "\n");
    let example: Expectations = example.trim_start_matches("# ").parse().unwrap();
    assert_eq!(example.entries.len(), 1);
    assert!(example.entries[0].version.as_ref().unwrap().has("153.0"));
}

#[test]
fn what_passes_is_removed_and_comments_are_kept() {
    let (text, changes) = update(TWO, &[record("r", Status::Pass)]).unwrap();
    assert_eq!(changes, [("removed", "bert 4-bit,3-bit firefox,chrome: sums overflow".to_owned())]);
    let (head, rest) = TWO.split_once("# Why").unwrap();
    let other = &rest[rest.find("\n# The other").unwrap()..];
    assert_eq!(text, format!("{}{other}", head.trim_end_matches('\n').to_owned() + "\n"));

    let mut llama = record("r", Status::Pass);
    llama.cell.case = "llama-tiny".into();
    llama.cell.class = Class::Llama;
    let (text, changes) = update(TWO, &[record("r", Status::Pass), llama]).unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(text.trim(), "# Known failures of the nightly run.");
}

#[test]
fn a_flaky_or_half_passing_entry_stays() {
    let mut narrow = record("r", Status::Fail);
    narrow.cell.precision.bits = Bits::Fixed(3);
    for records in [vec![record("r", Status::Flaky)], vec![record("r", Status::Pass), narrow]] {
        assert_eq!(update(TWO, &records).unwrap(), (TWO.to_owned(), vec![]));
    }
    // Of several records of a cell the last counts.
    let records = [record("r", Status::Pass), record("r", Status::Fail)];
    assert_eq!(update(TWO, &records).unwrap().1, []);
}

#[test]
fn failures_are_added_in_groups_and_expected_ever_after() {
    let mut records = Vec::new();
    for case in ["a", "b"] {
        for bits in [2, 3] {
            let mut record = record("r", Status::Error);
            record.cell.case = case.into();
            record.cell.precision.bits = Bits::Fixed(bits);
            record.cell.class = Class::Vit;
            record.cell.backend = Backend::Webgpu;
            Arc::make_mut(&mut record.environment).adapter =
                Some(Adapter { vendor: "quo\"ted".into(), ..Adapter::default() });
            record.outcome.reason = Some("op \"matmul\"\u{1}: wrong".into());
            records.push(record);
        }
    }
    records.push(record("r", Status::Crash));
    let (text, changes) = update(TWO, &records).unwrap();
    assert_eq!(
        changes.iter().map(|(kind, entry)| format!("{kind} {entry}")).collect::<Vec<_>>(),
        [
            "changed bert 4-bit,3-bit firefox,chrome: sums overflow; now also crash",
            "added vit a,b 3-bit,2-bit webgpu chrome: in run r: op \"matmul\"\u{1}: wrong"
        ]
    );
    assert!(text.starts_with(&TWO[..TWO.find("status").unwrap()]), "{text}");
    assert!(text.contains("status = [\"fail\", \"crash\"]"), "{text}");
    let expectations: Expectations = text.parse().unwrap();
    for record in &records {
        assert_eq!(expectations.judge(record).unwrap().verdict, Verdict::Expected);
    }
    let mut elsewhere = records[0].clone();
    Arc::make_mut(&mut elsewhere.environment).adapter =
        Some(Adapter { vendor: "other".into(), ..Adapter::default() });
    assert_eq!(expectations.judge(&elsewhere), None);
    assert_eq!(update(&text, &records).unwrap(), (text, vec![]));
}

#[test]
fn a_new_file_begins_with_the_manual() {
    let (text, _) = update(MANUAL, &[record("r", Status::Fail)]).unwrap();
    assert!(text.starts_with(MANUAL), "{text}");
    assert_eq!(text.parse::<Expectations>().unwrap().entries.len(), 1);
}

/// What a run adds to a file without entries, behind its comments: whose end they were.
#[test]
fn entries_are_put_below_the_comments_of_an_empty_file() {
    let mut other = record("r", Status::Timeout);
    other.cell.backend = Backend::Webgpu;
    let failures = [record("r", Status::Fail), other];
    let (text, changes) = update("# Nothing is known yet.\n", &failures).unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(text.matches("# Nothing is known yet.").count(), 1);
    assert!(text.starts_with("# Nothing is known yet.\n\n[[expect]]\n"), "{text}");
    let (text, _) = update("", &failures).unwrap();
    assert!(text.trim_start().starts_with("[[expect]]"), "{text}");
    assert!(text.contains("case = \"bert-tiny\"\nbits = 4\n"), "one of a kind is no list: {text}");
    // Of a file with entries they are the end still.
    let (text, _) = update(&format!("{TWO}\n# The end.\n"), &failures[1..]).unwrap();
    assert!(text.contains("# The end."), "{text}");
}

#[test]
fn what_does_not_fail_is_added_to_no_file() {
    for status in [Status::Pass, Status::Flaky, Status::Unsupported, Status::Skip, Status::Infra] {
        let unchanged = ("# Nothing is known yet.\n".to_owned(), vec![]);
        assert_eq!(update(&unchanged.0, &[record("r", status)]).unwrap(), unchanged, "{status:?}");
    }
}
