//! The output for one node: where it holds a slot, waits or is rejected, and when it last held one.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::rejected;
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::nodes::{Node, nodes};
use crate::status::{DenialView, GroupView, StatusView};
use crate::text::duration::seconds;

/// Describes what is known about the node with this id, name or address.
pub(super) fn lines(context: &StoreContext, view: &StatusView, node: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let rejected = rejected::lines(&view.denials, true, false, view.now);
    lines.extend(rejected.into_iter().map(|line| format!("rejected: {line}")));
    for group in &view.groups {
        lines.extend(present(context, group, node, view.now));
    }
    if lines.is_empty() {
        lines.push(format!(
            "{node} holds no slot, waits for none, and is not rejected"
        ));
    }
    let history = view.groups.iter();
    let mut past: Vec<_> = history
        .flat_map(|group| past(group, node, view.now))
        .collect();
    past.sort_by_key(|(until, _)| Reverse(*until));
    lines.extend(past.into_iter().map(|(_, line)| line));
    lines
}

/// Tells whether the node holds a slot of a group, or waits for one.
fn present(context: &StoreContext, group: &GroupView, node: &str, now: Timestamp) -> Vec<String> {
    let name = &group.name;
    let mut lines = Vec::new();
    for holder in group.lock.iter().flat_map(|lock| &lock.holders) {
        if !Node::from(holder).is(node) {
            continue;
        }
        let described = Node::from(holder).describe();
        let since = holder.since.map_or_else(
            || "an unknown time".to_owned(),
            |since| moment::since(since, now),
        );
        lines.push(format!(
            "{described} has held a slot of group {name} since {since}"
        ));
        let unlock = context.command_line("unlock", &[name, &holder.id]);
        lines.push(format!(
            "  to release it by hand, after a check of the node: {unlock}"
        ));
    }
    for waiter in group.waiting.iter().flatten() {
        if Node::from(waiter).is(node) {
            let described = Node::from(waiter).describe();
            let since = moment::since(waiter.first_asked, now);
            let (server, reason) = (&waiter.server, &waiter.reason);
            lines.push(format!(
                "{described} has waited for a slot of group {name} since {since}, at {server}: {reason}"
            ));
            let status = context.command_line("status", &[name]);
            lines.push(format!("  the state of the group: {status}"));
        }
    }
    lines
}

/// Describes the completed holds of the node in a group, with the times at which they ended.
fn past(group: &GroupView, node: &str, now: Timestamp) -> Vec<(Timestamp, String)> {
    let holds = group
        .history
        .iter()
        .filter(|hold| Node::from(*hold).is(node));
    let lines = holds.map(|hold| {
        let until = moment::since(hold.until, now);
        let (described, name) = (Node::from(hold).describe(), &group.name);
        let held = match hold.held_seconds {
            Some(held) => format!(", held for {}", seconds(held)),
            None => String::new(),
        };
        let line = match &hold.by {
            Some(by) => format!("{until}: {by} unlocked {described} in group {name}{held}"),
            None => format!("{until}: {described} released a slot of group {name}{held}"),
        };
        (hold.until, line)
    });
    lines.collect()
}

/// Reports whether a group knows a node.
pub(super) fn concerns(group: &GroupView, node: &str) -> bool {
    nodes(group).any(|known| known.is(node))
}

/// Reports whether a rejected client is a node.
pub(super) fn is_client(client: &DenialView, node: &str) -> bool {
    let client = Node {
        id: client.id.as_deref().unwrap_or_default(),
        name: client.name.as_deref(),
        peer: Some(client.peer),
    };
    client.is(node)
}
