//! `[[lock.freezes]]`, `[[lock.groups.freezes]]`, `weeks` of windows, `stall_after_minutes`, and `settle_minutes`.

use jiff::SignedDuration;

use super::{EMBEDDED, assert_errors, valid};
use crate::config::{GroupSettings, Settings};
use crate::lock::GroupName;

/// A file with one freeze; its table starts on line 7.
fn freeze(keys: &str) -> String {
    format!("{EMBEDDED}[[lock.freezes]]\n{keys}\n")
}

fn group<'s>(settings: &'s Settings, name: &str) -> &'s GroupSettings {
    &settings.groups[&GroupName::new(name).unwrap()]
}

/// Asserts that a freeze with these keys starts and ends at these moments.
#[track_caller]
fn assert_freeze(keys: &str, from: &str, until: &str) {
    let settings = valid(&freeze(keys)).settings;
    let freeze = &group(&settings, "default").freezes.0[0];
    assert_eq!(
        (freeze.from.to_string(), freeze.until.to_string()),
        (from.into(), until.into()),
        "{keys}"
    );
}

#[test]
fn a_freeze_contains_its_first_and_its_last_date_completely() {
    for dates in [
        "from = \"2026-12-20\"\nuntil = \"2027-01-06\"",
        "from = 2026-12-20\nuntil = 2027-01-06",
    ] {
        assert_freeze(dates, "2026-12-20T00:00:00Z", "2027-01-07T00:00:00Z");
    }
    assert_freeze(
        "from = 2026-12-24\nuntil = 2026-12-24\ntime_zone = \"Europe/Berlin\"",
        "2026-12-23T23:00:00Z",
        "2026-12-24T23:00:00Z",
    );
}

#[test]
fn a_freeze_starts_and_ends_at_a_local_time() {
    for times in [
        "from = \"2026-12-20T18:00\"\nuntil = \"2026-12-21 06:30:15\"",
        "from = 2026-12-20T18:00\nuntil = 2026-12-21 06:30:15",
    ] {
        assert_freeze(
            &format!("{times}\ntime_zone = \"America/New_York\""),
            "2026-12-20T23:00:00Z",
            "2026-12-21T11:30:15Z",
        );
    }
    // 2026-03-29 in Berlin: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
    assert_freeze(
        "from = 2026-03-29T02:30\nuntil = 2026-10-25T02:30\ntime_zone = \"Europe/Berlin\"",
        "2026-03-29T01:30:00Z",
        "2026-10-25T00:30:00Z",
    );
}

#[test]
fn all_errors_of_a_freeze_are_reported_once() {
    assert_errors(
        &freeze("reason = \"a\\u202Eb\"\ntime_zone = \"Europe/Berln\""),
        &[
            "the freeze has no from; add from = \"2026-12-20\" (c.toml:7, lock.freezes[0].from)",
            "the freeze has no until; add until = \"2027-01-06\" (c.toml:7, lock.freezes[0].until)",
            "the reason contains the control or format character U+202E; remove it (c.toml:8, lock.freezes[0].reason)",
            "unknown time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"? (c.toml:9, lock.freezes[0].time_zone)",
        ],
    );
    let long = "a".repeat(201);
    assert_errors(
        &freeze(&format!(
            "from = 20\nuntil = \"2026-12-20T18:00:00+01:00\"\nreason = \"{long}\""
        )),
        &[
            "expected a date such as 2026-12-20, or a local date and time such as 2026-12-20T18:00, found 20 \
             (c.toml:8, lock.freezes[0].from)",
            "\"2026-12-20T18:00:00+01:00\" has an offset to UTC; remove it, and set time_zone instead \
             (c.toml:9, lock.freezes[0].until)",
            "the reason has 201 bytes; shorten it to 200 or fewer (c.toml:10, lock.freezes[0].reason)",
        ],
    );
}

#[test]
fn what_is_not_a_date_is_an_error() {
    for text in [
        "",
        "Christmas",
        "2026-02-30",
        "20.12.2026",
        "2026-12-20T",
        "2026-12-20T24:00",
        "2026-12-20T18",
        "18:00:00",
        "2026-12-20T18:00:00.5",
        "2026-12-2",
        "äöüäöü-ä",
    ] {
        assert_errors(
            &freeze(&format!("from = \"{text}\"\nuntil = 2027-01-06")),
            &[&format!(
                "\"{text}\" is not a date; write one such as \"2026-12-20\", or a date and time such as \
                 \"2026-12-20T18:00\" (c.toml:8, lock.freezes[0].from)"
            )],
        );
    }
}

#[test]
fn a_freeze_that_ends_before_it_starts_is_an_error() {
    for (from, until, ends) in [
        ("2026-12-20", "2026-12-19", "before"),
        ("2026-12-20T18:00", "2026-12-20T18:00", "when"),
    ] {
        let expected = format!(
            "the freeze ends {ends} it starts; set a date that is not before from, or a later time \
             (c.toml:9, lock.freezes[0].until)"
        );
        assert_errors(
            &freeze(&format!("from = {from}\nuntil = {until}")),
            &[&expected],
        );
    }
    for until in ["9999-12-31T23:00:00", "1026-12-24"] {
        assert_errors(
            &freeze(&format!("from = 2026-12-20\nuntil = {until}")),
            &[
                "the date is out of range; set a year from 2000 to 2999 (c.toml:9, lock.freezes[0].until)",
            ],
        );
    }
}

#[test]
fn a_group_replaces_the_policies_of_all_groups_or_is_free_of_them() {
    let settings = valid(&format!(
        "{EMBEDDED}[lock]\nstall_after_minutes = 90\nsettle_minutes = 10\n\
         freezes = [{{ from = 2026-12-20, until = 2027-01-06, reason = \"year-end\" }}]\n\
         [[lock.groups]]\nname = \"common\"\n\
         [[lock.groups]]\nname = \"free\"\nstall_after_minutes = 0\nsettle_minutes = 0\nfreezes = []\n\
         [[lock.groups]]\nname = \"own\"\nstall_after_minutes = 10080\nsettle_minutes = 1440\n\
         [[lock.groups.freezes]]\nfrom = 2026-11-01\nuntil = 2026-11-02\n\
         [[lock.groups.freezes]]\nfrom = 2026-11-27\nuntil = 2026-11-30\n"
    ))
    .settings;
    let policies = |name: &str| {
        let group = group(&settings, name);
        let minutes = |time: SignedDuration| time.as_mins();
        (
            group.stall_after.map(minutes),
            group.settle.map(minutes),
            group.freezes.0.len(),
        )
    };
    for name in ["default", "common"] {
        assert_eq!(policies(name), (Some(90), Some(10), 1));
    }
    assert_eq!(policies("free"), (None, None, 0));
    assert_eq!(policies("own"), (Some(10080), Some(1440), 2));
    let reason = group(&settings, "common").freezes.0[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("year-end"));
}

#[test]
fn times_out_of_range_are_errors() {
    assert_errors(
        &format!(
            "{EMBEDDED}[lock]\nstall_after_minutes = 0\nsettle_minutes = 0\n\
             [[lock.groups]]\nname = \"g\"\nstall_after_minutes = 10081\nsettle_minutes = 1441\n"
        ),
        &[
            "expected a whole number from 1 to 10080, found 0; to grant locks however long a node holds one, remove \
             this key (c.toml:8, lock.stall_after_minutes)",
            "expected a whole number from 1 to 1440, found 0; to grant locks right after a release, remove this key \
             (c.toml:9, lock.settle_minutes)",
            "expected a whole number from 0 to 10080, found 10081 (c.toml:12, lock.groups[0].stall_after_minutes)",
            "expected a whole number from 0 to 1440, found 1441 (c.toml:13, lock.groups[0].settle_minutes)",
        ],
    );
}

#[test]
fn a_window_opens_in_the_named_weeks_of_the_month() {
    let window = |weeks: &str| {
        format!(
            "{EMBEDDED}[[lock.windows]]\ndays = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\n{weeks}\n"
        )
    };
    let weeks = |text: &str| {
        let settings = valid(&window(text)).settings;
        group(&settings, "default").windows.0[0].weeks.clone()
    };
    assert!(weeks("").is_empty(), "all weeks");
    assert_eq!(weeks("weeks = [1, 3, -1]"), [1, 3, -1]);
    assert_errors(
        &window("weeks = []"),
        &[
            "the list is empty; name at least one week of the month, such as 1 or -1, or remove this key for all weeks \
           (c.toml:11, lock.windows[0].weeks)",
        ],
    );
    assert_errors(
        &window("weeks = [1, 0, 6, -6, 300, \"1\"]"),
        &[
            "expected a whole number from 1 (the first) to 5 or from -5 to -1 (the last), \
             found 0 (c.toml:11, lock.windows[0].weeks[1])",
            "expected a whole number from 1 (the first) to 5 or from -5 to -1 (the last), \
             found 6 (c.toml:11, lock.windows[0].weeks[2])",
            "expected a whole number from 1 (the first) to 5 or from -5 to -1 (the last), \
             found -6 (c.toml:11, lock.windows[0].weeks[3])",
            "expected a whole number from 1 (the first) to 5 or from -5 to -1 (the last), \
             found 300 (c.toml:11, lock.windows[0].weeks[4])",
            "expected a whole number from 1 (the first) to 5 or from -5 to -1 (the last), \
             found \"1\"; remove the quotes \
             (c.toml:11, lock.windows[0].weeks[5])",
        ],
    );
}
