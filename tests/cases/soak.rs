//! Runs with the real engine in which browsers, tabs, drivers, guards and the harness itself are killed
//! at random: for half a minute, or for as many as FEWBIT_SOAK_MINUTES says, which
//! `cargo harness test --faults` sets to 30. On Unix alone, as it sends signals.

#![cfg(unix)]

use nix::sys::signal::Signal;
use record::{Browser, Cell, Record, Status};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    fs::File,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tests::{Faults, HARNESS};

/// What is killed.
const VICTIMS: [&str; 5] = ["browser", "driver", "guard", "harness", "tab"];

/// The processes of a run that are such a victim.
fn victims(faults: &Faults, kind: &str) -> Vec<u32> {
    let with = |words: [&str; 2]| words.map(|word| faults.processes_with(word)).concat();
    match kind {
        "browser" => with(["--remote-debugging-port", "--marionette"]),
        "driver" => faults.processes(&["chromedriver", "geckodriver"]),
        // The harness starts itself under the name that Linux has for what is running.
        "guard" => faults.processes(&["exe", "harness"]),
        _ => with(["--type=renderer", "-isForBrowser"]),
    }
}

/// Numbers by lot; the seed is printed, so that a soak can be repeated.
struct Lots(u64);

impl Lots {
    /// Below `end`, by Marsaglia's xorshift.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn start(faults: &Faults, args: &[&str]) -> Child {
    let said = |name: &str| {
        File::options().create(true).append(true).open(faults.path(name)).expect("a file")
    };
    Command::new(&*HARNESS)
        .args(["--json", "run"])
        .args(args)
        .args(["--db", "records.sqlite"])
        .current_dir(faults.path("."))
        .env("TMPDIR", faults.path("tmp"))
        .stdin(Stdio::null())
        .stdout(said("witness.jsonl"))
        .stderr(said("harness.log"))
        .spawn()
        .expect("the harness starts")
}

const RUN: [&str; 11] = [
    "--browsers",
    "chrome",
    "firefox",
    "--backends",
    "wasm",
    "--bits",
    "16",
    "4",
    "--retries",
    "4",
    "--no-setup",
];

/// What the harness said that it had stored; a line that a kill cut short was not said.
fn witnessed(faults: &Faults) -> Vec<Record> {
    let lines = BufReader::new(File::open(faults.path("witness.jsonl")).unwrap()).lines();
    lines.filter_map(|line| serde_json::from_str(&line.unwrap()).ok()).collect()
}

#[test]
fn random_kills_lose_no_record() {
    let minutes =
        env::var("FEWBIT_SOAK_MINUTES").map_or(0.5, |text| text.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
    let seed = u64::from(std::process::id());
    let mut lots = Lots(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let faults = Faults::with(&[]);
    let mut kills: BTreeMap<&str, u32> = BTreeMap::new();
    let mut harness = start(&faults, &RUN);
    let mut next = Instant::now() + Duration::from_secs(3);
    loop {
        std::thread::sleep(Duration::from_millis(100));
        if let Some(status) = harness.try_wait().expect("it can be waited for") {
            assert!(matches!(status.code(), Some(0 | 1 | 3)), "{status}");
            if Instant::now() > end {
                break;
            }
            harness = start(&faults, &RUN);
        }
        if Instant::now() < next || Instant::now() > end {
            continue;
        }
        next = Instant::now() + Duration::from_millis(500 + lots.below(5500));
        let kind = VICTIMS[lots.below(VICTIMS.len() as u64) as usize];
        // A guard that was killed leaves its driver to the harness, which has to notice it first:
        // once both are gone nobody is left to end the browser.
        let unguarded = victims(&faults, "driver").len() > victims(&faults, "guard").len();
        if kind == "harness" && unguarded {
            continue;
        }
        if kind == "harness" {
            tests::signal(harness.id(), Signal::SIGKILL);
            harness.wait().expect("it can be waited for");
            faults.assert_nothing_is_left();
            *kills.entry(kind).or_default() += 1;
            harness = start(&faults, &["--resume", "latest"]);
        } else {
            let mut processes = victims(&faults, kind);
            processes.retain(|pid| *pid != harness.id());
            if let Some(pid) = processes.get(lots.below(processes.len().max(1) as u64) as usize) {
                // It may have ended since it was listed.
                tests::try_signal(*pid, Signal::SIGKILL);
                *kills.entry(kind).or_default() += 1;
            }
        }
    }
    faults.assert_nothing_is_left();

    let store = harness::store::Store::open(&faults.path("records.sqlite"), None).unwrap();
    let stored = store.all_records().unwrap();
    let journal = harness::store::read_lines(&faults.path("records.sqlite.jsonl")).unwrap();
    assert_eq!(stored, journal, "the database and its journal");
    let known: HashSet<String> =
        stored.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    let witnessed = witnessed(&faults);
    let lost: Vec<_> = witnessed
        .iter()
        .filter(|record| !known.contains(&serde_json::to_string(record).unwrap()))
        .collect();
    let mut cells: HashMap<&str, HashSet<&Cell>> = HashMap::new();
    for record in &stored {
        cells.entry(&record.run_id).or_default().insert(&record.cell);
    }
    let runs = store.runs().unwrap();
    for run in &runs {
        let plan = store.run(&run.run_id).unwrap().cells;
        assert_eq!(plan.len(), cells[run.run_id.as_str()].len(), "{} is whole", run.run_id);
    }
    let mut statuses: BTreeMap<&str, u32> = BTreeMap::new();
    for record in &stored {
        *statuses.entry(record.outcome.status.name()).or_default() += 1;
    }
    println!(
        "seed {seed}, {minutes} minutes, {} runs, kills {kills:?}: {} records said to be stored, {} \
         stored, {} lost; verdicts {statuses:?}",
        runs.len(),
        witnessed.len(),
        stored.len(),
        lost.len(),
    );
    assert!(lost.is_empty(), "{lost:?}");
    assert!(stored.len() >= witnessed.len() && !witnessed.is_empty());
    // A kill is never the model's fault.
    for record in &stored {
        let status = record.outcome.status;
        assert!(!matches!(status, Status::Fail | Status::Error), "{}: {status:?}", record.cell);
        assert_ne!(record.cell.browser, Browser::Host);
    }
}
