//! The output for one group: its state, its holders, the waiting nodes, the last holds, and what comes next.

use jiff::Timestamp;

use crate::cli::CliError;
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::output::{count, print, table};
use crate::cli::overview::address;
use crate::status::{CompletedHoldView, Condition, GroupView, HolderView, WaiterView};
use crate::text::duration::{age, seconds};

/// The maximum width of a column.
const MAX_WIDTH: usize = 64;

/// The number of waiting nodes and completed holds in a line.
const SHORT: usize = 3;

/// Prints a group, with `all` waiting nodes and completed holds.
pub(super) fn print_group(
    context: &StoreContext,
    group: &GroupView,
    all: bool,
    now: Timestamp,
) -> Result<(), CliError> {
    print(format_args!("{}: {}", group.name, sentence(context, group)))?;
    let holders = group.lock.iter().flat_map(|lock| &lock.holders);
    let holders: Vec<&HolderView> = holders.collect();
    if !holders.is_empty() {
        print_holders(context, group, &holders, now)?;
    }
    print("")?;
    print_waiting(context, group, all, now)?;
    print_last(context, group, all, now)?;
    print(format_args!("NEXT     {}", next(group)))
}

/// Explains the state.
fn sentence(context: &StoreContext, group: &GroupView) -> String {
    let detail = &group.detail;
    match group.state {
        Condition::Damaged => format!(
            "damaged. No request is granted until the stored value is repaired: {detail}; the command to repair it{}",
            context.remedy(group)
        ),
        Condition::Overdue => format!("overdue. {detail}; a reboot does not take that long."),
        Condition::Unknown => format!("not known yet: {detail}."),
        Condition::SlotsDiffer => format!("{detail}{}", context.remedy(group)),
        Condition::Paused => format!(
            "paused {detail}. No node is granted a slot until the group is resumed{}",
            context.remedy(group)
        ),
        Condition::Closed => {
            format!("closed. No node is granted a slot outside the reboot windows: {detail}.")
        }
        Condition::Full => format!("full. Every slot is held; {detail}."),
        Condition::Rebooting => format!("some slots are held; {detail}."),
        Condition::Free => format!("free. No slot is held; {detail}."),
    }
}

fn print_holders(
    context: &StoreContext,
    group: &GroupView,
    holders: &[&HolderView],
    now: Timestamp,
) -> Result<(), CliError> {
    print("")?;
    let mut rows = vec![["HOLDER", "ADDRESS", "SINCE", "ID"].map(str::to_owned)];
    rows.extend(holders.iter().map(|holder| {
        let since = holder.since;
        [
            holder.name.clone().unwrap_or_else(|| "-".into()),
            address(holder.peer),
            since.map_or_else(|| "unknown".into(), |since| moment::since(since, now)),
            holder.id.clone(),
        ]
    }));
    let mut lines = table(rows, &[], MAX_WIDTH).into_iter();
    lines.try_for_each(print)?;
    // All that are overdue, or the oldest one.
    let mut listed: Vec<_> = holders.iter().filter(|holder| holder.overdue).collect();
    print("")?;
    if listed.is_empty() {
        listed.extend(holders.first());
        print("  If a node does not come back, check it first. Then:")?;
    } else {
        print("  Check the node first: an update that broke it would break the next one. Then:")?;
    }
    for holder in listed {
        let unlock = context.command_line("unlock", &[&group.name, &holder.id]);
        print(format_args!("    {unlock}"))?;
    }
    Ok(())
}

fn print_waiting(
    context: &StoreContext,
    group: &GroupView,
    all: bool,
    now: Timestamp,
) -> Result<(), CliError> {
    let listed = group.waiting.as_deref().unwrap_or_default();
    let Some(longest) = listed.first() else {
        return match group.waiting_count {
            Some(_) => print("WAITING  no node"),
            None => print("WAITING  not known: the documents of the servers cannot be read"),
        };
    };
    let number = count(group.waiting_nodes(), "node");
    let at_least = if group.more_may_wait { "at least " } else { "" };
    let waited = age(longest.first_asked, now);
    if all {
        print(format_args!(
            "WAITING  {at_least}{number}, the longest for {waited}"
        ))?;
        let mut rows = vec![["NODE", "ADDRESS", "SINCE", "AT SERVER", "REASON"].map(str::to_owned)];
        rows.extend(listed.iter().map(|waiter| {
            [
                waiter.node().to_owned(),
                address(waiter.peer),
                moment::since(waiter.first_asked, now),
                waiter.server.clone(),
                waiter.reason.clone(),
            ]
        }));
        for line in table(rows, &[], MAX_WIDTH) {
            print(format_args!("  {line}"))?;
        }
        return Ok(());
    }
    let nodes: Vec<&str> = listed.iter().take(SHORT).map(WaiterView::node).collect();
    let more = match group.waiting_nodes() > nodes.len() {
        true => {
            let command = context.command_line("status", &[&group.name]);
            format!(", … ({command} --all)")
        }
        false => String::new(),
    };
    print(format_args!(
        "WAITING  {at_least}{number}, the longest for {waited} ({}, at {}): {}{more}",
        longest.reason,
        longest.server,
        nodes.join(", ")
    ))
}

fn print_last(
    context: &StoreContext,
    group: &GroupView,
    all: bool,
    now: Timestamp,
) -> Result<(), CliError> {
    let history = &group.history;
    if history.is_empty() {
        return print("LAST     no completed hold is recorded");
    }
    if all {
        print("LAST")?;
        for hold in history {
            let until = moment::since(hold.until, now);
            print(format_args!("  {until}  {}", hold_text(hold)))?;
        }
        return Ok(());
    }
    let holds: Vec<String> = history.iter().take(SHORT).map(hold_text).collect();
    let more = match history.len() > SHORT {
        true => format!(" ({})", context.command_line("history", &[&group.name])),
        false => String::new(),
    };
    print(format_args!("LAST     {}{more}", holds.join(", ")))
}

/// Describes a completed hold, such as `db-worker-8 40 min (released by admin@ops-1)`.
fn hold_text(hold: &CompletedHoldView) -> String {
    let held = hold
        .held_seconds
        .map_or_else(|| "an unknown time".into(), seconds);
    match &hold.by {
        Some(by) => format!("{} {held} (released by {by})", hold.node()),
        None => format!("{} {held}", hold.node()),
    }
}

/// Tells when the next slot can be granted.
fn next(group: &GroupView) -> String {
    let Some(lock) = &group.lock else {
        return "nothing is granted until the stored value is known".into();
    };
    if lock.paused {
        return "nothing is granted until the group is resumed".into();
    }
    let slot = match lock.holders.first() {
        _ if lock.free > 0 => "a slot is free".to_owned(),
        Some(oldest) if lock.held == 1 => {
            let node = oldest.node();
            format!("a slot becomes free when {node} reports or is unlocked")
        }
        _ => "a slot becomes free when a holder reports or is unlocked".to_owned(),
    };
    match &group.windows.text {
        Some(windows) => format!("{slot}; reboot windows: {windows}"),
        None => format!("{slot}; no reboot window applies"),
    }
}
