//! The command line of Fewbit.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    harness::main(&std::env::args_os().collect::<Vec<OsString>>())
}
