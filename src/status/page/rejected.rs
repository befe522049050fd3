//! The clients that were rejected recently.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use maud::{Markup, html};

use super::parts::{runbook, section_id};
use crate::lock::NodeId;
use crate::status::view::DenialView;
use crate::text::duration::age;
use crate::text::escape::shortened;

/// The lengths of the prefixes of networks whose clients share a row.
const IPV4_PREFIX: u8 = 24;
const IPV6_PREFIX: u8 = 64;

/// The rejected clients of a network, of the same group, with the same reason and detail.
struct Row<'a> {
    /// The latest of them.
    client: &'a DenialView,
    network: Option<IpNet>,
    clients: usize,
    /// As far as they are known.
    times: u64,
}

/// Renders the rejected clients, the latest first.
pub(super) fn section(clients: &[DenialView], now: Timestamp) -> Markup {
    html! {
        @if !clients.is_empty() {
            section data-key="rejected" aria-labelledby=(section_id("rejected")) {
                h2 id=(section_id("rejected")) { "Rejected clients" }
                div.list.flat {
                    table aria-labelledby=(section_id("rejected")) {
                        thead {
                            tr {
                                th scope="col" { "Address" } th scope="col" { "Reason" }
                                th scope="col" { "Since" } th scope="col" { "Times" }
                                th scope="col" { "Server" }
                            }
                        }
                        tbody { @for row in rows(clients) { (html(&row, now)) } }
                    }
                    p.quiet {
                        "Rejected in the last 15 minutes. Only the server itself knows how often. "
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
                    Some(network) if row.clients > 1 => { (network) " (" (row.clients) " addresses)" }
                    _ => { (client.peer) }
                }
                @if let Some(id) = &client.id {
                    br; span.id { (shortened(id, NodeId::MAX_BYTES)) @if row.clients > 1 { " …" } }
                }
            }
            td { (client.text()) }
            td.when { time datetime=(client.first) { (age(client.first, now)) } }
            td.number { @if row.times > 0 { (row.times) } }
            td { (client.server) }
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
                row.clients += 1;
                row.times += client.times.unwrap_or_default();
            }
            Entry::Vacant(row) => {
                row.insert(rows.len());
                rows.push(Row {
                    client,
                    network,
                    clients: 1,
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
            detail: Some("unknown CA".into()),
            first: Timestamp::UNIX_EPOCH,
            last: None,
            times: Some(times),
        };
        let clients = [
            client("tls_handshake", "10.0.4.1", 5),
            client("wrong_password", "10.0.4.1", 1),
            client("tls_handshake", "10.0.4.200", 7),
            client("tls_handshake", "10.0.5.1", 1),
            client("tls_handshake", "2001:db8::1", 1),
            client("tls_handshake", "2001:db8::ff:1", 1),
        ];
        let page = section(&clients, Timestamp::UNIX_EPOCH).into_string();
        for expected in [
            "10.0.4.0/24 (2 addresses)</th><td>TLS handshake failed: unknown CA</td>",
            "10.0.4.1</th><td>wrong user or password: unknown CA</td>",
            ">10.0.5.1</th>",
            "2001:db8::/64 (2 addresses)</th>",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        assert!(section(&[], Timestamp::UNIX_EPOCH).into_string().is_empty());
    }
}
