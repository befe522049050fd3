//! The rejected clients, those with the same reason in one line.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::status::DenialView;
use crate::text::duration::age;

/// The maximum number of clients in a line.
const MAX_CLIENTS: usize = 8;

/// Returns one line for each reason. `more`: there may be more clients.
pub(super) fn lines(denials: &[DenialView], more: bool, now: Timestamp) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&DenialView>> = BTreeMap::new();
    for denial in denials {
        by_reason.entry(denial.text()).or_default().push(denial);
    }
    let line = |(reason, clients): (String, Vec<&DenialView>)| {
        let nodes: BTreeSet<String> = clients.iter().map(|client| client.node()).collect();
        let servers: BTreeSet<&str> = clients.iter().map(|client| &*client.server).collect();
        let first = clients
            .iter()
            .map(|client| client.first)
            .min()
            .unwrap_or(now);
        let others = match nodes.len().saturating_sub(MAX_CLIENTS) {
            0 if more => " and perhaps more".to_owned(),
            0 => String::new(),
            others if more => format!(" and at least {others} more"),
            others => format!(" and {others} more"),
        };
        let nodes: Vec<String> = nodes.into_iter().take(MAX_CLIENTS).collect();
        let servers: Vec<&str> = servers.into_iter().collect();
        format!(
            "{reason}: {}{others}, for {}, at {}",
            nodes.join(", "),
            age(first, now),
            servers.join(", ")
        )
    };
    by_reason.into_iter().map(line).collect()
}
