//! The reboot windows of a group.

use jiff::{SignedDuration, Timestamp};

use super::opening::Opening;
use super::weekly::Window;

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
    #[cfg(test)]
    pub(super) fn upcoming(&self, now: Timestamp, count: usize) -> Vec<Opening> {
        let mut at = now;
        let mut found = Vec::new();
        while found.len() < count
            && let Some(opening) = self.opening_at_or_after(at)
            && let Some(closes) = opening.closes
        {
            at = closes;
            found.push(opening);
        }
        found
    }

    /// Returns the opening that contains `now`, or the next one.
    pub(super) fn opening_at_or_after(&self, now: Timestamp) -> Option<Opening> {
        let open = self.0.iter().find_map(|window| {
            let (opens, _) = window.occurrence_at(now)?;
            Some((opens, window))
        });
        match open {
            Some((opens, window)) => Some(Opening {
                opens,
                closes: Some(self.end_of_open_windows(now)?),
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
            closes: Some(self.end_of_open_windows(opens)?),
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
