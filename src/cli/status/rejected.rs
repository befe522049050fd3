//! The rejected clients, those with the same reason in one line.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::cli::output::shown;
use crate::status::DenialView;
use crate::text::duration::age;

/// The maximum number of lines, unless all are wanted: a port scan has as many reasons as it requests paths.
const MAX_LINES: usize = 10;

/// The maximum number of clients in a line, unless all are wanted.
const MAX_CLIENTS: usize = 5;

/// Returns one line for each reason, those of nodes first; with `all`, they contain all clients. `more`: there may be more
/// clients.
pub(super) fn lines(denials: &[DenialView], all: bool, more: bool, now: Timestamp) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&DenialView>> = BTreeMap::new();
    for denial in denials {
        by_reason.entry(denial.text()).or_default().push(denial);
    }
    let mut reasons: Vec<_> = by_reason.into_iter().collect();
    reasons.sort_by_key(|(_, clients)| !clients.iter().any(|client| client.needs_attention));
    let (max_lines, max_clients) = match all {
        true => (usize::MAX, usize::MAX),
        false => (MAX_LINES, MAX_CLIENTS),
    };
    let left_out = reasons.len().saturating_sub(max_lines);
    let reasons = reasons.iter().take(max_lines);
    let mut lines: Vec<String> = reasons
        .map(|(reason, clients)| of_reason(reason, clients, max_clients, now))
        .collect();
    if left_out > 0 {
        lines.push(format!("and clients for {left_out} other reasons"));
    }
    if more && !lines.is_empty() {
        lines.push("and perhaps more clients, which the servers do not list".to_owned());
    }
    lines
}

/// Describes the clients that are rejected for the same reason.
fn of_reason(reason: &str, clients: &[&DenialView], max: usize, now: Timestamp) -> String {
    let nodes: BTreeSet<String> = clients.iter().map(|client| client.node()).collect();
    let servers: BTreeSet<&str> = clients.iter().map(|client| &*client.server).collect();
    let first = clients.iter().map(|client| client.first).min();
    let others = match nodes.len().saturating_sub(max) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let nodes: Vec<_> = nodes.iter().take(max).map(|node| shown(node)).collect();
    let servers: Vec<_> = servers.into_iter().map(shown).collect();
    format!(
        "{}{others}, for {}, at {}: {}",
        nodes.join(", "),
        age(first.unwrap_or(now), now),
        servers.join(", "),
        shown(reason)
    )
}
