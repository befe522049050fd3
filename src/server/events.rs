//! The events that no request causes at this server: commands of administrators, overdue holds, and rejected clients.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{self, MissedTickBehavior};

use crate::coordinator::StateReceiver;
use crate::denials::{self, DenialReason, Denials, DeniedClient};
use crate::fleet::{FleetReceiver, ServerId};
use crate::lock::audit::{AuditEntry, AuditLog};
use crate::lock::holders::Hold;
use crate::lock::{GroupName, GroupState};
use crate::names::NodeNames;
use crate::notify::{Event, Notifier};
use crate::status::overdue_seconds;

/// The interval between two looks at the known state.
const INTERVAL: Duration = Duration::from_secs(5);

/// The time after which a client that is still rejected causes another event.
const REPEATED: SignedDuration = SignedDuration::from_hours(1);

/// A rejected client: its reason, its address, and the group that it claims to belong to.
type DeniedKey = (DenialReason, IpAddr, Option<String>);

/// Sends events about what the server observes. All servers observe the commands and the holds; the first of the running
/// ones by name sends an event about them. Each server sends those about the clients that it has rejected itself.
pub(super) struct EventSource {
    pub(super) state: StateReceiver,
    pub(super) fleet: FleetReceiver,
    /// This server.
    pub(super) id: ServerId,
    pub(super) denials: Arc<Denials>,
    pub(super) names: Arc<NodeNames>,
    pub(super) notifier: Notifier,
}

/// What was observed before.
#[derive(Default)]
struct Observed {
    /// The audit log of each group.
    logs: BTreeMap<GroupName, AuditLog>,
    /// The overdue holds of each group.
    overdue: BTreeMap<GroupName, Vec<(Arc<str>, Timestamp)>>,
    /// When an event about each rejected client was sent.
    denied: HashMap<DeniedKey, Timestamp>,
}

// === impl EventSource ===

impl EventSource {
    /// Looks at the known state from time to time. Never returns.
    pub(super) async fn run(self) {
        let mut interval = time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut observed = Observed::default();
        loop {
            interval.tick().await;
            self.observe(&mut observed, Timestamp::now());
        }
    }

    fn observe(&self, observed: &mut Observed, now: Timestamp) {
        let sends = self.is_first();
        let state = self.state.get();
        let groups = state.groups.iter();
        let known: Vec<(&GroupName, GroupState)> = groups
            .filter_map(|(name, configured)| Some((name, configured.group.known()?)))
            .collect();
        observed
            .logs
            .retain(|name, _| state.groups.contains_key(name));
        observed
            .overdue
            .retain(|name, _| state.groups.contains_key(name));
        for (name, known) in known {
            let events = observed.commands(name, &known);
            let overdue = observed.overdue(name, &known, &self.names, now);
            for event in events.into_iter().chain(overdue).filter(|_| sends) {
                self.notifier.send(event);
            }
        }
        for event in observed.denials(self.denials.list(now, denials::MAX_LISTED), now) {
            self.notifier.send(event);
        }
    }

    /// Reports whether this server is the first of the running ones. Until they are known, none is: an event about a
    /// command is late or lost rather than sent by each of them.
    fn is_first(&self) -> bool {
        let fleet = self.fleet.borrow();
        let first = fleet.as_ref().and_then(|fleet| fleet.alive().next());
        first.is_some_and(|first| first.document.id == self.id)
    }
}

// === impl Observed ===

impl Observed {
    /// Returns events about the commands that are new. Those that were executed before the first look are not.
    fn commands(&mut self, name: &GroupName, known: &GroupState) -> Vec<Event> {
        let before = self.logs.insert(name.clone(), Arc::clone(&known.audit_log));
        let Some(before) = before else {
            return Vec::new();
        };
        let new = known
            .audit_log
            .iter()
            .filter(|entry| !before.contains(entry));
        let event = |entry: &AuditEntry| Event::Admin {
            group: name.clone(),
            by: Arc::clone(&entry.by),
            action: entry.action.to_string(),
            at: entry.at,
        };
        new.map(event).collect()
    }

    /// Returns an event about each hold that has become overdue.
    fn overdue(
        &mut self,
        name: &GroupName,
        known: &GroupState,
        names: &NodeNames,
        now: Timestamp,
    ) -> Vec<Event> {
        let usual = known.history.usual();
        let limit = overdue_seconds(usual.map(|usual| usual.as_secs()));
        let is_overdue = |since: Timestamp| now.duration_since(since).as_secs() > limit;
        let holders = known.semaphore.as_ref().ok().into_iter();
        let holders = holders.flat_map(|semaphore| semaphore.holders.iter());
        let holds = holders.filter_map(|(id, hold)| Some((id, hold, hold.since?)));
        let overdue: Vec<(&Arc<str>, &Hold, Timestamp)> =
            holds.filter(|(.., since)| is_overdue(*since)).collect();
        let keys = overdue
            .iter()
            .map(|(id, _, since)| (Arc::clone(id), *since));
        let before = self.overdue.insert(name.clone(), keys.collect());
        let before = before.unwrap_or_default();
        let is_new = |(id, _, since): &(&Arc<str>, &Hold, Timestamp)| {
            !before.contains(&(Arc::clone(id), *since))
        };
        let event = |(id, hold, since): (&Arc<str>, &Hold, Timestamp)| Event::Overdue {
            group: name.clone(),
            id: Arc::clone(id),
            name: names.name(id).or_else(|| hold.client.name.clone()),
            peer: hold.client.peer,
            since,
            usual: usual.and_then(|usual| usual.try_into().ok()),
        };
        overdue.into_iter().filter(is_new).map(event).collect()
    }

    /// Returns an event about each rejected client that is new, or was rejected for another hour.
    fn denials(&mut self, clients: Vec<DeniedClient>, now: Timestamp) -> Vec<Event> {
        let mut sent = HashMap::new();
        let mut events = Vec::new();
        for client in clients {
            let key = (client.reason, client.peer, client.group.clone());
            let before = self.denied.get(&key).copied();
            let is_recent = before.filter(|at| now.duration_since(*at) < REPEATED);
            sent.insert(key, is_recent.unwrap_or(now));
            if is_recent.is_none() {
                events.push(denied(client));
            }
        }
        self.denied = sent;
        events
    }
}

fn denied(client: DeniedClient) -> Event {
    Event::Denied {
        group: client.group.as_deref().and_then(GroupName::new),
        reason: client.reason.label().to_owned(),
        peer: Some(client.peer),
        id: client.id.map(Arc::from),
        detail: client
            .detail
            .unwrap_or_else(|| client.reason.as_str().to_owned()),
        times: client.times,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::audit::Action;
    use crate::lock::codec::{self, Revision, Stored};
    use crate::lock::history::History;
    use crate::lock::semaphore::Semaphore;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn name() -> GroupName {
        GroupName::new("workers").unwrap()
    }

    /// Returns the state of a group that one node holds since 0, with the audit log of an administrator.
    fn state(entries: i64) -> GroupState {
        let mut semaphore = Semaphore::new(1);
        semaphore.holders.insert("a".into(), Some(second(0)).into());
        let entry = |at| AuditEntry {
            at: second(at),
            by: "root@ops".into(),
            action: Action::Pause,
        };
        let log: Vec<AuditEntry> = (0..entries).map(entry).collect();
        let value = codec::encode(&semaphore, &log, &History::default());
        GroupState::new(Stored::written(value, Revision(1)), 1)
    }

    #[test]
    fn a_command_causes_one_event_unless_it_is_older_than_the_server() {
        let mut observed = Observed::default();
        assert!(observed.commands(&name(), &state(1)).is_empty());
        assert_eq!(observed.commands(&name(), &state(3)).len(), 2);
        assert!(observed.commands(&name(), &state(3)).is_empty());
    }

    #[test]
    fn a_hold_causes_one_event_when_it_becomes_overdue() {
        let (mut observed, names) = (Observed::default(), NodeNames::default());
        let mut events = |at| {
            observed
                .overdue(&name(), &state(0), &names, second(at))
                .len()
        };
        assert_eq!([3600, 3601, 3602].map(&mut events), [0, 1, 0]);
    }

    #[test]
    fn a_client_that_is_rejected_causes_an_event_each_hour() {
        let client = |times| DeniedClient {
            reason: DenialReason::WrongPassword,
            peer: [192, 0, 2, 1].into(),
            group: None,
            id: None,
            detail: None,
            first: second(0),
            last: second(0),
            times,
        };
        let mut observed = Observed::default();
        let mut events = |at| observed.denials(vec![client(1)], second(at)).len();
        assert_eq!([0, 5, 3599, 3600, 3605].map(&mut events), [1, 0, 0, 1, 0]);
        assert!(observed.denials(Vec::new(), second(3610)).is_empty());
        assert_eq!(observed.denials(vec![client(1)], second(3615)).len(), 1);
    }
}
