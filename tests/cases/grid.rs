//! Runs through a real Selenium Grid that `harness grid` starts here: the verdicts are those of the
//! browsers of this machine, a node that dies loses no cell, and nothing stays behind.
#![cfg(target_os = "linux")]

use nix::sys::signal::Signal;
use record::{Attempt, Browser, Record, Status};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tests::{Faults, HARNESS, signal, wait};

/// A grid with a folder of its own, by which its processes are known.
struct Grid {
    folder: Faults,
    process: Child,
    url: String,
}

impl Grid {
    /// Starts a grid, and waits until it is ready.
    fn start(nodes: &str, browsers: &[&str]) -> Grid {
        let folder = Faults::with(&[]);
        let log = File::create(folder.path("grid.log")).unwrap();
        let port = free_port();
        let mut process = Command::new(&*HARNESS)
            .args(["grid", "--port", &port.to_string(), "--nodes", nodes, "--browsers"])
            .args(browsers)
            .env("TMPDIR", folder.path("tmp"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grid = Grid { folder, process, url: format!("http://127.0.0.1:{port}") };
        let says = format!("cargo harness run --grid {}\n", grid.url);
        assert!(line.ends_with(&says), "{line}{}", grid.log());
        grid
    }

    /// The command that runs every case of `faults` at 4 bits on WASM in Chrome of this grid.
    fn command(&self, faults: &Faults) -> Command {
        let mut command = faults.command(Browser::Chrome, &["wasm"]);
        command.args(["--grid", &self.url]);
        command
    }

    /// Starts the command, and waits until so many cells have ended and the next one runs.
    fn run(&self, faults: &Faults, ended: usize) -> Child {
        let run = self.command(faults).spawn().unwrap();
        until("the first cells", || faults.records().len() == ended);
        until("one driver", || self.folder.processes(&["chromedriver"]).len() == 1);
        thread::sleep(Duration::from_millis(500));
        run
    }

    /// What it printed to stderr.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("grid.log")).unwrap()
    }

    fn assert_no_session_is_left(&self) {
        until("the end of the sessions", || self.folder.processes(&["chromedriver"]).is_empty());
    }

    /// Stops it as a user does.
    fn stop(mut self) {
        signal(self.process.id(), Signal::SIGINT);
        until("the end of the grid", || self.process.try_wait().unwrap().is_some());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        self.folder.assert_nothing_is_left();
    }
}

impl Drop for Grid {
    /// A test that fails does not stop its grid, whose guards end what it started.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago, as were the two below it.
fn free_port() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port));
    loop {
        let port = free(0).unwrap().local_addr().unwrap().port();
        if free(port - 1).is_ok() && free(port - 2).is_ok() {
            return port;
        }
    }
}

/// Waits at most half a minute until `it` is so.
fn until(what: &str, mut it: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !it() {
        assert!(Instant::now() < deadline, "{what} does not come");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What came of each cell.
fn verdicts(records: &[Record]) -> BTreeMap<String, (Status, Option<String>, Option<String>)> {
    let verdict = |record: &Record| {
        let outcome = &record.outcome;
        // The lines below the first are a stack of addresses, which no two runs have in common.
        let said = outcome.message.as_ref().or(outcome.reason.as_ref());
        let said = said.and_then(|said| said.lines().next()).map(str::to_owned);
        (record.cell.to_string(), (outcome.status, outcome.stage.clone(), said))
    };
    records.iter().map(verdict).collect()
}

#[test]
fn the_verdicts_are_those_of_the_browsers_here() {
    let cases = ["answers", "hangs", "reads files", "traps", "well at last"];
    let run = |mut command: Command| {
        command.args(["--browsers", "firefox", "--timeout", "3"]);
        assert_eq!(command.status().unwrap().code(), Some(1));
    };
    let (here, there) = (Faults::with(&cases), Faults::with(&cases));
    run(here.command(Browser::Chrome, &["wasm"]));
    let grid = Grid::start("2", &["chrome", "firefox"]);
    run(grid.command(&there));
    grid.assert_no_session_is_left();
    grid.stop();

    let (here, there) = (here.records(), there.records());
    assert_eq!((here.len(), there.len()), (10, 10));
    assert_eq!(verdicts(&here), verdicts(&there));
    let statuses: Vec<_> = there.iter().map(|record| record.outcome.status).collect();
    for status in [Status::Pass, Status::Timeout, Status::Error] {
        assert!(statuses.contains(&status), "no {status:?} in {statuses:?}");
    }
    for record in there {
        let browser = &record.environment.browser;
        assert_eq!(browser.driver, "selenium grid");
        assert!(browser.version.contains('.') && browser.driver_version.contains('.'));
    }
}

#[test]
fn what_a_killed_node_had_runs_on_the_other() {
    let faults = Faults::with(&["first", "waits", "well again"]);
    let grid = Grid::start("2", &["chrome"]);
    let run = grid.run(&faults, 2);
    // A node is the parent of its drivers, and only one is left.
    let driver = grid.folder.processes(&["chromedriver"])[0];
    let status = fs::read_to_string(format!("/proc/{driver}/status")).unwrap();
    let node = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    signal(node.trim().parse().unwrap(), Signal::SIGKILL);
    assert_eq!(wait(run).code(), Some(0));

    let records = faults.records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.outcome.status == Status::Pass), "{records:?}");
    let record = faults.record("waits");
    let [Attempt { status: Status::Infra, reason: Some(reason), .. }] = &record.earlier[..] else {
        panic!("{:?}", record.earlier);
    };
    assert!(reason.contains("the node http://127.0.0.1:"), "{reason}");
    let log = grid.log();
    assert!(log.contains("a node is gone, and the rest of the grid goes on"), "{log}");
    grid.stop();
}

/// One slot serves run after run: each ends in its own way, and none keeps the slot.
#[test]
fn a_slot_is_free_after_a_crash_an_interruption_and_an_unreachable_page() {
    let grid = Grid::start("1", &["chrome"]);
    a_killed_browser_is_a_crash(&grid);
    an_interrupted_run_ends_its_session(&grid);
    a_page_that_no_node_reaches_says_what_to_do(&grid);
    grid.stop();
}

fn a_killed_browser_is_a_crash(grid: &Grid) {
    let faults = Faults::with(&["first", "waits", "well again"]);
    let run = grid.run(&faults, 1);
    grid.folder.kill(&["chromium", "chrome"]);
    assert_eq!(wait(run).code(), Some(1));
    let statuses: Vec<_> = faults.records().iter().map(|record| record.outcome.status).collect();
    assert_eq!(statuses, [Status::Pass, Status::Crash, Status::Pass]);
    grid.assert_no_session_is_left();
}

fn an_interrupted_run_ends_its_session(grid: &Grid) {
    let faults = Faults::with(&["first", "waits"]);
    let run = grid.run(&faults, 1);
    signal(run.id(), Signal::SIGINT);
    assert_eq!(wait(run).code(), Some(130));
    grid.assert_no_session_is_left();
}

fn a_page_that_no_node_reaches_says_what_to_do(grid: &Grid) {
    let faults = Faults::with(&["answers"]);
    let wrong = format!("http://127.0.0.1:{}", free_port());
    let status = grid.command(&faults).args(["--public-url", &wrong]).status().unwrap();
    assert_eq!(status.code(), Some(3));
    let outcome = faults.record("answers").outcome;
    let message = outcome.message.unwrap_or_default();
    assert_eq!(outcome.status, Status::Infra, "{message}");
    assert!(message.contains(&format!("can the node reach {wrong}? see --bind and --public-url")));
    assert!(message.contains("ERR_CONNECTION_REFUSED"), "{message}");
    grid.assert_no_session_is_left();
}

#[test]
fn a_grid_that_cannot_be_used_says_what_to_do() {
    let faults = Faults::with(&["answers"]);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    for (options, said) in [
        (&["run", "--grid", &nowhere][..], "is its address right, and has it started?"),
        (&["run", "--bind", "192.0.2.1:0"], "is that an address of this machine?"),
        (&["run", "--bind", "0.0.0.0:0"], "say with --public-url how browsers reach it"),
        (&["grid", "--browsers", "webkitgtk"], "can have chrome, firefox and edge"),
        (&["grid", "--host", "192.0.2.1"], "is that an address of this machine"),
        (&["grid", "--port", &taken], "does no other grid have the port? see --host and --port"),
    ] {
        let mut command = Command::new(&*HARNESS);
        command.args(options).current_dir(faults.path(".")).env("TMPDIR", faults.path("tmp"));
        if options[0] == "run" {
            command.args(["--no-setup", "--cases", "cases", "--bundle", "web", "--db", "db"]);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {stderr}");
        assert!(stderr.contains(said), "{options:?}: {stderr}");
    }
    faults.assert_nothing_is_left();
}
