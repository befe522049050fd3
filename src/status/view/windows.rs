//! The view of the reboot windows and the freezes of a group.

use jiff::Timestamp;
use serde::Serialize;

use crate::lock::window::{Calendar, CalendarState, Entry, Freeze, Opening};
use crate::text::duration::age;

/// The view of the reboot windows of a group, without its freezes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WindowView {
    /// Whether the group has windows.
    pub(crate) configured: bool,
    /// Whether the windows and freezes allow new locks now.
    pub(crate) open: bool,
    /// The end of the open window, or the start of the next freeze.
    pub(crate) closes: Option<Timestamp>,
    /// The next time at which new locks are allowed, while they are not.
    pub(crate) opens: Option<Timestamp>,
    /// The next change as text for people.
    pub(crate) text: Option<String>,
}

/// A line of the calendar of a group.
#[derive(Debug)]
pub(crate) struct CalendarLine {
    /// Whether it is a freeze; otherwise new locks are allowed.
    pub(crate) is_freeze: bool,
    /// Whether it has begun.
    pub(crate) is_now: bool,
    pub(crate) from: String,
    pub(crate) until: String,
    /// The reason for a freeze.
    pub(crate) reason: Option<String>,
}

// === impl WindowView ===

impl WindowView {
    pub(super) fn new(calendar: Calendar<'_>, now: Timestamp) -> Self {
        let mut view = WindowView {
            configured: !calendar.windows.0.is_empty(),
            open: true,
            closes: None,
            opens: None,
            text: None,
        };
        let next = match calendar.state(now) {
            CalendarState::Always => return view,
            CalendarState::Open { until } => {
                view.closes = Some(until);
                let first = calendar.openings(now).next();
                view.text = first.map(|opening| format!("open until {}", opening.closes_text()));
                return view;
            }
            CalendarState::Closed { next } => {
                view.text = next.as_ref().map(|next| closed_text(next, now));
                next
            }
            CalendarState::Frozen { freeze, next } => {
                view.text = Some(frozen_text(&freeze, next.as_ref(), now));
                next
            }
        };
        view.open = false;
        view.opens = next.map(|opening| opening.opens);
        view
    }
}

/// Describes a group outside of its windows.
pub(super) fn closed_text(next: &Opening, now: Timestamp) -> String {
    let left = age(now, next.opens);
    format!("closed, opens {}, in {left}", next.opens_text())
}

/// Describes a frozen group: until when, why, and when new locks are allowed again, unless no window opens any more.
pub(super) fn frozen_text(freeze: &Freeze, next: Option<&Opening>, now: Timestamp) -> String {
    let reason = freeze.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let text = format!("frozen until {}{reason}", freeze.end_text());
    match next {
        None => format!("{text}, and no window opens again"),
        Some(next) if next.opens > freeze.until => {
            let left = age(now, next.opens);
            format!("{text}, opens {}, in {left}", next.opens_text())
        }
        Some(next) => format!("{text}, in {}", age(now, next.opens)),
    }
}

// === impl CalendarLine ===

impl CalendarLine {
    /// Returns the first lines of a calendar, at most `max`.
    pub(super) fn first(calendar: Calendar<'_>, now: Timestamp, max: usize) -> Vec<Self> {
        let has_freezes = calendar.freezes.0.iter().any(|freeze| freeze.until > now);
        if calendar.windows.0.is_empty() && !has_freezes {
            return Vec::new();
        }
        let entries = calendar.entries(now, now + Calendar::HORIZON).take(max);
        entries.map(|entry| CalendarLine::new(entry, now)).collect()
    }

    fn new(entry: Entry, now: Timestamp) -> Self {
        match entry {
            Entry::Open(opening) => CalendarLine {
                is_freeze: false,
                is_now: opening.opens <= now,
                from: opening.opens_text(),
                until: opening.closes_text(),
                reason: None,
            },
            Entry::Frozen(freeze) => CalendarLine {
                is_freeze: true,
                is_now: freeze.is_active(now),
                from: freeze.start_text(),
                until: freeze.end_text(),
                reason: freeze.reason.as_deref().map(str::to_owned),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Time;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::lock::window::{Freezes, Window, Windows, parse_weekday};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Returns a window on Saturdays.
    fn windows() -> Windows {
        Windows(vec![Window {
            days: [parse_weekday("Sat").unwrap()].into(),
            weeks: Vec::new(),
            start: Time::constant(2, 0, 0, 0),
            minutes: 60,
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        }])
    }

    fn freezes(from: &str, until: &str) -> Freezes {
        Freezes(vec![Freeze {
            from: at(from),
            until: at(until),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            reason: Some("year-end".into()),
        }])
    }

    fn view(windows: &Windows, freezes: &Freezes) -> WindowView {
        let now = at("2026-11-24T13:00:00Z");
        WindowView::new(Calendar { windows, freezes }, now)
    }

    #[test]
    fn a_closed_group_tells_when_it_opens_and_in_how_much_time() {
        let view = view(&windows(), &Freezes::default());
        assert_eq!(
            view.text.unwrap(),
            "closed, opens Sat 2026-11-28 02:00 Europe/Berlin (01:00 UTC), in 3 d 12 h"
        );
    }

    #[test]
    fn the_next_chance_of_a_frozen_group_is_the_first_window_behind_the_freeze() {
        let freezes = freezes("2026-11-23T23:00:00Z", "2026-11-30T23:00:00Z");
        let frozen = view(&windows(), &freezes);
        assert_eq!(
            frozen.text.unwrap(),
            "frozen until Tue 2026-12-01 00:00 Europe/Berlin (Mon 23:00 UTC) (year-end), opens Sat 2026-12-05 02:00 \
             Europe/Berlin (01:00 UTC), in 10 d 12 h"
        );
        let opens = Some(at("2026-12-05T01:00:00Z"));
        assert_eq!((frozen.open, frozen.opens), (false, opens));
        let without_windows = view(&Windows::default(), &freezes);
        assert_eq!(
            without_windows.text.unwrap(),
            "frozen until Tue 2026-12-01 00:00 Europe/Berlin (Mon 23:00 UTC) (year-end), in 6 d 10 h"
        );
        assert!(!without_windows.configured);
    }

    #[test]
    fn a_freeze_to_come_closes_an_open_group() {
        let freezes = freezes("2026-11-25T23:00:00Z", "2026-11-30T23:00:00Z");
        let view = view(&Windows::default(), &freezes);
        assert_eq!(
            (view.open, view.closes),
            (true, Some(at("2026-11-25T23:00:00Z")))
        );
        assert_eq!(
            view.text.unwrap(),
            "open until Thu 2026-11-26 00:00 Europe/Berlin (Wed 23:00 UTC)"
        );
    }
}
