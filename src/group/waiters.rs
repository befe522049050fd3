//! The nodes of a group that were denied a lock recently, as information for operators. In memory only, and bounded.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::lock::NodeId;
use crate::lock::holders::Client;

/// The time after which a node that does not ask again is no longer listed. Zincati asks every 5 minutes.
const MAX_SILENCE: SignedDuration = SignedDuration::from_mins(15);

/// The maximum number of nodes that are known for a group. Of more nodes, the longest waiting ones are known.
pub(super) const MAX_WAITERS: usize = 10_000;

/// The maximum number of nodes that are known for all groups, unless this is less than [`MIN_WAITERS`] for each of them.
/// A node takes some 500 bytes, if its id is as long as possible.
const MAX_ALL_WAITERS: usize = 100_000;

/// The number of nodes that are known for a group however many groups there are.
const MIN_WAITERS: usize = 100;

/// Returns the maximum number of nodes that are known for each of `groups` groups.
pub(crate) fn max_waiters(groups: usize) -> usize {
    (MAX_ALL_WAITERS / groups.max(1)).clamp(MIN_WAITERS, MAX_WAITERS)
}

/// The reason why a node was denied a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DenyReason {
    /// Every slot is held.
    Full,
    /// The group is paused: it has no slots.
    Paused,
    /// A free slot is kept for nodes that have waited longer.
    Reserved,
    /// No reboot window is open.
    OutsideWindow,
    /// A freeze is active.
    Frozen,
    /// A gate is closed.
    GateClosed,
    /// A holder has held for too long.
    Stalled,
    /// The last release is too recent.
    Settling,
    /// A cap across groups is reached.
    CapReached,
    /// The store did not reply, or too many requests wait.
    Unavailable,
    /// The stored value is damaged, or the store rejects the request.
    Rejected,
}

/// A node that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) id: NodeId,
    /// The node as a person knows it, at its latest request.
    pub(crate) client: Client,
    pub(crate) first_asked: Timestamp,
    pub(crate) last_asked: Timestamp,
    /// The number of denials since `first_asked`.
    pub(crate) times: u64,
    /// The reason for the latest denial.
    pub(crate) reason: DenyReason,
}

/// What is known about the nodes that wait for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The longest waiting ones.
    pub(crate) longest: Vec<Waiter>,
    /// The number of all known ones.
    pub(crate) count: usize,
    /// There may be more than `count`.
    pub(crate) may_be_more: bool,
}

/// The waiters of a group, at most `max`. The time that a denial takes hardly depends on their number.
#[derive(Debug)]
pub(super) struct Waiters {
    max: usize,
    by_id: HashMap<NodeId, Waiter>,
    /// The same nodes in the order in which they expire.
    by_last_asked: BTreeSet<(Timestamp, NodeId)>,
}

// === impl Waiters ===

impl Waiters {
    pub(super) fn new(max: usize) -> Self {
        Waiters {
            max,
            by_id: HashMap::new(),
            by_last_asked: BTreeSet::new(),
        }
    }

    /// Changes the maximum. Nodes that are known stay known.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Records that a node was denied a lock. A node that is not listed yet is ignored while the list is full.
    pub(super) fn denied(
        &mut self,
        id: &NodeId,
        client: Client,
        reason: DenyReason,
        now: Timestamp,
    ) {
        self.remove_expired(now);
        if let Some(waiter) = self.by_id.get_mut(id) {
            self.by_last_asked.remove(&(waiter.last_asked, id.clone()));
            waiter.last_asked = now;
            waiter.times += 1;
            waiter.reason = reason;
            waiter.client = client;
        } else if self.by_id.len() < self.max {
            let waiter = Waiter::new(id, client, reason, now);
            self.by_id.insert(id.clone(), waiter);
        } else {
            return;
        }
        self.by_last_asked.insert((now, id.clone()));
    }

    /// Records that a request of the node succeeded: it no longer waits.
    pub(super) fn served(&mut self, id: &NodeId) {
        if let Some(waiter) = self.by_id.remove(id) {
            self.by_last_asked.remove(&(waiter.last_asked, waiter.id));
        }
    }

    /// Returns the state at `now`, with up to `max_listed` waiters, the longest waiting first.
    pub(super) fn list(&mut self, now: Timestamp, max_listed: usize) -> Waiting {
        self.remove_expired(now);
        let mut waiters: Vec<&Waiter> = self.by_id.values().collect();
        let order = |a: &&Waiter, b: &&Waiter| {
            let since = a.first_asked.cmp(&b.first_asked);
            since.then_with(|| a.id.cmp(&b.id))
        };
        if waiters.len() > max_listed {
            waiters.select_nth_unstable_by(max_listed, order);
            waiters.truncate(max_listed);
        }
        waiters.sort_unstable_by(order);
        Waiting {
            longest: waiters.into_iter().cloned().collect(),
            count: self.by_id.len(),
            may_be_more: self.by_id.len() >= self.max,
        }
    }

    /// Returns the number of waiters at `now`.
    pub(super) fn count(&mut self, now: Timestamp) -> usize {
        self.remove_expired(now);
        self.by_id.len()
    }

    fn remove_expired(&mut self, now: Timestamp) {
        while let Some((last_asked, _)) = self.by_last_asked.first()
            && now.duration_since(*last_asked) > MAX_SILENCE
            && let Some((_, id)) = self.by_last_asked.pop_first()
        {
            self.by_id.remove(&id);
        }
        if self.by_id.capacity() > 4 * self.by_id.len() {
            self.by_id.shrink_to(2 * self.by_id.len());
        }
    }
}

// === impl Waiter ===

impl Waiter {
    fn new(id: &NodeId, client: Client, reason: DenyReason, now: Timestamp) -> Self {
        Waiter {
            id: id.clone(),
            client,
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
            DenyReason::Reserved => "free slot kept for longer waiting nodes",
            DenyReason::OutsideWindow => "outside the reboot windows",
            DenyReason::Frozen => "frozen",
            DenyReason::GateClosed => "gate closed",
            DenyReason::Stalled => "group stalled",
            DenyReason::Settling => "settling",
            DenyReason::CapReached => "cap reached",
            DenyReason::Unavailable => "store or server unavailable",
            DenyReason::Rejected => "store rejects the request, or its value is damaged",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn a_node_waits_from_its_first_refusal_to_its_grant() {
        let mut waiters = Waiters::new(MAX_WAITERS);
        waiters.denied(&id("b"), Client::default(), DenyReason::Full, minute(0));
        waiters.denied(&id("a"), Client::default(), DenyReason::Full, minute(1));
        waiters.denied(
            &id("b"),
            Client::default(),
            DenyReason::OutsideWindow,
            minute(5),
        );
        let listed = waiters.list(minute(6), 10).longest;
        assert_eq!(
            listed[0],
            Waiter {
                id: id("b"),
                client: Client::default(),
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
        let mut waiters = Waiters::new(MAX_WAITERS);
        waiters.denied(&id("a"), Client::default(), DenyReason::Full, minute(0));
        assert_eq!(waiters.count(minute(15)), 1);
        waiters.denied(&id("a"), Client::default(), DenyReason::Full, minute(16));
        assert_eq!(waiters.list(minute(16), 10).longest[0].times, 1);
        assert_eq!(waiters.count(minute(32)), 0);
    }

    #[test]
    fn invariant_8_the_list_is_bounded() {
        let mut waiters = Waiters::new(MAX_WAITERS);
        for node in 0..MAX_WAITERS + 10 {
            waiters.denied(
                &id(&node.to_string()),
                Client::default(),
                DenyReason::Full,
                minute(0),
            );
        }
        let waiting = waiters.list(minute(1), 3);
        assert_eq!((waiting.longest.len(), waiting.count), (3, MAX_WAITERS));
        assert!(waiting.may_be_more);
        waiters.denied(&id("0"), Client::default(), DenyReason::Full, minute(0));
        assert_eq!(waiters.by_id[&id("0")].times, 2);
        waiters.denied(
            &id("later"),
            Client::default(),
            DenyReason::Full,
            minute(16),
        );
        let waiting = waiters.list(minute(16), 3);
        assert_eq!((waiting.count, waiting.may_be_more), (1, false));
        assert!(waiters.by_id.capacity() < 100);
    }

    #[test]
    fn invariant_8_the_lists_of_many_groups_are_bounded_together() {
        let all = |groups: usize| (max_waiters(groups), groups * max_waiters(groups));
        assert_eq!(all(0), (10_000, 0));
        assert_eq!(all(1), (10_000, 10_000));
        assert_eq!(all(10), (10_000, 100_000));
        assert_eq!(all(500), (200, 100_000));
        assert_eq!(all(2000), (100, 200_000));
    }

    /// The list as it is specified, at the cost of a scan for each denial.
    #[derive(Default)]
    struct Model(Vec<Waiter>);

    impl Model {
        fn denied(&mut self, id: &NodeId, max: usize, now: Timestamp) {
            self.expire(now);
            if let Some(waiter) = self.0.iter_mut().find(|waiter| waiter.id == *id) {
                waiter.last_asked = now;
                waiter.times += 1;
            } else if self.0.len() < max {
                self.0
                    .push(Waiter::new(id, Client::default(), DenyReason::Full, now));
            }
        }

        fn expire(&mut self, now: Timestamp) {
            let silence = |waiter: &Waiter| now.duration_since(waiter.last_asked);
            self.0.retain(|waiter| silence(waiter) <= MAX_SILENCE);
        }
    }

    proptest! {
        #[test]
        fn the_list_is_that_of_a_list_that_is_scanned_for_each_denial(
            max in 1..5_usize,
            max_listed in 0..5_usize,
            steps in prop::collection::vec((-1..9_i64, 0..8_u8, prop::bool::weighted(0.2)), 0..100),
        ) {
            let mut waiters = Waiters::new(max);
            let mut model = Model::default();
            let mut now = 0;
            for (minutes, node, is_served) in steps {
                // The clock may be set back.
                now += minutes;
                let node = id(&node.to_string());
                if is_served {
                    waiters.served(&node);
                    model.0.retain(|waiter| waiter.id != node);
                } else {
                    waiters.denied(&node, Client::default(), DenyReason::Full, minute(now));
                    model.denied(&node, max, minute(now));
                }
                prop_assert_eq!(waiters.by_id.len(), waiters.by_last_asked.len());
                model.expire(minute(now));
                prop_assert_eq!(waiters.count(minute(now)), model.0.len());
                model.0.sort_by_key(|waiter| (waiter.first_asked, waiter.id.clone()));
                let expected = Waiting {
                    longest: model.0.iter().take(max_listed).cloned().collect(),
                    count: model.0.len(),
                    may_be_more: model.0.len() >= max,
                };
                prop_assert_eq!(waiters.list(minute(now), max_listed), expected);
            }
        }
    }

    #[test]
    fn each_reason_has_its_own_text() {
        use DenyReason::*;
        let texts = [
            Full,
            Paused,
            OutsideWindow,
            Frozen,
            GateClosed,
            Stalled,
            Settling,
            CapReached,
            Reserved,
            Unavailable,
            Rejected,
        ]
        .map(DenyReason::as_str);
        assert_eq!(HashSet::from(texts).len(), texts.len());
    }
}
