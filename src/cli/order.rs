//! One order of an administrator: shown, confirmed, carried out, and what came of it said.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;

use super::Failure;
use super::desk::{Desk, Target};
use super::say::tell;
use crate::admin::{self, Decision, Order};
use crate::age::age;
use crate::semaphore::Semaphore;

/// How far an order may go without asking.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Consent {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,

    /// Show what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// Carries out `order` on `target`.
pub async fn carry_out(
    desk: &Desk,
    target: &Target,
    order: &Order,
    consent: Consent,
) -> Result<(), Failure> {
    let group = &target.name;
    let before = desk.semaphore(target).await?;
    tell(desk.place());
    let now = Timestamp::now();
    match order.decide(&before, now) {
        Decision::AlreadySo => {
            tell(format_args!(
                "group {group}: nothing to change, {}",
                summary(&before)
            ));
            return Ok(());
        }
        Decision::Refused(refused) => {
            return Err(Failure::Other(format!("group {group}: {refused}")));
        }
        Decision::Change(after, _) => {
            tell(format_args!("group {group}: {}", summary(&before)));
            for line in differences(&before, &after, now) {
                tell(format_args!("  {line}"));
            }
        }
    }
    if consent.dry_run {
        tell("dry run: nothing was changed");
        return Ok(());
    }
    if !consent.yes {
        confirm()?;
    }
    let slots = target.configured_slots.unwrap_or(0);
    let done = admin::carry_out(&*desk.store, group, slots, order, &admin::who())
        .await
        .map_err(|reason| desk.not_done(group, reason))?;
    if done.before == done.after {
        tell(format_args!(
            "group {group}: somebody else was faster, nothing left to change"
        ));
    }
    if done.before != before {
        tell(format_args!(
            "group {group} had changed meanwhile, it was: {}",
            summary(&done.before)
        ));
    }
    tell(format_args!(
        "done: group {group} has {}",
        summary(&done.after)
    ));
    Ok(())
}

/// Such as `2 slots, 1 held (a)`.
pub fn summary(semaphore: &Semaphore) -> String {
    let slots = match semaphore.slots {
        0 => "no slots (paused)".into(),
        1 => "1 slot".into(),
        slots => format!("{slots} slots"),
    };
    match semaphore.holders.len() {
        0 => format!("{slots}, none held"),
        held @ 1..=5 => {
            let ids: Vec<&str> = semaphore.holders.keys().map(AsRef::as_ref).collect();
            format!("{slots}, {held} held ({})", ids.join(", "))
        }
        held => format!("{slots}, {held} held"),
    }
}

/// What happened between two values, a line each.
pub fn differences(before: &Semaphore, after: &Semaphore, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    match (before.slots, after.slots) {
        (before, after) if before == after => {}
        (before, 0) => lines.push(format!(
            "paused (slots {before} -> 0); who holds a slot keeps it"
        )),
        (0, after) => lines.push(format!("resumed with {after} slots")),
        (before, after) => lines.push(format!("slots {before} -> {after}")),
    }
    for (id, since) in &before.holders {
        if !after.holders.contains_key(id) {
            lines.push(match since {
                Some(since) => format!("{id} is unlocked, it held for {}", age(*since, now)),
                None => format!("{id} is unlocked, since when it held is unknown"),
            });
        }
    }
    for id in after.holders.keys() {
        if !before.holders.contains_key(id) {
            lines.push(format!("{id} is locked"));
        }
    }
    lines
}

fn confirm() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Other(
            "nobody to ask, since this is no terminal: nothing was changed; add --yes".into(),
        ));
    }
    let mut answer = String::new();
    let read = write!(io::stdout(), "Do it? [y/N] ")
        .and_then(|()| io::stdout().flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::Other("nothing was changed".into())),
    }
}
