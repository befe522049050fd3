//! When a group lets nodes in: reboot windows. Pure: the time comes in as an argument.
//!
//! A policy gates new grants only. A holder that asks again and a node that is done are never refused
//! by it (invariant 9).

mod window;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub use window::{Window, day};

/// The windows of a group. Without any it is always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(pub Vec<Window>);

/// Whether a new lock is granted at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There are no windows.
    Always,
    /// Within a window, until then.
    Open { until: Timestamp },
    /// Between windows; the next one.
    Closed { next: Option<Opening> },
}

/// When a window opens, and the zone that it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub opens: Timestamp,
    pub closes: Timestamp,
    pub zone: TimeZone,
}

// === impl Windows ===

impl Windows {
    /// What holds at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        if self.0.is_empty() {
            return State::Always;
        }
        match self.close_of_whatever_is_open(now) {
            Some(until) => State::Open { until },
            None => State::Closed {
                next: self.next_opening(now),
            },
        }
    }

    /// The next `count` openings from `now` on, the one that is open first. Windows that meet or overlap
    /// are one opening.
    pub fn upcoming(&self, now: Timestamp, count: usize) -> Vec<Opening> {
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
                closes: self.close_of_whatever_is_open(now)?,
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
            closes: self.close_of_whatever_is_open(opens)?,
            zone: window.zone.clone(),
        })
    }

    /// When all windows that follow on each other without a gap from `now` on are over.
    fn close_of_whatever_is_open(&self, now: Timestamp) -> Option<Timestamp> {
        let latest = |at: Timestamp| {
            let closes = self.0.iter().filter_map(|window| window.occurrence_at(at));
            closes.map(|(_, closes)| closes).max()
        };
        let mut until = latest(now)?;
        // Windows may follow each other for ever; a fortnight of it is enough to know.
        let enough = now + SignedDuration::from_hours(14 * 24);
        while until < enough
            && let Some(later) = latest(until)
        {
            until = later;
        }
        Some(until)
    }
}

// === impl Opening ===

impl Opening {
    /// Such as `Sat 2026-11-28 23:30 Europe/Berlin (22:30 UTC)`.
    pub fn opens_text(&self) -> String {
        text(self.opens, &self.zone)
    }

    pub fn closes_text(&self) -> String {
        text(self.closes, &self.zone)
    }
}

/// A moment in a zone, and in UTC where that is something else.
fn text(at: Timestamp, zone: &TimeZone) -> String {
    let here = at.to_zoned(zone.clone());
    let utc = at.to_zoned(TimeZone::UTC);
    let name = zone.iana_name().unwrap_or("UTC");
    let own = here.strftime("%a %Y-%m-%d %H:%M");
    if here.datetime() == utc.datetime() {
        format!("{own} {name}")
    } else if here.date() == utc.date() {
        format!("{own} {name} ({})", utc.strftime("%H:%M UTC"))
    } else {
        format!("{own} {name} ({})", utc.strftime("%a %H:%M UTC"))
    }
}

#[cfg(test)]
mod tests;
