//! The nodes of a group that were denied a lock recently, as information for operators. In memory only, and bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::{SignedDuration, Timestamp};

use crate::lock::NodeId;

/// The time after which a node that does not ask again is no longer listed. Zincati asks every 5 minutes.
const MAX_SILENCE: SignedDuration = SignedDuration::from_mins(15);

/// The maximum number of nodes that are listed for a group.
const MAX_WAITERS: usize = 10_000;

/// The reason why a node was denied a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenyReason {
    /// Every slot is held.
    Full,
    /// The group is paused: it has no slots.
    Paused,
    /// No reboot window is open.
    OutsideWindow,
    /// The store did not reply, or too many requests wait.
    Unavailable,
    /// The stored value is damaged, or the store rejects the request.
    Rejected,
}

/// A node that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) id: NodeId,
    pub(crate) first_asked: Timestamp,
    pub(crate) last_asked: Timestamp,
    /// The number of denials since `first_asked`.
    pub(crate) times: u64,
    /// The reason for the latest denial.
    pub(crate) reason: DenyReason,
}

/// All waiters of a group.
#[derive(Debug, Default)]
pub(super) struct Waiters(HashMap<NodeId, Waiter>);

// === impl Waiters ===

impl Waiters {
    /// Records that a node was denied a lock.
    pub(super) fn denied(&mut self, id: &NodeId, reason: DenyReason, now: Timestamp) {
        if self.0.len() >= MAX_WAITERS && !self.0.contains_key(id) {
            self.remove_expired(now);
            if self.0.len() >= MAX_WAITERS {
                return;
            }
        }
        match self.0.entry(id.clone()) {
            Entry::Occupied(mut known) if is_expired(known.get(), now) => {
                known.insert(Waiter::new(id, reason, now));
            }
            Entry::Occupied(mut known) => {
                let waiter = known.get_mut();
                waiter.last_asked = now;
                waiter.times += 1;
                waiter.reason = reason;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Waiter::new(id, reason, now));
            }
        }
    }

    /// Records that a request of the node succeeded: it no longer waits.
    pub(super) fn served(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// Returns the waiters at `now`, the longest waiting first.
    pub(super) fn list(&mut self, now: Timestamp) -> Vec<Waiter> {
        self.remove_expired(now);
        let mut waiters: Vec<Waiter> = self.0.values().cloned().collect();
        waiters.sort_by(|a, b| (a.first_asked, &a.id).cmp(&(b.first_asked, &b.id)));
        waiters
    }

    /// Returns the number of waiters at `now`.
    pub(super) fn count(&mut self, now: Timestamp) -> usize {
        self.remove_expired(now);
        self.0.len()
    }

    fn remove_expired(&mut self, now: Timestamp) {
        self.0.retain(|_, waiter| !is_expired(waiter, now));
    }
}

fn is_expired(waiter: &Waiter, now: Timestamp) -> bool {
    now.duration_since(waiter.last_asked) > MAX_SILENCE
}

// === impl Waiter ===

impl Waiter {
    fn new(id: &NodeId, reason: DenyReason, now: Timestamp) -> Self {
        Waiter {
            id: id.clone(),
            first_asked: now,
            last_asked: now,
            times: 1,
            reason,
        }
    }
}

// === impl DenyReason ===

impl DenyReason {
    /// Returns the reason as text for the page and the JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DenyReason::Full => "all slots held",
            DenyReason::Paused => "group paused",
            DenyReason::OutsideWindow => "outside the reboot windows",
            DenyReason::Unavailable => "store or server unavailable",
            DenyReason::Rejected => "store rejects the request, or its value is damaged",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn a_node_waits_from_its_first_refusal_to_its_grant() {
        let mut waiters = Waiters::default();
        waiters.denied(&id("b"), DenyReason::Full, minute(0));
        waiters.denied(&id("a"), DenyReason::Full, minute(1));
        waiters.denied(&id("b"), DenyReason::OutsideWindow, minute(5));
        let listed = waiters.list(minute(6));
        assert_eq!(
            listed[0],
            Waiter {
                id: id("b"),
                first_asked: minute(0),
                last_asked: minute(5),
                times: 2,
                reason: DenyReason::OutsideWindow,
            }
        );
        assert_eq!(listed[1].id, id("a"));
        waiters.served(&id("b"));
        assert_eq!(waiters.count(minute(6)), 1);
    }

    #[test]
    fn a_node_that_is_silent_for_15_minutes_is_forgotten_and_starts_over() {
        let mut waiters = Waiters::default();
        waiters.denied(&id("a"), DenyReason::Full, minute(0));
        assert_eq!(waiters.count(minute(15)), 1);
        waiters.denied(&id("a"), DenyReason::Full, minute(16));
        assert_eq!(waiters.list(minute(16))[0].times, 1);
        assert_eq!(waiters.count(minute(32)), 0);
    }

    #[test]
    fn invariant_8_the_list_is_bounded() {
        let mut waiters = Waiters::default();
        for node in 0..MAX_WAITERS + 10 {
            waiters.denied(&id(&node.to_string()), DenyReason::Full, minute(0));
        }
        assert_eq!(waiters.count(minute(1)), MAX_WAITERS);
        waiters.denied(&id("0"), DenyReason::Full, minute(0));
        assert_eq!(waiters.0[&id("0")].times, 2);
        waiters.denied(&id("later"), DenyReason::Full, minute(16));
        assert_eq!(waiters.count(minute(16)), 1);
    }

    #[test]
    fn each_reason_has_its_own_text() {
        use DenyReason::{Full, OutsideWindow, Paused, Rejected, Unavailable};
        let texts = [Full, Paused, OutsideWindow, Unavailable, Rejected].map(DenyReason::as_str);
        assert_eq!(HashSet::from(texts).len(), texts.len());
    }
}
