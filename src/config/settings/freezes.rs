//! `[[lock.freezes]]` and `[[lock.groups.freezes]]`: the periods without new locks.

use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time, datetime};

use super::windows;
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::Field;
use crate::config::schema::FreezeSection;
use crate::lock::window::{Freeze, Freezes};
use crate::lock::{code_point, is_control_or_format};

/// The maximum size of a reason, which is part of responses and pages.
const MAX_REASON_BYTES: usize = 200;

/// The local times of freezes: the years 2000 to 2999. Times far outside of them cannot be calculated with.
const TIMES: RangeInclusive<DateTime> =
    datetime(2000, 1, 1, 0, 0, 0, 0)..=datetime(3000, 1, 1, 0, 0, 0, 0);

/// Which side of a freeze a date stands for.
#[derive(Clone, Copy)]
enum Side {
    /// The start of the day.
    From,
    /// The end of the day.
    Until,
}

/// Returns the freezes; `None` if the key is absent, which is not the same as `freezes = []`.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    field: Field<Vec<Located<FreezeSection>>>,
) -> Option<Freezes> {
    let freezes = field.present()?.value.into_iter();
    Some(Freezes(
        freezes
            .filter_map(|freeze| checked(diagnostics, &freeze))
            .collect(),
    ))
}

/// Reports all problems of a freeze. Returns `None` if there are any.
fn checked(diagnostics: &mut Diagnostics, freeze: &Located<FreezeSection>) -> Option<Freeze> {
    let section = &freeze.value;
    for (key, field, example) in [
        ("from", &section.from, "2026-12-20"),
        ("until", &section.until, "2027-01-06"),
    ] {
        if field.is_absent() {
            let text = format!("the freeze has no {key}; add {key} = \"{example}\"");
            diagnostics.error(&freeze.missing(key), text);
        }
    }
    let from = section.from.as_present();
    let from = from.and_then(|from| checked_moment(diagnostics, from, Side::From));
    let until = section.until.as_present();
    let until = until.and_then(|until| checked_moment(diagnostics, until, Side::Until));
    let zone = windows::zone(diagnostics, &section.time_zone);
    let reason = checked_reason(diagnostics, &section.reason);
    let zone = zone?;
    // jiff resolves gaps and folds as RFC 5545 does, as it does for windows.
    let mut moment = |local: Located<DateTime>| {
        let is_in_range = TIMES.contains(&local.value);
        let zoned = zone
            .to_zoned_datetime(local.value)
            .ok()
            .filter(|_| is_in_range);
        if zoned.is_none() {
            diagnostics.error(
                &local,
                "the date is out of range; set a year from 2000 to 2999",
            );
        }
        Some(zoned?.timestamp())
    };
    let (from, until) = (from?, until?);
    let place = until.with(());
    let (from, until) = (moment(from)?, moment(until)?);
    if until <= from {
        // A date stands for its last moment in until, so that the previous date is the same moment as from.
        let written = |field: &Field<String>| field.as_present().map(|found| found.value.clone());
        let problem = match written(&section.until) == written(&section.from) {
            true => "the freeze ends when it starts",
            false => "the freeze ends before it starts",
        };
        let text = format!("{problem}; set a date that is not before from, or a later time");
        diagnostics.error(&place, text);
        return None;
    }
    Some(Freeze {
        from,
        until,
        zone,
        reason: reason?,
    })
}

/// Parses a date, or a date and time, of a freeze.
fn checked_moment(
    diagnostics: &mut Diagnostics,
    written: &Located<String>,
    side: Side,
) -> Option<Located<DateTime>> {
    let text = written.value.as_str();
    let found = parse(text, side);
    if found.is_none() {
        let quoted = quote(text);
        let text = if without_offset(text).is_some_and(|local| parse(local, side).is_some()) {
            format!("{quoted} has an offset to UTC; remove it, and set time_zone instead")
        } else {
            format!(
                "{quoted} is not a date; write one such as \"2026-12-20\", or a date and time such as \
                 \"2026-12-20T18:00\""
            )
        };
        diagnostics.error(written, text);
    }
    Some(written.with(found?))
}

/// Returns the moment for which a date, or a date and time, stands.
fn parse(text: &str, side: Side) -> Option<DateTime> {
    let (date, rest) = text.split_at_checked("2026-12-20".len())?;
    let date = Date::strptime("%Y-%m-%d", date).ok()?;
    if rest.is_empty() {
        let day = match side {
            Side::From => date,
            Side::Until => date.tomorrow().ok()?,
        };
        return Some(day.to_datetime(Time::midnight()));
    }
    let time = rest.strip_prefix(['T', ' '])?;
    let time = Time::strptime("%H:%M", time).or_else(|_| Time::strptime("%H:%M:%S", time));
    Some(date.to_datetime(time.ok()?))
}

/// Returns a date and time without the offset that it ends with.
fn without_offset(text: &str) -> Option<&str> {
    let local = text.strip_suffix(['Z', 'z']);
    local.or_else(|| {
        let (local, offset) = text.split_at_checked(text.len().checked_sub("+01:00".len())?)?;
        offset.starts_with(['+', '-']).then_some(local)
    })
}

/// Returns the reason, if there is one; the outer `None` if it is invalid.
fn checked_reason(
    diagnostics: &mut Diagnostics,
    field: &Field<String>,
) -> Option<Option<Arc<str>>> {
    let reason = match field {
        Field::Absent => return Some(None),
        Field::Invalid => return None,
        Field::Present(reason) => reason,
    };
    let text = reason.value.as_str();
    let problem = if text.trim().is_empty() {
        "the reason is empty; write one, or remove this key".into()
    } else if text.len() > MAX_REASON_BYTES {
        let length = text.len();
        format!("the reason has {length} bytes; shorten it to {MAX_REASON_BYTES} or fewer")
    } else if let Some(found) = text.chars().find(|c| is_control_or_format(*c)) {
        let found = code_point(found);
        format!("the reason contains the control or format character {found}; remove it")
    } else {
        return Some(Some(text.into()));
    };
    diagnostics.error(reason, problem);
    None
}
