//! Commands on the store with a configuration that has errors: those at night work as long as it names the store.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

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
    for command in [&["get", "slots"][..], &["history"], &["status", "workers"]] {
        let output = run(&server, &text, command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
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
    for command in [&["status"][..], &["get", "slots"]] {
        let shown = succeeds(&server, INVALID_GROUPS, command);
        for wrong in ["slots differ", "set slots", "not configured"] {
            assert!(!shown.contains(wrong), "{shown}");
        }
        assert!(shown.contains("databases  rebooting"), "{shown}");
        assert!(shown.contains("workers    rebooting"), "{shown}");
    }
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
