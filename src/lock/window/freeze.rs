//! Freezes: periods in which no new lock is granted, whether a window is open or not.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A period in which no new lock is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Freeze {
    /// The first moment of the freeze.
    pub(crate) from: Timestamp,
    /// The first moment after it, later than `from`.
    pub(crate) until: Timestamp,
    /// The time zone in which the freeze is configured.
    pub(crate) zone: TimeZone,
    /// The reason, as text for people.
    pub(crate) reason: Option<Arc<str>>,
}

/// The freezes of a group, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freezes(pub(crate) Vec<Freeze>);
