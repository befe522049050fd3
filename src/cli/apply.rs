//! The application of an administrator's command: shows the change, asks for confirmation, executes the command, and
//! reports the result.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;

use super::CliError;
use super::context::{StoreContext, Target};
use super::nodes::{describe_holder, name_or_id};
use super::output::report;
use crate::admin::{self, Change, ExecuteError, host};
use crate::lock::GroupName;
use crate::lock::command::{AdminCommand, Decision};
use crate::lock::policy::{Cap, CapView};
use crate::lock::semaphore::Semaphore;
use crate::names::NodeNames;
use crate::text::duration::age;

/// The options of every command that changes something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ConfirmArgs {
    /// Change without confirmation
    #[arg(short, long)]
    pub(super) yes: bool,

    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
}

/// Applies `command` to `target`.
///
/// # Errors
/// If the command is refused or not confirmed, or the store cannot be used.
pub(super) async fn apply(
    context: &StoreContext,
    target: &Target,
    command: &AdminCommand,
    confirm: ConfirmArgs,
) -> Result<(), CliError> {
    let group = &target.name;
    let state = context.state(target).await?;
    let knows_slots = context.knows_slots(&state);
    let before = context.semaphore_of(target, state)?;
    report(context.location());
    let caps = context.settings.caps.iter();
    let caps: Vec<Cap> = caps.filter_map(|cap| cap.for_group(group)).collect();
    // Only the command itself compares all groups at the same moment.
    let views = match confirm.dry_run && command.obeys_caps() {
        true => views(context, &caps).await?,
        false => Vec::new(),
    };
    let present = (&*before, knows_slots);
    if !preview(context, group, command, present, &views)? {
        return Ok(());
    }
    if confirm.dry_run {
        report("dry run: nothing was changed");
        return Ok(());
    }
    if !confirm.yes {
        ask()?;
    }
    let admin_target = admin::Target {
        group,
        slots_if_absent: target.configured_slots.unwrap_or(0),
        caps: &caps,
    };
    let change = admin::execute(&context.store, admin_target, command, &administrator())
        .await
        .map_err(|error| cli_error(context, group, error))?;
    report_change(context, group, &before, &change);
    Ok(())
}

/// Reads the other groups of caps.
async fn views(context: &StoreContext, caps: &[Cap]) -> Result<Vec<CapView>, CliError> {
    let mut held = BTreeMap::new();
    for name in caps.iter().flat_map(|cap| &cap.others) {
        if !held.contains_key(name) {
            let target = Target {
                name: name.clone(),
                configured_slots: context.settings.groups.get(name).map(|group| group.slots),
            };
            held.insert(name, context.state(&target).await?.held());
        }
    }
    let view = |cap: &Cap| cap.view(|group| held.get(group).copied().flatten());
    Ok(caps.iter().map(view).collect())
}

/// Prints what the command would change; returns false if it would change nothing. `before` comes with whether its slots
/// are known.
fn preview(
    context: &StoreContext,
    group: &GroupName,
    command: &AdminCommand,
    (before, knows_slots): (&Semaphore, bool),
    caps: &[CapView],
) -> Result<bool, CliError> {
    let now = Timestamp::now();
    let present = match knows_slots {
        true => summary(&context.names, before),
        false => "its slots are not known".into(),
    };
    match command.decide(before, now, caps) {
        Decision::Unchanged => {
            report(format_args!("group {group}: nothing to change, {present}"));
            Ok(false)
        }
        Decision::Refused(refused) => Err(CliError::Refused {
            group: group.clone(),
            refused,
        }),
        Decision::Change { next: after, .. } => {
            report(format_args!("group {group}: {present}; after this change:"));
            let lines = match command {
                AdminCommand::Pause if !knows_slots => vec!["paused".into()],
                _ => differences(&context.names, before, &after, now),
            };
            for line in lines {
                report(format_args!("  {line}"));
            }
            Ok(true)
        }
    }
}

/// Prints the result. Another writer may have changed the group since `expected` was read.
fn report_change(context: &StoreContext, group: &GroupName, expected: &Semaphore, change: &Change) {
    if *change.before != *expected {
        report(format_args!(
            "group {group} was changed by another writer in the meantime, to: {}",
            summary(&context.names, &change.before)
        ));
    }
    if change.before == change.after {
        report(format_args!("group {group}: nothing left to change"));
    }
    report(format_args!(
        "done: group {group} has {}",
        summary(&context.names, &change.after)
    ));
}

/// Describes a semaphore in a few words.
pub(super) fn summary(names: &NodeNames, semaphore: &Semaphore) -> String {
    let slots = match semaphore.slots {
        0 => "no slots (paused)".into(),
        1 => "1 slot".into(),
        slots => format!("{slots} slots"),
    };
    match semaphore.holders.len() {
        0 => format!("{slots}, none held"),
        held @ 1..=5 => {
            let holders = semaphore.holders.iter();
            let holders: Vec<_> = holders
                .map(|(id, hold)| name_or_id(names, id, hold))
                .collect();
            format!("{slots}, {held} held ({})", holders.join(", "))
        }
        held => format!("{slots}, {held} held"),
    }
}

/// Describes the differences between two semaphores, one line each.
pub(super) fn differences(
    names: &NodeNames,
    before: &Semaphore,
    after: &Semaphore,
    now: Timestamp,
) -> Vec<String> {
    let mut lines = Vec::new();
    match (before.slots, after.slots) {
        (before, after) if before == after => {}
        (before, 0) => lines.push(format!(
            "paused (slots {before} -> 0); holders keep their slots"
        )),
        (0, 1) => lines.push("resumed with 1 slot".into()),
        (0, after) => lines.push(format!("resumed with {after} slots")),
        (before, after) => lines.push(format!("slots {before} -> {after}")),
    }
    match after.override_until {
        until if until == before.override_until => {}
        Some(until) => lines.push(format!(
            "reboot windows, freezes and gates are overridden until {until}"
        )),
        None => lines.push("reboot windows, freezes and gates are in force again".into()),
    }
    for (id, hold) in before.holders.iter() {
        if !after.holders.contains_key(id) {
            let node = describe_holder(names, id, hold);
            lines.push(match hold.since {
                Some(since) => {
                    format!(
                        "{node} is unlocked; it held its slot for {}",
                        age(since, now)
                    )
                }
                None => format!("{node} is unlocked; its lock time is unknown"),
            });
        }
    }
    for (id, hold) in after.holders.iter() {
        if !before.holders.contains_key(id) {
            lines.push(format!("{} is locked", describe_holder(names, id, hold)));
        }
    }
    lines
}

/// Asks for confirmation on the terminal.
pub(super) fn ask() -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::NoTerminal);
    }
    let mut answer = String::new();
    let read = write!(io::stdout(), "Apply this change? [y/N] ")
        .and_then(|()| io::stdout().flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CliError::Declined),
    }
}

/// Returns the administrator that the audit log names: `user@host`.
pub(super) fn administrator() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("SUDO_USER")
        .or_else(|| variable("USER"))
        .or_else(|| variable("LOGNAME"))
        .unwrap_or_else(|| format!("uid-{}", rustix::process::getuid()));
    format!("{user}@{}", host::name())
}

fn cli_error(context: &StoreContext, group: &GroupName, error: ExecuteError) -> CliError {
    let group = group.clone();
    match error {
        ExecuteError::Refused(refused) => CliError::Refused { group, refused },
        ExecuteError::Damaged(value) => CliError::damaged(&group, *value),
        ExecuteError::Unavailable(error) => context.change_error(error),
        ExecuteError::Contended => CliError::Contended { group },
        ExecuteError::Unknown(error) => CliError::Unknown { group, error },
        error @ ExecuteError::NoTrace => CliError::Unknown {
            group,
            error: Box::new(error),
        },
    }
}
