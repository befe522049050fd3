//! `airlock ex get slots`: the groups in the format of coreos/airlock, letter for letter, but for control characters.

use super::CliError;
use super::context::StoreContext;
use super::output::{print, print_raw};

/// Prints the groups.
pub(super) async fn run(context: StoreContext) -> Result<(), CliError> {
    for target in context.configured() {
        let semaphore = context.semaphore(&target).await?;
        print(format_args!("group: {}", target.name))?;
        print(format_args!(" semaphore slots: {}", semaphore.slots))?;
        print(" lock owners:")?;
        for holder in semaphore.holders.keys() {
            print(format_args!(" - {holder}"))?;
        }
        print_raw("\n---")?;
    }
    Ok(())
}
