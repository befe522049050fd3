//! The events about rejected clients, of which there can be any number.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::denials::{DenialReason, DeniedClient};
use crate::lock::GroupName;
use crate::network::ClientNetwork;
use crate::notify::Event;

/// The time after which a client that is still rejected causes another event.
const REPEATED: SignedDuration = SignedDuration::from_hours(1);

/// The maximum number of events a minute about the clients that are rejected for the same reason.
const MAX_PER_MINUTE: usize = 10;

/// A rejected client: its reason, its network, and the group that it claims to belong to.
type Key = (DenialReason, ClientNetwork, Option<String>);

/// Selects the rejected clients about which an event is sent.
#[derive(Default)]
pub(super) struct DeniedEvents {
    /// When an event about each client was sent, in the last hour. The maximum per minute bounds them.
    sent: HashMap<Key, Timestamp>,
}

// === impl DeniedEvents ===

impl DeniedEvents {
    /// Returns an event about each rejected client that is new, or is rejected for another hour. If there are too many, the
    /// clients that were rejected first come first: no scan from many addresses hides the nodes.
    pub(super) fn events(&mut self, mut clients: Vec<DeniedClient>, now: Timestamp) -> Vec<Event> {
        let is_within = |at: Timestamp, age: SignedDuration| now.duration_since(at).abs() < age;
        self.sent.retain(|_, at| is_within(*at, REPEATED));
        let mut counts: HashMap<DenialReason, usize> = HashMap::new();
        for ((reason, ..), at) in &self.sent {
            if is_within(*at, SignedDuration::from_mins(1)) {
                *counts.entry(*reason).or_default() += 1;
            }
        }
        clients.sort_by_key(|client| client.first);
        let mut events = Vec::new();
        for client in clients {
            let network = ClientNetwork::of(client.peer);
            let key = (client.reason, network, client.group.clone());
            let count = counts.entry(client.reason).or_default();
            if *count < MAX_PER_MINUTE && !self.sent.contains_key(&key) {
                *count += 1;
                self.sent.insert(key, now);
                events.push(denied(client));
            }
        }
        events
    }
}

fn denied(client: DeniedClient) -> Event {
    Event::Denied {
        group: client.group.as_deref().and_then(GroupName::new),
        reason: client.reason.label().to_owned(),
        peer: Some(client.peer),
        id: client.id.map(Into::into),
        detail: client
            .detail
            .unwrap_or_else(|| client.reason.as_str().to_owned()),
        times: client.times,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn client(reason: DenialReason, peer: impl Into<IpAddr>, first: i64) -> DeniedClient {
        DeniedClient {
            reason,
            peer: peer.into(),
            group: None,
            id: None,
            detail: None,
            first: second(first),
            last: second(first),
            times: 1,
        }
    }

    fn node(number: u32) -> DeniedClient {
        let [.., high, low] = number.to_be_bytes();
        client(DenialReason::WrongPassword, [10, 0, high, low], 0)
    }

    #[test]
    fn a_client_that_is_rejected_causes_an_event_each_hour() {
        let mut denied = DeniedEvents::default();
        let mut events = |at| denied.events(vec![node(1)], second(at)).len();
        assert_eq!([0, 5, 3599, 3600, 3605].map(&mut events), [1, 0, 0, 1, 0]);
        // It was silent for a while, or others have taken its place in the list.
        assert!(denied.events(Vec::new(), second(3610)).is_empty());
        assert!(denied.events(vec![node(1)], second(3615)).is_empty());
    }

    #[test]
    fn each_of_many_nodes_causes_an_event_an_hour_although_only_some_of_them_are_listed() {
        let mut denied = DeniedEvents::default();
        // Each asks every 5 minutes, and the list has the latest 256 of them.
        let events = (0..7200).step_by(5).map(|at| {
            let first = u32::try_from(at).unwrap() / 5 * 17;
            let listed = (first..first + 256).map(|number| node(number % 500));
            denied.events(listed.collect(), second(at)).len()
        });
        let events: Vec<usize> = events.collect();
        let in_first_hour: usize = events[..720].iter().sum();
        assert_eq!(in_first_hour, 500);
        assert_eq!(events.iter().sum::<usize>(), 1000);
        assert_eq!(events.iter().max(), Some(&MAX_PER_MINUTE));
    }

    #[test]
    fn a_scan_causes_ten_events_a_minute_and_hides_neither_a_node_nor_another_reason() {
        let mut denied = DeniedEvents::default();
        let address = |network: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 1);
        let mut sent = 0;
        for at in 0..12 {
            let scan = (0..256).map(|number| {
                client(
                    DenialReason::WrongPassword,
                    address(at * 256 + number),
                    i64::from(at) * 5 + 1,
                )
            });
            let mut clients: Vec<DeniedClient> = scan.collect();
            if at == 0 {
                clients.push(node(1));
                clients.push(client(DenialReason::Forbidden, [10, 0, 0, 2], 30));
            }
            let events = denied.events(clients, second(i64::from(at) * 5));
            let text = format!("{events:?}");
            assert_eq!(text.contains("10.0.0.1"), at == 0, "{text}");
            assert_eq!(text.contains("10.0.0.2"), at == 0, "{text}");
            sent += events.len();
        }
        assert_eq!(sent, MAX_PER_MINUTE + 1);
        assert_eq!(denied.sent.len(), sent);
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        let mut denied = DeniedEvents::default();
        let mut events = |host| {
            let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
            let client = client(DenialReason::WrongPassword, peer, 0);
            denied.events(vec![client], second(i64::from(host))).len()
        };
        assert_eq!([1, 2, 3].map(&mut events), [1, 0, 0]);
    }
}
