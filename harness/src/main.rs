//! The command line of Fewbit.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(harness::cli::Cli::parse())
}
