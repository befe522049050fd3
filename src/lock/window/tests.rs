//! Reboot windows at fixed times, in particular on days with clock changes.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::*;

pub(super) fn window(days: &[&str], start: &str, minutes: u64, zone: &str) -> Window {
    Window {
        days: days
            .iter()
            .map(|name| parse_weekday(name).unwrap())
            .collect(),
        weeks: Vec::new(),
        start: Time::strptime("%H:%M", start).unwrap(),
        minutes,
        zone: TimeZone::get(zone).unwrap(),
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn open_at(windows: &Windows, moment: &str) -> bool {
    match windows.state(at(moment)) {
        WindowState::Always | WindowState::Open { .. } => true,
        WindowState::Closed { .. } => false,
    }
}

/// Asserts that `windows` opens exactly at `opens` and closes exactly at `closes`.
fn assert_opening(windows: &Windows, opens: &str, closes: &str) {
    let second = SignedDuration::from_secs(1);
    let state = |moment: Timestamp| windows.state(moment);
    let (opens, closes) = (at(opens), at(closes));
    assert!(
        matches!(state(opens - second), WindowState::Closed { next: Some(next) } if next.opens == opens && next.closes == Some(closes)),
        "before: {:?}",
        state(opens - second)
    );
    assert_eq!(state(opens), WindowState::Open { until: closes });
    assert_eq!(state(closes - second), WindowState::Open { until: closes });
    assert!(matches!(state(closes), WindowState::Closed { .. }), "after");
}

#[test]
fn without_windows_a_group_is_always_open() {
    let none = Windows::default();
    assert_eq!(none.state(at("2026-11-22T03:00:00Z")), WindowState::Always);
    assert!(none.upcoming(at("2026-11-22T03:00:00Z"), 3).is_empty());
}

#[test]
fn a_window_is_open_from_its_start_up_to_but_not_at_its_end() {
    let windows = Windows(vec![window(&["Sat"], "02:00", 90, "UTC")]);
    assert_opening(&windows, "2026-11-28T02:00:00Z", "2026-11-28T03:30:00Z");
    assert!(!open_at(&windows, "2026-11-27T02:30:00Z"));
}

#[test]
fn a_window_crosses_midnight_and_the_end_of_the_week_and_the_year() {
    let windows = Windows(vec![window(&["Sun"], "23:30", 60, "Europe/Berlin")]);
    assert_opening(&windows, "2026-11-29T22:30:00Z", "2026-11-29T23:30:00Z");
    let windows = Windows(vec![window(&["Thu"], "23:00", 120, "UTC")]);
    assert_opening(&windows, "2026-12-31T23:00:00Z", "2027-01-01T01:00:00Z");
}

#[test]
fn a_window_may_last_for_days() {
    let windows = Windows(vec![window(&["Fri"], "18:00", 60 * 60, "UTC")]);
    assert_opening(&windows, "2026-11-27T18:00:00Z", "2026-11-30T06:00:00Z");
}

#[test]
fn a_window_of_a_whole_week_never_closes() {
    let windows = Windows(vec![window(&["Wed"], "12:00", Window::MAX_MINUTES, "UTC")]);
    for moment in ["2026-11-25T12:00:00Z", "2026-11-25T11:59:59Z"] {
        assert!(open_at(&windows, moment), "{moment}");
    }
}

#[test]
fn windows_of_every_day_of_the_week_are_one_opening_of_two_weeks() {
    let every_day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let windows = Windows(vec![window(&every_day, "00:00", 24 * 60, "UTC")]);
    let until = at("2026-12-09T00:00:00Z");
    assert_eq!(
        windows.state(at("2026-11-25T00:00:00Z")),
        WindowState::Open { until }
    );
}

#[test]
fn the_next_start_of_a_window_that_starts_now_is_a_week_later() {
    let saturday = window(&["Sat"], "02:00", 60, "UTC");
    assert_eq!(
        saturday.next_start(at("2026-11-28T02:00:00Z")),
        Some(at("2026-12-05T02:00:00Z"))
    );
}

#[test]
fn windows_that_overlap_or_meet_are_one_opening() {
    let windows = Windows(vec![
        window(&["Sat"], "02:00", 60, "UTC"),
        window(&["Sat"], "02:30", 60, "UTC"),
        window(&["Sat"], "03:30", 30, "UTC"),
        // The same moment by other clocks.
        window(&["Fri"], "23:00", 30, "America/New_York"),
    ]);
    assert_opening(&windows, "2026-11-28T02:00:00Z", "2026-11-28T04:30:00Z");
}

#[test]
fn a_day_with_23_hours_skips_no_window_and_shortens_none() {
    // 2026-03-29 in Berlin: 02:00 becomes 03:00.
    let skipped = Windows(vec![window(&["Sun"], "02:30", 60, "Europe/Berlin")]);
    assert_opening(&skipped, "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z");
    let across = Windows(vec![window(&["Sun"], "01:30", 60, "Europe/Berlin")]);
    assert_opening(&across, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
}

#[test]
fn a_day_with_25_hours_opens_a_window_once_and_lengthens_none() {
    // 2026-10-25 in Berlin: 03:00 becomes 02:00, so 02:30 comes twice.
    let twice = Windows(vec![window(&["Sun"], "02:30", 30, "Europe/Berlin")]);
    assert_opening(&twice, "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z");
    assert!(!open_at(&twice, "2026-10-25T01:45:00Z"), "the second 02:45");
    let across = Windows(vec![window(&["Sun"], "01:30", 120, "Europe/Berlin")]);
    assert_opening(&across, "2026-10-24T23:30:00Z", "2026-10-25T01:30:00Z");
}

#[test]
fn a_window_follows_the_clocks_of_its_zone_through_the_year() {
    let windows = Windows(vec![window(&["Mon"], "02:00", 60, "America/New_York")]);
    assert_opening(&windows, "2026-07-06T06:00:00Z", "2026-07-06T07:00:00Z");
    assert_opening(&windows, "2026-12-07T07:00:00Z", "2026-12-07T08:00:00Z");
}

#[test]
fn a_day_that_a_zone_left_out_is_no_reason_to_fail() {
    // Samoa had no 2011-12-30: the Friday's window is a day later, which is where jiff moves it.
    let windows = Windows(vec![window(&["Fri"], "10:00", 60, "Pacific/Apia")]);
    assert!(open_at(&windows, "2011-12-30T20:30:00Z"));
    assert!(!open_at(&windows, "2011-12-29T20:30:00Z"));
}

#[test]
fn a_window_opens_in_some_weeks_of_the_month_only() {
    let in_weeks = |weeks: &[i8]| Window {
        weeks: weeks.to_vec(),
        ..window(&["Sat"], "23:00", 120, "Europe/Berlin")
    };
    let dates = |weeks: &[i8], count: usize| -> Vec<String> {
        let openings = Windows(vec![in_weeks(weeks)]).upcoming(at("2027-01-01T00:00:00Z"), count);
        let opens = |opening: &Opening| {
            let local = opening.opens.to_zoned_datetime(opening.zone.clone());
            local.strftime("%m-%d").to_string()
        };
        openings.iter().map(opens).collect()
    };
    // The Saturdays of January 2027 are the 2nd, 9th, 16th, 23rd and 30th; those of May the 1st to the 29th.
    assert_eq!(
        dates(&[1, 3, -1], 5),
        ["01-02", "01-16", "01-30", "02-06", "02-20"]
    );
    assert_eq!(dates(&[5], 3), ["01-30", "05-29", "07-31"]);
    assert_eq!(dates(&[-5], 2), ["01-02", "05-01"]);
    assert_eq!(dates(&[-2, 4], 3), ["01-23", "02-20", "02-27"]);
    // The window of the last Saturday of October is open on the first day of November as well.
    assert_opening(
        &Windows(vec![in_weeks(&[-1])]),
        "2026-10-31T22:00:00Z",
        "2026-11-01T00:00:00Z",
    );
}

#[test]
fn the_next_windows_are_told_in_order_the_open_one_first() {
    let windows = Windows(vec![window(
        &["Sat", "sunday"],
        "23:30",
        60,
        "Europe/Berlin",
    )]);
    let texts: Vec<String> = windows
        .upcoming(at("2026-11-28T22:45:00Z"), 3)
        .iter()
        .map(|opening| format!("{} to {}", opening.opens_text(), opening.closes_text()))
        .collect();
    assert_eq!(
        texts,
        [
            "Sat 2026-11-28 23:30 Europe/Berlin (22:30 UTC) to Sun 2026-11-29 00:30 Europe/Berlin (Sat 23:30 UTC)",
            "Sun 2026-11-29 23:30 Europe/Berlin (22:30 UTC) to Mon 2026-11-30 00:30 Europe/Berlin (Sun 23:30 UTC)",
            "Sat 2026-12-05 23:30 Europe/Berlin (22:30 UTC) to Sun 2026-12-06 00:30 Europe/Berlin (Sat 23:30 UTC)",
        ]
    );
}

#[test]
fn state_and_upcoming_agree_for_every_hour_of_a_year_in_odd_zones() {
    for zone in [
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
    ] {
        let windows = Windows(vec![
            window(&["Sat", "Sun"], "01:45", 50, zone),
            window(&["Wed"], "23:10", 400, zone),
            Window {
                weeks: vec![5],
                ..window(&["Mon"], "00:30", 3000, zone)
            },
        ]);
        let mut now = at("2026-01-01T00:00:00Z");
        for _ in 0..365 * 24 {
            let first = &windows.upcoming(now, 1)[0];
            match windows.state(now) {
                WindowState::Open { until } => {
                    assert_eq!(first.closes, Some(until));
                    assert!(first.opens <= now, "{now}");
                }
                WindowState::Closed { next } => {
                    assert_eq!(next.as_ref(), Some(first));
                    assert!(first.opens > now, "{now}");
                }
                WindowState::Always => panic!("there are windows"),
            }
            now += SignedDuration::from_hours(1);
        }
    }
}
