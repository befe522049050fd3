//! What an administrator did to a group by hand, as it is kept beside the lock times.
//!
//! An act is written in the same transaction as what it changes. So every server sees it and logs it,
//! the page shows it, and a command whose outcome is unknown finds out whether it happened.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub at: Timestamp,
    /// `user@host`, as far as the command could tell. A claim, not a proof.
    pub by: Arc<str>,
    #[serde(flatten)]
    pub action: Action,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    Lock {
        id: Arc<str>,
    },
    Unlock {
        /// Not more than [`Action::MAX_IDS`].
        ids: Vec<Arc<str>>,
        /// How many more there were.
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    SetSlots {
        slots: u64,
    },
    Pause,
    Resume {
        slots: u64,
    },
}

/// The latest acts of a group, oldest first.
pub type Acts = Arc<[Act]>;

/// How many acts are kept for a group. A server that looks now and then sees all that were done meanwhile.
const KEPT: usize = 8;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `acts` with one more, and without the oldest if there are too many.
pub fn with(acts: &Acts, act: Act) -> Acts {
    let forgotten = (acts.len() + 1).saturating_sub(KEPT);
    acts.iter().skip(forgotten).cloned().chain([act]).collect()
}

// === impl Action ===

impl Action {
    const MAX_IDS: usize = 16;

    pub fn unlock(mut ids: Vec<Arc<str>>) -> Self {
        let more = ids.len().saturating_sub(Action::MAX_IDS);
        ids.truncate(Action::MAX_IDS);
        Action::Unlock { ids, more }
    }
}

/// Such as "unlocked a, b".
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Lock { id } => write!(f, "locked for {id}"),
            Action::Unlock { ids, more } => {
                write!(f, "unlocked {}", ids.join(", "))?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Action::SetSlots { slots } => write!(f, "set the slots to {slots}"),
            Action::Pause => f.write_str("paused the group"),
            Action::Resume { slots } => write!(f, "resumed the group with {slots} slots"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(slots: u64) -> Act {
        Act {
            at: Timestamp::UNIX_EPOCH,
            by: "root@ops".into(),
            action: Action::SetSlots { slots },
        }
    }

    #[test]
    fn only_the_latest_acts_are_kept() {
        let mut acts = Acts::default();
        for slots in 1..=20 {
            acts = with(&acts, act(slots));
        }
        assert_eq!(acts.len(), KEPT);
        assert_eq!(acts.first(), Some(&act(13)));
        assert_eq!(acts.last(), Some(&act(20)));
    }

    #[test]
    fn a_long_list_of_nodes_is_cut_and_counted() {
        let ids = (0..20).map(|id| id.to_string().into()).collect();
        let text = Action::unlock(ids).to_string();
        assert!(text.ends_with("14, 15 and 4 more"), "{text}");
    }

    #[test]
    fn golden_an_act_in_json() {
        let json = serde_json::to_string(&Act {
            action: Action::unlock(vec!["a".into()]),
            ..act(0)
        });
        assert_eq!(
            json.unwrap(),
            r#"{"at":"1970-01-01T00:00:00Z","by":"root@ops","action":"unlock","ids":["a"]}"#
        );
    }
}
