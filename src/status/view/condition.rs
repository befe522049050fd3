//! What matters most about a group, in one word.

use serde::Serialize;

/// What matters most about a group, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    /// The stored value cannot be used: nothing is granted.
    Damaged,
    /// A node has held its slot for much longer than a reboot takes.
    Overdue,
    /// The store has not replied about the group yet.
    Unknown,
    /// The store has another number of slots than the configuration.
    SlotsDiffer,
    /// An administrator has paused the group.
    Paused,
    /// No reboot window is open.
    Closed,
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

// === impl Condition ===

impl Condition {
    /// Returns the words for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Condition::Damaged => "damaged",
            Condition::Overdue => "overdue",
            Condition::Unknown => "not known yet",
            Condition::SlotsDiffer => "slots differ",
            Condition::Paused => "paused",
            Condition::Closed => "closed",
            Condition::Full => "full",
            Condition::Rebooting => "rebooting",
            Condition::Free => "free",
        }
    }
}

/// Returns the time in seconds after which a hold is overdue, in a group whose holds usually take this long.
pub(crate) fn overdue_seconds(usual: Option<i64>) -> i64 {
    OVERDUE_SECONDS.max(usual.unwrap_or_default().saturating_mul(3))
}
