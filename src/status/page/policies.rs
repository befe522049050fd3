//! The gates and the caps of the groups.

use maud::{Markup, html};

use super::parts::{head, section_id};
use crate::fleet::GateState;
use crate::lock::NodeId;
use crate::status::view::{CapUsage, GateServerView, GateView, GroupUsage, StatusView};
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The maximum number of groups that are named.
const MAX_NAMED: usize = 10;

/// Renders the gates; nothing if there are none.
pub(super) fn gates(view: &StatusView) -> Markup {
    html! {
        @if !view.gates.is_empty() {
            section data-key="gates" aria-labelledby=(section_id("gates")) {
                h2 id=(section_id("gates")) { "Gates" }
                div.list.flat {
                    table aria-labelledby=(section_id("gates")) {
                        (head(&["Gate", "State", "For", "Asked", "Reason", "Groups"]))
                        tbody { @for gate in &view.gates { (gate_rows(view, gate)) } }
                    }
                }
            }
        }
    }
}

/// Renders one row for a gate, or one for each server if they disagree.
fn gate_rows(view: &StatusView, gate: &GateView) -> Markup {
    let groups: Vec<&str> = gate.groups.iter().map(String::as_str).collect();
    html! {
        @if gate.servers.is_empty() {
            tr {
                th scope="row" { (gate.name) }
                td colspan="4" { "not known: no running server has published it" }
                td.quiet data-label="groups" { (named(&groups)) }
            }
        }
        @if gate.servers_disagree {
            @for server in &gate.servers {
                (gate_row(view, gate, server, server.reason.as_deref(), Some(&server.server), &groups))
            }
        } @else if let Some(server) = gate.servers.first() {
            (gate_row(view, gate, server, gate.reason().as_deref(), None, &groups))
        }
    }
}

fn gate_row(
    view: &StatusView,
    gate: &GateView,
    server: &GateServerView,
    reason: Option<&str>,
    at: Option<&str>,
    groups: &[&str],
) -> Markup {
    let class = match server.state {
        GateState::Failed => "bad",
        GateState::Closed | GateState::Unknown => "calm",
        GateState::Open => "ok",
    };
    html! {
        tr {
            th scope="row" { (gate.name) @if let Some(at) = at { " at " (at) } }
            td data-label="state" { span.chip.(class) { (server.state.as_str()) } }
            td.when data-label="for" { @if let Some(since) = server.since { (age(since, view.now)) } }
            td.when data-label="asked" { @if let Some(age) = server.age_seconds { (age) " s ago" } }
            td { @if let Some(reason) = reason { (reason) } }
            td.quiet data-label="groups" { (named(groups)) }
        }
    }
}

/// Renders the caps; nothing if there are none.
pub(super) fn caps(view: &StatusView) -> Markup {
    html! {
        @if !view.caps.is_empty() {
            section data-key="caps" aria-labelledby=(section_id("caps")) {
                h2 id=(section_id("caps")) { "Caps" }
                div.list.flat {
                    table aria-labelledby=(section_id("caps")) {
                        (head(&["Cap", "In use", "Groups"]))
                        tbody { @for cap in &view.caps { (cap_row(cap)) } }
                    }
                }
            }
        }
    }
}

fn cap_row(cap: &CapUsage) -> Markup {
    let group = |group: &GroupUsage| {
        let name = shortened(&group.name, NodeId::MAX_BYTES);
        match group.held {
            Some(0) => name.into_owned(),
            Some(held) => format!("{name} ({held} held)"),
            None => format!("{name} (not known)"),
        }
    };
    let groups: Vec<String> = cap.groups.iter().map(group).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    html! {
        tr {
            th scope="row" { (cap.name) }
            td { (cap.usage()) }
            td.quiet { (named(&groups)) }
        }
    }
}

/// Lists names, and the number of those that are left out.
fn named(names: &[&str]) -> String {
    let listed = &names[..names.len().min(MAX_NAMED)];
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
