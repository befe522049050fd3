//! `airlock restore FILE`: replaces the embedded store by a backup.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;

use super::CliError;
use super::apply::{ConfirmArgs, administrator, ask, summary};
use super::backup::totals;
use super::output::{report, shown};
use super::store_file::StoreFile;
use crate::config::{Settings, command_line};
use crate::lock::GroupName;
use crate::lock::audit::{AuditEntry, append};
use crate::lock::codec::{Decoded, Value, decode, encode};
use crate::lock::command::{AdminCommand, Decision};
use crate::lock::semaphore::Semaphore;
use crate::names::NodeNames;
use crate::store::sqlite::{CopyError, Present, Restore};

/// The number of holders that are listed for one group.
const MAX_HOLDERS: usize = 20;

/// The arguments of `airlock restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup
    file: PathBuf,

    /// Pause every group, so that no node is granted a slot before you have checked which nodes are down
    #[arg(long)]
    pause: bool,

    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Runs the command.
pub(super) fn run(store: &StoreFile, arguments: &Arguments) -> Result<(), CliError> {
    report(store.location());
    let mut restore =
        Restore::prepare(&store.path, &arguments.file, store.busy_timeout).map_err(copy_error)?;
    let totals = totals(restore.values());
    report(format_args!("the backup has {totals}"));
    let may_grant_too_much = preview(&restore, &store.settings);
    if arguments.pause {
        report("every group will be paused (--pause)");
    } else if may_grant_too_much {
        tracing::warn!(
            "a node could be granted a slot while others are down; add --pause, unless you know that no node is down"
        );
    }
    if arguments.confirm.dry_run {
        report("dry run: nothing was changed");
        return Ok(());
    }
    if !arguments.confirm.yes {
        ask()?;
    }
    let paused = if arguments.pause {
        pause(&mut restore, store)?
    } else {
        Vec::new()
    };
    let previous = restore.finish().map_err(copy_error)?;
    report(format_args!("done: restored {totals}"));
    if let Some(previous) = previous {
        report(format_args!("the previous file is {}", previous.display()));
    }
    if !paused.is_empty() {
        report("start the server, and end each pause once all nodes of the group are up:");
        for group in &paused {
            let command = command_line(&store.config, "resume", &[group.as_str()]);
            report(format_args!("  {command}"));
        }
    }
    Ok(())
}

/// Prints what the restore changes. Returns whether a group has fewer holders or more slots in the backup, or may have.
fn preview(restore: &Restore, settings: &Settings) -> bool {
    match restore.present() {
        Present::Values(present) => {
            let groups: BTreeSet<_> = present.keys().chain(restore.values().keys()).collect();
            let mut may_grant_too_much = false;
            for group in groups {
                let backup = restore.values().get(group);
                // A group that is not configured would have 1 slot by default.
                let slots = settings.groups.get(group).map_or(1, |group| group.slots);
                may_grant_too_much |= preview_group(group, present.get(group), backup, slots);
            }
            may_grant_too_much
        }
        present => {
            report(match present {
                Present::Unreadable(reason) => {
                    format!("the present store cannot be read: {reason}")
                }
                Present::Interrupted => "an earlier restore was interrupted".into(),
                Present::Missing | Present::Values(_) => "there is no present store".into(),
            });
            for (group, value) in restore.values() {
                report(format_args!("group {group}: {}", describe(Some(value))));
            }
            true
        }
    }
}

/// Prints what changes in a group. Returns whether it has fewer holders or more slots in the backup, or may have.
///
/// `slots` is the configured number, with which a server creates the group if it has no value.
fn preview_group(
    group: &GroupName,
    present: Option<&Value>,
    backup: Option<&Value>,
    slots: u64,
) -> bool {
    report(format_args!("group {group}: {}", describe(present)));
    if present.map(|value| &value.semaphore) == backup.map(|value| &value.semaphore) {
        report("  nothing changes");
        return false;
    }
    report(format_args!("  in the backup: {}", describe(backup)));
    let (Some(present), Some(backup)) = (semaphore(present, slots), semaphore(backup, slots))
    else {
        return true;
    };
    let (now, then) = (&present.holders, &backup.holders);
    let lost: Vec<&str> = now
        .keys()
        .filter(|id| !then.contains_key(id))
        .map(AsRef::as_ref)
        .collect();
    for id in lost.iter().take(MAX_HOLDERS) {
        report(format_args!(
            "  {} loses its slot: the backup lacks its lock, and it may be down now",
            shown(id)
        ));
    }
    if lost.len() > MAX_HOLDERS {
        report(format_args!("  and {} more", lost.len() - MAX_HOLDERS));
    }
    for id in then
        .keys()
        .filter(|id| !now.contains_key(id))
        .take(MAX_HOLDERS)
    {
        report(format_args!(
            "  {} holds a slot in the backup only: it has released it since, unless its lock was lost",
            shown(id)
        ));
    }
    let has_more_slots = backup.slots > present.slots;
    if present.is_paused() && has_more_slots {
        report("  the group is not paused in the backup");
    } else if has_more_slots {
        report(format_args!(
            "  the group has more slots after the restore: {} instead of {}",
            backup.slots, present.slots
        ));
    }
    !lost.is_empty() || has_more_slots
}

/// Returns a semaphore, with these slots and no holders if the group has no value; `None`: the value is damaged.
fn semaphore(value: Option<&Value>, slots: u64) -> Option<Semaphore> {
    match value {
        Some(value) => decode(value).ok().map(|decoded| decoded.semaphore),
        None => Some(Semaphore::new(slots)),
    }
}

fn describe(value: Option<&Value>) -> String {
    match value.map(decode) {
        Some(Ok(decoded)) => summary(&NodeNames::default(), &decoded.semaphore),
        Some(Err(_)) => "its value is damaged".into(),
        None => "no value".into(),
    }
}

/// Pauses all groups of the backup and of the configuration in the copy, and returns them. A damaged value blocks its group
/// already.
fn pause(restore: &mut Restore, store: &StoreFile) -> Result<Vec<GroupName>, CliError> {
    let (at, by) = (Timestamp::now(), administrator());
    let configured = store.settings.groups.keys();
    let groups: BTreeSet<GroupName> = restore.values().keys().chain(configured).cloned().collect();
    let mut paused = Vec::new();
    for group in groups {
        let before = match restore.values().get(&group).map(decode) {
            Some(Ok(decoded)) => decoded,
            Some(Err(_)) => {
                tracing::warn!(
                    "group {group}: its stored value is damaged, which blocks the group"
                );
                continue;
            }
            None => {
                let slots = store
                    .settings
                    .groups
                    .get(&group)
                    .map_or(0, |group| group.slots);
                Decoded::absent(slots)
            }
        };
        let decision = AdminCommand::Pause.decide(&before.semaphore, at, &[]);
        if let Decision::Change { next, action, .. } = decision {
            let by = by.as_str().into();
            let log = append(&before.audit_log, AuditEntry { at, by, action });
            let value = encode(&next, &log, &before.history);
            restore.write(&group, &value).map_err(copy_error)?;
        }
        paused.push(group);
    }
    Ok(paused)
}

fn copy_error(error: CopyError) -> CliError {
    CliError::Copy(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::codec::LockTimes;
    use crate::lock::history::History;
    use crate::lock::holders::Hold;

    fn value(slots: u64, ids: &[&str]) -> Value {
        let mut semaphore = Semaphore::new(slots);
        semaphore.holders = ids
            .iter()
            .map(|id| ((*id).into(), Hold::default()))
            .collect();
        encode(&semaphore, &[], &History::default())
    }

    #[test]
    fn a_group_with_fewer_holders_or_more_slots_in_the_backup_may_grant_too_much() {
        let damaged = || Value {
            semaphore: Vec::new(),
            lock_times: LockTimes::Absent,
        };
        for (present, backup, expected) in [
            (Some(value(1, &["a"])), Some(value(1, &["a"])), false),
            (Some(value(1, &["a"])), Some(value(1, &["a", "b"])), false),
            (Some(value(1, &["a"])), Some(value(1, &["b"])), true),
            (Some(value(1, &["a"])), Some(value(3, &["a"])), true),
            (Some(value(3, &["a"])), Some(value(1, &["a"])), false),
            (Some(value(0, &["a"])), Some(value(1, &["a"])), true),
            (Some(value(1, &["a"])), Some(value(0, &["a"])), false),
            // Without a value, a group has the configured number of slots, which is 2.
            (Some(value(1, &[])), None, true),
            (Some(value(2, &[])), None, false),
            (Some(value(2, &["a"])), None, true),
            (None, Some(value(2, &["a"])), false),
            (None, Some(value(3, &["a"])), true),
            (None, Some(damaged()), true),
            (Some(damaged()), None, true),
        ] {
            let group = GroupName::new("default").unwrap();
            let found = preview_group(&group, present.as_ref(), backup.as_ref(), 2);
            let [present, backup] = [present, backup].map(|value| describe(value.as_ref()));
            assert_eq!(found, expected, "{present} -> {backup}");
        }
    }
}
