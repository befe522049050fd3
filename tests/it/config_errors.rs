//! Commands on the store with a configuration that has errors: those at night work as long as it names the store.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use airlock_test_support::airlock::Airlock;

const GROUPS: &str = "[[lock.groups]]\nname = \"workers\"\nslots = 2\n\
                      [[lock.groups]]\nname = \"databases\"\nslots = 3\n";

/// Groups of which some values cannot be read: a server knows other slots, and one more window.
const INVALID_GROUPS: &str = "[[lock.groups]]\nname = \"workers\"\nslots = \"two\"\n\
                              [[lock.groups]]\nname = 7\nslots = 3\n\
                              [[lock.windows]]\ndays = [\"Mo\"]\n";

const INVALID_SERVICE: &str = "[service]\nport = 99999\n[notify]\nurl = 1\n";

/// Writes another configuration for the store of a server.
fn write(server: &Airlock, text: &str) -> PathBuf {
    let path = server.folder().join("other.toml");
    let store = server.folder().join("airlock.db");
    fs::write(&path, format!("{text}[embedded]\npath = {store:?}\n")).unwrap();
    path
}

/// Runs a command with another configuration.
fn run(server: &Airlock, text: &str, arguments: &[&str]) -> Output {
    let config = write(server, text);
    server.command(&[arguments, &["-c", config.to_str().unwrap()]].concat())
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn succeeds(server: &Airlock, text: &str, arguments: &[&str]) -> String {
    let output = run(server, text, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_holder_is_unlocked_and_a_group_is_paused_in_spite_of_errors_in_other_sections() {
    let server = Airlock::embedded(GROUPS);
    for node in ["a", "b"] {
        assert!(server.client().lock("workers", node).granted());
    }
    let text = format!("{INVALID_SERVICE}{INVALID_GROUPS}");
    for (command, code) in [
        (&["get", "slots"][..], 0),
        (&["history"], 0),
        (&["status", "workers"], 1),
    ] {
        let output = run(&server, &text, command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        let warnings = stderr(&output);
        assert!(
            warnings.contains("warning: expected a whole number from 0 to 65535, found 99999")
                && warnings.contains("service.port)")
                && warnings.contains("lock.groups[0].slots)")
                && warnings.contains("errors: a server cannot start or reload with it"),
            "{warnings}"
        );
        assert!(!warnings.contains("error: "), "{warnings}");
    }
    let unlocked = succeeds(&server, &text, &["unlock", "workers", "a", "--yes"]);
    assert!(
        unlocked.contains("done: group workers has 2 slots, 1 held (b)"),
        "{unlocked}"
    );
    // The name of this one cannot be read, and it is in the store.
    assert!(server.client().lock("databases", "c").granted());
    for group in ["workers", "databases"] {
        succeeds(&server, &text, &["pause", group, "--yes"]);
        assert_eq!(server.client().lock(group, "d").kind(), "failed_lock");
    }
}

#[test]
fn what_cannot_be_read_is_not_compared_with_the_store_and_no_change_is_suggested() {
    let server = Airlock::embedded(GROUPS);
    for group in ["workers", "databases"] {
        assert!(server.client().lock(group, "a").granted());
    }
    // Read in part, the file has 1 slot for workers, and no group databases.
    for (command, code) in [(&["status"][..], 1), (&["get", "slots"], 0)] {
        let output = run(&server, INVALID_GROUPS, command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        for wrong in ["slots differ", "set slots", "not configured"] {
            assert!(!shown.contains(wrong), "{shown}");
        }
        assert!(shown.contains("databases  rebooting"), "{shown}");
        assert!(shown.contains("workers    rebooting"), "{shown}");
    }
}

#[test]
fn status_needs_attention_while_the_file_has_errors_and_says_what_is_not_known() {
    let server = Airlock::embedded(GROUPS);
    assert!(server.client().lock("workers", "a").granted());
    let window = format!(
        "{GROUPS}[[lock.windows]]\ndays = [\"Mon\"]\nstart_time = \"25:00\"\nlength_minutes = 60\n"
    );
    let show = |text: &str, arguments: &[&str]| {
        let output = run(&server, text, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let fleet = show(&window, &["status"]);
    let problem = "lock.windows[0].start_time; windows, freezes, gates and caps are not known";
    let start = "configuration: a server cannot start or reload with ";
    assert!(fleet.contains(start) && fleet.contains(problem), "{fleet}");
    // The slots of this group are not in the store.
    assert!(fleet.contains("databases  not known yet  ?"), "{fleet}");
    let workers = show(&window, &["status", "workers"]);
    let next = "NEXT     a slot is free; windows, freezes, gates and caps are not known\n";
    assert!(workers.ends_with(next), "{workers}");
    assert!(workers.contains("CONFIG   a server cannot"), "{workers}");
    let databases = show(&window, &["status", "databases"]);
    for text in [
        "not known: it is not in the store, and",
        "NEXT     not known\n",
    ] {
        assert!(databases.contains(text), "{databases}");
    }

    let json: Value = serde_json::from_str(&show(&window, &["status", "-o", "json"])).unwrap();
    assert_eq!(json["needs_attention"], true);
    let reason = json["reload_problem"].as_str().unwrap();
    assert!(reason.ends_with(problem), "{reason}");
    assert_eq!(json["groups"][0]["lock"], Value::Null);
    assert_eq!(json["groups"][2]["configured_slots"], Value::Null);

    // With an error elsewhere, the groups are known.
    let text = format!("{INVALID_SERVICE}{GROUPS}");
    let workers = show(&text, &["status", "workers"]);
    for text in [
        "3 errors, the first at line 1, service.tls\n",
        "the group has no reboot windows\n",
    ] {
        assert!(workers.contains(text), "{workers}");
    }
}

#[test]
fn a_pause_invents_no_slots_that_cannot_be_read() {
    let server = Airlock::embedded(GROUPS);
    let shown = succeeds(&server, INVALID_GROUPS, &["pause", "workers", "--yes"]);
    let expected = "group workers: its slots are not known; after this change:\n  paused\n";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn the_gates_are_asked_in_spite_of_errors_in_other_sections() {
    let server = Airlock::embedded(GROUPS);
    let text = format!("{INVALID_SERVICE}{GROUPS}");
    succeeds(&server, &text, &["get", "gates"]);
    let output = run(&server, INVALID_GROUPS, &["get", "gates"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn a_command_that_applies_the_settings_of_groups_fails_if_one_of_them_has_an_error() {
    let server = Airlock::embedded(GROUPS);
    assert!(server.client().lock("workers", "a").granted());
    let backup = server.folder().join("backup.db");
    let backup = backup.to_str().unwrap();
    succeeds(&server, INVALID_GROUPS, &["backup", backup]);
    let before = server.command(&["get", "slots"]).stdout;
    let commands = [
        &["resume", "workers", "--yes"][..],
        &["set", "slots", "workers", "5", "--yes"],
        &["lock", "workers", "b", "--yes"],
        &["override", "workers", "--for", "1h", "--yes"],
        &["restore", backup, "--dry-run"],
        &["ex", "get", "slots"],
        &["check-config"],
    ];
    for command in commands {
        let output = run(&server, INVALID_GROUPS, command);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
    }
    let invalid_store = "[embedded]\ntransaction_timeout_ms = 0\n";
    let path = server.folder().join("other.toml");
    fs::write(&path, format!("[service]\ntls = false\n{invalid_store}")).unwrap();
    for command in [&["unlock", "workers", "a", "--yes"][..], &["status"]] {
        let output = server.command(&[command, &["-c", path.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(78), "{command:?}: {output:?}");
    }
    let ago = |text: &[u8]| String::from_utf8_lossy(text).replace(char::is_numeric, "");
    assert_eq!(ago(&server.command(&["get", "slots"]).stdout), ago(&before));

    // These are valid.
    let text = format!("{INVALID_SERVICE}{GROUPS}");
    let set = succeeds(&server, &text, &["set", "slots", "workers", "5", "--yes"]);
    assert!(set.contains("done: group workers has 5 slots"), "{set}");
}
