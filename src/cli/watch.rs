//! `airlock watch`: every change of the groups as it happens, one line each, until it is ended.

#![expect(clippy::print_stdout, reason = "what a command says goes to stdout")]

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Failure;
use super::desk::Desk;
use super::order::{differences, summary};
use crate::group::Known;
use crate::store::{GroupName, Seen};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this group
    group: Option<String>,
}

pub async fn run(desk: Desk, arguments: &Arguments) -> Result<(), Failure> {
    let groups: Vec<GroupName> = match &arguments.group {
        Some(group) => vec![desk.target(group).await?.name],
        None => desk.settings.groups.keys().cloned().collect(),
    };
    println!("{}", desk.place());
    let mut known = HashMap::new();
    loop {
        let mut report = |group: &GroupName, seen: Seen| {
            let stored = match seen {
                Seen::Current(stored) | Seen::Change(stored) => stored,
            };
            let configured = desk.settings.groups.get(group);
            let slots = configured.map_or(0, |settings| settings.slots);
            let now = Known::new(stored, slots);
            for line in news(known.get(group), &now) {
                println!("{:.0}  {group}: {line}", Timestamp::now());
            }
            known.insert(group.clone(), now);
        };
        let error = desk.store.follow(&groups, &mut report).await;
        if known.is_empty() {
            return Err(error.into());
        }
        tracing::warn!(reason = %error, "changes may be missed, trying again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What to say about a group, given what was said before.
fn news(before: Option<&Known>, now: &Known) -> Vec<String> {
    let after = match &now.semaphore {
        Ok(after) => after,
        Err(reason) => return vec![format!("the stored value cannot be used: {reason}")],
    };
    let Some((before, Ok(semaphore))) = before.map(|known| (known, &known.semaphore)) else {
        return vec![summary(after)];
    };
    let mut lines = differences(semaphore, after, Timestamp::now());
    let acts = now.acts.iter().filter(|act| !before.acts.contains(act));
    lines.extend(acts.map(|act| format!("({} has {})", act.by, act.action)));
    lines
}
