//! The waiting nodes of a group: one row for each reason, and all nodes in a list of their own.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use maud::{Markup, html};

use super::context::Page;
use super::parts::{head, node, timestamp};
use crate::status::view::{GroupView, WaiterView};
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The number of nodes that are named for each reason, and the characters of each name.
const NAMED: usize = 5;
const MAX_NAME: usize = 40;

/// The number of reasons and of servers that are told apart. Other servers report them, so any number is possible.
const MAX_REASONS: usize = 20;
const MAX_SERVERS: usize = 10;

/// Renders the waiting nodes of a group.
pub(super) fn tables(page: &Page<'_>, group: &GroupView) -> Markup {
    let nodes = group.waiting.as_deref().unwrap_or_default();
    let number = group.waiting_nodes();
    let at_least = group.at_least();
    if number == 0 {
        return Markup::default();
    }
    let listed = &nodes[..nodes.len().min(page.max_waiting)];
    html! {
        table {
            caption {
                "Waiting (" (at_least) (number) ")"
                @if number > nodes.len() { ", of which the longest " (nodes.len()) " are counted here" }
            }
            (head(&["Nodes", "Reason", "Longest", "Names"]))
            tbody {
                @for (reason, nodes) in by_reason(nodes) {
                    (reason_row(page, reason, &nodes))
                }
            }
        }
        details.more data-key="waiting" {
            summary {
                @if number > listed.len() { "The longest " (listed.len()) " waiting nodes" }
                @else if number == 1 { "The waiting node" }
                @else { "All " (number) " waiting nodes" }
            }
            table {
                caption { "Waiting nodes" }
                (head(&["Node", "Since", "Reason", "Server"]))
                tbody {
                    @for waiter in listed {
                        tr {
                            th scope="row" { (node(waiter.name.as_deref(), waiter.peer, &waiter.id)) }
                            td.when { (age(waiter.first_asked, page.view.now)) " " (timestamp(waiter.first_asked)) }
                            td { (waiter.reason) }
                            td { (waiter.server) }
                        }
                    }
                }
            }
        }
    }
}

/// Groups nodes by their reason, the most frequent one first.
fn by_reason(nodes: &[WaiterView]) -> Vec<(&str, Vec<&WaiterView>)> {
    let mut reasons: BTreeMap<&str, Vec<&WaiterView>> = BTreeMap::new();
    for waiter in nodes {
        reasons.entry(&waiter.reason).or_default().push(waiter);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, nodes)| Reverse(nodes.len()));
    reasons.truncate(MAX_REASONS);
    reasons
}

fn reason_row(page: &Page<'_>, reason: &str, nodes: &[&WaiterView]) -> Markup {
    let names = nodes.iter().take(NAMED);
    let names: Vec<_> = names
        .map(|waiter| shortened(waiter.node(), MAX_NAME))
        .collect();
    let longest = nodes.iter().map(|waiter| waiter.first_asked).min();
    html! {
        tr {
            th scope="row" {
                @if nodes.len() == 1 { "1 node" } @else { (nodes.len()) " nodes" }
                " " span.quiet { "at " (by_server(nodes)) }
            }
            td { (reason) }
            td.when data-label="longest" { @if let Some(since) = longest { (age(since, page.view.now)) } }
            td.quiet { (names.join(", ")) @if nodes.len() > NAMED { " …" } }
        }
    }
}

/// Returns the servers that denied the nodes, with the number of nodes if there are several.
fn by_server(nodes: &[&WaiterView]) -> String {
    let mut servers: BTreeMap<&str, usize> = BTreeMap::new();
    for waiter in nodes {
        *servers.entry(&waiter.server).or_default() += 1;
    }
    if let Some((server, _)) = servers.first_key_value()
        && servers.len() == 1
    {
        return (*server).to_owned();
    }
    let texts = servers.iter().take(MAX_SERVERS);
    let mut texts: Vec<_> = texts
        .map(|(server, number)| format!("{server} ({number})"))
        .collect();
    if servers.len() > MAX_SERVERS {
        texts.push("others".into());
    }
    texts.join(", ")
}
