//! `airlock watch`: prints every change of the groups, one line each, until it is interrupted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::CliError;
use super::apply::{differences, summary};
use super::context::StoreContext;
use super::nodes::present_name;
use super::output::{print, print_raw};
use crate::lock::audit::AuditEntry;
use crate::lock::holders::Hold;
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::store::Update;
use crate::text::escape::{escaped_json, printable, shortened};

/// The maximum number of characters of an audit entry: it may name ids of any length.
const MAX_ENTRY: usize = 1_000;

/// The arguments of `airlock watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Watch only this reboot group
    group: Option<String>,
    /// Print one JSON object for each change; docs/reference.md describes it
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(context: StoreContext, arguments: &Arguments) -> Result<(), CliError> {
    let groups: Vec<GroupName> = match &arguments.group {
        Some(group) => vec![context.target(group).await?.name],
        None => context.settings.groups.keys().cloned().collect(),
    };
    if !arguments.json {
        print(context.location())?;
    }
    let (sender, mut lines) = mpsc::unbounded_channel();
    let print_lines = async {
        while let Some(line) = lines.recv().await {
            // It is escaped already.
            print_raw(line)?;
        }
        Ok(())
    };
    tokio::select! {
        result = follow(&context, &groups, &sender, arguments.json) => result,
        result = print_lines => result,
    }
}

/// Sends a line for every change. Returns only if the store cannot be watched at all.
async fn follow(
    context: &StoreContext,
    groups: &[GroupName],
    lines: &UnboundedSender<String>,
    as_json: bool,
) -> Result<(), CliError> {
    let mut known = HashMap::new();
    loop {
        let mut report = |group: &GroupName, update: Update| {
            let before = known.get(group);
            let Some(state) = newer(before, update, configured_slots(context, group)) else {
                return;
            };
            // The receiver lives as long as this future.
            if as_json {
                let change = change(context, group, before, &state);
                let _ = lines.send(escaped_json(&change.to_string()).into_owned());
            } else {
                for line in describe(context, group, before, &state) {
                    let line = format!("{:.0}  {group}: {line}", Timestamp::now());
                    let _ = lines.send(printable(&line).into_owned());
                }
            }
            known.insert(group.clone(), state);
        };
        let error = context.store.watch(groups, &mut report).await;
        if known.is_empty() {
            return Err(context.store_error(error));
        }
        tracing::warn!("the watch was interrupted and starts again: {error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Describes the change from `before` to `after` for programs. Without `before`, all holders are new.
fn change(
    context: &StoreContext,
    group: &GroupName,
    before: Option<&GroupState>,
    after: &GroupState,
) -> Value {
    let semaphore = after.semaphore.as_ref().ok();
    let previous = before.and_then(|before| before.semaphore.as_ref().ok());
    let holds = |semaphore: Option<&Arc<Semaphore>>, id: &str| {
        semaphore.is_some_and(|semaphore| semaphore.holders.contains_key(id))
    };
    let difference = |of: Option<&Arc<Semaphore>>, other: Option<&Arc<Semaphore>>| {
        let holders = of
            .into_iter()
            .flat_map(|semaphore| semaphore.holders.iter());
        let holders = holders.filter(|(id, _)| !holds(other, id));
        let holder = |(id, hold): (&Arc<str>, &Hold)| {
            let (name, peer) = (present_name(&context.names, id, hold), hold.client.peer);
            json!({ "id": id, "name": name, "peer": peer, "since": hold.since })
        };
        holders.map(holder).collect::<Vec<_>>()
    };
    let known =
        |entry: &&AuditEntry| before.is_some_and(|before| !before.audit_log.contains(entry));
    let entries: Vec<&AuditEntry> = after.audit_log.iter().filter(known).collect();
    json!({
        "time": Timestamp::now(),
        "group": group.as_str(),
        "initial": before.is_none(),
        "slots": semaphore.map(|semaphore| semaphore.slots),
        "held": semaphore.map(|semaphore| semaphore.holders.len()),
        "granted": difference(semaphore, previous),
        "released": difference(previous, semaphore),
        "audit_log": entries,
        "damaged": after.semaphore.as_ref().err().map(ToString::to_string),
    })
}

fn configured_slots(context: &StoreContext, group: &GroupName) -> u64 {
    let configured = context.settings.groups.get(group);
    configured.map_or(0, |settings| settings.slots)
}

/// Returns the state after `update`, unless it is known already: the initial values come from reads, which may be newer
/// than the first changes.
fn newer(before: Option<&GroupState>, update: Update, slots: u64) -> Option<GroupState> {
    match update {
        Update::Current(stored) => Some(GroupState::new(stored, slots)),
        Update::Change(stored) if before.is_some_and(|before| before.as_of() >= stored.as_of) => {
            None
        }
        Update::Change(stored) => {
            let mut state = GroupState::new(stored, slots);
            if let Some(before) = before {
                state.keep_records_of(before);
            }
            Some(state)
        }
        Update::Contention { .. } => None,
    }
}

/// Describes the change from `before` to `after`, or all of `after` if there is nothing to compare it with.
fn describe(
    context: &StoreContext,
    group: &GroupName,
    before: Option<&GroupState>,
    after: &GroupState,
) -> Vec<String> {
    let semaphore = match &after.semaphore {
        Ok(semaphore) => semaphore,
        Err(reason) => {
            let location = context.store.location(group);
            let get_slots = context.command_line("get slots", &[group.as_str()]);
            return vec![
                format!("the stored value cannot be used ({location}): {reason}"),
                format!("this command prints the one that repairs the value: {get_slots}"),
            ];
        }
    };
    let Some((before, Ok(previous))) = before.map(|state| (state, &state.semaphore)) else {
        return vec![summary(&context.names, semaphore)];
    };
    let mut lines = differences(&context.names, previous, semaphore, Timestamp::now());
    let new_entries = after
        .audit_log
        .iter()
        .filter(|entry| !before.audit_log.contains(entry));
    lines.extend(new_entries.map(|entry| {
        let text = format!("{} has {}", entry.by, entry.action);
        format!("({})", shortened(&text, MAX_ENTRY))
    }));
    lines
}
