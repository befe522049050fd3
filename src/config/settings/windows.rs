//! `[[lock.windows]]` and `[[lock.groups.windows]]`.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use crate::config::document::{At, Notes};
use crate::config::file::WindowSection;
use crate::policy::{self, Window, Windows};

/// `None` where the key is not there, which is not the same as `windows = []`.
pub(super) fn check(
    notes: &mut Notes<'_>,
    windows: Option<Vec<At<WindowSection>>>,
) -> Option<Windows> {
    let windows = windows?.into_iter();
    Some(Windows(
        windows
            .filter_map(|window| checked(notes, window))
            .collect(),
    ))
}

/// Every problem of one window; `None` if there is any.
fn checked(notes: &mut Notes<'_>, window: At<WindowSection>) -> Option<Window> {
    let section = &window.value;
    for (key, missing, example) in [
        ("days", section.days.is_none(), "[\"Sat\", \"Sun\"]"),
        ("start_time", section.start_time.is_none(), "\"23:30\""),
        ("length_minutes", section.length_minutes.is_none(), "60"),
    ] {
        if missing {
            notes.error(
                &window,
                format!("a window without {key}; add {key} = {example}"),
            );
        }
    }
    let days = section
        .days
        .as_ref()
        .and_then(|days| checked_days(notes, days));
    let start = section.start_time.as_ref().and_then(|start| {
        let parsed = Time::strptime("%H:%M", &start.value);
        if parsed.is_err() {
            notes.error(start, "must be a time of day such as \"23:30\"");
        }
        parsed.ok()
    });
    let minutes = section.length_minutes.as_ref().and_then(|length| {
        let good = (1..=Window::MAX_MINUTES).contains(&length.value);
        if !good {
            let most = Window::MAX_MINUTES;
            notes.error(length, format!("must be 1 to {most} (a week)"));
        }
        good.then_some(length.value)
    });
    let zone = match &section.time_zone {
        None => Some(TimeZone::UTC),
        Some(zone) => checked_zone(notes, zone),
    };
    Some(Window {
        days: days?,
        start: start?,
        minutes: minutes?,
        zone: zone?,
    })
}

fn checked_days(notes: &mut Notes<'_>, names: &At<Vec<String>>) -> Option<Vec<Weekday>> {
    if names.value.is_empty() {
        notes.error(names, "is empty; name at least one day, such as \"Sat\"");
        return None;
    }
    let days: Option<Vec<Weekday>> = names.value.iter().map(|name| policy::day(name)).collect();
    if days.is_none() {
        notes.error(names, "must be days such as \"Mon\" or \"Monday\"");
    }
    days
}

fn checked_zone(notes: &mut Notes<'_>, name: &At<String>) -> Option<TimeZone> {
    let zone = TimeZone::get(&name.value);
    if zone.is_err() {
        notes.error(
            name,
            "must be a name of the time zone database, such as \"UTC\" or \"Europe/Berlin\"",
        );
    }
    zone.ok()
}
