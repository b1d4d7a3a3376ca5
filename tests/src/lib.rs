//! Support for the end-to-end tests: they run the `harness` program as a user does, in browsers as
//! they are installed, with a page bundle whose engine breaks on purpose (`faults/engine.js`).

use harness::ui::Ui;
#[cfg(unix)]
use nix::sys::signal::{Signal, kill};
use record::{Browser, Record};
use std::{
    env::consts::EXE_EXTENSION,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};
use sysinfo::{Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};
use tempfile::TempDir;

/// The program under test, built if need be.
pub static HARNESS: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut build = harness::setup::cargo();
    build.args(["build", "--quiet", "--package", "harness"]).current_dir(root());
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo starts").success(), "the harness does not build");
    // Tests are in target/<profile>/deps, programs one folder up.
    let test = std::env::current_exe().expect("a test has a path");
    let programs = test.ancestors().nth(2).expect("a test is in deps");
    programs.join("harness").with_extension(EXE_EXTENSION)
});

/// Where a run's output goes.
const LOG: &str = "harness.log";

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a workspace")
}

/// A folder with the page, the engine that breaks on purpose and a case for each fault. All that a
/// run leaves behind is in it, and every process of a run carries its path in its environment.
#[derive(Debug)]
pub struct Faults {
    folder: TempDir,
}

impl Faults {
    /// Makes a case of each name, and puts an engine that breaks into the page.
    pub fn with(cases: &[&str]) -> Faults {
        let faults = Faults::with_page(&root().join("web"));
        fs::create_dir_all(faults.path("web/pkg/engine")).expect("a folder for the engine");
        fs::copy(root().join("tests/faults/engine.js"), faults.path("web/pkg/engine/engine.js"))
            .expect("the engine that breaks");
        for case in cases {
            write_case(&faults.path("cases").join(case));
        }
        faults
    }

    /// Makes a real case of each name, and puts the real engine, whose GPU breaks, into the page.
    pub fn of_the_gpu(cases: &[&str]) -> Faults {
        Faults::before_the_worker("gpu.js", cases)
    }

    /// Makes a real case of each name, and puts the real engine, some of whose kernels are wrong, into
    /// the page.
    pub fn of_kernels(cases: &[&str]) -> Faults {
        Faults::before_the_worker("kernels.js", cases)
    }

    fn before_the_worker(script: &str, cases: &[&str]) -> Faults {
        let page = harness::bundle::ensure(&Ui::new(true, false)).expect("the page is built");
        let faults = Faults::with_page(&page);
        copy_folder(&page.join("pkg"), &faults.path("web/pkg"));
        let [before, worker] = [root().join("tests/faults").join(script), page.join("worker.js")]
            .map(|path| {
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
            });
        fs::write(faults.path("web/worker.js"), before + &worker).expect("a worker");
        for case in cases {
            copy_folder(
                &root().join("tests/zoo/llama/llama-bias"),
                &faults.path("cases").join(case),
            );
        }
        faults
    }

    fn with_page(page: &Path) -> Faults {
        let folder = TempDir::with_prefix("faults-").expect("a temporary folder");
        let faults = Faults { folder };
        for folder in ["web", "tmp"] {
            fs::create_dir(faults.path(folder)).expect("a folder");
        }
        for file in ["index.html", "page.js", "thread.js", "worker.js"] {
            fs::copy(page.join(file), faults.path("web").join(file)).expect("the page");
        }
        faults
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that runs every case at 4 bits on `backends` in `browser`. What it prints goes to a
    /// file, which is shown if the test fails.
    pub fn command(&self, browser: Browser, backends: &[&str]) -> Command {
        self.command_of(&HARNESS, browser, backends)
    }

    fn command_of(&self, program: &Path, browser: Browser, backends: &[&str]) -> Command {
        let mut command = Command::new(program);
        let log = File::options().create(true).append(true).open(self.path(LOG)).expect("a log");
        command
            .args(["run", "--no-setup", "--bits", "4", "--cases", "cases", "--bundle", "web"])
            .args(["--browsers", browser.name(), "--backends"])
            .args(backends)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .args(["--db", "records.sqlite", "--records", "records.jsonl"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        // Unix looks for the first one, Windows for the others.
        for variable in ["TMPDIR", "TMP", "TEMP"] {
            command.env(variable, self.path("tmp"));
        }
        command
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Record> {
        harness::store::read_lines(&self.path("records.jsonl")).unwrap_or_default()
    }

    /// The record of a case.
    pub fn record(&self, case: &str) -> Record {
        let found = self.records().into_iter().find(|record| record.cell.case == case);
        found.unwrap_or_else(|| panic!("{case} has no record"))
    }

    /// Starts the command, and waits until the first record is there and the next cell runs.
    pub fn start(&self, browser: Browser) -> Child {
        self.start_program(&HARNESS, browser)
    }

    /// As [`Faults::start`], with a program of one's own.
    pub fn start_program(&self, program: &Path, browser: Browser) -> Child {
        let mut command = self.command_of(program, browser, &["wasm"]);
        let mut child = command.spawn().expect("the harness starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.records().is_empty() {
            if Instant::now() > deadline
                || child.try_wait().expect("it can be waited for").is_some()
            {
                let _ = child.kill();
                panic!("there is no first record");
            }
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(500));
        child
    }

    /// The living processes of a run that have one of `names`, or any name if there is none; the
    /// oldest first.
    pub fn processes(&self, names: &[&str]) -> Vec<u32> {
        self.processes_that(|process| {
            names.is_empty() || names.iter().any(|name| process.name() == *name)
        })
    }

    /// The living processes of a run that have `word` in their command line.
    pub fn processes_with(&self, word: &str) -> Vec<u32> {
        self.processes_that(|process| {
            process.cmd().iter().any(|argument| argument.to_string_lossy().contains(word))
        })
    }

    fn processes_that(&self, is_wanted: impl Fn(&Process) -> bool) -> Vec<u32> {
        let mut system = System::new().expect("processes can be listed");
        let what = ProcessRefreshKind::nothing()
            .with_cmd(UpdateKind::Always)
            .with_environ(UpdateKind::Always)
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let mark = self.folder.path().to_string_lossy().into_owned();
        let mut found: Vec<_> = system
            .processes()
            .values()
            .filter(|process| process.status() != ProcessStatus::Zombie && is_wanted(process))
            .filter(|process| {
                let mut texts = process.environ().iter().chain(process.cmd());
                texts.any(|text| text.to_string_lossy().contains(&mark))
            })
            .map(|process| (process.start_time(), process.pid().as_u32()))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Kills the oldest process that has one of `names` with SIGKILL.
    #[cfg(unix)]
    pub fn kill(&self, names: &[&str]) {
        let pid = *self.processes(names).first().unwrap_or_else(|| panic!("no {names:?} runs"));
        signal(pid, Signal::SIGKILL);
    }

    /// Fails unless, within a moment, no process and no scratch folder is left.
    pub fn assert_nothing_is_left(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let processes = self.processes(&[]);
            let files: Vec<_> = fs::read_dir(self.path("tmp")).expect("it is there").collect();
            if processes.is_empty() && files.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left are processes {processes:?}, files {files:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path(LOG)).unwrap_or_default());
        }
    }
}

/// Sends a signal.
#[cfg(unix)]
pub fn signal(pid: u32, signal: Signal) {
    assert!(try_signal(pid, signal), "there is no process {pid}");
}

/// Sends a signal, and says whether the process is there.
#[cfg(unix)]
pub fn try_signal(pid: u32, signal: Signal) -> bool {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a process id"));
    kill(pid, signal).is_ok()
}

/// Waits for a child, at most a minute.
pub fn wait(mut child: Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the harness does not end");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{from:?}: {error}")) {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy_folder(&path, &to),
            false => {
                fs::copy(&path, to).expect("a copy");
            }
        }
    }
}

/// A case folder that is whole in form; its files hold their own names.
pub fn write_case(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder for the case");
    let case =
        r#"{"class":"bert","inputs":"inputs.safetensors","expected":"expected.safetensors"}"#;
    let files = [
        ("case.json", case),
        ("config.json", "{}"),
        ("inputs.safetensors", "the inputs"),
        ("expected.safetensors", "the expected outputs"),
        ("model.safetensors", "the weights, longest of all"),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("a file of the case");
    }
}
