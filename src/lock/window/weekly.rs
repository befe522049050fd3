//! A weekly window: the days on which it opens, the time of day, and its length.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A window that opens on each of `days` at `start` local time in `zone`, and stays open for `minutes`.
///
/// * A start that does not exist because clocks are advanced (02:30 where 02:00 becomes 03:00) moves forward by the
///   length of the gap, to 03:30. Of a start that exists twice, the first one counts.
/// * The length is elapsed time: 60 minutes are 60 minutes, also on days with 23 or 25 hours.
/// * A window may cross midnight and the end of the week, and be open for up to a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The days on which the window opens. Not empty.
    pub(crate) days: Vec<Weekday>,
    /// The local time at which it opens.
    pub(crate) start: Time,
    /// The length in minutes, 1 to [`Window::MAX_MINUTES`].
    pub(crate) minutes: u64,
    /// The time zone of `start`.
    pub(crate) zone: TimeZone,
}

// === impl Window ===

impl Window {
    /// The maximum length: one week.
    pub(crate) const MAX_MINUTES: u64 = 7 * 24 * 60;

    /// Returns the start and the (exclusive) end of the occurrence that contains `now`.
    pub(super) fn occurrence_at(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // One day more than the longest window on both sides allows for clock changes.
        self.starts(now, -8..=1)
            .map(|begins| (begins, begins + self.length()))
            .filter(|(begins, ends)| (*begins..*ends).contains(&now))
            .max_by_key(|(_, ends)| *ends)
    }

    /// Returns the first start after `now`.
    pub(super) fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        self.starts(now, -1..=8).filter(|at| *at > now).min()
    }

    /// Returns the starts on the days at the given `offsets` from the day of `now`.
    fn starts(
        &self,
        now: Timestamp,
        offsets: std::ops::RangeInclusive<i32>,
    ) -> impl Iterator<Item = Timestamp> {
        let today = now.to_zoned(self.zone.clone()).date();
        offsets.filter_map(move |offset| {
            let day = today.checked_add(offset.days()).ok()?;
            if !self.days.contains(&day.weekday()) {
                return None;
            }
            // jiff resolves gaps and folds as RFC 5545 does, which the type documents.
            let begins = self.zone.to_zoned(day.to_datetime(self.start)).ok()?;
            Some(begins.timestamp())
        })
    }

    fn length(&self) -> SignedDuration {
        SignedDuration::from_mins(self.minutes.try_into().unwrap_or(i64::MAX))
    }
}

/// Parses the English name of a day: three letters or all of it, in any case.
pub(crate) fn parse_weekday(name: &str) -> Option<Weekday> {
    let is_name = |full: &str| name.eq_ignore_ascii_case(full);
    let found = WEEKDAYS
        .iter()
        .find(|(full, _)| is_name(full) || is_name(&full[..3]));
    found.map(|(_, day)| *day)
}

/// Returns the names that [`parse_weekday`] accepts.
pub(crate) fn weekday_names() -> impl Iterator<Item = &'static str> {
    let names = WEEKDAYS.iter().map(|(full, _)| *full);
    names.clone().map(|full| &full[..3]).chain(names)
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("Monday", Weekday::Monday),
    ("Tuesday", Weekday::Tuesday),
    ("Wednesday", Weekday::Wednesday),
    ("Thursday", Weekday::Thursday),
    ("Friday", Weekday::Friday),
    ("Saturday", Weekday::Saturday),
    ("Sunday", Weekday::Sunday),
];
