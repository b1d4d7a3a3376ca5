use super::*;
use crate::sample::{HOSTILE, hostile, record};
use ::parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use junit_parser::{TestCase, TestStatus};
use record::{Attempt, Bits, Browser, Correctness, Cost, Expectation, Memory};
use serde_json::Value;

/// A record of each status, one that is flaky after a crash, one that fails again after a timeout,
/// and one of each verdict.
fn records() -> Vec<Record> {
    let mut records: Vec<_> = Status::ALL.iter().map(|status| record("r", *status)).collect();
    for (record, number) in records.iter_mut().zip(0..) {
        record.cell.case = format!("case-{number}");
        if record.outcome.status != Status::Pass {
            record.outcome.reason = Some(format!("reason {number}"));
        }
    }
    let earlier = |status, reason: &str| {
        vec![Attempt { status, reason: Some(reason.into()), duration_ms: 250.0 }]
    };
    records[1].earlier = earlier(Status::Crash, "tab gone");
    records[2].earlier = earlier(Status::Timeout, "no answer");
    records[2].outcome.correctness =
        Some(Correctness { kernel_rel_l2: Some(f64::NAN), ..Correctness::default() });
    for (status, verdict) in [
        (Status::Fail, Verdict::Expected),
        (Status::Crash, Verdict::Unexpected),
        (Status::Pass, Verdict::NewlyPassing),
    ] {
        let mut record = record("r", status);
        record.cell.case = verdict.name().into();
        record.cell.precision.bits = Bits::Fixed(32);
        record.outcome.reason = (status != Status::Pass).then(|| "it broke".into());
        record.outcome.correctness =
            Some(Correctness { reference_rel_l2: Some(1e-5), ..Correctness::default() });
        record.expectation = Some(Expectation {
            verdict,
            status: vec![Status::Fail],
            reason: "sums overflow".into(),
            link: Some("https://example.org/1".into()),
        });
        records.push(record);
    }
    records
}

fn junit_cases(records: &[Record]) -> Vec<TestCase> {
    let xml = junit::render(records).unwrap();
    let report = junit_parser::from_reader(xml.as_bytes()).unwrap();
    report.suites.into_iter().flat_map(|suite| suite.cases).collect()
}

#[test]
fn a_junit_consumer_reads_every_status() {
    let mut records = records();
    records[0].cell.browser = Browser::Firefox;
    let xml = junit::render(&records).unwrap();
    let report = junit_parser::from_reader(xml.as_bytes()).unwrap();
    assert_eq!((report.tests, report.failures, report.errors, report.skipped), (12, 1, 5, 3));
    let suites: Vec<_> =
        report.suites.iter().map(|suite| (suite.name.as_str(), suite.cases.len())).collect();
    assert_eq!(suites, [("chrome wasm", 11), ("firefox wasm", 1)]);

    let cases = junit_cases(&records);
    let case = |name: &str| {
        cases
            .iter()
            .find(|case| case.original_name.starts_with(name))
            .unwrap_or_else(|| panic!("{name}"))
    };
    assert_eq!(case("case-0").original_name, "case-0 4-bit");
    assert!(case("case-0").status.is_success() && case("case-1").status.is_success());
    assert!(case("newly_passing 32-bit").status.is_success());
    let TestStatus::Failure(failure) = &case("case-2").status else { panic!("no failure") };
    assert_eq!((failure.failure_type.as_str(), failure.message.as_str()), ("fail", "reason 2"));
    let TestStatus::Skipped(known) = &case("expected").status else { panic!("not skipped") };
    assert_eq!(known.message, "known: sums overflow (https://example.org/1)");
    for (number, name) in [(4, "timeout"), (5, "crash"), (6, "error"), (7, "infra")] {
        let TestStatus::Error(error) = &case(&format!("case-{number}")).status else {
            panic!("{name} is no error")
        };
        assert_eq!(error.error_type, name);
    }
}

#[test]
fn attempts_are_told_as_nextest_tells_them() {
    let cases = junit_cases(&records());
    let case = |name: &str| cases.iter().find(|case| case.original_name.starts_with(name)).unwrap();
    let told = |name: &str| {
        let reruns = case(name).reruns.iter().map(|rerun| {
            (format!("{:?}", rerun.kind), rerun.rerun_type.clone(), rerun.message.clone())
        });
        reruns.collect::<Vec<_>>()
    };
    let owned = |texts: [&str; 3]| texts.map(str::to_owned).into();
    let crash: (String, String, String) = owned(["FlakyError", "crash", "tab gone"]);
    assert_eq!(told("case-1"), [crash]);
    let timeout: (String, String, String) = owned(["RerunError", "timeout", "no answer"]);
    assert_eq!(told("case-2"), [timeout]);
    assert_eq!(told("case-0"), []);
}

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("wptreport.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn wpt(records: &[Record]) -> Value {
    let files = wptreport::render(records, Path::new("w.json")).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].0, Path::new("w.json"));
    serde_json::from_str(&files[0].1).unwrap()
}

#[test]
fn a_wptreport_is_valid_and_says_what_it_should() {
    let report = wpt(&records());
    let errors: Vec<_> = schema().iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0], "{report:#}");
    assert_eq!(report["run_info"]["product"], "chrome");
    assert_eq!(report["run_info"]["os"], "linux");
    assert_eq!(report["time_start"], 1767323045000_i64);
    let results = report["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|test| test["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        [
            "OK",
            "OK",
            "OK",
            "PRECONDITION_FAILED",
            "TIMEOUT",
            "CRASH",
            "ERROR",
            "SKIP",
            "SKIP",
            "OK",
            "CRASH",
            "OK"
        ]
    );
    assert_eq!(results[0]["test"], "/fewbit/bert/case-0/4-bit/wasm");
    assert_eq!(results[1]["known_intermittent"], serde_json::json!(["CRASH"]));
    let subtests = |index: usize| {
        let subtests = results[index]["subtests"].as_array().unwrap();
        let texts = subtests.iter().map(|subtest| {
            let expected = subtest["expected"].as_str().unwrap_or("so");
            format!("{} {} {expected}", subtest["name"], subtest["status"]).replace('"', "")
        });
        texts.collect::<Vec<_>>()
    };
    assert_eq!(subtests(0), ["verdict PASS so"]);
    assert_eq!(subtests(2), ["kernel error FAIL PASS", "verdict FAIL PASS"]);
    assert_eq!(subtests(9), ["reference PASS so", "verdict FAIL so"]);
    assert_eq!(results[10]["expected"], "OK");
    assert_eq!(subtests(11), ["reference PASS so", "verdict PASS FAIL"]);
}

#[test]
fn each_browser_has_a_wptreport_of_its_own() {
    let mut records = records();
    records[0].cell.browser = Browser::Firefox;
    let files = wptreport::render(&records, Path::new("out/w.json")).unwrap();
    let names: Vec<_> = files.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(names, ["out/w.chrome.json", "out/w.firefox.json"]);
    for (_, text) in &files {
        assert!(schema().is_valid(&serde_json::from_str(text).unwrap()));
    }
}

#[test]
fn the_schema_refuses_what_is_no_wptreport() {
    let changes: [fn(&mut Value); 4] = [
        |report| report["results"][0]["status"] = "pass".into(),
        |report| report["results"][0]["subtests"] = Value::Null,
        |report| report["run_info"] = serde_json::json!({}),
        |report| report["results"][0]["test"] = "no-slash".into(),
    ];
    for change in changes {
        let mut report = wpt(&records());
        change(&mut report);
        assert!(!schema().is_valid(&report), "{report}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let hostile = [hostile()];
    let cases = junit_cases(&hostile);
    let TestStatus::Failure(failure) = &cases[0].status else { panic!("no failure") };
    for text in [&cases[0].original_name, &failure.message] {
        assert!(text.contains("]]> <script>alert(1)</script>"), "{text}");
        assert!(!text.contains(['\0', '\u{1b}', '\u{ffff}']), "{text:?}");
    }

    let report = wpt(&hostile);
    assert!(schema().is_valid(&report));
    assert!(report["results"][0]["test"].as_str().unwrap().contains(HOSTILE));

    let text = csv::render(&hostile).unwrap();
    let mut lines = ::csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<_> = lines.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    for cell in &rows[0] {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell}");
    }
    assert!(rows[0].iter().any(|cell| cell.starts_with("'=cmd|")));

    let text = summary::render(&hostile, summary::LIMIT);
    assert!(!text.contains("<script") && !text.contains("[a](b)"), "{text}");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| \\=cmd")).collect();
    assert_eq!(rows.len(), 1, "{text}");
    // Of the bars only those between columns are markup.
    let bars = rows[0].replace("\\|", "").matches('|').count();
    assert_eq!(bars, 6, "{}", rows[0]);
    assert!(rows[0].contains("\\`x\\`") && rows[0].contains("\\!A0"), "{}", rows[0]);
    assert!(!text.contains(['\0', '\u{1b}', '\r']), "{text:?}");

    let matrix = ::matrix::compatibility(&hostile).unwrap().to_string();
    let report = ::matrix::performance(&hostile).unwrap().to_string();
    for html in [matrix, report] {
        assert!(!html.contains("<script>alert(1)"));
    }
}

#[test]
fn a_row_has_figures_where_the_record_has() {
    let mut full = record("r", Status::Pass);
    full.outcome.memory = Some(Memory { weights_bytes: 12, bpw: 4.5, ..Memory::default() });
    full.outcome.timing.as_mut().unwrap().pass_cost =
        Some(Cost { operations: 30, read_bytes: 20, written_bytes: 10 });
    let text = csv::render(&[full.clone(), record("r", Status::Infra)]).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let cell =
        |row: usize, name: &str| rows[row][head.iter().position(|n| n == name).unwrap()].to_owned();
    assert_eq!((cell(0, "bpw"), cell(0, "weights_bytes")), ("4.5".into(), "12".into()));
    assert_eq!((cell(1, "bpw"), cell(1, "status")), (String::new(), "infra".into()));
    assert_eq!(cell(0, "ci95_high_ms"), "1.75");
    let cost = ["pass_operations", "pass_read_bytes", "pass_written_bytes"];
    assert_eq!(cost.map(|name| cell(0, name)), ["30", "20", "10"]);
}

#[test]
fn parquet_holds_the_same_rows_unescaped() {
    let mut records = records();
    records.push(hostile());
    let bytes = parquet::render(&records).unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    fs::write(path.path(), bytes).unwrap();
    let reader = SerializedFileReader::new(path.reopen().unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        let value = |name: &str| {
            row.get_column_iter().find(|(column, _)| *column == name).unwrap().1.clone()
        };
        assert_eq!(value("case"), Field::Str(record.cell.case.clone()));
        assert_eq!(value("attempts"), Field::Long(1));
        assert_eq!(value("median_ms"), Field::Double(1.5));
        assert_eq!(value("bpw"), Field::Null);
        let reason = record.outcome.reason.clone();
        assert_eq!(value("reason"), reason.map_or(Field::Null, Field::Str));
    }
}

#[test]
fn a_summary_names_what_needs_a_look_and_keeps_its_limit() {
    let records = records();
    let text = summary::render(&records, summary::LIMIT);
    let head = "## Fewbit: 2 pass, 1 flaky, 2 fail (1 expected), 1 unsupported, 1 timeout, 2 crash, \
                1 error, 1 infra, 1 skip, 1 newly passing";
    assert!(text.contains(head), "{text}");
    for part in [
        "### Failed: 5\n",
        "### Newly passing: 1\n",
        "### Flaky: 1\n",
        "### No session: 1\n",
        "### Known failures: 1\n",
        "| tab gone |",
        "| bert case-0 | pass 4 |",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let many: Vec<_> = (0..12_000)
        .map(|number| {
            let mut record = hostile();
            record.cell.case = format!("case-{number}");
            record
        })
        .collect();
    for limit in [summary::LIMIT, 3000] {
        let text = summary::render(&many, limit);
        assert!(text.len() <= limit && text.len() > limit / 2, "{}", text.len());
        let (shown, rest) = text.rsplit_once("… and ").unwrap();
        let left: usize = rest.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(
            shown.matches("\n| case\\-").count() + shown.matches("\n| case-").count() + left,
            12_000
        );
    }
    assert_eq!(summary::render(&many, 0), "");
}

#[test]
fn a_step_summary_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("summary.md");
    fs::write(&path, "earlier\n").unwrap();
    summary::append(&records(), &path).unwrap();
    summary::append(&records(), &path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("earlier\n"));
    assert_eq!(text.matches("## Fewbit").count(), 2);
    fs::write(&path, "x".repeat(summary::LIMIT - 50)).unwrap();
    summary::append(&records(), &path).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= summary::LIMIT as u64);
}
