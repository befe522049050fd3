//! The output for one group: its state, its holders, the waiting nodes, the last holds, and what comes next.

use jiff::Timestamp;

use super::{policies, rejected};
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::needs::UNKNOWN_POLICIES;
use crate::cli::output::{count, table};
use crate::cli::overview::address;
use crate::status::{CompletedHoldView, Condition, GroupView, HolderView, StatusView, WaiterView};
use crate::text::duration::{age, seconds};

/// The maximum width of a column.
const MAX_WIDTH: usize = 64;

/// The maximum number of commands that unlock a holder; the others differ in the id only.
const MAX_UNLOCKS: usize = 8;

/// The number of waiting nodes and completed holds in a line, unless all are wanted.
const SHORT: usize = 3;

/// Describes the groups of `view`, with `all` waiting nodes, completed holds and rejected clients.
pub(super) fn lines(context: &StoreContext, view: &StatusView, all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &view.groups {
        lines.extend(of_group(context, view, group, all));
    }
    lines
}

fn of_group(
    context: &StoreContext,
    view: &StatusView,
    group: &GroupView,
    all: bool,
) -> Vec<String> {
    let now = view.now;
    let mut lines = Vec::new();
    let conditions = group.conditions.iter().zip(&group.details);
    for (index, (condition, detail)) in conditions.enumerate() {
        let sentence = sentence(context, group, *condition, detail);
        match index {
            0 => lines.push(format!("{}: {sentence}", group.name)),
            _ if *condition < Condition::Full => lines.push(format!("  Also {sentence}")),
            _ => {}
        }
    }
    let holders = group.lock.iter().flat_map(|lock| &lock.holders);
    let holders: Vec<&HolderView> = holders.collect();
    if !holders.is_empty() {
        lines.extend(of_holders(context, group, &holders, now));
    }
    lines.push(String::new());
    let rejected = rejected::lines(&view.denials, all, view.more_denials, now);
    lines.extend(rejected.into_iter().map(|line| format!("REJECTED {line}")));
    lines.extend(waiting(context, group, all, now));
    lines.extend(last(context, group, all, now));
    lines.extend(policies::of_group(view, group));
    let problem = view.reload_problem.iter();
    lines.extend(problem.map(|problem| format!("CONFIG   {problem}")));
    lines.push(format!("NEXT     {}", next(context, group)));
    lines
}

/// Explains a condition.
fn sentence(
    context: &StoreContext,
    group: &GroupView,
    condition: Condition,
    detail: &str,
) -> String {
    let remedy = context.remedy(group, condition);
    match condition {
        Condition::Damaged => format!(
            "damaged. No request is granted until the stored value is repaired: {detail}; this command prints the one \
             that repairs it{remedy}"
        ),
        Condition::Stalled => format!(
            "stalled. {detail}. No node is granted a slot until it reports or is unlocked; check the node first{remedy}"
        ),
        Condition::Overdue => format!("overdue. {detail}; a reboot does not take that long."),
        Condition::RejectedClients => {
            format!("rejected clients. {detail}, so they cannot update; see below.")
        }
        Condition::Failing => format!("failing. Nodes are denied although no policy is: {detail}."),
        Condition::CapUnusable => format!(
            "cap unusable. No node is granted a slot: {detail}; this command prints the one that repairs it{remedy}"
        ),
        Condition::GateFailed => {
            format!("gate failed. No node is granted a slot until it answers again: {detail}.")
        }
        Condition::Unknown => format!("not known: {detail}."),
        Condition::SlotsDiffer => format!("slots differ. {detail}{remedy}"),
        Condition::ForeignWriter => format!(
            "foreign writer: {detail}; coreos/airlock does not know caps and may exceed them, so let only Airlock serve \
             the groups of a cap."
        ),
        Condition::NotConfigured => format!("not configured: {detail}."),
        Condition::Paused => {
            format!("paused {detail}. No node is granted a slot until the group is resumed{remedy}")
        }
        Condition::Closed => {
            format!("closed. No node is granted a slot outside the reboot windows: {detail}.")
        }
        Condition::Frozen => format!("frozen. No node is granted a slot {detail}."),
        Condition::GateClosed => {
            format!("gate closed. No node is granted a slot until it opens: {detail}.")
        }
        Condition::CapReached => {
            format!("cap reached. No node is granted a slot until others are back: {detail}.")
        }
        Condition::Settling => {
            format!("settling. No node is granted a slot after a reboot {detail}.")
        }
        Condition::Overridden => format!("overridden: {detail}. To end that{remedy}"),
        Condition::Full => format!("full. Every slot is held; {detail}."),
        Condition::Rebooting => format!("rebooting. Some slots are held; {detail}."),
        Condition::Free => format!("free. No slot is held; {detail}."),
    }
}

fn of_holders(
    context: &StoreContext,
    group: &GroupView,
    holders: &[&HolderView],
    now: Timestamp,
) -> Vec<String> {
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
    let mut lines = vec![String::new()];
    lines.extend(table(rows, &[], MAX_WIDTH));
    lines.push(String::new());
    // Those that are overdue, or all: any of them can be the one that does not come back.
    let mut listed: Vec<_> = holders.iter().filter(|holder| holder.overdue).collect();
    let advice = match listed.is_empty() {
        true => {
            listed.extend(holders);
            "If a node does not come back, check it first. Then, for this node:"
        }
        false => "Check the node first: an update that broke it would break the next one. Then:",
    };
    lines.push(format!("  {advice}"));
    lines.extend(listed.iter().take(MAX_UNLOCKS).map(|holder| {
        let unlock = context.command_line("unlock", &[&group.name, &holder.id]);
        format!("    {unlock}")
    }));
    lines
}

fn waiting(context: &StoreContext, group: &GroupView, all: bool, now: Timestamp) -> Vec<String> {
    let listed = group.waiting.as_deref().unwrap_or_default();
    let at_least = group.at_least();
    let number = group.waiting_nodes();
    let Some(longest) = listed.first() else {
        let text = match group.waiting_count {
            Some(0) => "no node".to_owned(),
            Some(_) => format!("{at_least}{}", count(number, "node")),
            None => "not known: no running server has published the nodes that wait".to_owned(),
        };
        return vec![format!("WAITING  {text}")];
    };
    let number = count(number, "node");
    let waited = age(longest.first_asked, now);
    if all {
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
        let table = table(rows, &[], MAX_WIDTH).into_iter();
        let mut lines = vec![format!(
            "WAITING  {at_least}{number}, the longest for {waited}"
        )];
        lines.extend(table.map(|line| format!("  {line}")));
        if let more @ 1.. = group.waiting_nodes().saturating_sub(listed.len()) {
            lines.push(format!("  and {more} more, which the servers do not list"));
        }
        return lines;
    }
    let nodes: Vec<&str> = listed.iter().take(SHORT).map(WaiterView::node).collect();
    let more = match group.waiting_nodes() > nodes.len() {
        true => format!(
            ", … ({})",
            context.command_line("status --all", &[&group.name])
        ),
        false => String::new(),
    };
    vec![format!(
        "WAITING  {at_least}{number}, the longest for {waited} ({}, at {}): {}{more}",
        longest.reason,
        longest.server,
        nodes.join(", ")
    )]
}

fn last(context: &StoreContext, group: &GroupView, all: bool, now: Timestamp) -> Vec<String> {
    let history = &group.history;
    if history.is_empty() {
        return vec!["LAST     no completed hold is recorded".to_owned()];
    }
    if all {
        let rows = history.iter();
        let rows = rows.map(|hold| [moment::since(hold.until, now), hold_text(hold)]);
        let mut lines = vec!["LAST".to_owned()];
        let table = table(rows.collect(), &[], MAX_WIDTH).into_iter();
        lines.extend(table.map(|line| format!("  {line}")));
        return lines;
    }
    let holds: Vec<String> = history.iter().take(SHORT).map(hold_text).collect();
    let more = match history.len() > SHORT {
        true => format!(" ({})", context.command_line("history", &[&group.name])),
        false => String::new(),
    };
    vec![format!("LAST     {}{more}", holds.join(", "))]
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
fn next(context: &StoreContext, group: &GroupView) -> String {
    let Some(lock) = &group.lock else {
        if !context.has_valid_groups && group.damaged.is_none() {
            return "not known".into();
        }
        return "nothing is granted until the stored value is known".into();
    };
    if context.has_valid_groups && group.configured_slots.is_none() {
        return "nothing is granted until the group is configured".into();
    }
    if lock.paused {
        return "nothing is granted until the group is resumed".into();
    }
    if let Some(end) = group.end_of_refusal() {
        return format!("nothing is granted until {end}");
    }
    let above = (lock.held as u64).saturating_sub(lock.slots);
    let slot = match lock.holders.first() {
        _ if lock.free > 0 => "a slot is free".to_owned(),
        _ if above > 0 => format!(
            "a slot becomes free when {} of the {} holders have reported or are unlocked",
            above + 1,
            lock.held
        ),
        Some(oldest) if lock.held == 1 => {
            let node = oldest.node();
            format!("a slot becomes free when {node} reports or is unlocked")
        }
        _ => "a slot becomes free when a holder reports or is unlocked".to_owned(),
    };
    match &group.windows.text {
        _ if !context.has_valid_groups => format!("{slot}; {UNKNOWN_POLICIES}"),
        _ if group.override_until.is_some() => {
            format!("{slot}; windows and freezes are overridden")
        }
        Some(windows) if group.windows.configured => format!("{slot}; reboot windows: {windows}"),
        Some(freezes) => format!("{slot}; the group has no reboot windows, but freezes: {freezes}"),
        None => format!("{slot}; the group has no reboot windows"),
    }
}
