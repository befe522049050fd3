//! `[[lock.windows]]` and `[[lock.groups.windows]]`: the reboot windows.

use jiff::civil::{Time, Weekday};
use jiff::tz::{self, TimeZone};

use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::Field;
use crate::config::schema::WindowSection;
use crate::config::suggest;
use crate::lock::window::{Window, Windows, parse_weekday, weekday_names};

/// Returns the windows; `None` if the key is absent, which is not the same as `windows = []`.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    field: Field<Vec<Located<WindowSection>>>,
) -> Option<Windows> {
    let windows = field.present()?.value.into_iter();
    Some(Windows(
        windows
            .filter_map(|window| checked(diagnostics, &window))
            .collect(),
    ))
}

/// Reports all problems of a window. Returns `None` if there are any.
fn checked(diagnostics: &mut Diagnostics, window: &Located<WindowSection>) -> Option<Window> {
    let section = &window.value;
    for (key, is_missing, example) in [
        ("days", section.days.is_absent(), "[\"Sat\", \"Sun\"]"),
        ("start_time", section.start_time.is_absent(), "\"23:30\""),
        ("length_minutes", section.length_minutes.is_absent(), "60"),
    ] {
        if is_missing {
            let text = format!("the window has no {key}; add {key} = {example}");
            diagnostics.error(&window.missing(key), text);
        }
    }
    let days = section.days.as_present();
    let days = days.and_then(|days| checked_days(diagnostics, days));
    let start = section.start_time.as_present();
    let start = start.and_then(|start| checked_start(diagnostics, start));
    let weeks = checked_weeks(diagnostics, &section.weeks);
    let zone = zone(diagnostics, &section.time_zone);
    Some(Window {
        days: days?,
        weeks: weeks?,
        start: start?,
        minutes: section.length_minutes.as_present()?.value,
        zone: zone?,
    })
}

fn checked_days(
    diagnostics: &mut Diagnostics,
    names: &Located<Vec<Located<String>>>,
) -> Option<Vec<Weekday>> {
    if names.value.is_empty() {
        diagnostics.error(
            names,
            "the list is empty; name at least one day, such as \"Sat\"",
        );
        return None;
    }
    let mut days = Vec::new();
    for name in &names.value {
        match parse_weekday(&name.value) {
            Some(day) => days.push(day),
            None => diagnostics.error(name, unknown_day(&name.value)),
        }
    }
    (days.len() == names.value.len()).then_some(days)
}

/// Returns the weeks of the month; empty for all.
fn checked_weeks(
    diagnostics: &mut Diagnostics,
    weeks: &Field<Vec<Located<i8>>>,
) -> Option<Vec<i8>> {
    let weeks = match weeks {
        Field::Absent => return Some(Vec::new()),
        Field::Invalid => return None,
        Field::Present(weeks) => weeks,
    };
    if weeks.value.is_empty() {
        diagnostics.error(
            weeks,
            "the list is empty; name at least one week of the month, such as 1 or -1, or remove this key for all weeks",
        );
        return None;
    }
    Some(weeks.value.iter().map(|week| week.value).collect())
}

fn unknown_day(name: &str) -> String {
    // Two edits turn any two letters into a day, and one turns the Monday of some languages ("lun") into another day.
    let is_short = name.chars().count() <= 3;
    let max = if is_short { 1 } else { 2 };
    let same_start = |day: &str| {
        name.chars()
            .next()
            .is_some_and(|c| day[..1].eq_ignore_ascii_case(c.encode_utf8(&mut [0; 4])))
    };
    let days = weekday_names().filter(|day| !is_short || same_start(day));
    let suggestion = match suggest::nearest(name, days, max) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write a day such as \"Mon\" or \"Monday\"".into(),
    };
    format!("unknown day {}; {suggestion}", quote(name))
}

fn checked_start(diagnostics: &mut Diagnostics, start: &Located<String>) -> Option<Time> {
    let time = Time::strptime("%H:%M", &start.value).ok();
    if time.is_none() {
        let text = format!(
            "{} is not a time of day; write one from \"00:00\" to \"23:59\"",
            quote(&start.value)
        );
        diagnostics.error(start, text);
    }
    time
}

/// Returns the time zone of a window or a freeze, by default UTC; `None` if it is invalid.
pub(super) fn zone(diagnostics: &mut Diagnostics, field: &Field<String>) -> Option<TimeZone> {
    match field {
        Field::Absent => Some(TimeZone::UTC),
        Field::Invalid => None,
        Field::Present(zone) => checked_zone(diagnostics, zone),
    }
}

fn checked_zone(diagnostics: &mut Diagnostics, name: &Located<String>) -> Option<TimeZone> {
    let zone = TimeZone::get(&name.value).ok();
    if zone.is_none() {
        let suggestion = match nearest_zone(&name.value) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                "write a name of the IANA time zone database, such as \"UTC\" or \"Europe/Berlin\""
                    .into()
            }
        };
        let text = format!("unknown time zone {}; {suggestion}", quote(&name.value));
        diagnostics.error(name, text);
    }
    zone
}

/// Returns the time zone nearest to a misspelt name, or to the name of a city alone.
fn nearest_zone(name: &str) -> Option<String> {
    let zones: Vec<String> = tz::db().available().map(|zone| zone.to_string()).collect();
    let city = |zone: &str| zone.rsplit('/').next().map(str::to_owned);
    let max = name.chars().count() / 4;
    let names = zones.iter().map(String::as_str);
    if let Some(near) = suggest::nearest(name, names, max) {
        return Some(near.to_owned());
    }
    let cities: Vec<String> = zones.iter().filter_map(|zone| city(zone)).collect();
    let near = suggest::nearest(name, cities.iter().map(String::as_str), max)?;
    zones
        .iter()
        .find(|zone| city(zone).as_deref() == Some(near))
        .cloned()
}
