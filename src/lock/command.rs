//! Administrators' commands and the decision about each of them.

use std::sync::Arc;

use jiff::Timestamp;

use super::audit::Action;
use super::history::CompletedHold;
use super::holders::Client;
use super::names::NodeId;
use super::policy::{CapView, Conditions, Refusal, Terms};
use super::semaphore::{Command, Outcome, Semaphore};

/// A command of an administrator for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Locks a slot for a node. Of the policies, it obeys only caps.
    Lock {
        /// The node.
        id: NodeId,
    },
    /// Unlocks a holder.
    Unlock {
        /// The holder, as stored.
        id: Arc<str>,
    },
    /// Unlocks the holders that still hold since the given time. A holder that released its slot and was granted a
    /// new one in the meantime keeps the new one.
    UnlockHeldSince {
        /// The holders, each with the time of its grant.
        holds: Vec<(Arc<str>, Timestamp)>,
    },
    /// Sets the number of slots. Ends a pause.
    SetSlots {
        /// The new number, at least 1.
        slots: u64,
    },
    /// Sets the number of slots, except while the group is paused.
    UpdateSlots {
        /// The new number, at least 1.
        slots: u64,
    },
    /// Sets the number of slots to 0: no server grants a lock, coreos/airlock included. Holders keep their slots.
    Pause,
    /// Ends a pause, and the settle time.
    Resume {
        /// The number of slots from now on.
        slots: u64,
    },
    /// Overrides reboot windows, freezes and gates.
    Override {
        /// The end of the override.
        until: Timestamp,
    },
    /// Ends an override.
    EndOverride,
}

/// The effect of a command on a given semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The semaphore already is what the command asks for.
    Unchanged,
    /// The semaphore becomes `next`, which is recorded.
    Change {
        /// The semaphore after the command.
        next: Semaphore,
        /// The change in words.
        action: Action,
        /// The holds that the command ends.
        released: Vec<CompletedHold>,
    },
    /// The command is refused.
    Refused(Refused),
}

/// The reason why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No lock is granted.
    #[error(transparent)]
    NotGranted(#[from] Refusal),
    /// The node holds no slot.
    #[error("{id:?} does not hold a slot")]
    NotHeld {
        /// The node.
        id: Arc<str>,
        /// The current holders.
        holders: Vec<Arc<str>>,
    },
}

// === impl AdminCommand ===

impl AdminCommand {
    /// Reports whether the command obeys caps.
    pub(crate) fn obeys_caps(&self) -> bool {
        matches!(self, AdminCommand::Lock { .. })
    }

    /// Decides what the command does to `semaphore`, the group of which belongs to `caps`. A lock is recorded as granted
    /// `at` that time.
    pub fn decide(&self, semaphore: &Semaphore, at: Timestamp, caps: &[CapView]) -> Decision {
        let mut next = semaphore.clone();
        let mut released = Vec::new();
        let action = match self {
            AdminCommand::Lock { id } => {
                let command = Command::Lock {
                    id: id.clone(),
                    at,
                    client: Client::default(),
                    terms: Terms::default(),
                };
                let conditions = Conditions {
                    caps: caps.to_vec(),
                    ..Conditions::default()
                };
                match next.apply(&command, &conditions).0 {
                    Outcome::Locked => Action::Lock { id: id.shared() },
                    Outcome::Refused(refusal) => return Decision::Refused(refusal.into()),
                    Outcome::AlreadyHeld | Outcome::Unlocked | Outcome::NotHeld => {
                        return Decision::Unchanged;
                    }
                }
            }
            AdminCommand::Unlock { id } => {
                let Some(hold) = next.release(id, at) else {
                    return Decision::Refused(Refused::NotHeld {
                        id: Arc::clone(id),
                        holders: next.holders.keys().cloned().collect(),
                    });
                };
                released.push(hold);
                Action::unlock(vec![Arc::clone(id)])
            }
            AdminCommand::UnlockHeldSince { holds } => {
                for (id, since) in holds {
                    let hold = next.holders.get(id);
                    if hold.and_then(|hold| hold.since) == Some(*since) {
                        released.extend(next.release(id, at));
                    }
                }
                if released.is_empty() {
                    return Decision::Unchanged;
                }
                Action::unlock(released.iter().map(|hold| Arc::clone(&hold.id)).collect())
            }
            AdminCommand::UpdateSlots { .. } if semaphore.is_paused() => {
                return Decision::Unchanged;
            }
            AdminCommand::SetSlots { slots } | AdminCommand::UpdateSlots { slots } => {
                next.slots = *slots;
                Action::SetSlots { slots: *slots }
            }
            AdminCommand::Pause => {
                next.slots = 0;
                Action::Pause
            }
            AdminCommand::Resume { .. } if !semaphore.is_paused() => return Decision::Unchanged,
            AdminCommand::Resume { slots } => {
                next.slots = *slots;
                // The administrator decides that the group goes on.
                next.released_at = None;
                Action::Resume { slots: *slots }
            }
            AdminCommand::Override { until } => {
                next.override_until = Some(*until);
                Action::Override { until: *until }
            }
            AdminCommand::EndOverride if !semaphore.is_overridden(at) => {
                return Decision::Unchanged;
            }
            AdminCommand::EndOverride => {
                next.override_until = None;
                Action::EndOverride
            }
        };
        if next == *semaphore {
            Decision::Unchanged
        } else {
            Decision::Change {
                next,
                action,
                released,
            }
        }
    }
}

// === impl Refused ===

impl Refused {
    /// Reports whether the refusal depends on the other groups of a cap.
    pub(crate) fn depends_on_members(&self) -> bool {
        matches!(self, Refused::NotGranted(refusal) if refusal.depends_on_members())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(slots: u64, ids: &[&str]) -> Semaphore {
        let mut semaphore = Semaphore::new(slots);
        for id in ids {
            let since = Some(Timestamp::UNIX_EPOCH);
            semaphore.holders.insert((*id).into(), since.into());
        }
        semaphore
    }

    fn decide(command: AdminCommand, semaphore: &Semaphore) -> Decision {
        command.decide(semaphore, Timestamp::UNIX_EPOCH, &[])
    }

    fn changed(command: AdminCommand, semaphore: &Semaphore) -> Semaphore {
        match decide(command, semaphore) {
            Decision::Change { next, .. } => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn invariant_2_an_administrators_lock_needs_a_slot_too() {
        let lock = |id: &str| AdminCommand::Lock {
            id: id.parse().unwrap(),
        };
        assert_eq!(changed(lock("b"), &held(2, &["a"])), held(2, &["a", "b"]));
        assert_eq!(decide(lock("a"), &held(1, &["a"])), Decision::Unchanged);
        assert_eq!(
            decide(lock("b"), &held(1, &["a"])),
            Decision::Refused(Refusal::Full { slots: 1 }.into())
        );
        assert_eq!(
            decide(lock("b"), &held(0, &[])),
            Decision::Refused(Refusal::Paused.into())
        );
    }

    #[test]
    fn an_unlock_of_a_non_holder_is_refused_and_names_the_holders() {
        let unlock = |id: &str| AdminCommand::Unlock { id: id.into() };
        assert_eq!(changed(unlock("a"), &held(1, &["a"])), held(1, &[]));
        let Decision::Refused(refused) = decide(unlock("typo"), &held(2, &["a", "b"])) else {
            panic!("not refused");
        };
        let holders = vec!["a".into(), "b".into()];
        let id = "typo".into();
        assert_eq!(refused, Refused::NotHeld { id, holders });
    }

    #[test]
    fn unlocking_old_holders_spares_a_node_with_a_newer_grant() {
        let release = AdminCommand::UnlockHeldSince {
            holds: vec![
                ("a".into(), Timestamp::UNIX_EPOCH),
                ("b".into(), Timestamp::UNIX_EPOCH),
            ],
        };
        let mut semaphore = held(2, &["a", "b"]);
        semaphore
            .holders
            .insert("b".into(), Some(Timestamp::MAX).into());
        let after = changed(release.clone(), &semaphore);
        assert_eq!(
            after.holders.keys().cloned().collect::<Vec<_>>(),
            ["b".into()]
        );
        assert_eq!(decide(release, &held(2, &["c"])), Decision::Unchanged);
    }

    #[test]
    fn a_pause_evicts_no_holder_and_only_a_resume_or_new_slots_end_it() {
        let running = held(2, &["a"]);
        let paused = changed(AdminCommand::Pause, &running);
        assert_eq!(paused, held(0, &["a"]));
        assert_eq!(decide(AdminCommand::Pause, &paused), Decision::Unchanged);
        let update = AdminCommand::UpdateSlots { slots: 2 };
        assert_eq!(decide(update, &paused), Decision::Unchanged);
        assert_eq!(changed(AdminCommand::Resume { slots: 2 }, &paused), running);
        assert_eq!(
            changed(AdminCommand::SetSlots { slots: 2 }, &paused),
            running
        );
        let resume = AdminCommand::Resume { slots: 5 };
        assert_eq!(decide(resume, &running), Decision::Unchanged);
    }

    #[test]
    fn an_update_sets_the_slots_of_a_running_group_only() {
        let update = AdminCommand::UpdateSlots { slots: 3 };
        assert_eq!(changed(update.clone(), &held(2, &["a"])), held(3, &["a"]));
        assert_eq!(decide(update.clone(), &held(3, &[])), Decision::Unchanged);
        assert_eq!(decide(update, &held(0, &[])), Decision::Unchanged);
    }

    #[test]
    fn fewer_slots_evict_no_holder() {
        let after = changed(AdminCommand::SetSlots { slots: 1 }, &held(3, &["a", "b"]));
        assert_eq!(after, held(1, &["a", "b"]));
    }
}
