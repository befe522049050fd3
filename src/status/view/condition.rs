//! The conditions of a group.

use serde::Serialize;

/// A condition of a group, the most severe one first. Those that need attention precede the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// The stored value cannot be used: nothing is granted.
    Damaged,
    /// A node has held its slot for longer than the group allows: nothing is granted.
    Stalled,
    /// A node has held its slot for much longer than a reboot takes.
    Overdue,
    /// Nodes of the group are rejected, so that they cannot update.
    RejectedClients,
    /// Nodes are denied because the store fails, although it replies now.
    Failing,
    /// A cap of the group cannot be evaluated: nothing is granted.
    CapUnusable,
    /// A gate of the group gives no answer, and counts as closed.
    GateFailed,
    /// The store has not replied about the group yet.
    Unknown,
    /// The store has another number of slots than the configuration.
    SlotsDiffer,
    /// Another program writes the group, and may exceed its caps.
    ForeignWriter,
    /// An administrator has paused the group.
    Paused,
    /// The store has the group, the configuration does not: all its requests are denied.
    NotConfigured,
    /// A freeze is active.
    Frozen,
    /// No reboot window is open.
    Closed,
    /// A gate of the group is closed.
    GateClosed,
    /// A cap of the group is reached.
    CapReached,
    /// The last release is too recent.
    Settling,
    /// An administrator has overridden windows, freezes and gates.
    Overridden,
    /// Every slot is held.
    Full,
    /// Some slots are held.
    Rebooting,
    /// No slot is held.
    Free,
}

/// The time after which a hold is overdue, unless the group usually takes longer: the threshold of the alert
/// AirlockLockHeldTooLong.
const OVERDUE_SECONDS: i64 = 3600;

/// The time after which a hold is overdue however long the group usually takes: a few long failures are not usual.
const MAX_OVERDUE_SECONDS: i64 = 4 * 3600;

// === impl Condition ===

impl Condition {
    /// Returns the words for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Condition::Damaged => "damaged",
            Condition::Stalled => "stalled",
            Condition::Overdue => "overdue",
            Condition::RejectedClients => "rejected clients",
            Condition::Failing => "failing",
            Condition::CapUnusable => "cap unusable",
            Condition::GateFailed => "gate failed",
            Condition::Unknown => "not known yet",
            Condition::SlotsDiffer => "slots differ",
            Condition::ForeignWriter => "foreign writer",
            Condition::NotConfigured => "not configured",
            Condition::Paused => "paused",
            Condition::Frozen => "frozen",
            Condition::Closed => "closed",
            Condition::GateClosed => "gate closed",
            Condition::CapReached => "cap reached",
            Condition::Settling => "settling",
            Condition::Overridden => "overridden",
            Condition::Full => "full",
            Condition::Rebooting => "rebooting",
            Condition::Free => "free",
        }
    }
}

/// Reports whether a condition is the reason for which a group grants no lock on purpose.
pub(crate) fn is_refusal(condition: Condition) -> bool {
    match condition {
        Condition::Paused
        | Condition::Frozen
        | Condition::Closed
        | Condition::GateClosed
        | Condition::CapReached
        | Condition::Settling => true,
        Condition::Damaged
        | Condition::Stalled
        | Condition::Overdue
        | Condition::RejectedClients
        | Condition::Failing
        | Condition::CapUnusable
        | Condition::GateFailed
        | Condition::Unknown
        | Condition::SlotsDiffer
        | Condition::ForeignWriter
        | Condition::NotConfigured
        | Condition::Overridden
        | Condition::Full
        | Condition::Rebooting
        | Condition::Free => false,
    }
}

/// Returns the time in seconds after which a hold is overdue, in a group whose holds usually take this long.
pub(crate) fn overdue_seconds(usual: Option<i64>) -> i64 {
    let usual = usual.unwrap_or_default().saturating_mul(3);
    usual.clamp(OVERDUE_SECONDS, MAX_OVERDUE_SECONDS)
}
