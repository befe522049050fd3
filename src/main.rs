//! Parses the command line, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    airlock::cli::Cli::parse().run()
}
