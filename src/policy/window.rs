//! One weekly window: on which days it begins, at what time, and how long it lasts.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A window begins on each of `days` at `start` by the clocks of `zone`, and lasts `minutes` of real time.
///
/// * A start that the clocks skip in spring (02:30 where 02:00 becomes 03:00) is moved on by what they
///   skip: 03:30. One that comes twice in autumn is the first of the two.
/// * The length is what a stopwatch shows: 60 minutes last 60 minutes, also on days with 23 or 25 hours.
/// * It may cross midnight and the week's end, and last up to a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Not empty.
    pub days: Vec<Weekday>,
    pub start: Time,
    /// 1 to [`Window::MAX_MINUTES`].
    pub minutes: u64,
    pub zone: TimeZone,
}

// === impl Window ===

impl Window {
    /// A week.
    pub const MAX_MINUTES: u64 = 7 * 24 * 60;

    /// The occurrence that `now` is in: its begin and its end, which is not part of it.
    pub(super) fn occurrence_at(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // A day more on both sides than the longest window, for clocks that were moved.
        self.starts(now, -8..=1)
            .map(|begins| (begins, begins + self.length()))
            .filter(|(begins, ends)| (*begins..*ends).contains(&now))
            .max_by_key(|(_, ends)| *ends)
    }

    /// The first start after `now`.
    pub(super) fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        self.starts(now, -1..=8).filter(|at| *at > now).min()
    }

    /// All starts on the days from `now`'s own, counted as `offsets`.
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
            // jiff's rule for clocks that are moved is RFC 5545's, as documented above.
            let begins = self.zone.to_zoned(day.to_datetime(self.start)).ok()?;
            Some(begins.timestamp())
        })
    }

    fn length(&self) -> SignedDuration {
        SignedDuration::from_mins(self.minutes.try_into().unwrap_or(i64::MAX))
    }
}

/// The day that `name` stands for: in English, three letters or all of it, in any case.
pub fn day(name: &str) -> Option<Weekday> {
    let name = name.to_ascii_lowercase();
    ALL.iter()
        .find(|(full, _)| name == *full || name == full[..3])
        .map(|(_, day)| *day)
}

const ALL: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
