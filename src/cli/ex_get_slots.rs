//! `airlock ex get slots`: Airlock's own view of the groups, in its own format.

use super::Failure;
use super::desk::Desk;
use super::say::say;

pub async fn run(desk: Desk) -> Result<(), Failure> {
    for target in desk.configured() {
        let semaphore = desk.semaphore(&target).await?;
        say(format_args!("group: {}", target.name))?;
        say(format_args!(" semaphore slots: {}", semaphore.slots))?;
        say(" lock owners:")?;
        for holder in semaphore.holders.keys() {
            say(format_args!(" - {holder}"))?;
        }
        say("\n---")?;
    }
    Ok(())
}
