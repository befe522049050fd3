//! The events that no request causes at this server: commands of administrators, overdue holds, and rejected clients.

mod denied;
mod shared;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::coordinator::{ServerState, StateReceiver};
use crate::denials::{self, Denials};
use crate::fleet::{FleetReceiver, ServerId};
use crate::lock::audit::AuditLog;
use crate::lock::history::History;
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::names::NodeNames;
use crate::notify::{Event, Notifier};
use crate::status::overdue_seconds;
use crate::store::health::{Health, Replies};
use denied::DeniedEvents;
use shared::SharedEvents;

/// The interval between two observations.
const INTERVAL: Duration = Duration::from_secs(5);

/// What is younger than this at the first observation of a group is new: perhaps it has happened while no server ran.
const RECENT: SignedDuration = SignedDuration::from_mins(1);

/// Sends events about what the server observes. All servers observe the groups, and one of them sends the events about
/// these. Each server sends those about the clients that it has rejected itself.
pub(super) struct EventSource {
    pub(super) state: StateReceiver,
    pub(super) fleet: FleetReceiver,
    /// The health of the store.
    pub(super) health: watch::Receiver<Health>,
    /// This server.
    pub(super) id: ServerId,
    pub(super) denials: Arc<Denials>,
    pub(super) names: Arc<NodeNames>,
    pub(super) notifier: Notifier,
}

/// What was observed before.
#[derive(Default)]
struct Observed {
    groups: BTreeMap<GroupName, ObservedGroup>,
}

/// What was observed of a group.
struct ObservedGroup {
    audit_log: AuditLog,
    history: History,
    /// The holds that were overdue once, with the times of their grants.
    overdue: HashMap<Arc<str>, Timestamp>,
}

// === impl EventSource ===

impl EventSource {
    /// Observes the known state from time to time. Never returns.
    pub(super) async fn run(self) {
        let mut interval = time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut observed = Observed::default();
        let mut shared = SharedEvents::new(self.id.clone());
        let mut denied = DeniedEvents::default();
        loop {
            interval.tick().await;
            let now = Timestamp::now();
            shared.add(
                observed.events(&self.state.get(), &self.names, now),
                Instant::now(),
            );
            let fleet = self.fleet.borrow().clone();
            let store_replies = matches!(self.health.borrow().replies, Replies::Up { .. });
            let due = shared.due(fleet.as_deref(), store_replies, Instant::now());
            let rejected = self.denials.list(now, denials::MAX_LISTED);
            for event in due.into_iter().chain(denied.events(rejected, now)) {
                self.notifier.send(event);
            }
        }
    }
}

// === impl Observed ===

impl Observed {
    /// Returns events about what has happened to the groups since the last call.
    fn events(&mut self, state: &ServerState, names: &NodeNames, now: Timestamp) -> Vec<Event> {
        self.groups
            .retain(|name, _| state.groups.contains_key(name));
        let mut events = Vec::new();
        for (name, configured) in &state.groups {
            if let Some(known) = configured.group.known() {
                events.extend(self.of_group(name, &known, names, now));
            }
        }
        events
    }

    fn of_group(
        &mut self,
        name: &GroupName,
        known: &GroupState,
        names: &NodeNames,
        now: Timestamp,
    ) -> Vec<Event> {
        // Of a damaged group, nothing is known, so what was observed before still counts.
        let Ok(semaphore) = &known.semaphore else {
            return Vec::new();
        };
        let before = self.groups.remove(name);
        let before = before.as_ref();
        let mut events = commands(name, &known.audit_log, before, now);
        events.extend(releases(name, &known.history, names, before, now));
        let usual = known.history.usual();
        let (overdue, new) = overdue(name, semaphore, usual, names, before, now);
        events.extend(new);
        let observed = ObservedGroup {
            audit_log: Arc::clone(&known.audit_log),
            history: known.history.clone(),
            overdue,
        };
        self.groups.insert(name.clone(), observed);
        events
    }
}

/// Returns an event about each new command.
fn commands(
    name: &GroupName,
    log: &AuditLog,
    before: Option<&ObservedGroup>,
    now: Timestamp,
) -> Vec<Event> {
    let new = log.iter().filter(|entry| match before {
        Some(before) => !before.audit_log.contains(entry),
        None => is_recent(entry.at, now),
    });
    let event = new.map(|entry| Event::Admin {
        group: name.clone(),
        by: Arc::clone(&entry.by),
        action: entry.action.to_string(),
        at: entry.at,
    });
    event.collect()
}

/// Returns an event about each hold that an administrator has ended.
fn releases(
    name: &GroupName,
    history: &History,
    names: &NodeNames,
    before: Option<&ObservedGroup>,
    now: Timestamp,
) -> Vec<Event> {
    if before.is_some_and(|before| before.history == *history) {
        return Vec::new();
    }
    let by_hand = history.holds().filter(|hold| hold.by.is_some());
    let new = by_hand.filter(|hold| match before {
        Some(before) => !before.history.holds().any(|known| known == *hold),
        None => is_recent(hold.until, now),
    });
    let event = new.map(|hold| Event::Released {
        group: name.clone(),
        id: Arc::clone(&hold.id),
        name: names.name(&hold.id).or_else(|| hold.name.clone()),
        peer: hold.peer,
        since: hold.from,
        at: hold.until,
        by: hold.by.clone(),
    });
    event.collect()
}

/// Returns the holds that are or were overdue, and an event about each of them that is new.
fn overdue(
    name: &GroupName,
    semaphore: &Semaphore,
    usual: Option<SignedDuration>,
    names: &NodeNames,
    before: Option<&ObservedGroup>,
    now: Timestamp,
) -> (HashMap<Arc<str>, Timestamp>, Vec<Event>) {
    let limit = SignedDuration::from_secs(overdue_seconds(usual.map(|usual| usual.as_secs())));
    let (mut overdue, mut events) = (HashMap::new(), Vec::new());
    for (id, hold) in semaphore.holders.iter() {
        let Some(since) = hold.since else {
            continue;
        };
        let excess = now.duration_since(since) - limit;
        let is_overdue = excess >= SignedDuration::from_secs(1);
        // The usual time may have become longer since.
        let is_known = before.is_some_and(|before| before.overdue.get(id) == Some(&since));
        if is_overdue || is_known {
            overdue.insert(Arc::clone(id), since);
        }
        if is_overdue && !is_known && (before.is_some() || excess < RECENT) {
            events.push(Event::Overdue {
                group: name.clone(),
                id: Arc::clone(id),
                name: names.name(id).or_else(|| hold.client.name.clone()),
                peer: hold.client.peer,
                since,
                usual: usual.and_then(|usual| usual.try_into().ok()),
            });
        }
    }
    (overdue, events)
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() < RECENT
}

#[cfg(test)]
mod tests;
