//! What the user sees while something happens.
//!
//! One [`Ui`] is handed down from the command line. On a terminal it draws bars, elsewhere it prints
//! plain lines, with `--quiet` only problems, and with `--json` one JSON object per line on stdout.
//! Progress and problems go to stderr, results to stdout, so that a pipe carries results only.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a [`Bar`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes read, written or downloaded.
    Bytes,
    /// Cells of the matrix.
    Cells,
    /// Steps of any other work.
    Steps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Terminal,
    Plain,
    Quiet,
    Json,
}

/// Where progress, problems and results are shown. Clones show on the same screen.
#[derive(Clone, Debug)]
pub struct Ui {
    mode: Mode,
    quiet: bool,
    bars: MultiProgress,
}

impl Ui {
    /// `json` decides the form, `quiet` leaves out everything but problems and results.
    pub fn new(quiet: bool, json: bool) -> Ui {
        let mode = match (json, quiet) {
            (true, _) => Mode::Json,
            (_, true) => Mode::Quiet,
            _ if std::io::stderr().is_terminal() => Mode::Terminal,
            _ => Mode::Plain,
        };
        let target = match mode {
            Mode::Terminal => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        };
        Ui { mode, quiet, bars: MultiProgress::with_draw_target(target) }
    }

    /// Whether every line on stdout is a JSON object.
    pub fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    /// One line of what goes on.
    pub fn say(&self, message: impl AsRef<str>) {
        match self.mode {
            Mode::Json => self.json_unless_quiet(json!({"say": message.as_ref()})),
            Mode::Quiet => {}
            _ => self.line(message.as_ref()),
        }
    }

    /// One line of what is wrong; shown with `--quiet` as well.
    pub fn warn(&self, message: impl AsRef<str>) {
        match self.mode {
            Mode::Json => write_json(&json!({"warn": message.as_ref()})),
            _ => self.line(&format!("warning: {}", message.as_ref())),
        }
    }

    /// The one line that says why nothing was done.
    pub fn error(&self, message: impl AsRef<str>) {
        match self.mode {
            Mode::Json => write_json(&json!({"error": message.as_ref()})),
            _ => self.line(&format!("error: {}", message.as_ref())),
        }
    }

    /// A result: `text` on stdout, or `value` as one JSON line with `--json`.
    pub fn result(&self, text: impl AsRef<str>, value: Value) {
        match self.mode {
            Mode::Json => write_json(&value),
            _ => self.bars.suspend(|| {
                let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
            }),
        }
    }

    /// Begins to show how far `label` is; without `total` only that it goes on.
    pub fn bar(&self, label: impl Into<String>, total: Option<u64>, unit: Unit) -> Bar {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let count = match (total.is_some(), unit) {
            (true, Unit::Bytes) => "{bar:24} {bytes}/{total_bytes} {bytes_per_sec}",
            (false, Unit::Bytes) => "{spinner} {bytes}",
            (true, _) => "{bar:24} {pos}/{len}",
            (false, _) => "{spinner} {elapsed}",
        };
        let style = ProgressStyle::with_template(&format!("{{prefix}} {count} {{wide_msg}}"))
            .expect("the templates above are well formed");
        let label = label.into();
        let bar = self.bars.add(bar.with_style(style).with_prefix(label.clone()));
        if self.mode == Mode::Terminal {
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            self.say(format!("{label} …"));
        }
        Bar { ui: self.clone(), bar, label, total, shown: Arc::default() }
    }

    fn line(&self, message: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{message}");
        });
    }

    fn json_unless_quiet(&self, value: Value) {
        if !self.quiet {
            write_json(&value);
        }
    }
}

/// A closed pipe is no reason to fail a run, so errors of writing are ignored.
fn write_json(value: &Value) {
    let _ = writeln!(std::io::stdout().lock(), "{value}");
}

/// How far one piece of work is. It leaves the screen when it is finished or dropped.
#[derive(Clone, Debug)]
pub struct Bar {
    ui: Ui,
    bar: ProgressBar,
    label: String,
    total: Option<u64>,
    shown: Arc<AtomicU64>,
}

impl Bar {
    /// `done` units are done. A log gets a line each quarter rather than each call.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
        let Some(total) = self.total.filter(|total| *total > 0) else { return };
        let quarter = done.min(total) * 4 / total;
        if quarter <= self.shown.fetch_max(quarter, Ordering::Relaxed) {
            return;
        }
        match self.ui.mode {
            Mode::Plain => self.ui.line(&format!("{} {}%", self.label, quarter * 25)),
            Mode::Json => self
                .ui
                .json_unless_quiet(json!({"progress": self.label, "done": done, "total": total})),
            Mode::Terminal | Mode::Quiet => {}
        }
    }

    /// What is being done right now; shown on a terminal only, as it changes often.
    pub fn message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// The work is over.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if Arc::strong_count(&self.shown) == 1 {
            self.bar.finish_and_clear();
        }
    }
}
