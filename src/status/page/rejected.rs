//! The clients that were rejected recently.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use maud::{Markup, html};

use super::parts::{head, runbook, section_id};
use crate::lock::NodeId;
use crate::status::view::DenialView;
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The lengths of the prefixes of networks whose clients share a row.
const IPV4_PREFIX: u8 = 24;
const IPV6_PREFIX: u8 = 64;

/// The rejected clients of a network, of the same group, with the same reason and detail.
struct Row<'a> {
    /// One of them.
    client: &'a DenialView,
    network: Option<IpNet>,
    addresses: HashSet<IpAddr>,
    first: Timestamp,
    /// As far as they are known.
    last: Option<Timestamp>,
    times: u64,
}

/// Renders the rejected clients, the latest first. There may be `more` of them.
pub(super) fn section(clients: &[DenialView], more: bool, now: Timestamp) -> Markup {
    html! {
        @if !clients.is_empty() {
            section data-key="rejected" aria-labelledby=(section_id("rejected")) {
                h2 id=(section_id("rejected")) { "Rejected clients" }
                div.list.flat {
                    table aria-labelledby=(section_id("rejected")) {
                        (head(&["Address", "Reason", "First", "Last", "Times", "Server"]))
                        tbody { @for row in rows(clients) { (html(&row, now)) } }
                    }
                    p.quiet {
                        "Rejected in the last 15 minutes" @if more { "; there may be more" }
                        ". Only the server itself knows how often, and when last. "
                        (runbook("Clients are rejected"))
                    }
                }
            }
        }
    }
}

fn html(row: &Row<'_>, now: Timestamp) -> Markup {
    let client = row.client;
    html! {
        tr {
            th scope="row" {
                @match row.network {
                    Some(network) if row.addresses.len() > 1 => {
                        (network) " (" (row.addresses.len()) " addresses)"
                    }
                    _ => { (client.peer) }
                }
                @if let Some(node) = client.name.as_ref().or(client.id.as_ref()) {
                    br; span.id {
                        (shortened(node, NodeId::MAX_BYTES)) @if row.addresses.len() > 1 { " …" }
                    }
                }
            }
            td { (client.text()) }
            td.when data-label="first" { (age(row.first, now)) " ago" }
            td.when data-label="last" { @match row.last { Some(last) => { (age(last, now)) " ago" } None => { "-" } } }
            td.number data-label="times" { @if row.times > 0 { (row.times) } }
            td data-label="at" { (client.server) }
        }
    }
}

/// Joins the clients of the same network.
fn rows<'a>(clients: &'a [DenialView]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut known = HashMap::new();
    for client in clients {
        let network = network(client.peer);
        match known.entry((
            &client.reason,
            &client.group,
            &client.detail,
            &client.server,
            network,
        )) {
            Entry::Occupied(row) => {
                let row: &mut Row<'_> = &mut rows[*row.get()];
                row.addresses.insert(client.peer);
                row.first = row.first.min(client.first);
                row.last = row.last.max(client.last);
                row.times += client.times.unwrap_or_default();
            }
            Entry::Vacant(row) => {
                row.insert(rows.len());
                rows.push(Row {
                    client,
                    network,
                    addresses: HashSet::from([client.peer]),
                    first: client.first,
                    last: client.last,
                    times: client.times.unwrap_or_default(),
                });
            }
        }
    }
    rows
}

fn network(peer: IpAddr) -> Option<IpNet> {
    let prefix = if peer.is_ipv4() {
        IPV4_PREFIX
    } else {
        IPV6_PREFIX
    };
    let network = IpNet::new(peer, prefix).ok()?;
    Some(network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_of_a_network_with_the_same_reason_share_a_row() {
        let client = |reason: &str, peer: &str, times| DenialView {
            server: "ops-1".into(),
            reason: reason.into(),
            peer: peer.parse().unwrap(),
            group: None,
            id: None,
            name: None,
            detail: Some("unknown CA".into()),
            first: Timestamp::UNIX_EPOCH,
            last: None,
            times: Some(times),
            repeated: false,
            needs_attention: true,
        };
        let clients = [
            client("tls_handshake", "10.0.4.1", 5),
            client("wrong_password", "10.0.4.1", 1),
            client("tls_handshake", "10.0.4.200", 7),
            client("tls_handshake", "10.0.5.1", 1),
            client("tls_handshake", "2001:db8::1", 1),
            client("tls_handshake", "2001:db8::ff:1", 1),
        ];
        let page = section(&clients, false, Timestamp::UNIX_EPOCH).into_string();
        for expected in [
            "10.0.4.0/24 (2 addresses)</th><td>TLS handshake failed: unknown CA</td>",
            "10.0.4.1</th><td>wrong user or password: unknown CA</td>",
            ">10.0.5.1</th>",
            "2001:db8::/64 (2 addresses)</th>",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(
            section(&[], false, Timestamp::UNIX_EPOCH)
                .into_string()
                .is_empty()
        );
    }
}
