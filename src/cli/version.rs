//! `airlock version`: prints the version, as `airlock --version` does.

use serde_json::json;

use super::CliError;
use super::output::{print, print_json};

/// The arguments of `airlock version`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object with the field version
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match arguments.json {
        true => print_json(&json!({ "version": version })),
        false => print(format_args!("airlock {version}")),
    }
}
