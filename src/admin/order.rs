//! What an administrator may order, and what comes of it. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::act::Action;
use crate::fleetlock::NodeId;
use crate::semaphore::{Command, Outcome, Semaphore};

/// One order for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Takes a slot for a node, whatever the windows say.
    Lock { id: NodeId },
    /// Takes the slot from a holder.
    Unlock { id: Arc<str> },
    /// Takes the slots from those holders that still hold since then: who let go and was granted again
    /// in the meantime keeps the new one.
    Release { holds: Vec<(Arc<str>, Timestamp)> },
    /// Sets the slots; ends a pause.
    SetSlots { slots: u64 },
    /// The same, but a pause stays.
    UpdateSlots { slots: u64 },
    /// No slots: no Airlock grants anything, holders stay.
    Pause,
    /// Ends a pause.
    Resume { slots: u64 },
}

/// What an order comes to on a given semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is so already.
    AlreadySo,
    Change(Semaphore, Action),
    Refused(Refused),
}

/// Why an order is not carried out. It says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("all {slots} slots are taken: unlock a holder first, or set more slots")]
    Full { slots: u64 },
    #[error("the group is paused: resume it first")]
    Paused,
    #[error("{id} does not hold a slot{}", who_does(.holders))]
    NotHeld {
        id: Arc<str>,
        holders: Vec<Arc<str>>,
    },
}

fn who_does(ids: &[Arc<str>]) -> String {
    match ids {
        [] => "; nobody does".into(),
        ids if ids.len() <= 10 => format!("; holders are: {}", ids.join(", ")),
        ids => format!("; {} others do", ids.len()),
    }
}

// === impl Order ===

impl Order {
    /// Decides, with `at` as the time of a lock.
    pub fn decide(&self, semaphore: &Semaphore, at: Timestamp) -> Decision {
        let mut next = semaphore.clone();
        let action = match self {
            Order::Lock { id } => {
                let id = id.clone();
                let shared = id.shared();
                match next.apply(&Command::Lock { id, at }) {
                    Outcome::Locked => Action::Lock { id: shared },
                    Outcome::Full { slots: 0 } => return Decision::Refused(Refused::Paused),
                    Outcome::Full { slots } => return Decision::Refused(Refused::Full { slots }),
                    Outcome::AlreadyHeld | Outcome::Unlocked | Outcome::NotHeld => {
                        return Decision::AlreadySo;
                    }
                }
            }
            Order::Unlock { id } => {
                if next.holders.remove(id).is_none() {
                    return Decision::Refused(Refused::NotHeld {
                        id: Arc::clone(id),
                        holders: next.holders.into_keys().collect(),
                    });
                }
                Action::unlock(vec![Arc::clone(id)])
            }
            Order::Release { holds } => {
                let same = |(id, since): &&(Arc<str>, Timestamp)| {
                    semaphore.holders.get(id) == Some(&Some(*since))
                };
                let ids: Vec<_> = holds
                    .iter()
                    .filter(same)
                    .map(|(id, _)| Arc::clone(id))
                    .collect();
                if ids.is_empty() {
                    return Decision::AlreadySo;
                }
                for id in &ids {
                    next.holders.remove(id);
                }
                Action::unlock(ids)
            }
            Order::UpdateSlots { .. } if semaphore.slots == 0 => return Decision::AlreadySo,
            Order::SetSlots { slots } | Order::UpdateSlots { slots } => {
                next.slots = *slots;
                Action::SetSlots { slots: *slots }
            }
            Order::Pause => {
                next.slots = 0;
                Action::Pause
            }
            Order::Resume { .. } if semaphore.slots > 0 => return Decision::AlreadySo,
            Order::Resume { slots } => {
                next.slots = *slots;
                Action::Resume { slots: *slots }
            }
        };
        if next == *semaphore {
            Decision::AlreadySo
        } else {
            Decision::Change(next, action)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(slots: u64, ids: &[&str]) -> Semaphore {
        let mut semaphore = Semaphore::new(slots);
        for id in ids {
            let since = Some(Timestamp::UNIX_EPOCH);
            semaphore.holders.insert((*id).into(), since);
        }
        semaphore
    }

    fn decide(order: Order, semaphore: &Semaphore) -> Decision {
        order.decide(semaphore, Timestamp::UNIX_EPOCH)
    }

    fn changed(order: Order, semaphore: &Semaphore) -> Semaphore {
        match decide(order, semaphore) {
            Decision::Change(next, _) => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn invariant_2_an_administrators_lock_needs_a_slot_too() {
        let lock = |id: &str| Order::Lock {
            id: id.parse().unwrap(),
        };
        assert_eq!(changed(lock("b"), &held(2, &["a"])), held(2, &["a", "b"]));
        assert_eq!(decide(lock("a"), &held(1, &["a"])), Decision::AlreadySo);
        assert_eq!(
            decide(lock("b"), &held(1, &["a"])),
            Decision::Refused(Refused::Full { slots: 1 })
        );
        assert_eq!(
            decide(lock("b"), &held(0, &[])),
            Decision::Refused(Refused::Paused)
        );
    }

    #[test]
    fn an_unlock_of_who_holds_nothing_is_refused_and_names_who_does() {
        let unlock = |id: &str| Order::Unlock { id: id.into() };
        assert_eq!(changed(unlock("a"), &held(1, &["a"])), held(1, &[]));
        let Decision::Refused(refused) = decide(unlock("typo"), &held(2, &["a", "b"])) else {
            panic!("not refused");
        };
        assert_eq!(
            refused.to_string(),
            "typo does not hold a slot; holders are: a, b"
        );
    }

    #[test]
    fn a_release_spares_who_was_granted_anew() {
        let release = Order::Release {
            holds: vec![
                ("a".into(), Timestamp::UNIX_EPOCH),
                ("b".into(), Timestamp::UNIX_EPOCH),
            ],
        };
        let mut semaphore = held(2, &["a", "b"]);
        semaphore.holders.insert("b".into(), Some(Timestamp::MAX));
        let after = changed(release.clone(), &semaphore);
        assert_eq!(after.holders.into_keys().collect::<Vec<_>>(), ["b".into()]);
        assert_eq!(decide(release, &held(2, &["c"])), Decision::AlreadySo);
    }

    #[test]
    fn a_pause_evicts_nobody_and_only_a_resume_or_new_slots_end_it() {
        let running = held(2, &["a"]);
        let paused = changed(Order::Pause, &running);
        assert_eq!(paused, held(0, &["a"]));
        assert_eq!(decide(Order::Pause, &paused), Decision::AlreadySo);
        let update = Order::UpdateSlots { slots: 2 };
        assert_eq!(decide(update, &paused), Decision::AlreadySo);
        assert_eq!(changed(Order::Resume { slots: 2 }, &paused), running);
        assert_eq!(changed(Order::SetSlots { slots: 2 }, &paused), running);
        let resume = Order::Resume { slots: 5 };
        assert_eq!(decide(resume, &running), Decision::AlreadySo);
    }

    #[test]
    fn fewer_slots_evict_nobody() {
        let after = changed(Order::SetSlots { slots: 1 }, &held(3, &["a", "b"]));
        assert_eq!(after, held(1, &["a", "b"]));
    }
}
