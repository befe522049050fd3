//! The counting semaphore of a reboot group: its holders, and its number of slots.
//!
//! "Full" is an outcome, not an error.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::history::CompletedHold;
use super::holders::{Client, Hold, Holders};
use super::names::NodeId;
use super::policy::{Conditions, Evaluation, Facts, Gates, Refusal, Terms};

/// The semaphore of one group, as in one revision of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semaphore {
    /// The number of nodes that may hold the semaphore at the same time. 0 is a pause: no lock is granted.
    pub slots: u64,
    /// The nodes that hold it.
    pub holders: Holders,
    /// The time of the latest release by a node, since which the group settles. An unlock by an administrator does not
    /// count.
    pub released_at: Option<Timestamp>,
    /// The time until which an administrator has overridden reboot windows, freezes and gates.
    pub override_until: Option<Timestamp>,
}

/// A request of a node to its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the node a holder.
    Lock {
        /// The node.
        id: NodeId,
        /// The time that is recorded as the time of the grant.
        at: Timestamp,
        /// The node as a person knows it.
        client: Client,
        /// What the policies say that the server evaluates before the commit.
        terms: Terms,
    },
    /// Confirms a holder, and grants nothing: the command of a node whose id is not a valid one.
    Renew {
        /// The node, perhaps with an id that only another program granted a lock.
        id: Arc<str>,
    },
    /// Releases the slot of the node.
    Unlock {
        /// The node, perhaps with an id that only another program granted a lock.
        id: Arc<str>,
        /// The time that is recorded as the end of the hold.
        at: Timestamp,
        /// The address of the client.
        peer: Option<IpAddr>,
    },
}

// === impl Command ===

impl Command {
    /// Records that no lock is granted at this time.
    pub(crate) fn close(&mut self) {
        if let Command::Lock { terms, .. } = self {
            terms.closed = true;
        }
    }

    /// Records that a gate is closed.
    pub(crate) fn close_gates(&mut self) {
        if let Command::Lock { terms, .. } = self {
            terms.gates = Gates::Closed;
        }
    }
}

/// The outcome of a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node became a holder.
    Locked,
    /// The node was a holder before: the lock is recursive.
    AlreadyHeld,
    /// The node was not granted a lock; nothing changed.
    Refused(Refusal),
    /// The node was a holder and released its slot.
    Unlocked,
    /// The node held no slot; nothing changed.
    NotHeld,
}

impl Outcome {
    /// Reports whether the command changed the semaphore.
    pub fn changes(&self) -> bool {
        match self {
            Outcome::Locked | Outcome::Unlocked => true,
            Outcome::AlreadyHeld | Outcome::Refused(_) | Outcome::NotHeld => false,
        }
    }

    /// Reports whether the outcome depends on the other groups of a cap, if the group belongs to one.
    pub fn depends_on_members(&self) -> bool {
        match self {
            Outcome::Locked => true,
            Outcome::Refused(refusal) => refusal.depends_on_members(),
            Outcome::AlreadyHeld | Outcome::Unlocked | Outcome::NotHeld => false,
        }
    }
}

/// The result of applying a sequence of commands to a semaphore.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    /// The semaphore afterwards: the same `Arc` if nothing changed.
    pub next: Arc<Semaphore>,
    /// One outcome for each command that was applied, in order. There are fewer outcomes than commands if the other
    /// commands need a commit of their own.
    pub outcomes: Vec<Outcome>,
    /// The holds that ended: one for each [`Outcome::Unlocked`], in order.
    pub released: Vec<CompletedHold>,
}

// === impl Semaphore ===

impl Semaphore {
    /// The maximum number of slots. coreos/airlock converts the number to a signed one of 64 bits, and grants nothing
    /// if that is negative.
    pub const MAX_SLOTS: u64 = i64::MAX as u64;

    /// The maximum number of slots of a group of which the addresses and names of holders are stored: those of some
    /// thousand holders would not fit into a request to etcd.
    const MAX_DETAILED: u64 = 1000;

    /// The maximum difference between the clocks of two servers that is taken for normal.
    const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_mins(10);

    /// Creates a semaphore without holders.
    pub fn new(slots: u64) -> Self {
        Semaphore {
            slots,
            holders: Holders::default(),
            released_at: None,
            override_until: None,
        }
    }

    /// Reports whether the group is paused, which is what a semaphore without slots means.
    pub fn is_paused(&self) -> bool {
        self.slots == 0
    }

    /// Returns the part on which new grants depend.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            slots: self.slots,
            holders: &self.holders,
            released_at: self.released_at,
            override_until: self.override_until,
        }
    }

    /// Returns the number of free slots.
    pub fn free(&self) -> u64 {
        self.facts().free()
    }

    /// Reports whether an administrator has overridden reboot windows, freezes and gates at that time.
    pub fn is_overridden(&self, at: Timestamp) -> bool {
        self.facts().is_overridden(at)
    }

    /// Decides the outcome of `command`, after the commands that `evaluation` has seen.
    pub(crate) fn decide(&self, command: &Command, evaluation: &Evaluation<'_>) -> Outcome {
        match command {
            // Invariant 12: no policy refuses a holder that asks again.
            Command::Lock { id, .. } if self.holders.contains_key(id.as_str()) => {
                Outcome::AlreadyHeld
            }
            // Invariant 2: the only place where a node becomes a holder, and only below the number of slots.
            Command::Lock { at, terms, .. } => {
                let refusal = evaluation.refusals(self.facts(), *at, *terms).next();
                refusal.map_or(Outcome::Locked, Outcome::Refused)
            }
            Command::Renew { id } if self.holders.contains_key(id) => Outcome::AlreadyHeld,
            Command::Unlock { id, .. } if self.holders.contains_key(id) => Outcome::Unlocked,
            Command::Renew { .. } | Command::Unlock { .. } => Outcome::NotHeld,
        }
    }

    /// Applies one command under these conditions. Returns the hold that it ended, if it ended one.
    pub fn apply(
        &mut self,
        command: &Command,
        conditions: &Conditions,
    ) -> (Outcome, Option<CompletedHold>) {
        let outcome = self.decide(command, &Evaluation::new(conditions));
        let released = self.perform(command, &outcome);
        (outcome, released)
    }

    /// Makes the change that `outcome` says. Returns the hold that `command` ended, if it ended one.
    fn perform(&mut self, command: &Command, outcome: &Outcome) -> Option<CompletedHold> {
        match (outcome, command) {
            (Outcome::Locked, Command::Lock { id, at, client, .. }) => {
                let client = match self.slots {
                    0..=Semaphore::MAX_DETAILED => client.clone(),
                    _ => Client::default(),
                };
                let since = Some(whole_seconds(*at));
                self.holders.insert(id.shared(), Hold { since, client });
                None
            }
            (Outcome::Unlocked, Command::Unlock { id, at, .. }) => {
                self.note_release(whole_seconds(*at));
                self.release(id, *at)
            }
            _ => None,
        }
    }

    /// Records the time of a release by a node. A stored time that is later by more than the difference between the clocks
    /// of servers comes from a wrong clock.
    fn note_release(&mut self, at: Timestamp) {
        let later = self.released_at.filter(|earlier| {
            let ahead = earlier.duration_since(at);
            ahead.is_positive() && ahead <= Semaphore::MAX_CLOCK_DIFFERENCE
        });
        self.released_at = later.or(Some(at));
    }

    /// Ends the hold of a node; `None` if it is not a holder.
    pub fn release(&mut self, id: &Arc<str>, at: Timestamp) -> Option<CompletedHold> {
        let hold = self.holders.remove(id)?;
        Some(CompletedHold::new(Arc::clone(id), hold, whole_seconds(at)))
    }

    /// Applies commands in order, as far as one commit can answer them.
    ///
    /// It stops before the unlock of a node to which the same sequence has granted a lock. If both were committed
    /// together, no committed value would contain the node, although it received a grant (invariant 1).
    pub fn apply_all<'a>(
        self: &Arc<Self>,
        conditions: &Conditions,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Applied {
        let mut evaluation = Evaluation::new(conditions);
        let mut next = Arc::clone(self);
        let mut outcomes = Vec::new();
        let mut released = Vec::new();
        let mut granted = HashSet::new();
        for command in commands {
            let outcome = next.decide(command, &evaluation);
            match (&outcome, command) {
                (Outcome::Locked, Command::Lock { id, .. }) => {
                    granted.insert(id.as_str());
                    evaluation.granted();
                }
                (Outcome::Unlocked, Command::Unlock { id, .. }) => {
                    if granted.contains(&**id) {
                        break;
                    }
                    evaluation.released();
                }
                _ => {}
            }
            if outcome.changes() {
                released.extend(Arc::make_mut(&mut next).perform(command, &outcome));
            }
            outcomes.push(outcome);
        }
        Applied {
            next,
            outcomes,
            released,
        }
    }
}

/// Returns a time as it is stored: to the second.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
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
            client: Client::default(),
            terms: Terms::default(),
        }
    }

    fn unlock(text: &str) -> Command {
        Command::Unlock {
            id: text.into(),
            at: Timestamp::UNIX_EPOCH,
            peer: None,
        }
    }

    fn outcome(semaphore: &mut Semaphore, command: &Command) -> Outcome {
        semaphore.apply(command, &Conditions::default()).0
    }

    #[test]
    fn invariant_2_a_lock_is_granted_up_to_the_slots_and_no_further() {
        let mut semaphore = Semaphore::new(2);
        assert_eq!(outcome(&mut semaphore, &lock("a")), Outcome::Locked);
        assert_eq!(outcome(&mut semaphore, &lock("b")), Outcome::Locked);
        assert_eq!(
            outcome(&mut semaphore, &lock("c")),
            Outcome::Refused(Refusal::Full { slots: 2 })
        );
        assert_eq!(outcome(&mut semaphore, &lock("a")), Outcome::AlreadyHeld);
        assert_eq!(outcome(&mut semaphore, &unlock("a")), Outcome::Unlocked);
        assert_eq!(outcome(&mut semaphore, &unlock("a")), Outcome::NotHeld);
        assert_eq!(outcome(&mut semaphore, &lock("c")), Outcome::Locked);
        assert_eq!(semaphore.holders.len(), 2);
    }

    #[test]
    fn invariant_2_fewer_slots_than_holders_stop_grants_and_evict_no_holder() {
        let mut semaphore = Semaphore::new(3);
        for node in ["a", "b", "c"] {
            outcome(&mut semaphore, &lock(node));
        }
        assert_eq!(semaphore.free(), 0);
        semaphore.slots = 5;
        assert_eq!(semaphore.free(), 2);
        semaphore.slots = 1;
        assert_eq!(semaphore.free(), 0);
        assert_eq!(outcome(&mut semaphore, &lock("b")), Outcome::AlreadyHeld);
        assert_eq!(
            outcome(&mut semaphore, &lock("d")),
            Outcome::Refused(Refusal::Full { slots: 1 })
        );
        assert_eq!(semaphore.holders.len(), 3);
    }

    #[test]
    fn a_recursive_lock_keeps_the_time_of_the_first_grant() {
        let mut semaphore = Semaphore::new(1);
        outcome(&mut semaphore, &lock("a"));
        outcome(
            &mut semaphore,
            &Command::Lock {
                id: id("a"),
                at: Timestamp::MAX,
                client: Client::default(),
                terms: Terms::default(),
            },
        );
        assert_eq!(semaphore.holders["a"].since, Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn the_time_of_a_grant_is_kept_to_the_second() {
        let mut semaphore = Semaphore::new(1);
        outcome(
            &mut semaphore,
            &Command::Lock {
                id: id("a"),
                at: Timestamp::from_millisecond(1999).unwrap(),
                client: Client::default(),
                terms: Terms::default(),
            },
        );
        assert_eq!(semaphore.holders["a"].since, Timestamp::from_second(1).ok());
    }

    #[test]
    fn a_renewal_confirms_a_holder_and_grants_nothing() {
        let renew = |text: &str| Command::Renew { id: text.into() };
        let mut semaphore = Semaphore::new(2);
        outcome(&mut semaphore, &lock("a"));
        assert_eq!(outcome(&mut semaphore, &renew("a")), Outcome::AlreadyHeld);
        assert_eq!(outcome(&mut semaphore, &renew("b")), Outcome::NotHeld);
        assert_eq!(semaphore.holders.len(), 1);
    }

    #[test]
    fn a_sequence_without_a_change_returns_the_same_value() {
        let mut held = Semaphore::new(1);
        outcome(&mut held, &lock("a"));
        let held = Arc::new(held);
        let applied = held.apply_all(&Conditions::default(), &[lock("a"), lock("b"), unlock("c")]);
        assert!(Arc::ptr_eq(&applied.next, &held));
        assert_eq!(
            applied.outcomes,
            [
                Outcome::AlreadyHeld,
                Outcome::Refused(Refusal::Full { slots: 1 }),
                Outcome::NotHeld
            ]
        );
    }

    #[test]
    fn a_slot_released_in_a_sequence_is_granted_in_the_same_sequence() {
        let mut held = Semaphore::new(1);
        outcome(&mut held, &lock("a"));
        let applied = Arc::new(held).apply_all(&Conditions::default(), &[unlock("a"), lock("b")]);
        assert_eq!(applied.outcomes, [Outcome::Unlocked, Outcome::Locked]);
        assert!(applied.next.holders.contains_key("b"));
    }

    #[test]
    fn invariant_1_a_grant_and_its_release_are_never_one_commit() {
        let empty = Arc::new(Semaphore::new(1));
        let applied = empty.apply_all(&Conditions::default(), &[lock("a"), unlock("a"), lock("b")]);
        assert_eq!(applied.outcomes, [Outcome::Locked]);
        assert!(applied.next.holders.contains_key("a"));
        let mut held = Semaphore::new(1);
        outcome(&mut held, &lock("a"));
        let applied = Arc::new(held).apply_all(
            &Conditions::default(),
            &[unlock("a"), lock("a"), unlock("a")],
        );
        assert_eq!(applied.outcomes, [Outcome::Unlocked, Outcome::Locked]);
        assert!(applied.next.holders.contains_key("a"));
    }
}
