//! The administrator's commands beside running servers: their output, their effect and the log entries.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use airlock_test_support::airlock::{Airlock, binary};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

const LOCK: &str = "[lock]\ndefault_slots = 2\n[[lock.groups]]\nname = \"workers\"\nslots = 1\n";
const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Runs a command that has to succeed and returns its output.
fn run(airlock: &Airlock, arguments: &[&str]) -> String {
    let output = airlock.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// Runs a command that has to fail with `code` and returns its output.
fn fail(airlock: &Airlock, code: i32, arguments: &[&str]) -> String {
    let output = airlock.command(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output)
    );
    text(&output)
}

#[track_caller]
fn assert_in(text: &str, expected: &[&str]) {
    for expected in expected {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn a_command_prints_the_state_before_and_after_and_every_server_logs_it() {
    let etcd = Etcd::start();
    let mut servers: Vec<Airlock> = (0..2)
        .map(|_| Airlock::on_etcd(&etcd.endpoints(), LOCK))
        .collect();
    let client = servers[0].client();
    for id in ["a", "b"] {
        assert!(client.lock("default", id).granted());
    }
    // A server logs the changes that it observes, so both have to know the group before.
    for server in &servers {
        let holders = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        eventually("the holders to be known", || {
            (server.metric(holders) == Some(2.0)).then_some(())
        });
    }
    let output = run(&servers[1], &["unlock", "default", "a", "--yes"]);
    assert_in(
        &output,
        &[
            &format!("etcd {} (from ", etcd.endpoints()[0]),
            "group default: 2 slots, 2 held (a, b)\n  a is unlocked, it held for ",
            "done: group default has 2 slots, 1 held (b)\n",
        ],
    );
    for server in &mut servers {
        server.wait_for_log(
            "level=warning msg=\"an administrator has unlocked a\" group=default by=",
        );
    }
    assert!(client.lock("default", "c").granted());
    assert_eq!(etcd.get(KEY), r#"{"total_slots":2,"holders":["b","c"]}"#);
    // Later requests of nodes do not report the audit entry again.
    run(&servers[0], &["lock", "workers", "x", "--yes"]);
    servers[1].wait_for_log("an administrator has locked for x");
    assert_eq!(servers[1].log().matches("has unlocked a").count(), 1);
}

#[test]
fn a_pause_stops_new_locks_on_every_server_until_it_ends() {
    let airlock = Airlock::embedded(LOCK);
    let client = airlock.client();
    assert!(client.lock("default", "holder").granted());
    assert_in(
        &run(&airlock, &["pause", "default", "--yes"]),
        &[
            "paused (slots 2 -> 0)",
            "done: group default has no slots (paused), 1 held (holder)",
        ],
    );
    assert_eq!(client.lock("default", "new").kind(), "failed_lock");
    assert!(client.lock("default", "holder").granted());
    eventually("the pause to be a metric", || {
        (airlock.metric("airlock_group_paused{group=\"default\"}") == Some(1.0)).then_some(())
    });
    assert_in(
        &run(&airlock, &["pause", "default", "--yes"]),
        &["nothing to change"],
    );
    assert_in(
        &run(&airlock, &["get", "slots", "default"]),
        &[
            "default  paused     1     0  holder",
            "paused by ",
            "to end it: airlock resume default",
        ],
    );
    assert_in(
        &fail(&airlock, 1, &["lock", "default", "other", "--yes"]),
        &["the group is paused: resume it first"],
    );
    assert_in(
        &run(&airlock, &["resume", "default", "--yes"]),
        &["resumed with 2 slots"],
    );
    assert!(client.lock("default", "new").granted());
}

#[test]
fn a_wrong_command_changes_nothing_and_its_error_names_the_remedy() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    assert!(airlock.client().lock("default", "a").granted());
    let before = etcd.get(KEY);
    for (code, arguments, expected) in [
        (
            1,
            &["unlock", "default", "typo", "--yes"][..],
            "typo does not hold a slot; holders are: a",
        ),
        (1, &["unlock", "nope", "a", "--yes"], ": neither "),
        (
            1,
            &["unlock", "nope", "a", "--yes"],
            "configured are default, workers",
        ),
        (
            1,
            &["unlock", "default", "a"],
            "this is no terminal: nothing was changed; add --yes",
        ),
        (1, &["lock", "default", "", "--yes"], "empty client ID"),
        (2, &["set", "slots", "default", "0"], "0 is not in 1.."),
        (
            1,
            &["set", "slots", "default", "16001", "--yes"],
            "set 16000 or less, and more groups",
        ),
        (2, &["unlock", "default"], "<ID>"),
        (
            2,
            &["unlock", "default", "--all-held-longer-than", "soon"],
            "such as 2h, 90m or 1d",
        ),
    ] {
        assert_in(&fail(&airlock, code, arguments), &[expected]);
    }
    assert_in(
        &run(&airlock, &["unlock", "default", "a", "--dry-run"]),
        &["a is unlocked", "dry run: nothing was changed"],
    );
    assert_eq!(etcd.get(KEY), before);
}

#[test]
fn a_group_that_exists_only_in_the_store_can_be_repaired() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    let old = "com.coreos.airlock/groups/old/v1/semaphore";
    etcd.put(old, r#"{"total_slots":1,"holders":["dead"]}"#);
    assert_in(
        &run(&airlock, &["unlock", "old", "dead", "--yes"]),
        &["group old is not in ", "but the store has it"],
    );
    assert_eq!(etcd.get(old), r#"{"total_slots":1,"holders":[]}"#);
    assert_in(
        &fail(&airlock, 1, &["resume", "old", "--yes"]),
        &["say them with: airlock set slots old N"],
    );
}

#[test]
fn only_holders_beyond_the_given_time_are_unlocked() {
    let etcd = Etcd::start();
    etcd.ctl_txn(&[
        (
            KEY,
            r#"{"total_slots":3,"holders":["new","old","unknown"]}"#,
        ),
        (
            "com.coreos.airlock/groups/default/v1/lock-times",
            r#"{"holders":{"old":"2020-01-01T00:00:00Z","new":"2999-01-01T00:00:00Z"}}"#,
        ),
    ]);
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    let output = run(
        &airlock,
        &["unlock", "default", "--all-held-longer-than", "2h", "--yes"],
    );
    assert_in(
        &output,
        &[
            "old is unlocked",
            "unknown stays, since when it holds is unknown",
        ],
    );
    assert_eq!(
        etcd.get(KEY),
        r#"{"total_slots":3,"holders":["new","unknown"]}"#
    );
    let again = run(
        &airlock,
        &["unlock", "default", "--all-held-longer-than", "2h", "--yes"],
    );
    assert_in(&again, &["nothing to change"]);
}

#[test]
fn slots_are_printed_as_a_table_and_as_json() {
    let airlock = Airlock::embedded(LOCK);
    assert!(airlock.client().lock("workers", "a").granted());
    let table = run(&airlock, &["get", "slots"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[2], "GROUP    SLOTS  HELD  FREE  HOLDER  SINCE");
    assert_eq!(lines[3], "default      2     0     2  -");
    assert!(
        lines[4].starts_with("workers      1     1     0  a       20"),
        "{table}"
    );
    assert!(lines[4].ends_with(" s ago)"), "{table}");
    let json = run(&airlock, &["get", "slots", "workers", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let group = &json["groups"][0];
    assert_eq!(group["free"], 0);
    assert_eq!(group["holders"][0]["id"], "a");
    assert!(
        group["holders"][0]["age_seconds"].as_u64().unwrap() < 60,
        "{group}"
    );
    run(&airlock, &["set", "slots", "workers", "3", "--yes"]);
    assert_in(
        &run(&airlock, &["get", "slots"]),
        &["workers: the configuration says 1 slots; to have them: airlock set slots workers 1"],
    );
}

#[test]
fn an_unreachable_store_is_named_in_the_error() {
    let airlock = Airlock::start(
        "[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\ntransaction_timeout_ms = 500\n",
    );
    for arguments in [&["get", "slots"][..], &["unlock", "default", "a", "--yes"]] {
        assert_in(&fail(&airlock, 69, arguments), &["http://127.0.0.1:1"]);
    }
    let embedded = Airlock::embedded("");
    std::fs::write(
        embedded.folder().join("config.toml"),
        "[service]\ntls = false\n[embedded]\npath = \"elsewhere.db\"\n",
    )
    .unwrap();
    assert_in(
        &fail(&embedded, 69, &["unlock", "default", "a", "--yes"]),
        &[
            "elsewhere.db: no such file (embedded.path in ",
            "the folder that the command is started in",
        ],
    );
}

#[test]
fn watch_prints_changes_as_they_happen() {
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
fn commands_succeed_when_their_output_is_not_read() {
    let airlock = Airlock::embedded(LOCK);
    assert!(airlock.client().lock("default", "a").granted());
    let to_closed_pipe = |arguments: &[&str]| {
        let (_, writer) = std::io::pipe().unwrap();
        let output = airlock.command_to(writer, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    };
    to_closed_pipe(&["unlock", "default", "a", "--yes"]);
    assert!(!run(&airlock, &["get", "slots"]).contains("  a  "));
    for looking in [
        &["get", "slots"][..],
        &["ex", "get", "slots"],
        &["watch"],
        &["check-config"],
        &["completions", "bash"],
    ] {
        to_closed_pipe(looking);
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = airlock.command_to(full, &["get", "slots"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("cannot write to stdout: No space left"),
        "{errors}"
    );
}

/// The terminal is util-linux's `script`. The test types its reply after the question.
#[test]
fn on_a_terminal_a_command_asks_and_only_yes_executes_it() {
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
            let asked = fs::read_to_string(&log).is_ok_and(|text| text.contains("Do it? [y/N]"));
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
