//! The counting semaphore of one reboot group: who holds a slot, and how many slots there are.
//!
//! Pure and total. It never does I/O, never looks at a clock, and "full" is an outcome, not an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::fleetlock::NodeId;

/// The state of one group, as some revision of the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semaphore {
    /// How many nodes may hold the semaphore at once. 0 is a pause: nobody new gets in.
    pub slots: u64,
    pub holders: Holders,
}

/// Who holds a semaphore: the id, and the moment it was granted, where that is known.
///
/// Ids are plain text here, not [`NodeId`]: whatever another writer stored must survive.
pub type Holders = BTreeMap<Arc<str>, Option<Timestamp>>;

/// What a node asks of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become a holder. `at` is recorded as the moment of the grant.
    Lock { id: NodeId, at: Timestamp },
    /// Stay a holder: where a policy lets nobody new in, a holder that asks again is still told so.
    Renew { id: NodeId },
    /// Cease to be a holder.
    Unlock { id: NodeId },
}

/// What came of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node is a holder now.
    Locked,
    /// The node was a holder already (the lock is recursive).
    AlreadyHeld,
    /// Nothing happened: as many nodes as there are slots hold the semaphore.
    Full { slots: u64 },
    /// The node was a holder and is none any more.
    Unlocked,
    /// Nothing happened: the node held nothing.
    NotHeld,
}

impl Command {
    /// A lock at this moment, to the second: lock times are for people.
    pub fn lock_now(id: NodeId) -> Self {
        let now = Timestamp::now();
        let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Command::Lock { id, at }
    }
}

impl Outcome {
    /// Whether the semaphore differs after it.
    pub fn changes(self) -> bool {
        match self {
            Outcome::Locked | Outcome::Unlocked => true,
            Outcome::AlreadyHeld | Outcome::Full { .. } | Outcome::NotHeld => false,
        }
    }
}

/// The result of applying a run of commands to a semaphore.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    /// The semaphore afterwards; the very same `Arc` if nothing changed.
    pub next: Arc<Semaphore>,
    /// One outcome for each command taken, in order. Fewer than were given when the rest has to wait
    /// for another commit.
    pub outcomes: Vec<Outcome>,
}

// === impl Semaphore ===

impl Semaphore {
    /// A semaphore that nobody holds.
    pub fn new(slots: u64) -> Self {
        Semaphore {
            slots,
            holders: BTreeMap::new(),
        }
    }

    /// How many more nodes may hold it.
    pub fn free(&self) -> u64 {
        self.slots.saturating_sub(self.holders.len() as u64)
    }

    /// What `command` would come to.
    pub fn decide(&self, command: &Command) -> Outcome {
        match command {
            Command::Lock { id, .. } if self.holders.contains_key(id.as_str()) => {
                Outcome::AlreadyHeld
            }
            // Invariant 2: only here does anyone become a holder, and only below the slots.
            Command::Lock { .. } if (self.holders.len() as u64) < self.slots => Outcome::Locked,
            Command::Lock { .. } => Outcome::Full { slots: self.slots },
            Command::Renew { id } if self.holders.contains_key(id.as_str()) => Outcome::AlreadyHeld,
            Command::Unlock { id } if self.holders.contains_key(id.as_str()) => Outcome::Unlocked,
            Command::Renew { .. } | Command::Unlock { .. } => Outcome::NotHeld,
        }
    }

    /// Applies one command.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        let outcome = self.decide(command);
        match (outcome, command) {
            (Outcome::Locked, Command::Lock { id, at }) => {
                self.holders.insert(id.shared(), Some(*at));
            }
            (Outcome::Unlocked, Command::Unlock { id }) => {
                self.holders.remove(id.as_str());
            }
            _ => {}
        }
        outcome
    }

    /// Applies commands in their order, as far as one commit can answer them.
    ///
    /// It stops before the unlock of a node that the same run has granted: committed together they
    /// would leave no value that held the node, and its grant would rest on nothing (invariant 1).
    pub fn apply_all<'a>(
        self: &Arc<Self>,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Applied {
        let mut next = Arc::clone(self);
        let mut outcomes = Vec::new();
        for command in commands {
            let outcome = next.decide(command);
            if let (Outcome::Unlocked, Command::Unlock { id }) = (outcome, command)
                && !self.holders.contains_key(id.as_str())
            {
                break;
            }
            if outcome.changes() {
                Arc::make_mut(&mut next).apply(command);
            }
            outcomes.push(outcome);
        }
        Applied { next, outcomes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn lock(text: &str) -> Command {
        Command::Lock {
            id: id(text),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn unlock(text: &str) -> Command {
        Command::Unlock { id: id(text) }
    }

    #[test]
    fn invariant_2_a_lock_is_granted_up_to_the_slots_and_no_further() {
        let mut semaphore = Semaphore::new(2);
        assert_eq!(semaphore.apply(&lock("a")), Outcome::Locked);
        assert_eq!(semaphore.apply(&lock("b")), Outcome::Locked);
        assert_eq!(semaphore.apply(&lock("c")), Outcome::Full { slots: 2 });
        assert_eq!(semaphore.apply(&lock("a")), Outcome::AlreadyHeld);
        assert_eq!(semaphore.apply(&unlock("a")), Outcome::Unlocked);
        assert_eq!(semaphore.apply(&unlock("a")), Outcome::NotHeld);
        assert_eq!(semaphore.apply(&lock("c")), Outcome::Locked);
        assert_eq!(semaphore.holders.len(), 2);
    }

    #[test]
    fn invariant_2_fewer_slots_than_holders_stop_grants_and_evict_nobody() {
        let mut semaphore = Semaphore::new(3);
        for node in ["a", "b", "c"] {
            semaphore.apply(&lock(node));
        }
        semaphore.slots = 1;
        assert_eq!(semaphore.apply(&lock("b")), Outcome::AlreadyHeld);
        assert_eq!(semaphore.apply(&lock("d")), Outcome::Full { slots: 1 });
        assert_eq!(semaphore.holders.len(), 3);
    }

    #[test]
    fn a_recursive_lock_keeps_the_time_of_the_first_grant() {
        let mut semaphore = Semaphore::new(1);
        semaphore.apply(&lock("a"));
        semaphore.apply(&Command::Lock {
            id: id("a"),
            at: Timestamp::MAX,
        });
        assert_eq!(semaphore.holders["a"], Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn a_renewal_confirms_a_holder_and_makes_nobody_one() {
        let renew = |text| Command::Renew { id: id(text) };
        let mut semaphore = Semaphore::new(2);
        semaphore.apply(&lock("a"));
        assert_eq!(semaphore.apply(&renew("a")), Outcome::AlreadyHeld);
        assert_eq!(semaphore.apply(&renew("b")), Outcome::NotHeld);
        assert_eq!(semaphore.holders.len(), 1);
    }

    #[test]
    fn a_run_without_a_change_is_the_same_value() {
        let mut held = Semaphore::new(1);
        held.apply(&lock("a"));
        let held = Arc::new(held);
        let applied = held.apply_all(&[lock("a"), lock("b"), unlock("c")]);
        assert!(Arc::ptr_eq(&applied.next, &held));
        assert_eq!(
            applied.outcomes,
            [
                Outcome::AlreadyHeld,
                Outcome::Full { slots: 1 },
                Outcome::NotHeld
            ]
        );
    }

    #[test]
    fn a_slot_freed_in_a_run_is_granted_in_the_same_run() {
        let mut held = Semaphore::new(1);
        held.apply(&lock("a"));
        let applied = Arc::new(held).apply_all(&[unlock("a"), lock("b")]);
        assert_eq!(applied.outcomes, [Outcome::Unlocked, Outcome::Locked]);
        assert!(applied.next.holders.contains_key("b"));
    }

    #[test]
    fn invariant_1_a_grant_and_its_release_are_never_one_commit() {
        let empty = Arc::new(Semaphore::new(1));
        let applied = empty.apply_all(&[lock("a"), unlock("a"), lock("b")]);
        assert_eq!(applied.outcomes, [Outcome::Locked]);
        assert!(applied.next.holders.contains_key("a"));
    }
}
