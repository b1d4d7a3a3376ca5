//! The packed program: away from its checkout, on a machine that has browsers and no Rust. On Linux
//! alone, as the machine without Rust is made of links.

#![cfg(target_os = "linux")]

use harness::{
    bundle,
    pack::{Parts, assemble},
    ui::Ui,
};
use record::Status;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;
use tests::{HARNESS, root};

/// A packed program, and a machine that has all programs of this one but Rust's.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Machine {
        let folder = TempDir::with_prefix("pack-").unwrap();
        let page = bundle::ensure(&Ui::new(true, false)).expect("the page is built");
        let programs = [HARNESS.clone()];
        let parts =
            Parts { checkout: root(), programs: &programs, page: &page, notice: "the licences" };
        assemble(&parts, &folder.path().join("fewbit")).unwrap();
        let programs = folder.path().join("bin");
        for folder in [&programs, &folder.path().join("home"), &folder.path().join("empty")] {
            fs::create_dir(folder).unwrap();
        }
        let path = std::env::var_os("PATH").expect("there is a PATH");
        for folder in std::env::split_paths(&path).filter_map(|folder| folder.read_dir().ok()) {
            for file in folder.flatten().map(|file| file.path()) {
                let name = file.file_name().unwrap_or_default();
                let is_rust = ["cargo", "rust"].iter().any(|rust| contains(name.as_ref(), rust));
                if !is_rust && !programs.join(name).exists() {
                    symlink(&file, programs.join(name)).unwrap();
                }
            }
        }
        Machine { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the packed program in an empty folder, with nothing in its environment but PATH and a
    /// HOME of its own.
    fn harness(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("fewbit/harness"));
        command.args(arguments).current_dir(self.path("empty")).env_clear();
        command.env("PATH", self.path("bin")).env("HOME", self.path("home"));
        command.output().expect("the packed program starts")
    }
}

fn contains(name: &Path, part: &str) -> bool {
    name.to_string_lossy().contains(part)
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn it_runs_cells_away_from_its_checkout() {
    let machine = Machine::new();
    let run = "run --no-setup --browsers chrome --backends webgpu wasm --models llama-bias --bits 4 \
               --records records.jsonl --db records.sqlite";
    let output = machine.harness(&run.split_whitespace().collect::<Vec<_>>());
    assert!(output.status.success(), "{}", said(&output));
    let records = harness::store::read_lines(&machine.path("empty/records.jsonl")).unwrap();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record.outcome.status, Status::Pass, "{}", said(&output));
        assert!(record.repro.starts_with("harness run --browsers chrome"), "{}", record.repro);
        assert!(!record.environment.engine.commit.is_empty(), "the page says what it is");
    }
    assert!(machine.path("empty/matrix.html").is_file());

    // A cell is repeated by the line that its record carries.
    let words: Vec<&str> = records[1].repro.split(' ').skip(1).collect();
    let output = machine.harness(&[&words[..], &["--no-setup"]].concat());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn it_knows_its_name_its_cases_and_what_it_cannot_do() {
    let machine = Machine::new();
    let plan = machine.harness(&["plan", "--size", "published", "--browsers", "firefox"]);
    assert!(said(&plan).contains("bert-base-uncased 16-bit webgpu firefox"), "{}", said(&plan));
    let help = said(&machine.harness(&["help", "run"]));
    assert!(help.contains("  harness run --browsers firefox") && !help.contains("cargo harness"));
    for command in ["test", "pack"] {
        let output = machine.harness(&[command]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let wanted = "takes a checkout of the repository";
        assert!(said(&output).contains(wanted), "{command}: {}", said(&output));
    }
}
