//! The administrators' commands beside running servers: their output, their changes, and the log of the servers.

use std::path::Path;
use std::process::Output;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

pub(crate) const LOCK: &str =
    "[lock]\ndefault_slots = 2\n[[lock.groups]]\nname = \"workers\"\nslots = 1\n";
const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Runs a command that has to succeed, and returns its output.
pub(crate) fn run(airlock: &Airlock, arguments: &[&str]) -> String {
    let output = airlock.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// Runs a command that has to fail with `code`, and returns its output.
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
    // A server logs the changes of a group that it knows; both have to know the group before the command.
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
            "group default: 2 slots, 2 held (a, b); after this change:\n  a is unlocked; it held its slot for ",
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
    // A later change of the group does not make a server log the entry again.
    run(&servers[0], &["lock", "workers", "x", "--yes"]);
    servers[1].wait_for_log("an administrator has locked a slot for x");
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
            "default  paused      0     1        -  holder  127.0.0.1",
            "paused by ",
            &format!(
                "to end the pause: {}\n",
                airlock.suggested("resume default")
            ),
        ],
    );
    assert_in(
        &fail(&airlock, 1, &["lock", "default", "other", "--yes"]),
        &[
            "error: group default: the group is paused\n",
            &format!(
                "hint: end the pause first: {}\n",
                airlock.suggested("resume default")
            ),
        ],
    );
    assert_in(
        &run(&airlock, &["resume", "default", "--yes"]),
        &["resumed with 2 slots"],
    );
    assert!(client.lock("default", "new").granted());
}

#[test]
fn a_refused_command_changes_nothing_and_names_the_remedy() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    assert!(airlock.client().lock("default", "a").granted());
    let before = etcd.get(KEY);
    for (code, arguments, expected) in [
        (
            1,
            &["unlock", "default", "typo", "--yes"][..],
            "error: group default: \"typo\" does not hold a slot\nhint: the holders are: a\n",
        ),
        (1, &["unlock", "nope", "a", "--yes"], ": it is neither in "),
        (
            1,
            &["unlock", "nope", "a", "--yes"],
            "\nhint: configured groups: default, workers\n",
        ),
        (
            1,
            &["unlock", "default", "a"],
            "stdin is not a terminal\nhint: add --yes ",
        ),
        (
            1,
            &["lock", "default", "", "--yes"],
            "error: the id \"\" cannot be used: empty client ID",
        ),
        (
            2,
            &["set", "slots", "default", "0"],
            "`airlock pause GROUP` stops new locks",
        ),
        (
            1,
            &["set", "slots", "default", "16001", "--yes"],
            "set 12000 ",
        ),
        (2, &["unlock", "default"], "<ID>"),
        (
            2,
            &["unlock", "default", "--held-longer-than", "soon"],
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
fn a_group_that_only_the_store_contains_can_be_changed() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    let old = "com.coreos.airlock/groups/old/v1/semaphore";
    etcd.put(old, r#"{"total_slots":1,"holders":["dead"]}"#);
    assert_in(
        &run(&airlock, &["unlock", "old", "dead", "--yes"]),
        &[
            "warning: group old is not configured in ",
            ", but the store has a value for it\n",
        ],
    );
    assert_eq!(etcd.get(old), r#"{"total_slots":1,"holders":[]}"#);
    assert_in(
        &fail(&airlock, 1, &["resume", "old", "--yes"]),
        &[
            "error: group old is not configured in ",
            &format!(
                "hint: set the number with: {}\n",
                airlock.suggested("set slots old N")
            ),
        ],
    );
}

#[test]
fn only_holders_over_the_given_time_are_unlocked() {
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
        &["unlock", "default", "--held-longer-than", "2h", "--yes"],
    );
    assert_in(
        &output,
        &[
            "old is unlocked",
            "unknown stays locked, because its lock time is unknown",
        ],
    );
    assert_eq!(
        etcd.get(KEY),
        r#"{"total_slots":3,"holders":["new","unknown"]}"#
    );
    let again = run(
        &airlock,
        &["unlock", "default", "--held-longer-than", "2h", "--yes"],
    );
    assert_in(&again, &["nothing to change"]);
}

#[test]
fn slots_are_printed_as_a_table_and_as_json() {
    let airlock = Airlock::embedded(LOCK);
    assert!(airlock.client().lock("workers", "a").granted());
    let table = run(&airlock, &["get", "slots"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[2],
        "GROUP    STATE  SLOTS  HELD  WAITING  HOLDER  ADDRESS    SINCE"
    );
    assert_eq!(lines[3], "default  free       2     0        -  -");
    assert!(
        lines[4].starts_with("workers  full       1     1        -  a       127.0.0.1  "),
        "{table}"
    );
    assert!(lines[4].ends_with(" s ago"), "{table}");
    let json = run(&airlock, &["get", "slots", "workers", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let group = &json["groups"][0];
    assert_eq!(group["lock"]["free"], 0);
    let holder = &group["lock"]["holders"][0];
    assert_eq!(holder["id"], "a");
    assert!(holder["age_seconds"].as_u64().unwrap() < 60, "{group}");
    assert_eq!(group["waiting_count"], 0, "{group}");
    run(&airlock, &["set", "slots", "workers", "3", "--yes"]);
    assert_in(
        &run(&airlock, &["get", "slots"]),
        &[&format!(
            "workers: the configuration has 1 slot; to apply it: {}\n",
            airlock.suggested("set slots workers 1")
        )],
    );
}

#[test]
fn an_unreachable_store_is_named_in_the_error() {
    let airlock = Airlock::start(
        "[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\ntransaction_timeout_ms = 500\n",
    );
    for arguments in [&["get", "slots"][..], &["unlock", "default", "a", "--yes"]] {
        assert_in(
            &fail(&airlock, 69, arguments),
            &[
                "error: cannot reach the store (etcd http://127.0.0.1:1, from ",
                "  caused by: http://127.0.0.1:1: ",
                "hint: check that etcd is running, and that etcd3.endpoints names it\n",
            ],
        );
    }
    let embedded = Airlock::embedded("");
    let name = |path: &Path| {
        let config = format!("[service]\ntls = false\n[embedded]\npath = {path:?}\n");
        std::fs::write(embedded.folder().join("config.toml"), config).unwrap();
    };
    name(Path::new("elsewhere.db"));
    assert_in(
        &fail(&embedded, 69, &["unlock", "default", "a", "--yes"]),
        &[
            "elsewhere.db: no such file (embedded.path in ",
            "the directory in which the command is started",
        ],
    );
    // Only a server makes a store of it.
    let file = embedded.folder().join("elsewhere.db");
    name(&file);
    std::fs::write(&file, "").unwrap();
    assert_in(
        &fail(&embedded, 69, &["get", "slots"]),
        &["elsewhere.db: the file is empty (embedded.path in "],
    );
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn ids_and_names_from_the_store_cannot_control_the_terminal() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    let hostile = "a\u{1b}[2J\nhint: run this";
    let value = serde_json::json!({ "total_slots": 2, "holders": [hostile, "b"] });
    etcd.put(KEY, &value.to_string());
    let table = run(&airlock, &["get", "slots", "default"]);
    let row =
        "default  full       2     2        -  a\\x1b[2J\\nhint: run this  -        unknown\n";
    assert_in(&table, &[row]);
    let refused = fail(&airlock, 1, &["unlock", "default", "typo", "--yes"]);
    assert_in(
        &refused,
        &["hint: the holders are: $'a\\033[2J\\012hint: run this', b\n"],
    );
    let preview = run(&airlock, &["unlock", "default", hostile, "--dry-run"]);
    assert_in(&preview, &["a\\x1b[2J\\nhint: run this is unlocked"]);
    for text in [table, refused, preview] {
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(!text.contains("\nhint: run this"), "{text:?}");
    }
    // Widths of the formatting machinery are limited to 16 bits; the length of a stored id is not.
    let long = "x".repeat(70_000);
    let value = serde_json::json!({ "total_slots": 2, "holders": [long, "b"] });
    etcd.put(KEY, &value.to_string());
    let table = run(&airlock, &["get", "slots", "default"]);
    let cut = format!("{}…  -        unknown\n", &long[..253]);
    assert_in(&table, &["  b       -        unknown\n", &cut]);
}

#[test]
fn a_damaged_value_is_named_with_its_location_and_the_command_that_repairs_it() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), LOCK);
    etcd.put(KEY, r#"{"total_slots":2,"holders":["a""#);
    for command in [&["get", "slots"][..], &["pause", "default", "--yes"]] {
        assert_in(
            &fail(&airlock, 1, command),
            &[
                &format!(
                    "error: the stored value of group default cannot be used (etcd key {KEY})\n"
                ),
                r#"  caused by: its JSON is cut off: {"total_slots":2,"holders":["a""#,
                "in docs/operations.md, and repair it with: ETCDCTL_API=3 etcdctl ",
                &format!(" put {KEY} "),
            ],
        );
    }
}
