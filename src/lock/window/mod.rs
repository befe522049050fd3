//! Reboot windows and freezes: the times at which a group grants new locks.
//!
//! They refuse new grants only. A holder that asks again and a steady-state are never refused (invariant 12).

mod freeze;
mod weekly;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub(crate) use freeze::{Freeze, Freezes};
pub(crate) use weekly::{Window, parse_weekday, weekday_names};

/// The reboot windows of a group. A group without windows is always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Windows(pub(crate) Vec<Window>);

/// The state of the windows of a group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WindowState {
    /// The group has no windows.
    Always,
    /// A window is open.
    Open {
        /// The moment at which it closes.
        until: Timestamp,
    },
    /// No window is open.
    Closed {
        /// The next opening.
        next: Option<Opening>,
    },
}

/// One opening of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The first moment at which it is open.
    pub(crate) opens: Timestamp,
    /// The first moment at which it is closed again.
    pub(crate) closes: Timestamp,
    /// The time zone in which the window is configured.
    pub(crate) zone: TimeZone,
}

// === impl Windows ===

impl Windows {
    /// Returns the state at `now`.
    pub(crate) fn state(&self, now: Timestamp) -> WindowState {
        if self.0.is_empty() {
            return WindowState::Always;
        }
        match self.end_of_open_windows(now) {
            Some(until) => WindowState::Open { until },
            None => WindowState::Closed {
                next: self.next_opening(now),
            },
        }
    }

    /// Returns the next `count` openings, starting with the one that is open at `now`. Windows that meet or overlap
    /// count as one opening.
    pub(crate) fn upcoming(&self, now: Timestamp, count: usize) -> Vec<Opening> {
        let mut at = now;
        let mut found = Vec::new();
        while found.len() < count
            && let Some(opening) = self.opening_at_or_after(at)
        {
            at = opening.closes;
            found.push(opening);
        }
        found
    }

    fn opening_at_or_after(&self, now: Timestamp) -> Option<Opening> {
        let open = self.0.iter().find_map(|window| {
            let (opens, _) = window.occurrence_at(now)?;
            Some((opens, window))
        });
        match open {
            Some((opens, window)) => Some(Opening {
                opens,
                closes: self.end_of_open_windows(now)?,
                zone: window.zone.clone(),
            }),
            None => self.next_opening(now),
        }
    }

    fn next_opening(&self, now: Timestamp) -> Option<Opening> {
        let (opens, window) = self
            .0
            .iter()
            .filter_map(|window| Some((window.next_start(now)?, window)))
            .min_by_key(|(opens, _)| *opens)?;
        Some(Opening {
            opens,
            closes: self.end_of_open_windows(opens)?,
            zone: window.zone.clone(),
        })
    }

    /// Returns the end of the windows that are open at `now` and follow each other without a gap.
    fn end_of_open_windows(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = |at: Timestamp| {
            let closes = self.0.iter().filter_map(|window| window.occurrence_at(at));
            closes.map(|(_, closes)| closes).max()
        };
        let mut until = latest(now)?;
        // Windows may follow each other forever, so the search ends after two weeks.
        let limit = now + SignedDuration::from_hours(14 * 24);
        while until < limit
            && let Some(later) = latest(until)
        {
            until = later;
        }
        Some(until)
    }
}

// === impl Opening ===

impl Opening {
    /// Formats the opening, for example `Sat 2026-11-28 23:30 Europe/Berlin (22:30 UTC)`.
    pub(crate) fn opens_text(&self) -> String {
        text(self.opens, &self.zone)
    }

    /// Formats the end of the opening in the same way.
    pub(crate) fn closes_text(&self) -> String {
        text(self.closes, &self.zone)
    }
}

/// Formats a moment in its zone, followed by UTC where that differs.
fn text(at: Timestamp, zone: &TimeZone) -> String {
    let here = at.to_zoned(zone.clone());
    let utc = at.to_zoned(TimeZone::UTC);
    let name = zone.iana_name().unwrap_or("UTC");
    let local = here.strftime("%a %Y-%m-%d %H:%M");
    if here.datetime() == utc.datetime() {
        format!("{local} {name}")
    } else if here.date() == utc.date() {
        format!("{local} {name} ({})", utc.strftime("%H:%M UTC"))
    } else {
        format!("{local} {name} ({})", utc.strftime("%a %H:%M UTC"))
    }
}

#[cfg(test)]
mod tests;
