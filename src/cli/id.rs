//! `airlock id`: prints the ids that Zincati derives from machine ids. It needs neither a configuration nor a store.

use std::collections::HashMap;
use std::io::{self, BufRead as _};

use super::CliError;
use super::output::{print, print_raw};
use crate::admin::host;
use crate::lock::{InvalidMachineId, MachineId};
use crate::names::{InvalidName, check_name, id_and_name, shown};

/// The arguments of `airlock id`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A machine id: 32 hexadecimal digits, or a UUID; without one, that of this machine
    ///
    /// With `-`, the command reads lines `MACHINE-ID` or `MACHINE-ID NAME` from standard input, and prints `ID` or
    /// `ID NAME` for each of them: the lines of a file for service.node_names_path. Empty lines and those that begin
    /// with `#` are skipped.
    #[arg(value_name = "MACHINE-ID")]
    machine_ids: Vec<String>,
}

/// The reason why an argument or a line cannot be used, with its remedy.
#[derive(Debug, thiserror::Error)]
enum InvalidEntry {
    #[error("{id} is not a machine id: {reason}; {}", remedy(*.reason))]
    Id {
        id: String,
        reason: InvalidMachineId,
    },
    #[error("the name {name} {problem}")]
    Name { name: String, problem: InvalidName },
    #[error(
        "the machine id {id} is the same as on line {first}; remove one of the two lines, or if they are of two \
         machines, which count as one node, give one of them a new machine id"
    )]
    Repeated { id: String, first: usize },
}

/// Runs the command.
///
/// # Errors
/// If a machine id cannot be used. All others are printed.
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if arguments.machine_ids.is_empty() {
        return print(host::machine_id()?.zincati_id());
    }
    let mut is_complete = true;
    for argument in &arguments.machine_ids {
        if argument == "-" {
            is_complete &= print_lines()?;
        } else {
            match parse(argument) {
                Ok(id) => print(id.zincati_id())?,
                Err(invalid) => {
                    tracing::error!("{invalid}");
                    is_complete = false;
                }
            }
        }
    }
    if is_complete {
        Ok(())
    } else {
        Err(CliError::InvalidMachineIds)
    }
}

/// Prints the ids for the lines of standard input. Reports whether all lines could be used.
fn print_lines() -> Result<bool, CliError> {
    let mut is_complete = true;
    let mut lines_of = HashMap::new();
    for (line, text) in (1..).zip(io::stdin().lock().lines()) {
        let text = text.map_err(|source| CliError::Input { line, source })?;
        let Some((id, name)) = id_and_name(&text) else {
            continue;
        };
        match check(id, name, |id| lines_of.insert(id, line)) {
            // The name is free of characters that would have to be escaped.
            Ok(id) if name.is_empty() => print_raw(id.zincati_id())?,
            Ok(id) => print_raw(format_args!("{} {name}", id.zincati_id()))?,
            Err(invalid) => {
                tracing::error!("line {line} of standard input: {invalid}");
                is_complete = false;
            }
        }
    }
    Ok(is_complete)
}

/// Checks a line. `insert` remembers the machine id, and returns the number of an earlier line with the same.
fn check(
    id: &str,
    name: &str,
    insert: impl FnOnce(MachineId) -> Option<usize>,
) -> Result<MachineId, InvalidEntry> {
    let machine = parse(id)?;
    if let Some(first) = insert(machine) {
        let id = shown(id);
        return Err(InvalidEntry::Repeated { id, first });
    }
    check_name(name).map_err(|problem| {
        let name = shown(name);
        InvalidEntry::Name { name, problem }
    })?;
    Ok(machine)
}

fn parse(id: &str) -> Result<MachineId, InvalidEntry> {
    id.parse().map_err(|reason| {
        let id = shown(id);
        InvalidEntry::Id { id, reason }
    })
}

fn remedy(reason: InvalidMachineId) -> &'static str {
    match reason {
        InvalidMachineId::Uninitialized => "read its machine id again after the first boot",
        InvalidMachineId::Form | InvalidMachineId::Zero => {
            "copy the content of /etc/machine-id of the machine"
        }
    }
}
