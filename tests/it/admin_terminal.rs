//! The administrators' commands and their readers: a terminal, a pipe that is closed, and `airlock watch`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use airlock_test_support::airlock::{Airlock, binary};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::process::Process;

use crate::admin_commands::{LOCK, run};

#[test]
fn changes_are_printed_as_they_happen() {
    let airlock = Airlock::embedded(LOCK);
    let watch = airlock.spawn(&["watch"]);
    let wait = |expected: &str| {
        eventually(expected, || watch.log().contains(expected).then_some(()));
    };
    wait("default: 2 slots, none held");
    assert!(airlock.client().lock("default", "a").granted());
    wait("default: a is locked");
    run(&airlock, &["pause", "workers", "--yes"]);
    wait("workers: paused (slots 1 -> 0)");
    wait(" has paused the group)");
}

#[test]
fn a_watched_status_is_printed_again_and_outlives_a_failure_of_the_store() {
    let mut etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    let mut watch = airlock.spawn(&["status", "workers", "--watch"]);
    let wait = |watch: &Process, expected: &str| {
        eventually(expected, || watch.log().contains(expected).then_some(()));
    };
    wait(&watch, "workers: free. ");
    assert!(airlock.client().lock("workers", "a").granted());
    wait(&watch, "workers: full. ");
    etcd.members[0].kill();
    wait(&watch, "error: cannot reach the store");
    assert!(watch.exit_status().is_none());
    assert!(!watch.log().contains('\u{1b}'), "{}", watch.log());
}

#[test]
fn a_watched_status_replaces_the_last_one_on_a_terminal() {
    let airlock = Airlock::embedded(LOCK);
    let config = airlock.folder().join("config.toml");
    let command = format!(
        "{} --config {} status --watch",
        binary().display(),
        config.display()
    );
    let log = airlock.folder().join("typescript");
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--command", &command])
        .arg(&log)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the status on an empty screen", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("\u{1b}[H\u{1b}[2J\u{1b}[3Jfile /")
            .then_some(())
    });
    terminal.kill().unwrap();
    terminal.wait().unwrap();
}

#[test]
fn a_backup_is_not_printed_on_a_terminal() {
    let airlock = Airlock::embedded(LOCK);
    let config = airlock.folder().join("config.toml");
    let command = format!(
        "{} --config {} backup -",
        binary().display(),
        config.display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    // The label has a color.
    assert!(text.contains(" redirect it to a file"), "{text}");
}

#[test]
fn commands_do_not_depend_on_a_reader_of_their_output() {
    let airlock = Airlock::embedded(LOCK);
    assert!(airlock.client().lock("default", "a").granted());
    let without_reader = |arguments: &[&str]| {
        let (_, writer) = std::io::pipe().unwrap();
        let output = airlock.command_to(writer, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    };
    without_reader(&["unlock", "default", "a", "--yes"]);
    assert!(!run(&airlock, &["get", "slots"]).contains("  a  "));
    for reading in [
        &["get", "slots"][..],
        &["ex", "get", "slots"],
        &["watch"],
        &["check-config"],
        &["completions", "bash"],
    ] {
        without_reader(reading);
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = airlock.command_to(full, &["get", "slots"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("cannot write to stdout\n  caused by: No space left"),
        "{errors}"
    );
}

/// `script` of util-linux provides the terminal. The test types after the question.
#[test]
fn on_a_terminal_a_command_asks_and_only_yes_applies_the_change() {
    let airlock = Airlock::embedded(LOCK);
    assert!(airlock.client().lock("default", "a").granted());
    for (typed, done) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let command = format!(
            "{} --config {} unlock default a",
            binary().display(),
            airlock.folder().join("config.toml").display()
        );
        let log = airlock.folder().join("typescript");
        let mut terminal = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command])
            .arg(&log)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the question", || {
            let asked = fs::read_to_string(&log)
                .is_ok_and(|text| text.contains("Apply this change? [y/N]"));
            asked.then_some(())
        });
        let mut keyboard = terminal.stdin.take().unwrap();
        keyboard.write_all(typed.as_bytes()).unwrap();
        let status = eventually("the command to exit", || terminal.try_wait().unwrap());
        assert_eq!(status.success(), done, "{typed:?}");
        fs::remove_file(&log).unwrap();
    }
    for other in ["b", "c"] {
        assert!(airlock.client().lock("default", other).granted());
    }
}
