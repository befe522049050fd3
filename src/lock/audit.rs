//! Audit entries: what administrators changed by hand, as stored beside the lock times.
//!
//! An entry is written in the same transaction as the change. Therefore every server sees it and logs it, the status
//! page shows it, and a command with an unknown outcome can find out whether it was applied.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The record of one change by an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The time at which the command started.
    pub at: Timestamp,
    /// The administrator as `user@host`. The command line reports it; nothing verifies it.
    pub by: Arc<str>,
    /// The change.
    #[serde(flatten)]
    pub action: Action,
}

/// A change by an administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A slot was locked for a node.
    Lock {
        /// The node.
        id: Arc<str>,
    },
    /// Nodes were unlocked.
    Unlock {
        /// The nodes, at most [`Action::MAX_IDS`] of them.
        ids: Vec<Arc<str>>,
        /// The number of nodes beyond those in `ids`.
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    /// The number of slots was set.
    SetSlots {
        /// The new number of slots.
        slots: u64,
    },
    /// The group was paused.
    Pause,
    /// The group was resumed.
    Resume {
        /// The new number of slots.
        slots: u64,
    },
    /// Reboot windows, freezes and gates were overridden.
    Override {
        /// The end of the override.
        until: Timestamp,
    },
    /// An override was ended.
    EndOverride,
}

/// The latest audit entries of a group, oldest first.
pub type AuditLog = Arc<[AuditEntry]>;

/// The number of entries that are kept for a group. A server that reads the value only from time to time still sees
/// every entry written since.
const MAX_ENTRIES: usize = 16;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Returns `log` with `entry` appended, without the oldest entries if there are too many.
pub fn append(log: &AuditLog, entry: AuditEntry) -> AuditLog {
    let dropped = (log.len() + 1).saturating_sub(MAX_ENTRIES);
    log.iter().skip(dropped).cloned().chain([entry]).collect()
}

// === impl Action ===

impl Action {
    /// Returns the word for programs, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Lock { .. } => "lock",
            Action::Unlock { .. } => "unlock",
            Action::SetSlots { .. } => "set_slots",
            Action::Pause => "pause",
            Action::Resume { .. } => "resume",
            Action::Override { .. } => "override",
            Action::EndOverride => "end_override",
        }
    }

    /// The maximum number of ids in one entry.
    pub const MAX_IDS: usize = 16;

    /// Describes the unlocking of `ids`.
    pub fn unlock(mut ids: Vec<Arc<str>>) -> Self {
        let more = ids.len().saturating_sub(Action::MAX_IDS);
        ids.truncate(Action::MAX_IDS);
        Action::Unlock { ids, more }
    }
}

/// Formats the action as a past participle, such as "unlocked a, b".
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Lock { id } => write!(f, "locked a slot for {id}"),
            Action::Unlock { ids, more } => {
                write!(f, "unlocked {}", ids.join(", "))?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Action::SetSlots { slots } => write!(f, "set the slots to {slots}"),
            Action::Pause => f.write_str("paused the group"),
            Action::Resume { slots: 1 } => f.write_str("resumed the group with 1 slot"),
            Action::Resume { slots } => write!(f, "resumed the group with {slots} slots"),
            Action::Override { until } => {
                write!(
                    f,
                    "started an override of reboot windows, freezes and gates until {until}"
                )
            }
            Action::EndOverride => f.write_str("ended the override"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_stored_under_its_name() {
        let ids = vec!["a".into()];
        for action in [
            Action::Lock { id: "a".into() },
            Action::Unlock { ids, more: 0 },
            Action::SetSlots { slots: 1 },
            Action::Pause,
            Action::Resume { slots: 1 },
            Action::Override {
                until: Timestamp::UNIX_EPOCH,
            },
            Action::EndOverride,
        ] {
            let stored = serde_json::to_value(&action).unwrap();
            assert_eq!(stored["action"], action.name());
        }
    }

    fn entry(slots: u64) -> AuditEntry {
        AuditEntry {
            at: Timestamp::UNIX_EPOCH,
            by: "root@ops".into(),
            action: Action::SetSlots { slots },
        }
    }

    #[test]
    fn only_the_latest_entries_are_kept() {
        let mut log = AuditLog::default();
        for slots in 1..=20 {
            log = append(&log, entry(slots));
        }
        assert_eq!(log.len(), MAX_ENTRIES);
        assert_eq!(log.first(), Some(&entry(5)));
        assert_eq!(log.last(), Some(&entry(20)));
    }

    #[test]
    fn a_long_list_of_nodes_is_cut_and_counted() {
        let ids = (0..20).map(|id| id.to_string().into()).collect();
        let text = Action::unlock(ids).to_string();
        assert!(text.ends_with("14, 15 and 4 more"), "{text}");
    }

    #[test]
    fn golden_an_entry_in_json() {
        let json = serde_json::to_string(&AuditEntry {
            action: Action::unlock(vec!["a".into()]),
            ..entry(0)
        });
        assert_eq!(
            json.unwrap(),
            r#"{"at":"1970-01-01T00:00:00Z","by":"root@ops","action":"unlock","ids":["a"]}"#
        );
    }
}
