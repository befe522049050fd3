//! The calendar of a group: its reboot windows without its freezes.

use std::iter;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::freeze::{Freeze, Freezes};
use super::opening::Opening;
use super::windows::Windows;

/// The windows and the freezes of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calendar<'a> {
    pub(crate) windows: &'a Windows,
    pub(crate) freezes: &'a Freezes,
}

/// Whether the calendar of a group allows new locks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CalendarState {
    /// It allows them from now on: the group has no windows, and no freeze that is still to come.
    Always,
    /// It allows them.
    Open {
        /// The moment at which the window closes or a freeze starts.
        until: Timestamp,
    },
    /// No window is open.
    Closed {
        /// The next period in which new locks are allowed.
        next: Option<Opening>,
    },
    /// A freeze is active, whether a window is open or not.
    Frozen {
        /// The freeze, as [`Freezes::active`] returns it.
        freeze: Freeze,
        /// The next period in which new locks are allowed.
        next: Option<Opening>,
    },
}

/// One line of a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// New locks are allowed.
    Open(Opening),
    /// A freeze that was configured. It may overlap with others.
    Frozen(Freeze),
}

// === impl Calendar ===

impl<'a> Calendar<'a> {
    /// The time for which calendars are shown.
    pub(crate) const HORIZON: SignedDuration = SignedDuration::from_hours(30 * 24);

    /// Returns the state at `now`.
    pub(crate) fn state(self, now: Timestamp) -> CalendarState {
        let next = self.opening_at_or_after(now);
        if let Some(freeze) = self.freezes.active(now) {
            return CalendarState::Frozen { freeze, next };
        }
        match next {
            Some(opening) if opening.opens <= now => match opening.closes {
                Some(until) => CalendarState::Open { until },
                None => CalendarState::Always,
            },
            next => CalendarState::Closed { next },
        }
    }

    /// Returns the periods in which new locks are allowed, in order, starting with the one that contains `now`.
    /// Windows that meet or overlap are one period of up to two weeks. There may be periods without end.
    pub(crate) fn openings(self, now: Timestamp) -> impl Iterator<Item = Opening> + use<'a> {
        iter::successors(self.opening_at_or_after(now), move |previous| {
            let closes = previous.closes?;
            let next = self.opening_at_or_after(closes)?;
            Some(Opening {
                opens: next.opens.max(closes),
                ..next
            })
        })
    }

    /// Returns the periods in which new locks are allowed, and the freezes, that are not past at `now` and start before
    /// `end`, in the order in which they start.
    pub(crate) fn entries(
        self,
        now: Timestamp,
        end: Timestamp,
    ) -> impl Iterator<Item = Entry> + use<'a> {
        let is_listed = |freeze: &&Freeze| freeze.until > now && freeze.from < end;
        let mut freezes: Vec<&Freeze> = self.freezes.0.iter().filter(is_listed).collect();
        freezes.sort_by_key(|freeze| freeze.from);
        let mut freezes = freezes.into_iter().peekable();
        let openings = self.openings(now);
        let mut openings = openings
            .take_while(move |opening| opening.opens < end)
            .peekable();
        iter::from_fn(move || match (freezes.peek(), openings.peek()) {
            (Some(freeze), Some(opening)) if opening.opens < freeze.from => {
                openings.next().map(Entry::Open)
            }
            (Some(_), _) => freezes.next().cloned().map(Entry::Frozen),
            (None, _) => openings.next().map(Entry::Open),
        })
    }

    /// Returns the period that contains `from`, or the next one.
    fn opening_at_or_after(self, from: Timestamp) -> Option<Opening> {
        let mut at = from;
        // Each round but the last one leaves a freeze behind.
        loop {
            if let Some(freeze) = self.freezes.active(at) {
                at = freeze.until;
            }
            let opening = self.window_at_or_after(at)?;
            if opening.opens > at && self.freezes.active(opening.opens).is_some() {
                at = opening.opens;
                continue;
            }
            // A freeze may end or start while a window is open.
            let thawed = self.freezes.previous(at).map(|freeze| freeze.until);
            let frozen = self.freezes.next(at.max(opening.opens));
            let frozen = frozen.map(|freeze| freeze.from);
            return Some(Opening {
                opens: thawed.map_or(opening.opens, |thawed| thawed.max(opening.opens)),
                closes: opening.closes.into_iter().chain(frozen).min(),
                zone: opening.zone,
            });
        }
    }

    /// Returns the opening of the windows that contains `at`, or the next one. Without windows, it starts at `at`.
    fn window_at_or_after(self, at: Timestamp) -> Option<Opening> {
        if !self.windows.0.is_empty() {
            return self.windows.opening_at_or_after(at);
        }
        let freeze = self.freezes.previous(at);
        let freeze = freeze.or_else(|| self.freezes.next(at));
        Some(Opening {
            opens: at,
            closes: None,
            zone: freeze.map_or(TimeZone::UTC, |freeze| freeze.zone.clone()),
        })
    }
}

#[cfg(test)]
mod tests;
