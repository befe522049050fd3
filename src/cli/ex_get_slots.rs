//! `airlock ex get slots`: Airlock's own view of the groups, in its own format.

use super::Failure;
use super::desk::{Desk, Target};
use super::say::say;

pub async fn run(desk: Desk) -> Result<(), Failure> {
    for (name, group) in &desk.settings.groups {
        let target = Target {
            name: name.clone(),
            configured_slots: Some(group.slots),
        };
        let semaphore = desk.known(&target).await?.semaphore;
        let semaphore = semaphore.map_err(|reason| desk.damaged(name, &reason.to_string()))?;
        say(format_args!("group: {name}"))?;
        say(format_args!(" semaphore slots: {}", semaphore.slots))?;
        say(" lock owners:")?;
        for holder in semaphore.holders.keys() {
            say(format_args!(" - {holder}"))?;
        }
        say("\n---")?;
    }
    Ok(())
}
