//! The output for one node: where it holds a slot, waits or is rejected, and when it last held one.

use std::net::IpAddr;

use super::rejected;
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::overview::is_node;
use crate::status::{DenialView, GroupView, StatusView};
use crate::text::duration::seconds;

/// Describes what is known about the node with this id, name or address.
pub(super) fn lines(context: &StoreContext, view: &StatusView, node: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let rejected = rejected::lines(&view.denials, false, view.now);
    lines.extend(rejected.into_iter().map(|line| format!("rejected: {line}")));
    for group in &view.groups {
        lines.extend(of_group(context, view, group, node));
    }
    lines
}

fn of_group(
    context: &StoreContext,
    view: &StatusView,
    group: &GroupView,
    node: &str,
) -> Vec<String> {
    let (now, name) = (view.now, &group.name);
    let mut lines = Vec::new();
    for holder in group.lock.iter().flat_map(|lock| &lock.holders) {
        if !is_node(node, &holder.id, holder.name.as_deref(), holder.peer) {
            continue;
        }
        let described = describe(&holder.id, holder.name.as_deref(), holder.peer);
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
        if is_node(node, &waiter.id, waiter.name.as_deref(), waiter.peer) {
            let described = describe(&waiter.id, waiter.name.as_deref(), waiter.peer);
            let since = moment::since(waiter.first_asked, now);
            let (server, reason) = (&waiter.server, &waiter.reason);
            lines.push(format!(
                "{described} has waited for a slot of group {name} since {since}, at {server}: {reason}"
            ));
            let status = context.command_line("status", &[name]);
            lines.push(format!("  the state of the group: {status}"));
        }
    }
    for hold in &group.history {
        if is_node(node, &hold.id, hold.name.as_deref(), hold.peer) {
            let described = describe(&hold.id, hold.name.as_deref(), hold.peer);
            let until = moment::since(hold.until, now);
            let held = match hold.held_seconds {
                Some(held) => format!(" after {}", seconds(held)),
                None => String::new(),
            };
            let by = match &hold.by {
                Some(by) => format!(", by {by}"),
                None => String::new(),
            };
            lines.push(format!(
                "{described} released a slot of group {name}{held}{by}: {until}"
            ));
        }
    }
    lines
}

/// Reports whether a group knows a node.
pub(super) fn concerns(group: &GroupView, node: &str) -> bool {
    let holders = group.lock.iter().flat_map(|lock| &lock.holders);
    let mut holders = holders.map(|holder| (&holder.id, &holder.name, holder.peer));
    let mut waiting =
        (group.waiting.iter().flatten()).map(|waiter| (&waiter.id, &waiter.name, waiter.peer));
    let mut history = (group.history.iter()).map(|hold| (&hold.id, &hold.name, hold.peer));
    let found = |(id, name, peer): (&String, &Option<String>, Option<IpAddr>)| {
        is_node(node, id, name.as_deref(), peer)
    };
    holders.any(found) || waiting.any(found) || history.any(found)
}

/// Reports whether a rejected client is a node.
pub(super) fn is_client(client: &DenialView, node: &str) -> bool {
    let id = client.id.as_deref().unwrap_or_default();
    is_node(node, id, client.name.as_deref(), Some(client.peer))
}

/// Describes a node, such as `db-worker-7 (2204af7f…, 10.0.4.17)`.
fn describe(id: &str, name: Option<&str>, peer: Option<IpAddr>) -> String {
    let peer = peer.map(|peer| peer.to_string());
    match (name, peer) {
        (Some(name), Some(peer)) => format!("{name} ({id}, {peer})"),
        (Some(name), None) => format!("{name} ({id})"),
        (None, Some(peer)) => format!("{id} ({peer})"),
        (None, None) => id.to_owned(),
    }
}
