//! `airlock backup FILE`: saves the embedded store, also while a server uses it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use super::CliError;
use super::apply::summary;
use super::context::check_exists;
use super::output::{count, report};
use super::store_file::StoreFile;
use crate::lock::codec::decode;
use crate::names::NodeNames;
use crate::store::sqlite::{self, Values};

/// The arguments of `airlock backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The new file, which must not exist; `-` writes the backup to stdout
    file: PathBuf,
}

/// Runs the command.
pub(super) fn run(store: &StoreFile, arguments: &Arguments) -> Result<(), CliError> {
    if arguments.file.as_os_str() == "-" {
        return print_backup(store);
    }
    report(store.location());
    check_exists(&store.path, &store.config)?;
    let values = sqlite::backup(&store.path, &arguments.file, store.busy_timeout)
        .map_err(|error| CliError::Copy(Box::new(error)))?;
    for (group, value) in &values {
        match decode(value) {
            Ok(decoded) => report(format_args!(
                "group {group}: {}",
                summary(&NodeNames::default(), &decoded.semaphore)
            )),
            Err(_) => {
                tracing::warn!("group {group}: its stored value is damaged, and saved as it is")
            }
        }
    }
    let file = std::path::absolute(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    report(format_args!(
        "saved {} to {}",
        totals(&values),
        file.display()
    ));
    Ok(())
}

/// Writes the backup to stdout, from where it can leave a container without a shell.
fn print_backup(store: &StoreFile) -> Result<(), CliError> {
    check_exists(&store.path, &store.config)?;
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        return Err(CliError::BackupToTerminal);
    }
    let mut backup = sqlite::unnamed_backup(&store.path, store.busy_timeout)
        .map_err(|error| CliError::Copy(Box::new(error)))?;
    // A reader that ends early has no backup, so that a closed pipe is an error here.
    io::copy(&mut backup, &mut stdout)
        .and_then(|_| stdout.flush())
        .map_err(CliError::IncompleteBackup)
}

/// Describes the contents of a file in a few words: `2 groups with 3 holders`.
pub(super) fn totals(values: &Values) -> String {
    let semaphores = values.values().filter_map(|value| decode(value).ok());
    let holders = semaphores.map(|decoded| decoded.semaphore.holders.len());
    format!(
        "{} with {}",
        count(values.len(), "group"),
        count(holders.sum(), "holder")
    )
}
