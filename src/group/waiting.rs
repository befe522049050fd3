//! The nodes of a group that were refused lately, for people who look. In memory only, and bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::{SignedDuration, Timestamp};

use crate::fleetlock::NodeId;

/// How long a node is remembered that does not ask again. Zincati asks every 5 minutes.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(15);

/// The most nodes that are remembered for a group.
const MOST: usize = 10_000;

/// Why a node was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All slots are taken.
    Full,
    /// The group has no slots: somebody paused it.
    Paused,
    OutsideWindow,
    /// The store did not answer, or the server was too busy.
    Unavailable,
    /// The stored value is damaged, or the store refuses.
    Damaged,
}

/// One node that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub id: NodeId,
    pub first_asked: Timestamp,
    pub last_asked: Timestamp,
    /// How often it was refused.
    pub times: u64,
    /// Why, the last time.
    pub why: Why,
}

/// All of a group.
#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<NodeId, Waiter>);

// === impl Waiting ===

impl Waiting {
    pub fn refused(&mut self, id: &NodeId, why: Why, now: Timestamp) {
        if self.0.len() >= MOST && !self.0.contains_key(id) {
            self.forget_old(now);
            if self.0.len() >= MOST {
                return;
            }
        }
        match self.0.entry(id.clone()) {
            Entry::Occupied(mut known) if is_old(known.get(), now) => {
                known.insert(Waiter::new(id, why, now));
            }
            Entry::Occupied(mut known) => {
                let waiter = known.get_mut();
                waiter.last_asked = now;
                waiter.times += 1;
                waiter.why = why;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Waiter::new(id, why, now));
            }
        }
    }

    /// The node has what it asked for, or does not want it any more.
    pub fn served(&mut self, id: &NodeId) {
        self.0.remove(id);
    }

    /// Who waits at `now`, the one that waits longest first.
    pub fn list(&mut self, now: Timestamp) -> Vec<Waiter> {
        self.forget_old(now);
        let mut waiters: Vec<Waiter> = self.0.values().cloned().collect();
        waiters.sort_by(|a, b| (a.first_asked, &a.id).cmp(&(b.first_asked, &b.id)));
        waiters
    }

    pub fn count(&mut self, now: Timestamp) -> usize {
        self.forget_old(now);
        self.0.len()
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.0.retain(|_, waiter| !is_old(waiter, now));
    }
}

fn is_old(waiter: &Waiter, now: Timestamp) -> bool {
    now.duration_since(waiter.last_asked) > REMEMBERED
}

// === impl Waiter ===

impl Waiter {
    fn new(id: &NodeId, why: Why, now: Timestamp) -> Self {
        Waiter {
            id: id.clone(),
            first_asked: now,
            last_asked: now,
            times: 1,
            why,
        }
    }
}

// === impl Why ===

impl Why {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Full => "all slots taken",
            Why::Paused => "group paused",
            Why::OutsideWindow => "outside the reboot windows",
            Why::Unavailable => "store or server unavailable",
            Why::Damaged => "store refuses, or its value is damaged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn a_node_waits_from_its_first_refusal_to_its_grant() {
        let mut waiting = Waiting::default();
        waiting.refused(&id("b"), Why::Full, minute(0));
        waiting.refused(&id("a"), Why::Full, minute(1));
        waiting.refused(&id("b"), Why::OutsideWindow, minute(5));
        let waiters = waiting.list(minute(6));
        assert_eq!(
            waiters[0],
            Waiter {
                id: id("b"),
                first_asked: minute(0),
                last_asked: minute(5),
                times: 2,
                why: Why::OutsideWindow,
            }
        );
        assert_eq!(waiters[1].id, id("a"));
        waiting.served(&id("b"));
        assert_eq!(waiting.count(minute(6)), 1);
    }

    #[test]
    fn who_does_not_ask_for_15_minutes_waits_no_more_and_begins_anew() {
        let mut waiting = Waiting::default();
        waiting.refused(&id("a"), Why::Full, minute(0));
        assert_eq!(waiting.count(minute(15)), 1);
        waiting.refused(&id("a"), Why::Full, minute(16));
        assert_eq!(waiting.list(minute(16))[0].times, 1);
        assert_eq!(waiting.count(minute(32)), 0);
    }

    #[test]
    fn invariant_8_the_list_is_bounded() {
        let mut waiting = Waiting::default();
        for node in 0..MOST + 10 {
            waiting.refused(&id(&node.to_string()), Why::Full, minute(0));
        }
        assert_eq!(waiting.count(minute(1)), MOST);
        waiting.refused(&id("later"), Why::Full, minute(16));
        assert_eq!(waiting.count(minute(16)), 1);
    }
}
