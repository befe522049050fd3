//! Freezes: periods in which no new lock is granted, whether a window is open or not.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::opening::text;

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

// === impl Freezes ===

impl Freezes {
    /// Returns the freeze that is active at `now`. Freezes that meet or overlap count as one: it ends with the last of
    /// them, and has the reason of the one that lasts longest of those that are active now.
    pub(crate) fn active(&self, now: Timestamp) -> Option<Freeze> {
        let active = self.longest_at(now)?;
        let mut last = active;
        // A later freeze ends later, so that each of them is the last one at most once.
        while let Some(later) = self.longest_at(last.until) {
            last = later;
        }
        Some(Freeze {
            from: active.from,
            until: last.until,
            zone: last.zone.clone(),
            reason: active.reason.clone(),
        })
    }

    /// Returns the next freeze that starts after `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Option<&Freeze> {
        let later = self.0.iter().filter(|freeze| freeze.from > now);
        later.min_by_key(|freeze| freeze.from)
    }

    /// Returns the latest freeze that has ended at `now`.
    pub(super) fn previous(&self, now: Timestamp) -> Option<&Freeze> {
        let ended = self.0.iter().filter(|freeze| freeze.until <= now);
        ended.max_by_key(|freeze| freeze.until)
    }

    /// Returns the freeze with the latest end of those that are active at `at`.
    fn longest_at(&self, at: Timestamp) -> Option<&Freeze> {
        let active = self.0.iter().filter(|freeze| freeze.is_active(at));
        active.max_by_key(|freeze| freeze.until)
    }
}

// === impl Freeze ===

impl Freeze {
    /// Reports whether the freeze is active at `at`.
    pub(crate) fn is_active(&self, at: Timestamp) -> bool {
        (self.from..self.until).contains(&at)
    }

    /// Formats the start, for example `Sun 2026-12-20 00:00 Europe/Berlin (Sat 23:00 UTC)`.
    pub(crate) fn start_text(&self) -> String {
        text(self.from, &self.zone)
    }

    /// Formats the end in the same way.
    pub(crate) fn end_text(&self) -> String {
        text(self.until, &self.zone)
    }
}
