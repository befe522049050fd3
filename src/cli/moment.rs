//! Times of people: in the time zone of this machine, and durations on the command line.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::text::duration::{self, age};

/// Formats a time, such as `11:58 CET` on the day of `now`, and `Sat 28 Nov 02:00 CET` on others.
pub(super) fn local(at: Timestamp, now: Timestamp) -> String {
    in_zone(at, now, TimeZone::system())
}

/// Formats a time, and how long ago it was, such as `11:58 CET (2 h 5 min ago)`.
pub(super) fn since(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} ago)", local(at, now), age(at, now))
}

/// Parses a duration on the command line.
pub(super) fn parse_duration(text: &str) -> Result<SignedDuration, &'static str> {
    duration::parse(text).ok_or("expected a duration such as 2h, 90m or 1d")
}

fn in_zone(at: Timestamp, now: Timestamp, zone: TimeZone) -> String {
    let (at, now) = (
        at.to_zoned_datetime(zone.clone()),
        now.to_zoned_datetime(zone),
    );
    let format = if at.date() == now.date() {
        "%H:%M %Z"
    } else if at.year() == now.year() {
        "%a %d %b %H:%M %Z"
    } else {
        "%a %d %b %Y %H:%M %Z"
    };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_short_as_it_can_be() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-28T22:30:00Z");
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expected) in [
            ("2026-11-28T10:58:00Z", "11:58 CET"),
            // The previous day in UTC, the same one in Berlin.
            ("2026-11-27T23:30:00Z", "00:30 CET"),
            ("2026-11-27T22:30:00Z", "Fri 27 Nov 23:30 CET"),
            ("2025-06-01T12:00:00Z", "Sun 01 Jun 2025 14:00 CEST"),
        ] {
            assert_eq!(in_zone(at(text), now, zone.clone()), expected);
        }
    }
}
