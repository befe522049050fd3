//! The events that all servers observe, and that one of them sends.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::fleet::{Fleet, ServerId};
use crate::notify::Event;

/// The time for which an event is kept that another server has to send. That server may be lost, which shows only after
/// two minutes (SQLite) or one (etcd).
const KEPT: Duration = Duration::from_secs(150);

/// The time after which a server sends the events itself, because the store replies but has no documents for it: a
/// repeated event is better than a lost one.
const ALONE_AFTER: Duration = Duration::from_secs(120);

/// The maximum number of kept events.
const MAX_EVENTS: usize = 1024;

/// The events that are not sent by this server, or not yet.
pub(super) struct SharedEvents {
    /// This server.
    id: ServerId,
    /// Since when the store replies, but the fleet is unknown.
    unknown_since: Option<Instant>,
    /// Each with the time at which it was observed, oldest first.
    kept: VecDeque<(Instant, Event)>,
}

/// The server that sends the events.
enum Sender {
    ThisServer,
    AnotherServer,
    Unknown,
}

// === impl SharedEvents ===

impl SharedEvents {
    pub(super) fn new(id: ServerId) -> Self {
        SharedEvents {
            id,
            unknown_since: None,
            kept: VecDeque::new(),
        }
    }

    /// Adds new events.
    pub(super) fn add(&mut self, events: Vec<Event>, now: Instant) {
        self.kept
            .extend(events.into_iter().map(|event| (now, event)));
        let excess = self.kept.len().saturating_sub(MAX_EVENTS);
        self.kept.drain(..excess);
    }

    /// Returns the events that this server has to send now.
    pub(super) fn due(
        &mut self,
        fleet: Option<&Fleet>,
        store_replies: bool,
        now: Instant,
    ) -> Vec<Event> {
        match self.sender(fleet, store_replies, now) {
            Sender::ThisServer => self.kept.drain(..).map(|(_, event)| event).collect(),
            Sender::AnotherServer => {
                self.kept.retain(|(at, _)| now.duration_since(*at) < KEPT);
                Vec::new()
            }
            Sender::Unknown => Vec::new(),
        }
    }

    /// Returns the first running server, by name, that has a receiver of events.
    fn sender(&mut self, fleet: Option<&Fleet>, store_replies: bool, now: Instant) -> Sender {
        if let Some(fleet) = fleet {
            self.unknown_since = None;
            let mut notifying = fleet.alive().filter(|server| server.document.notifies);
            // If there is none, this server could not publish its document.
            return match notifying.next() {
                Some(first) if first.document.id != self.id => Sender::AnotherServer,
                Some(_) | None => Sender::ThisServer,
            };
        }
        if !store_replies {
            // What this server knows may be outdated.
            self.unknown_since = None;
            return Sender::Unknown;
        }
        let since = *self.unknown_since.get_or_insert(now);
        if now.duration_since(since) >= ALONE_AFTER {
            Sender::ThisServer
        } else {
            Sender::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::fleet::{FleetServer, ServerDocument};
    use crate::lock::GroupName;
    use crate::store::presence::Liveness;

    const GONE: Liveness = Liveness::Gone { last_seen: None };

    fn id(host: &str) -> ServerId {
        ServerId {
            host: host.into(),
            port: 3333,
            instance: "1".into(),
        }
    }

    fn fleet<const N: usize>(servers: [(&str, bool, Liveness); N]) -> Fleet {
        let servers = servers.map(|(host, notifies, liveness)| FleetServer {
            name: id(host).name(),
            document: Arc::new(ServerDocument {
                id: id(host),
                version: "1.0.0".into(),
                started: Timestamp::UNIX_EPOCH,
                configuration: String::new(),
                notifies,
                groups: Vec::new(),
                rejected: Vec::new(),
                more_rejected: false,
                gates: Vec::new(),
                foreign_writes: Vec::new(),
            }),
            liveness,
        });
        Fleet::new(servers.into())
    }

    fn event(number: usize) -> Event {
        Event::Admin {
            group: GroupName::new("workers").unwrap(),
            by: "root@ops".into(),
            action: number.to_string(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn actions(events: &[Event]) -> Vec<&str> {
        let actions = events.iter().map(|event| match event {
            Event::Admin { action, .. } => &**action,
            _ => panic!("not a command"),
        });
        actions.collect()
    }

    #[test]
    fn the_first_running_server_with_a_receiver_sends_the_events() {
        let now = Instant::now();
        let sent = |servers: &Fleet, host: &str| {
            let mut shared = SharedEvents::new(id(host));
            shared.add(vec![event(1)], now);
            shared.due(Some(servers), true, now).len() == 1
        };
        let all = fleet([
            ("a", true, GONE),
            ("b", false, Liveness::Alive),
            ("c", true, Liveness::Alive),
            ("d", true, Liveness::Alive),
        ]);
        assert_eq!(["c", "d"].map(|host| sent(&all, host)), [true, false]);
        // The store refuses the documents of the servers with a receiver.
        let none = fleet([("b", false, Liveness::Alive)]);
        assert!(sent(&none, "c"));
    }

    #[test]
    fn the_next_server_sends_what_a_lost_one_may_not_have_sent() {
        let start = Instant::now();
        let alive = fleet([("a", true, Liveness::Alive), ("b", true, Liveness::Alive)]);
        let lost = fleet([("a", true, GONE), ("b", true, Liveness::Alive)]);
        let mut shared = SharedEvents::new(id("b"));
        shared.add(vec![event(1)], start);
        assert!(shared.due(Some(&alive), true, start).is_empty());
        let at = start + KEPT;
        shared.add(vec![event(2)], at - Duration::from_secs(1));
        assert!(shared.due(Some(&alive), true, at).is_empty());
        let sent = shared.due(Some(&lost), true, at);
        assert_eq!(actions(&sent), ["2"], "1 was sent long ago");
        assert!(shared.due(Some(&lost), true, at).is_empty());
        shared.add(vec![event(3)], at);
        assert_eq!(actions(&shared.due(Some(&lost), true, at)), ["3"]);
    }

    #[test]
    fn events_wait_while_the_fleet_is_unknown() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let own = fleet([("a", true, Liveness::Alive)]);
        let mut shared = SharedEvents::new(id("a"));
        shared.add(vec![event(1)], start);
        for seconds in 0..600 {
            // The store does not reply.
            assert!(shared.due(None, false, at(seconds)).is_empty());
        }
        assert!(shared.due(None, true, at(600)).is_empty());
        assert_eq!(actions(&shared.due(Some(&own), true, at(610))), ["1"]);
    }

    #[test]
    fn a_server_that_never_learns_the_fleet_sends_the_events_itself() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shared = SharedEvents::new(id("a"));
        shared.add(vec![event(1)], start);
        assert!(shared.due(None, true, at(0)).is_empty());
        assert!(shared.due(None, true, at(119)).is_empty());
        assert_eq!(actions(&shared.due(None, true, at(120))), ["1"]);
        shared.add(vec![event(2)], at(125));
        assert_eq!(actions(&shared.due(None, true, at(125))), ["2"]);
    }

    #[test]
    fn invariant_8_the_oldest_kept_events_make_room() {
        let now = Instant::now();
        let mut shared = SharedEvents::new(id("a"));
        for number in 0..MAX_EVENTS + 2 {
            shared.add(vec![event(number)], now);
        }
        let sent = shared.due(Some(&fleet([])), true, now);
        assert_eq!((sent.len(), actions(&sent)[0]), (MAX_EVENTS, "2"));
    }
}
