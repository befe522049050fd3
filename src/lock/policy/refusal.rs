//! The reasons why a new grant is refused.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::lock::names::GroupName;

/// The reason why a node is not granted a lock, in the order in which a node is told: the most lasting one first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// The group is paused: it has no slots.
    #[error("the group is paused")]
    Paused,
    /// A holder has held for too long.
    #[error("the group is stalled: {:?} has held its slot for too long", .0.id)]
    Stalled(Stalled),
    /// A reboot window, a freeze, or a reservation refuses new grants.
    #[error("no lock is granted at this time")]
    Closed,
    /// A gate is closed.
    #[error("a gate is closed")]
    GateClosed,
    /// A cap is reached.
    #[error(transparent)]
    CapReached(CapReached),
    /// A cap cannot be evaluated, because the stored value of this group cannot be used.
    #[error(
        "the cap {cap:?} cannot be evaluated, because the value of the group {group} cannot be read or used"
    )]
    CapUnusable {
        /// The name of the cap.
        cap: Arc<str>,
        /// The group.
        group: GroupName,
    },
    /// Every slot is held.
    #[error("{}", full_text(*.slots))]
    Full {
        /// The number of slots.
        slots: u64,
    },
    /// The last release is too recent.
    #[error("the group settles until {until}")]
    Settling {
        /// The time at which the next lock can be granted.
        until: Timestamp,
    },
    /// The gates have to be asked first.
    #[error("the gates were not asked")]
    GateUnasked,
}

/// A holder that has held for too long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stalled {
    /// The holder.
    pub id: Arc<str>,
    /// The time since which it is known to hold.
    pub since: Timestamp,
    /// Whether that is the time of the grant; otherwise this server first saw the holder then.
    pub is_exact: bool,
}

/// A cap that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[error("the cap {cap:?} is reached: {limit}")]
pub struct CapReached {
    /// The name of the cap.
    pub cap: Arc<str>,
    /// The limit.
    pub limit: CapLimit,
}

/// The limit of a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CapLimit {
    /// The maximum number of holders in all groups together.
    Held(u64),
    /// The maximum number of groups with holders.
    Groups(u64),
}

fn full_text(slots: u64) -> String {
    match slots {
        1 => "the only slot is held".into(),
        slots => format!("all {slots} slots are held"),
    }
}

// === impl CapLimit ===

impl fmt::Display for CapLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapLimit::Held(1) => f.write_str("only 1 node of its groups may hold a slot at a time"),
            CapLimit::Held(max) => {
                write!(
                    f,
                    "only {max} nodes of its groups may hold a slot at a time"
                )
            }
            CapLimit::Groups(1) => f.write_str("only 1 of its groups may have holders at a time"),
            CapLimit::Groups(max) => {
                write!(f, "only {max} of its groups may have holders at a time")
            }
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// Reports whether the refusal depends on the other groups of a cap.
    pub(crate) fn depends_on_members(&self) -> bool {
        matches!(self, Refusal::CapReached(_) | Refusal::CapUnusable { .. })
    }

    /// Reports whether the grants that precede the request in the same commit can be the reason.
    pub(crate) fn depends_on_grants(&self) -> bool {
        match self {
            Refusal::Full { .. } | Refusal::CapReached(_) | Refusal::GateUnasked => true,
            Refusal::Paused
            | Refusal::Stalled(_)
            | Refusal::Closed
            | Refusal::GateClosed
            | Refusal::CapUnusable { .. }
            | Refusal::Settling { .. } => false,
        }
    }
}
