//! The output for one node: where it holds a slot, where it waits, and when it was last granted one.

use std::net::IpAddr;

use crate::cli::CliError;
use crate::cli::context::StoreContext;
use crate::cli::moment;
use crate::cli::output::print;
use crate::cli::overview::{Overview, is_node};
use crate::status::GroupView;
use crate::text::duration::seconds;

/// Prints what is known about the node with this id, name or address.
pub(super) fn print_node(
    context: &StoreContext,
    overview: &Overview,
    node: &str,
) -> Result<(), CliError> {
    let now = overview.now;
    for group in &overview.groups {
        let name = &group.name;
        for holder in group.lock.iter().flat_map(|lock| &lock.holders) {
            if !is_node(node, &holder.id, holder.name.as_deref(), holder.peer) {
                continue;
            }
            let who = who(&holder.id, holder.name.as_deref(), holder.peer);
            let since = holder.since.map_or_else(
                || "an unknown time".to_owned(),
                |since| moment::since(since, now),
            );
            print(format_args!(
                "{who} holds a slot of group {name} since {since}"
            ))?;
            let unlock = context.command_line("unlock", &[name, &holder.id]);
            print(format_args!(
                "  to release it by hand, after a check of the node: {unlock}"
            ))?;
        }
        for waiter in group.waiting.iter().flatten() {
            if is_node(node, &waiter.id, waiter.name.as_deref(), waiter.peer) {
                let who = who(&waiter.id, waiter.name.as_deref(), waiter.peer);
                let since = moment::since(waiter.first_asked, now);
                let (server, reason) = (&waiter.server, &waiter.reason);
                print(format_args!(
                    "{who} waits for a slot of group {name} since {since}, at {server}: {reason}"
                ))?;
                let group = context.command_line("status", &[name]);
                print(format_args!("  the state of the group: {group}"))?;
            }
        }
        for hold in &group.history {
            if is_node(node, &hold.id, hold.name.as_deref(), hold.peer) {
                let who = who(&hold.id, hold.name.as_deref(), hold.peer);
                let until = moment::since(hold.until, now);
                let held = match hold.held_seconds {
                    Some(held) => format!(" after {}", seconds(held)),
                    None => String::new(),
                };
                let by = match &hold.by {
                    Some(by) => format!(", by {by}"),
                    None => String::new(),
                };
                print(format_args!(
                    "{who} released a slot of group {name} at {until}{held}{by}"
                ))?;
            }
        }
    }
    Ok(())
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

/// Describes a node, such as `db-worker-7 (2204af7f…, 10.0.4.17)`.
fn who(id: &str, name: Option<&str>, peer: Option<IpAddr>) -> String {
    let peer = peer.map(|peer| peer.to_string());
    match (name, peer) {
        (Some(name), Some(peer)) => format!("{name} ({id}, {peer})"),
        (Some(name), None) => format!("{name} ({id})"),
        (None, Some(peer)) => format!("{id} ({peer})"),
        (None, None) => id.to_owned(),
    }
}
