//! Durations as people read and write them.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Formats the time from `since` to `now` with at most two units, for example `2 h 5 min`.
///
/// A time in the future, which a wrong clock causes, counts as `0 s`.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    seconds(now.duration_since(since).as_secs())
}

/// Formats a number of seconds in the same way.
pub(crate) fn seconds(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, ..) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Parses a positive duration such as `2h`, `90m` or `1d`. A day has 24 hours.
pub(crate) fn parse(text: &str) -> Option<SignedDuration> {
    let days = SpanRelativeTo::days_are_24_hours();
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(days).ok()?;
    duration.is_positive().then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (100_000, "1 d 3 h"),
        ] {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(age(Timestamp::UNIX_EPOCH, now), expected);
        }
    }
}
