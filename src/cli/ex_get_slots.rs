//! `airlock ex get slots`: Airlock's own view of the groups, in its own format.

#![expect(clippy::print_stdout, reason = "what a command says goes to stdout")]

use super::Failure;
use crate::config::Loaded;
use crate::group::Known;
use crate::semaphore::Semaphore;
use crate::store::GroupName;
use crate::store::open::open;

pub fn run(loaded: Loaded) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(print(loaded))
}

async fn print(loaded: Loaded) -> Result<(), Failure> {
    let settings = loaded.settings;
    let store = open(&settings.store, settings.transaction_timeout)
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    for (name, group) in &settings.groups {
        let stored = store
            .read(name)
            .await
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let semaphore = Known::new(stored, group.slots)
            .semaphore
            .map_err(|reason| {
                Failure::Other(format!(
                    "the value stored at {} cannot be used: {reason}",
                    store.place(name)
                ))
            })?;
        print_group(name, &semaphore);
    }
    Ok(())
}

fn print_group(name: &GroupName, semaphore: &Semaphore) {
    println!("group: {name}");
    println!(" semaphore slots: {}", semaphore.slots);
    println!(" lock owners:");
    for holder in semaphore.holders.keys() {
        println!(" - {holder}");
    }
    println!("\n---");
}
