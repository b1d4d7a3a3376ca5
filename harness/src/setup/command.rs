//! Runs a program that takes long, showing its last line while it runs and its last lines if it fails.

use crate::ui::Bar;
use anyhow::{Context, Result, bail};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, pipe},
    process::{Command, Stdio},
};

/// How much of a failed program's output goes into the error.
const KEPT_LINES: usize = 40;

/// Runs `command` to its end; what it prints is shown behind `bar`.
pub(crate) fn run(mut command: Command, bar: &Bar) -> Result<()> {
    let shown = line_of(&command);
    let (output, writer) = pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    // The command holds the pipe's writing ends; while it lives the output has no end.
    drop(command);

    let mut last: VecDeque<String> = VecDeque::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{shown}` prints"))?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        bar.message(line.rsplit('\r').next().unwrap_or_default().trim());
        if last.len() == KEPT_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed, {status}:\n{}", last.make_contiguous().join("\n"));
    }
    Ok(())
}

/// The standard output of a program that answers at once; none if it fails or is absent.
pub(crate) fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it.
fn line_of(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::ui::{Ui, Unit};

    fn sh(script: &str) -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, &Ui::new(true, false).bar("test", None, Unit::Steps))
    }

    #[test]
    fn a_failure_names_the_command_and_keeps_both_streams() {
        let error = sh("echo to stdout; echo to stderr >&2; exit 3").unwrap_err().to_string();
        for part in ["`sh -c", "exit status: 3", "to stdout", "to stderr"] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        sh("true").unwrap();
    }

    #[test]
    fn of_a_long_output_only_the_end_is_kept() {
        let error = sh("seq 1000; exit 1").unwrap_err().to_string();
        assert!(error.ends_with("\n1000") && !error.contains("\n900\n"), "{error}");
    }

    #[test]
    fn an_absent_program_is_named() {
        let bar = Ui::new(true, false).bar("test", None, Unit::Steps);
        let error = run(Command::new("no-such-program"), &bar).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}
