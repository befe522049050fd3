//! A weekly window: the days on which it opens, in all weeks or some of the month, the time of day, and its length.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A window that opens on each of `days` at `start` local time in `zone`, and stays open for `minutes`.
///
/// * With `weeks`, it opens only on the given occurrences of each day in its month: 1 is the first Saturday of the month,
///   -1 the last one. The day on which the window opens counts, not those on which it is still open.
/// * A start that does not exist because clocks are advanced (02:30 where 02:00 becomes 03:00) moves forward by the
///   length of the gap, to 03:30. Of a start that exists twice, the first one counts.
/// * The length is elapsed time: 60 minutes are 60 minutes, also on days with 23 or 25 hours.
/// * A window may cross midnight and the end of the week, and be open for up to a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The days on which the window opens. Not empty.
    pub(crate) days: Vec<Weekday>,
    /// The occurrences of the day in its month, 1 to [`Window::MAX_WEEK`], or from the end, as negative numbers.
    /// Empty: all.
    pub(crate) weeks: Vec<i8>,
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

    /// A day of the week occurs up to five times in a month.
    pub(crate) const MAX_WEEK: i8 = 5;

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
        // The days are in order. Two fifth occurrences of a day are at most 17 weeks apart.
        let last = if self.weeks.is_empty() { 8 } else { 18 * 7 };
        self.starts(now, -1..=last).find(|at| *at > now)
    }

    /// Returns the starts on the days at the given `offsets` from the day of `now`.
    fn starts(
        &self,
        now: Timestamp,
        offsets: std::ops::RangeInclusive<i32>,
    ) -> impl Iterator<Item = Timestamp> {
        let today = now.to_zoned_datetime(self.zone.clone()).date();
        offsets.filter_map(move |offset| {
            let day = today.checked_add(offset.days()).ok()?;
            if !self.days.contains(&day.weekday()) || !self.is_in_weeks(day) {
                return None;
            }
            // jiff resolves gaps and folds as RFC 5545 does, which the type documents.
            let begins = self
                .zone
                .to_zoned_datetime(day.to_datetime(self.start))
                .ok()?;
            Some(begins.timestamp())
        })
    }

    fn is_in_weeks(&self, day: Date) -> bool {
        let occurrence = (day.day() - 1) / 7 + 1;
        let from_end = -((day.days_in_month() - day.day()) / 7 + 1);
        self.weeks.is_empty() || self.weeks.contains(&occurrence) || self.weeks.contains(&from_end)
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
