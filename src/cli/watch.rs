//! `airlock watch`: every change of the groups as it happens, one line each, until it is ended.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::Failure;
use super::desk::Desk;
use super::order::{differences, summary};
use super::say::say;
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
    say(desk.place())?;
    let (sender, mut lines) = mpsc::unbounded_channel();
    let follow = async {
        let mut known = HashMap::new();
        loop {
            let mut report = |group: &GroupName, seen: Seen| {
                let before = known.get(group);
                let Some(now) = newer(before, seen, slots(&desk, group)) else {
                    return;
                };
                for line in news(before, &now) {
                    // The receiver lives as long as this.
                    let _ = sender.send(format!("{:.0}  {group}: {line}", Timestamp::now()));
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
    };
    let print = async {
        while let Some(line) = lines.recv().await {
            say(line)?;
        }
        Ok(())
    };
    tokio::select! {
        result = follow => result,
        result = print => result,
    }
}

fn slots(desk: &Desk, group: &GroupName) -> u64 {
    let configured = desk.settings.groups.get(group);
    configured.map_or(0, |settings| settings.slots)
}

/// What was seen, unless it is a change that is known already: the first values come from reads that may
/// be newer than where the changes begin.
fn newer(before: Option<&Known>, seen: Seen, slots: u64) -> Option<Known> {
    match seen {
        Seen::Current(stored) => Some(Known::new(stored, slots)),
        Seen::Change(stored) => {
            let is_known = before.is_some_and(|before| before.as_of >= stored.as_of);
            (!is_known).then(|| Known::new(stored, slots))
        }
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
