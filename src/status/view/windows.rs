//! The view of the reboot windows of a group.

use jiff::Timestamp;
use serde::Serialize;

use crate::lock::window::{WindowState, Windows};
use crate::text::duration::age;

/// The view of the reboot windows of a group.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WindowView {
    /// Whether the group has windows.
    pub(crate) configured: bool,
    /// Whether the windows allow new locks now.
    pub(crate) open: bool,
    /// The end of the open window.
    pub(crate) closes: Option<Timestamp>,
    /// The start of the next window, while none is open.
    pub(crate) opens: Option<Timestamp>,
    /// The next change as text for people.
    pub(crate) text: Option<String>,
}

// === impl WindowView ===

impl WindowView {
    pub(super) fn new(windows: &Windows, now: Timestamp) -> Self {
        let mut view = WindowView {
            configured: true,
            open: true,
            closes: None,
            opens: None,
            text: None,
        };
        match windows.state(now) {
            WindowState::Always => view.configured = false,
            WindowState::Open { until } => {
                view.closes = Some(until);
                let first = windows.upcoming(now, 1);
                view.text = first
                    .first()
                    .map(|opening| format!("open until {}", opening.closes_text()));
            }
            WindowState::Closed { next } => {
                view.open = false;
                view.opens = next.as_ref().map(|opening| opening.opens);
                view.text = next.map(|opening| {
                    let left = age(now, opening.opens);
                    format!("closed, opens {}, in {left}", opening.opens_text())
                });
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Time;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::lock::window::{Window, parse_weekday};

    #[test]
    fn a_closed_group_tells_when_it_opens_and_in_how_much_time() {
        let window = Window {
            days: [parse_weekday("Sat").unwrap()].into(),
            weeks: Vec::new(),
            start: Time::constant(2, 0, 0, 0),
            minutes: 60,
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        let now = "2026-11-24T13:00:00Z".parse().unwrap();
        let view = WindowView::new(&Windows(vec![window]), now);
        let text = view.text.unwrap();
        assert_eq!(
            text,
            "closed, opens Sat 2026-11-28 02:00 Europe/Berlin (01:00 UTC), in 3 d 12 h"
        );
    }
}
