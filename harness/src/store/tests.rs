use super::*;
use crate::sample::{cell, record};
use record::{Backend, Bits, Browser, Status};
use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

fn run(run_id: &str) -> RunInfo {
    RunInfo {
        run_id: run_id.into(),
        started_at: "2026-01-02T03:04:05Z".into(),
        finished_at: None,
        command: "harness run --bits 4".into(),
        cells: vec![cell("one"), cell("two")],
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("records.sqlite");
    (folder, database)
}

/// A store with a finished run of two records.
fn filled(database: &Path) -> [Record; 2] {
    let records = [record("a", Status::Pass), record("a", Status::Fail)];
    let mut store = Store::open(database, None).unwrap();
    store.begin(&run("a")).unwrap();
    records.iter().for_each(|record| store.put(record).unwrap());
    store.finish("a").unwrap();
    records
}

fn files(folder: &TempDir, part: &str) -> usize {
    let names = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().contains(part)).count()
}

#[test]
fn both_forms_give_back_what_was_stored_and_outlive_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (database, lines) = (folder.path().join("new/r.sqlite"), folder.path().join("r.jsonl"));
    let first = [record("a", Status::Pass), record("a", Status::Fail)];
    let second = record("b", Status::Infra);
    let mut store = Store::open(&database, Some(&lines)).unwrap();
    first.iter().for_each(|record| store.put(record).unwrap());
    drop(store);
    let mut store = Store::open(&database, Some(&lines)).unwrap();
    store.put(&second).unwrap();

    let journal = read_lines(&folder.path().join("new/r.sqlite.jsonl")).unwrap();
    let lines = read_lines(&lines).unwrap();
    for source in [Source::Database(Box::new(store)), Source::Lines(lines), Source::Lines(journal)]
    {
        assert_eq!(source.records("a").unwrap(), first);
        assert_eq!(source.records("b").unwrap(), std::slice::from_ref(&second));
        let runs = source.runs().unwrap();
        // No cell of `b` had a session, so it is the latest of nothing.
        let select = |name: &str| select(&runs, name, &Ui::new(true, false));
        assert_eq!(select("latest").unwrap(), "a");
        assert!(select("latest~1").unwrap_err().to_string().contains("there are 1 runs"));
        assert!(select("latest-1").unwrap_err().to_string().contains("write latest"));
        let runs = runs.iter().map(|run| (run.run_id.as_str(), run.records, run.judged));
        assert_eq!(runs.collect::<Vec<_>>(), [("b", 1, 0), ("a", 2, 2)]);
        let error = source.records("c").unwrap_err().to_string();
        assert!(error.contains("--list"), "{error}");
    }
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let good = serde_json::to_string(&record("a", Status::Pass)).unwrap();
    fs::write(&path, format!("{good}\n\n{{\"schema_version\": 1}}\n")).unwrap();
    let error = format!("{:#}", read_lines(&path).unwrap_err());
    assert!(error.contains("line 3: not a record"), "{error}");
}

#[test]
fn a_run_keeps_its_plan_and_may_be_begun_again() {
    let (_folder, database) = folder();
    filled(&database);
    let mut store = Store::open(&database, None).unwrap();
    let kept = store.run("a").unwrap();
    assert!(kept.finished_at.is_some());
    assert_eq!(RunInfo { finished_at: None, ..kept }, run("a"));
    let later = RunInfo { started_at: "2026-01-03T00:00:00Z".into(), ..run("a") };
    store.begin(&later).unwrap();
    assert_eq!(store.run("a").unwrap(), run("a"));
    assert_eq!(store.runs().unwrap()[0].cells, 2);
    assert!(store.run("b").unwrap_err().to_string().contains("there is no run \"b\""));
}

#[test]
fn durations_are_those_of_the_latest_pass() {
    let (_folder, database) = folder();
    let mut store = Store::open(&database, None).unwrap();
    for (status, duration_ms) in
        [(Status::Pass, 10.0), (Status::Flaky, 20.0), (Status::Timeout, 120e3), (Status::Pass, 0.0)]
    {
        store.put(&Record { duration_ms, ..record("a", status) }).unwrap();
    }
    assert_eq!(store.durations().unwrap(), [(cell("bert-tiny"), 20.0)].into());
}

#[test]
fn history_is_filtered_and_latest_first() {
    let (_folder, database) = folder();
    let mut store = Store::open(&database, None).unwrap();
    let day =
        |n| Record { started_at: format!("2026-01-0{n}T00:00:00Z"), ..record("a", Status::Pass) };
    store.put_all(&[day(2), day(3), day(1)]).unwrap();
    let filter = Filter {
        case: Some("bert-tiny".into()),
        browser: Some(Browser::Chrome),
        backend: Some(Backend::Wasm),
        bits: Some(Bits::Fixed(4)),
        limit: Some(2),
    };
    assert_eq!(store.history(&filter).unwrap(), [day(3), day(2)]);
    let firefox = Filter { browser: Some(Browser::Firefox), ..filter };
    assert_eq!(store.history(&firefox).unwrap(), []);
}

#[test]
fn runs_are_forgotten_for_good() {
    let (_folder, database) = folder();
    filled(&database);
    let mut store = Store::open(&database, None).unwrap();
    let kept = record("b", Status::Pass);
    store.put(&kept).unwrap();
    store.remove(&["a".to_owned()].into()).unwrap();
    store.put(&kept).unwrap();
    drop(store);
    for reads_the_journal in [false, true] {
        if reads_the_journal {
            fs::remove_file(&database).unwrap();
        }
        let store = Store::open(&database, None).unwrap();
        assert_eq!(store.runs().unwrap().len(), 1);
        assert_eq!(store.all_records().unwrap(), [kept.clone(), kept.clone()]);
    }
}

/// As the program wrote it before there were migrations.
const OLD: &str = include_str!("old.sql");

#[test]
fn an_old_database_is_migrated_and_gets_a_journal() {
    let (_folder, database) = folder();
    Connection::open(&database).unwrap().execute_batch(OLD).unwrap();
    for reads_the_journal in [false, true] {
        if reads_the_journal {
            fs::remove_file(&database).unwrap();
        }
        let mut store = Store::open(&database, None).unwrap();
        let runs = store.runs().unwrap();
        let found: Vec<_> = runs.iter().map(|run| (run.run_id.as_str(), run.records)).collect();
        assert_eq!(
            found[found.len() - 2..],
            [("20260102T000000Z-0001", 1), ("20260101T000000Z-0000", 2)]
        );
        assert_eq!(store.run("20260101T000000Z-0000").unwrap().started_at, "2026-01-01T00:00:00Z");
        let durations = store.durations().unwrap();
        assert!(durations.values().any(|duration| *duration == 700.5), "{durations:?}");
        let mut other = record("a", Status::Pass);
        other.cell.case = "other".into();
        store.put(&other).unwrap();
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let (_folder, database) = folder();
    filled(&database);
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&database).unwrap();
    let error = format!("{:#}", Store::open(&database, None).unwrap_err());
    assert!(error.contains("newer version") && error.contains("schema 99"), "{error}");
    assert_eq!(fs::read(&database).unwrap(), before);
}

#[test]
fn a_damaged_database_is_kept_aside_and_read_anew_from_the_journal() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(5000),
        |bytes: &mut Vec<u8>| bytes.truncate(50),
        |bytes: &mut Vec<u8>| bytes[..16].fill(b'x'),
        |bytes: &mut Vec<u8>| bytes[4096..12288].fill(7),
    ] {
        let (folder, database) = folder();
        let records = filled(&database);
        let run = Store::open(&database, None).unwrap().run("a").unwrap();
        let mut bytes = fs::read(&database).unwrap();
        damage(&mut bytes);
        fs::write(&database, bytes).unwrap();
        let store = Store::open(&database, None).unwrap();
        let repair = store.repaired().expect("it was damaged");
        assert!(repair.kept_aside.is_file() && !repair.reason.is_empty(), "{repair:?}");
        assert_eq!(store.records("a").unwrap(), records);
        assert_eq!(store.run("a").unwrap(), run);
        assert_eq!(files(&folder, "sqlite.corrupt-"), 1);
        assert_eq!(Store::open(&database, None).unwrap().repaired(), None);
    }
}

#[test]
fn what_can_be_read_of_an_old_damaged_database_is_kept() {
    let (_folder, database) = folder();
    Connection::open(&database).unwrap().execute_batch(OLD).unwrap();
    // Of three pages, the last is that of the index.
    let bytes = fs::read(&database).unwrap();
    fs::write(&database, &bytes[..bytes.len() - 4096]).unwrap();
    let store = Store::open(&database, None).unwrap();
    assert_eq!(store.repaired().expect("it was damaged").salvaged, Some(3));
    assert_eq!(store.all_records().unwrap().len(), 3);
    assert_eq!(store.runs().unwrap().len(), 2);
}

#[test]
fn an_empty_database_file_is_filled_from_the_journal() {
    let (folder, database) = folder();
    let records = filled(&database);
    fs::write(&database, "").unwrap();
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), records);
    assert_eq!(files(&folder, "corrupt"), 0);
}

#[test]
fn a_lost_journal_is_written_anew_and_a_short_one_kept() {
    let (folder, database) = folder();
    let records = filled(&database);
    let journal = Journal::of(&database);
    let whole = fs::read(journal.path()).unwrap();
    fs::remove_file(journal.path()).unwrap();
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), records);
    assert_eq!(read_lines(journal.path()).unwrap(), records);
    assert_eq!(fs::metadata(journal.path()).unwrap().len(), whole.len() as u64);

    fs::write(journal.path(), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), records);
    assert_eq!(read_lines(journal.path()).unwrap(), records);
    assert_eq!(files(&folder, "jsonl.short-"), 1);
}

#[test]
fn what_only_the_journal_knows_is_caught_up_with_and_half_a_line_does_no_harm() {
    let (_folder, database) = folder();
    let mut expected = filled(&database).to_vec();
    let (journal, other) = (Journal::of(&database), record("a", Status::Crash));
    journal.append(&json_line(&other).unwrap()).unwrap();
    expected.push(other);
    let mut store = Store::open(&database, None).unwrap();
    assert_eq!(store.records("a").unwrap(), expected);

    let mut file = OpenOptions::new().append(true).open(journal.path()).unwrap();
    file.write_all(b"{\"schema_version\":1,\"run_i").unwrap();
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), expected);
    let last = record("a", Status::Skip);
    store.put(&last).unwrap();
    expected.push(last);
    assert_eq!(store.records("a").unwrap(), expected);
    drop(store);
    fs::remove_file(&database).unwrap();
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_loses_nothing() {
    let (_folder, database) = folder();
    let mut records = filled(&database).to_vec();
    let mut store = Store::open(&database, None).unwrap();
    let (journal, aside) = (Journal::of(&database), database.with_extension("aside"));

    // The journal has no room: nothing is stored, and the error says so.
    fs::rename(journal.path(), &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", journal.path()).unwrap();
    store.database.execute("UPDATE journal SET bytes = 0", []).unwrap();
    let error = format!("{:#}", store.put(&record("a", Status::Infra)).unwrap_err());
    assert!(error.contains("records.sqlite.jsonl: No space left"), "{error}");
    fs::remove_file(journal.path()).unwrap();
    fs::rename(&aside, journal.path()).unwrap();
    set_read_bytes(&store.database, journal.len().unwrap()).unwrap();

    // The database has none: the journal has the record, and the database gets it later.
    let pages: i64 =
        store.database.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.database.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    while store.records("a").unwrap().len() == records.len() {
        let large = Record { repro: "x".repeat(1000), ..record("a", Status::Pass) };
        records.push(large.clone());
        store.put(&large).unwrap();
    }
    drop(store);
    assert_eq!(Store::open(&database, None).unwrap().records("a").unwrap(), records);
}

#[test]
fn a_store_that_another_program_holds_says_so() {
    let (_folder, database) = folder();
    let records = filled(&database);
    let mut store = Store::open(&database, None).unwrap();
    store.database.busy_timeout(std::time::Duration::from_millis(20)).unwrap();
    let other = Connection::open(&database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = format!("{:#}", store.put(&records[0]).unwrap_err());
    assert!(error.contains("another program has held it"), "{error}");
    assert_eq!(store.records("a").unwrap(), records);
}

/// Names the database to the processes that the test below starts.
const WRITE_TO: &str = "FEWBIT_TEST_WRITE_TO";

fn writer(database: &Path, run_id: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::tests::processes_write_at_once_and_one_is_killed")
        .env(WRITE_TO, database)
        .env("FEWBIT_TEST_RUN", run_id)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn processes_write_at_once_and_one_is_killed() {
    if let Some(database) = env::var_os(WRITE_TO) {
        let run_id = env::var("FEWBIT_TEST_RUN").unwrap();
        let mut store = Store::open(database.as_ref(), None).unwrap();
        for number in 0..500 {
            let record = Record { attempts: number, ..record(&run_id, Status::Pass) };
            store.put(&record).unwrap();
            println!("\nstored {number}");
        }
        return;
    }
    let (_folder, database) = folder();
    let [mut a, mut b, mut killed] = ["a", "b", "killed"].map(|run| writer(&database, run));
    let mut acknowledged = 0;
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    for line in lines.by_ref().take(400) {
        if line.unwrap().starts_with("stored") {
            acknowledged += 1;
        }
    }
    killed.kill().unwrap();
    acknowledged += lines.filter(|line| line.as_ref().unwrap().starts_with("stored")).count();
    killed.wait().unwrap();
    for writer in [&mut a, &mut b] {
        let output = writer.stdout.take().unwrap();
        assert!(writer.wait().unwrap().success());
        assert!(BufReader::new(output).lines().count() > 500);
    }
    assert!((100..500).contains(&acknowledged), "{acknowledged} records before it was killed");
    for reads_the_journal in [false, true] {
        if reads_the_journal {
            fs::remove_file(&database).unwrap();
        }
        let store = Store::open(&database, None).unwrap();
        for run in ["a", "b"] {
            let numbers = store.records(run).unwrap().into_iter().map(|record| record.attempts);
            assert_eq!(numbers.collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
        }
        let kept = store.records("killed").unwrap().len();
        assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} of {acknowledged}");
    }
}
