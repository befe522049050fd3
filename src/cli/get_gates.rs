//! `airlock get gates`: asks the gates from this machine, and prints their answers as a table or as JSON.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::CliError;
use super::gates::{self, GateAnswer};
use super::output::{print, print_json, table};
use crate::admin::host;
use crate::config::Settings;

/// The arguments of `airlock get gates`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask only this gate
    gate: Option<String>,
    /// Print JSON; docs/reference.md describes it
    #[arg(long)]
    json: bool,
}

const HEADER: [&str; 4] = ["GATE", "STATE", "TIME", "GROUPS"];

/// The column of a number.
const TIME: usize = 2;

/// The maximum width of a column: that of the longest name of a gate.
const MAX_WIDTH: usize = 63;

/// Runs the command. The configuration is the one at `config`.
///
/// # Errors
/// If a gate cannot be asked, of which the output has the reason, or is not configured.
pub(super) async fn run(
    settings: &Settings,
    config: &Path,
    arguments: &Arguments,
) -> Result<(), CliError> {
    let wanted = arguments.gate.as_deref();
    let answers = gates::ask(settings, |name| wanted.is_none_or(|wanted| wanted == name)).await;
    if let (Some(wanted), true) = (wanted, answers.is_empty()) {
        let gates = settings.gates.iter();
        let names: BTreeSet<_> = gates.map(|gate| Arc::clone(&gate.settings.name)).collect();
        return Err(CliError::UnknownGate {
            name: wanted.to_owned(),
            config: config.to_owned(),
            configured: names.into_iter().collect(),
        });
    }
    let host = host::name();
    if arguments.json {
        print_json(&json!({ "host": host, "gates": answers }))?;
    } else if answers.is_empty() {
        print(format_args!(
            "no gates are configured in {}",
            config.display()
        ))?;
    } else {
        print(format_args!(
            "Asked from {host}, once; the servers have asked for themselves."
        ))?;
        print("")?;
        print_table(&answers)?;
    }
    if gates::has_failure(&answers) {
        return Err(CliError::GatesFailed);
    }
    Ok(())
}

fn print_table(answers: &[GateAnswer]) -> Result<(), CliError> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(answers.iter().map(|answer| {
        [
            answer.name.to_string(),
            answer.state.as_str().to_owned(),
            format!("{} ms", answer.milliseconds),
            match &answer.groups[..] {
                [] => "-".to_owned(),
                groups => groups.join(", "),
            },
        ]
    }));
    table(rows, &[TIME], MAX_WIDTH)
        .into_iter()
        .try_for_each(print)?;
    let mut reasons = answers
        .iter()
        .filter_map(|answer| Some((&answer.name, answer.reason.as_ref()?)))
        .peekable();
    if reasons.peek().is_some() {
        print("")?;
    }
    reasons.try_for_each(|(name, reason)| print(format_args!("{name}: {reason}")))
}
