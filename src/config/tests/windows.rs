//! `[[lock.windows]]` and `[[lock.groups.windows]]`.

use super::{EMBEDDED, assert_errors, valid};

/// A file with one window; its table starts on line 7.
fn window(keys: &str) -> String {
    format!("{EMBEDDED}[[lock.windows]]\n{keys}\n")
}

/// Asserts the error about one key of an otherwise valid window.
#[track_caller]
fn assert_error(changed: &str, expected: &str) {
    let valid = "days = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\ntime_zone = \"UTC\"";
    let key = changed.split(' ').next().unwrap();
    let keys: Vec<&str> = valid
        .lines()
        .map(|line| if line.starts_with(key) { changed } else { line })
        .collect();
    assert_errors(&window(&keys.join("\n")), &[expected]);
}

#[test]
fn a_window_needs_days_a_start_and_a_length() {
    assert_errors(
        &format!("{EMBEDDED}[[lock.groups]]\nname = \"g\"\n[[lock.groups.windows]]\n"),
        &[
            "the window has no days; add days = [\"Sat\", \"Sun\"] (c.toml:9, lock.groups[0].windows[0].days)",
            "the window has no start_time; add start_time = \"23:30\" (c.toml:9, lock.groups[0].windows[0].start_time)",
            "the window has no length_minutes; add length_minutes = 60 \
             (c.toml:9, lock.groups[0].windows[0].length_minutes)",
        ],
    );
}

#[test]
fn all_errors_of_a_window_are_reported_once() {
    assert_errors(
        &window(
            "days = [\"Sat\", \"Caturday\"]\nstart_time = \"24:00\"\nlength_minutes = 0\ntime_zone = \"Europe/Berln\"",
        ),
        &[
            "unknown day \"Caturday\"; did you mean \"Saturday\"? (c.toml:8, lock.windows[0].days[1])",
            "\"24:00\" is not a time of day; write one from \"00:00\" to \"23:59\" (c.toml:9, lock.windows[0].start_time)",
            "expected a whole number from 1 to 10080, found 0; to grant no locks in this window, remove it \
             (c.toml:10, lock.windows[0].length_minutes)",
            "unknown time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"? (c.toml:11, lock.windows[0].time_zone)",
        ],
    );
}

#[test]
fn a_key_of_a_later_window_is_named_with_its_indices() {
    let windows =
        "[[lock.groups.windows]]\ndays = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\n";
    let group = "[[lock.groups]]\nname = \"g\"\n";
    let text = format!("{EMBEDDED}{group}{windows}{windows}{windows}");
    valid(&text);
    assert_errors(
        &format!(
            "{text}[[lock.groups]]\nname = \"h\"\n{windows}[[lock.groups.windows]]\ndays = []\nstart_time = \"1\"\nlength_minutes = 1\n"
        ),
        &[
            "the list is empty; name at least one day, such as \"Sat\" (c.toml:28, lock.groups[1].windows[1].days)",
            "\"1\" is not a time of day; write one from \"00:00\" to \"23:59\" \
             (c.toml:29, lock.groups[1].windows[1].start_time)",
        ],
    );
}

#[test]
fn the_nearest_day_is_suggested() {
    for (day, suggestion) in [
        ("Mo", "did you mean \"Mon\"?"),
        ("Fir", "did you mean \"Fri\"?"),
        ("lun", "write a day such as \"Mon\" or \"Monday\""),
        ("tu", "did you mean \"Tue\"?"),
        ("Thurs", "did you mean \"Thu\"?"),
        ("Montag", "did you mean \"Monday\"?"),
        ("Di", "write a day such as \"Mon\" or \"Monday\""),
        ("", "write a day such as \"Mon\" or \"Monday\""),
        ("weekdays", "write a day such as \"Mon\" or \"Monday\""),
    ] {
        assert_error(
            &format!("days = [\"{day}\"]"),
            &format!("unknown day \"{day}\"; {suggestion} (c.toml:8, lock.windows[0].days[0])"),
        );
    }
}

#[test]
fn the_nearest_time_zone_is_suggested() {
    for (zone, suggestion) in [
        ("Berlin", "did you mean \"Europe/Berlin\"?"),
        ("America/New York", "did you mean \"America/New_York\"?"),
        (
            "Nowhere",
            "write a name of the IANA time zone database, such as \"UTC\" or \"Europe/Berlin\"",
        ),
        (
            "",
            "write a name of the IANA time zone database, such as \"UTC\" or \"Europe/Berlin\"",
        ),
    ] {
        assert_error(
            &format!("time_zone = \"{zone}\""),
            &format!(
                "unknown time zone \"{zone}\"; {suggestion} (c.toml:11, lock.windows[0].time_zone)"
            ),
        );
    }
}
