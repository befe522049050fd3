//! Reboot windows: grants, refusals and their texts.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::eventually;

/// Returns a window that opens in two days, for one hour.
fn closed() -> String {
    let day = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date() + 2.days();
    window(day.weekday(), 60)
}

/// Returns a window that opened yesterday, for two days.
fn open() -> String {
    let day = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date() - 1.day();
    window(day.weekday(), 3 * 24 * 60)
}

fn window(day: Weekday, minutes: u32) -> String {
    format!("days = [\"{day:?}\"]\nstart_time = \"12:00\"\nlength_minutes = {minutes}\n")
}

fn config(lock: &str) -> String {
    format!("[embedded]\npath = \"{{folder}}/airlock.db\"\n[lock]\ndefault_slots = 2\n{lock}")
}

#[test]
fn invariant_9_outside_the_windows_only_new_locks_are_refused() {
    let mut airlock = Airlock::start(&config(""));
    let client = airlock.client();
    assert!(client.lock("default", "holder").granted());
    airlock.reload(&config(&format!("[[lock.windows]]\n{}", closed())));
    airlock.wait_for_log("changes=\"windows of default\"");

    let refused = client.lock("default", "new");
    assert_eq!(refused.status, 423);
    assert_eq!(refused.kind(), "outside_reboot_window");
    let value = refused.value();
    let opens = value
        .strip_prefix("outside the reboot windows of group \"default\", the next one opens ")
        .unwrap_or_else(|| panic!("{value}"));
    assert!(opens.ends_with("12:00 UTC"), "{opens}");

    assert!(
        client.lock("default", "holder").granted(),
        "a holder asks again"
    );
    assert!(
        client.unlock("default", "stranger").granted(),
        "a non-holder is done"
    );
    assert!(
        client.unlock("default", "holder").granted(),
        "a holder is done"
    );
    assert_eq!(
        client.lock("default", "holder").status,
        423,
        "it is new again"
    );

    let gauge =
        |airlock: &Airlock, name: &str| airlock.metric(&format!("{name}{{group=\"default\"}}"));
    assert_eq!(gauge(&airlock, "airlock_window_open"), Some(0.0));
    assert_eq!(gauge(&airlock, "airlock_waiting_nodes"), Some(2.0));

    airlock.reload(&config(&format!("[[lock.windows]]\n{}", open())));
    eventually("the window to open", || {
        client.lock("default", "new").granted().then_some(())
    });
    assert_eq!(gauge(&airlock, "airlock_window_open"), Some(1.0));
    assert_eq!(
        gauge(&airlock, "airlock_waiting_nodes"),
        Some(1.0),
        "a granted node no longer waits"
    );
}

#[test]
fn a_group_has_its_own_windows_or_none() {
    let airlock = Airlock::start(&config(&format!(
        "[[lock.windows]]\n{}\
         [[lock.groups]]\nname = \"free\"\nwindows = []\n\
         [[lock.groups]]\nname = \"own\"\n[[lock.groups.windows]]\n{}\
         [[lock.groups]]\nname = \"common\"\n",
        closed(),
        open(),
    )));
    let client = airlock.client();
    for (group, status) in [
        ("free", 200),
        ("own", 200),
        ("common", 423),
        ("default", 423),
    ] {
        assert_eq!(client.lock(group, "a").status, status, "{group}");
    }
    let output = airlock.command(&["check-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(
        text.matches("in its reboot windows only").count(),
        2,
        "{text}"
    );
    assert_eq!(text.matches(", open now\n").count(), 1, "{text}");
    // Five openings in 30 days, of which the fifth of a window that is still closed may be too late.
    let openings = text.matches("\n    ").count();
    assert!([9, 10].contains(&openings), "{text}");
    assert!(text.contains("  grants them at the same times as in group common\n"));
}

#[test]
fn a_reload_names_changed_policies_and_check_config_describes_them() {
    let groups = "[[lock.groups]]\nname = \"db\"\n[[lock.groups]]\nname = \"web\"\nfreezes = []\n";
    let mut airlock = Airlock::start(&config(groups));
    airlock.reload(&config(&format!(
        "stall_after_minutes = 90\n[[lock.freezes]]\nfrom = 2020-01-01\nuntil = 2999-12-31\nreason = \"for ever\"\n\
         {groups}stall_after_minutes = 0\nsettle_minutes = 1\n\
         [[lock.caps]]\nname = \"both\"\ngroups = [\"db\", \"web\"]\nmax_held = 3\nmax_groups = 1\n"
    )));
    airlock.wait_for_log(
        "changes=\"freezes of db, stall_after_minutes of db, freezes of default, stall_after_minutes of default, \
         settle_minutes of web, caps\"",
    );
    let output = airlock.command(&["check-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let grants = |group: &str| {
        format!(
            "  grants up to 2 locks in group {group} at the same time (slots in the store take precedence)\n"
        )
    };
    let (db, web) = (grants("db"), grants("web"));
    let stall = "  grants none while a node has held a lock for more than 90 minutes\n";
    let frozen = "  grants them at any time, but not during its freezes; in the next 30 days:\n    \
                  frozen Wed 2020-01-01 00:00 UTC to Wed 3000-01-01 00:00 UTC (for ever), active now\n    \
                  later: Wed 3000-01-01 00:00 UTC until further notice\n";
    let caps = "  grants up to 3 locks in the groups db, web together (cap both)\n  \
                grants locks in only one of the groups db, web at the same time (cap both)\n";
    let settle = "  grants none for 1 minute after a node has released its lock\n";
    for expected in [
        format!("{db}{stall}{frozen}"),
        format!("{web}{settle}{caps}"),
        "  grants them at the same times as in group db\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\nis not in\n{text}");
    }
}

#[test]
fn wrong_windows_are_reported_with_line_and_remedy() {
    let airlock = Airlock::start(&config(""));
    airlock.reload(&config(
        "[[lock.windows]]\ndays = [\"Sat\", \"Caturday\"]\nstart_time = \"25:00\"\n\
         length_minutes = 0\ntime_zone = \"Europe/Atlantis\"\n[[lock.groups]]\nname = \"g\"\n[[lock.groups.windows]]\n",
    ));
    let output = airlock.command(&["check-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78));
    for expected in [
        "unknown day \"Caturday\"; did you mean \"Saturday\"? ",
        ":15, lock.windows[0].days[1])",
        "\"25:00\" is not a time of day; write one from \"00:00\" to \"23:59\" ",
        ":16, lock.windows[0].start_time)",
        "expected a whole number from 1 to 10080, found 0; to grant no locks in this window, remove it ",
        ":17, lock.windows[0].length_minutes)",
        "unknown time zone \"Europe/Atlantis\"; ",
        ":18, lock.windows[0].time_zone)",
        "the window has no days; add days = [\"Sat\", \"Sun\"] ",
        ":21, lock.groups[0].windows[0].days)",
        "the window has no start_time; ",
        "the window has no length_minutes; ",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}
