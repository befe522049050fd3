//! Calendars at fixed times, and random ones against the definition.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::tests::{at, window};
use super::super::weekly::Window;
use super::*;

fn freeze(from: &str, until: &str, reason: &str) -> Freeze {
    Freeze {
        from: at(from),
        until: at(until),
        zone: TimeZone::UTC,
        reason: Some(reason.into()),
    }
}

/// Returns the state, in which each period is written as its two moments.
fn state(windows: &Windows, freezes: &Freezes, now: &str) -> String {
    let period = |next: Option<Opening>| next.map_or("never".into(), |next| opening(&next));
    match (Calendar { windows, freezes }).state(at(now)) {
        CalendarState::Always => "always".into(),
        CalendarState::Open { until } => format!("open until {until}"),
        CalendarState::Closed { next } => format!("closed, next {}", period(next)),
        CalendarState::Frozen { freeze, next } => format!(
            "frozen from {} until {} ({}), next {}",
            freeze.from,
            freeze.until,
            freeze.reason.unwrap(),
            period(next)
        ),
    }
}

fn opening(opening: &Opening) -> String {
    match opening.closes {
        Some(closes) => format!("{} to {closes}", opening.opens),
        None => format!("{} on", opening.opens),
    }
}

fn entries(windows: &Windows, freezes: &Freezes, now: &str, end: &str) -> Vec<String> {
    let entries = (Calendar { windows, freezes }).entries(at(now), at(end));
    let text = |entry| match entry {
        Entry::Open(period) => opening(&period),
        Entry::Frozen(freeze) => format!("{} to {}: frozen", freeze.from, freeze.until),
    };
    entries.map(text).collect()
}

#[test]
fn without_windows_a_group_is_open_except_during_its_freezes() {
    let windows = Windows::default();
    let freezes = Freezes(vec![freeze(
        "2026-12-20T00:00:00Z",
        "2027-01-07T00:00:00Z",
        "year-end",
    )]);
    let state = |now| state(&windows, &freezes, now);
    assert_eq!(
        state("2026-12-01T00:00:00Z"),
        "open until 2026-12-20T00:00:00Z"
    );
    assert_eq!(
        state("2026-12-20T00:00:00Z"),
        "frozen from 2026-12-20T00:00:00Z until 2027-01-07T00:00:00Z (year-end), next 2027-01-07T00:00:00Z on"
    );
    assert_eq!(state("2027-01-07T00:00:00Z"), "always");
}

#[test]
fn freezes_that_overlap_or_meet_are_one_with_the_reason_of_the_longest_active_one() {
    let windows = Windows::default();
    let freezes = Freezes(vec![
        freeze("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z", "Christmas"),
        freeze("2026-12-20T00:00:00Z", "2026-12-25T00:00:00Z", "sale"),
        freeze("2026-12-27T00:00:00Z", "2027-01-03T00:00:00Z", "year-end"),
        freeze("2027-01-03T01:00:00Z", "2027-01-04T00:00:00Z", "audit"),
    ]);
    let next = "next 2027-01-03T00:00:00Z to 2027-01-03T01:00:00Z";
    for (now, from, reason) in [
        ("2026-12-23T00:00:00Z", "2026-12-20T00:00:00Z", "sale"),
        ("2026-12-24T00:00:00Z", "2026-12-24T00:00:00Z", "Christmas"),
        ("2027-01-01T00:00:00Z", "2026-12-27T00:00:00Z", "year-end"),
    ] {
        assert_eq!(
            state(&windows, &freezes, now),
            format!("frozen from {from} until 2027-01-03T00:00:00Z ({reason}), {next}")
        );
    }
}

#[test]
fn a_freeze_cuts_windows_and_the_next_opening_is_behind_it() {
    // The window is open from 02:00 to 08:00.
    let windows = Windows(vec![window(&["Sat"], "02:00", 360, "UTC")]);
    let freezes = Freezes(vec![
        freeze("2026-11-28T06:00:00Z", "2026-12-11T00:00:00Z", "a"),
        freeze("2026-12-12T01:00:00Z", "2026-12-12T05:00:00Z", "b"),
    ]);
    let state = |now| state(&windows, &freezes, now);
    let next = "next 2026-12-12T05:00:00Z to 2026-12-12T08:00:00Z";
    assert_eq!(
        state("2026-11-28T03:00:00Z"),
        "open until 2026-11-28T06:00:00Z"
    );
    assert_eq!(
        state("2026-11-28T06:00:00Z"),
        format!("frozen from 2026-11-28T06:00:00Z until 2026-12-11T00:00:00Z (a), {next}")
    );
    assert_eq!(state("2026-12-11T00:00:00Z"), format!("closed, {next}"));
    assert_eq!(
        state("2026-12-12T04:59:59Z"),
        format!("frozen from 2026-12-12T01:00:00Z until 2026-12-12T05:00:00Z (b), {next}")
    );
    assert_eq!(
        entries(
            &windows,
            &freezes,
            "2026-11-28T03:00:00Z",
            "2026-12-27T00:00:00Z"
        ),
        [
            "2026-11-28T02:00:00Z to 2026-11-28T06:00:00Z",
            "2026-11-28T06:00:00Z to 2026-12-11T00:00:00Z: frozen",
            "2026-12-12T01:00:00Z to 2026-12-12T05:00:00Z: frozen",
            "2026-12-12T05:00:00Z to 2026-12-12T08:00:00Z",
            "2026-12-19T02:00:00Z to 2026-12-19T08:00:00Z",
            "2026-12-26T02:00:00Z to 2026-12-26T08:00:00Z",
        ]
    );
    assert_eq!(
        entries(
            &windows,
            &freezes,
            "2026-12-12T06:00:00Z",
            "2026-12-13T00:00:00Z"
        ),
        ["2026-12-12T05:00:00Z to 2026-12-12T08:00:00Z"],
        "it opened at the end of the freeze"
    );
}

#[test]
fn windows_without_a_gap_are_listed_without_an_overlap() {
    let windows = Windows(vec![
        window(&["Wed"], "00:00", Window::MAX_MINUTES, "UTC"),
        window(&["Mon"], "00:00", Window::MAX_MINUTES, "UTC"),
    ]);
    assert_eq!(
        entries(
            &windows,
            &Freezes::default(),
            "2026-11-30T00:00:00Z",
            "2026-12-30T00:00:00Z"
        ),
        [
            "2026-11-25T00:00:00Z to 2026-12-14T00:00:00Z",
            "2026-12-14T00:00:00Z to 2026-12-28T00:00:00Z",
            "2026-12-28T00:00:00Z to 2027-01-11T00:00:00Z",
        ]
    );
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "America/New_York"];

/// Returns a moment of two months with clock changes in two zones.
fn moment() -> impl Strategy<Value = Timestamp> {
    (0..60 * 24 * 60_i64)
        .prop_map(|minute| at("2026-10-05T00:00:00Z") + SignedDuration::from_mins(minute))
}

fn any_window() -> impl Strategy<Value = Window> {
    let days = subsequence(&DAYS[..], 1..3);
    let weeks = prop_oneof![
        Just(Vec::new()),
        subsequence(&[1_i8, 2, 3, 4, 5, -1, -2, -5][..], 1..3)
    ];
    (days, weeks, 0..24_i8, 1..5000_u64, select(&ZONES[..])).prop_map(
        |(days, weeks, hour, minutes, zone)| Window {
            weeks,
            start: Time::constant(hour, 30, 0, 0),
            ..window(&days, "00:00", minutes, zone)
        },
    )
}

fn any_freeze() -> impl Strategy<Value = Freeze> {
    (moment(), 1..20 * 24 * 60_i64).prop_map(|(from, minutes)| Freeze {
        from,
        until: from + SignedDuration::from_mins(minutes),
        zone: TimeZone::UTC,
        reason: None,
    })
}

/// The definition of a calendar: a window contains the moment, and no freeze does.
fn is_open(calendar: Calendar<'_>, moment: Timestamp) -> bool {
    let Calendar { windows, freezes } = calendar;
    let mut all = windows.0.iter();
    (windows.0.is_empty() || all.any(|window| window.occurrence_at(moment).is_some()))
        && !freezes.0.iter().any(|freeze| freeze.is_active(moment))
}

/// Returns the moments after `now` at which the calendar can change, for five months.
fn changes(calendar: Calendar<'_>, now: Timestamp) -> Vec<Timestamp> {
    let freezes = calendar.freezes.0.iter();
    let mut all: Vec<Timestamp> = freezes
        .flat_map(|freeze| [freeze.from, freeze.until])
        .collect();
    for window in &calendar.windows.0 {
        let length = SignedDuration::from_mins(window.minutes.try_into().unwrap());
        let first = now - SignedDuration::from_hours(8 * 24);
        let starts = iter::successors(Some(first), |at| window.next_start(*at)).skip(1);
        let end = now + SignedDuration::from_hours(150 * 24);
        all.extend(
            starts
                .take_while(|at| *at < end)
                .flat_map(|at| [at, at + length]),
        );
    }
    all.retain(|at| *at > now);
    all.sort_unstable();
    all
}

proptest! {
    #[test]
    fn the_state_is_that_of_the_definition_and_changes_when_the_definition_does(
        windows in vec(any_window(), 0..3),
        freezes in vec(any_freeze(), 0..5),
        now in moment(),
    ) {
        let (windows, freezes) = (Windows(windows), Freezes(freezes));
        let calendar = Calendar { windows: &windows, freezes: &freezes };
        let changes = changes(calendar, now);
        let first = |open: bool| changes.iter().copied().find(|at| is_open(calendar, *at) == open);
        let is_frozen = freezes.0.iter().any(|freeze| freeze.is_active(now));
        match calendar.state(now) {
            CalendarState::Always => {
                prop_assert!(is_open(calendar, now));
                prop_assert_eq!(first(false), None);
            }
            CalendarState::Open { until } => {
                prop_assert!(is_open(calendar, now));
                // Windows that follow each other without a gap are cut.
                let is_cut = until >= now + SignedDuration::from_hours(14 * 24);
                prop_assert!(first(false) == Some(until) || is_cut);
            }
            CalendarState::Closed { next } => {
                prop_assert!(!is_open(calendar, now) && !is_frozen);
                prop_assert_eq!(next.map(|next| next.opens), first(true));
            }
            CalendarState::Frozen { freeze, next } => {
                prop_assert!(is_frozen && freeze.is_active(now));
                let thawed = changes.iter().find(|at| !freezes.0.iter().any(|f| f.is_active(**at)));
                prop_assert_eq!(Some(&freeze.until), thawed);
                prop_assert_eq!(next.map(|next| next.opens), first(true));
            }
        }
    }

    #[test]
    fn the_entries_are_the_openings_of_the_definition_and_the_freezes(
        windows in vec(any_window(), 1..3),
        freezes in vec(any_freeze(), 0..5),
        now in moment(),
    ) {
        let (windows, freezes) = (Windows(windows), Freezes(freezes));
        let calendar = Calendar { windows: &windows, freezes: &freezes };
        let end = now + SignedDuration::from_hours(30 * 24);
        let (mut open, mut frozen) = (Vec::new(), Vec::new());
        for entry in calendar.entries(now, end) {
            match entry {
                Entry::Open(opening) => open.push(opening),
                Entry::Frozen(freeze) => frozen.push(freeze),
            }
        }
        let is_listed = |moment: Timestamp| {
            open.iter().any(|period| period.opens <= moment && period.closes.is_none_or(|closes| moment < closes))
        };
        for moment in [now].into_iter().chain(changes(calendar, now)).filter(|at| *at < end) {
            prop_assert_eq!(is_listed(moment), is_open(calendar, moment), "{}", moment);
        }
        prop_assert!(open.is_sorted_by(|a, b| a.closes.is_some_and(|closes| closes <= b.opens)));
        prop_assert!(frozen.is_sorted_by_key(|freeze| freeze.from));
        prop_assert_eq!(frozen.len(), freezes.0.iter().filter(|f| f.until > now && f.from < end).count());
    }
}
