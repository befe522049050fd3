//! The view of the reboot windows of a group.

use jiff::Timestamp;
use serde::Serialize;

use crate::lock::window::{WindowState, Windows};

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
                view.text = next.map(|opening| format!("closed, opens {}", opening.opens_text()));
            }
        }
        view
    }
}
