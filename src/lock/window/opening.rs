//! The periods in which a group grants new locks.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A period in which a group grants new locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Its first moment.
    pub(crate) opens: Timestamp,
    /// The first moment after it. `None`: neither a window nor a freeze ends it.
    pub(crate) closes: Option<Timestamp>,
    /// The time zone in which the window, or without windows a freeze, is configured.
    pub(crate) zone: TimeZone,
}

// === impl Opening ===

impl Opening {
    /// Formats the opening, for example `Sat 2026-11-28 23:30 Europe/Berlin (22:30 UTC)`.
    pub(crate) fn opens_text(&self) -> String {
        text(self.opens, &self.zone)
    }

    /// Formats the end of the opening in the same way.
    pub(crate) fn closes_text(&self) -> String {
        match self.closes {
            Some(closes) => text(closes, &self.zone),
            None => "further notice".into(),
        }
    }
}

/// Formats a moment in its zone, followed by UTC where that differs.
pub(super) fn text(at: Timestamp, zone: &TimeZone) -> String {
    let here = at.to_zoned_datetime(zone.clone());
    let utc = at.to_zoned_datetime(TimeZone::UTC);
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
