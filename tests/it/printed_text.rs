//! Ids in the store that control a terminal, forge rows or are invisible: no command and no page prints them raw.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use airlock_test_support::airlock::{Airlock, LISTEN, airlock, binary};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

use crate::cli_scene::Scene;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

/// coreos/airlock accepts each of these ids, and stores them sorted.
fn ids() -> [String; 7] {
    [
        "\u{1b}[2J\u{1b}]0;it's\\\u{7}".into(),
        "--held-longer-than=1s".into(),
        "a\ndefault  9  0  9  -".into(),
        "a\u{200b}\u{ad}b".into(),
        "a\u{202e}b".into(),
        "x".repeat(65_536),
        "\u{9b}31m\u{7f}\u{2028}\u{feff}\u{e0001}".into(),
    ]
}

fn stored() -> String {
    json!({ "total_slots": 7, "holders": ids() }).to_string()
}

fn server(etcd: &Etcd) -> Airlock {
    let store = format!(
        "[etcd3]\nendpoints = {:?}\n[lock]\ndefault_slots = 7\n",
        etcd.endpoints()
    );
    let airlock = Airlock::start_with(&format!("{LISTEN}{store}"), &["-vvv"]);
    let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
    eventually("the holders to be known", || {
        (airlock.metric(name) == Some(7.0)).then_some(())
    });
    airlock
}

/// Asserts that a text contains no other characters than visible ones and the ends of its lines.
fn assert_visible(what: &str, text: &str) {
    let is_visible = |c: char| c.is_ascii_graphic() || c == ' ' || c == '\n' || "…·“”§".contains(c);
    // Not in full: the text would control the terminal of the developer.
    assert_eq!(text.find(|c| !is_visible(c)), None, "{what}: {text:.2000?}");
    assert!(!text.is_empty(), "{what}");
}

fn printed(output: &Output) -> String {
    let bytes = [&*output.stdout, &output.stderr].concat();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn commands_print_no_id_that_controls_a_terminal() {
    let etcd = Etcd::start();
    etcd.put(KEY, &stored());
    let airlock = server(&etcd);
    let watch = airlock.spawn(&["watch"]);
    eventually("the first line of the watch", || {
        watch.log().contains("7 slots, 7 held").then_some(())
    });
    let [_, _, newline, _, _, _, c1] = ids();
    for arguments in [
        &["get", "slots"][..],
        &["ex", "get", "slots"],
        &["unlock", "default", &newline, "--dry-run"],
        &["unlock", "default", &c1],
        &["unlock", "default", "typo"],
        &["unlock", "default", "--held-longer-than", "1h", "--yes"],
        &["lock", "default", &c1, "--yes"],
        &["get", "slots", &c1],
        &["get", "slots", "--json"],
    ] {
        let text = printed(&airlock.command(arguments));
        assert_visible(&format!("{arguments:?}"), &text);
    }

    // Each holder has one row, which is cut if it is longer than an id can be.
    let table = printed(&airlock.command(&["get", "slots"]));
    assert_eq!(table.lines().count(), 3 + ids().len(), "{table}");
    let longest = table.lines().map(|line| line.chars().count()).max();
    assert!(longest < Some(350), "{longest:?}");
    assert!(table.contains(&format!("{}…", "x".repeat(253))), "{table}");
    // Programs get the ids as they are.
    let json = airlock.command(&["get", "slots", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let holders = json["groups"][0]["lock"]["holders"].as_array().unwrap();
    let mut found: Vec<&str> = holders.iter().map(|h| h["id"].as_str().unwrap()).collect();
    found.sort_unstable();
    let mut expected = ids();
    expected.sort_unstable();
    assert_eq!(found, expected);

    let one = airlock.command(&["unlock", "default", &ids()[0], "--yes"]);
    assert!(one.status.success(), "{one:?}");
    eventually("the change", || {
        watch.log().contains(" has unlocked ").then_some(())
    });
    assert_visible("watch", &watch.log());
}

#[test]
fn the_page_and_the_log_contain_no_id_that_controls_a_terminal() {
    let etcd = Etcd::start();
    etcd.put(KEY, &stored());
    let airlock = server(&etcd);
    for path in ["/", "/v1/status", "/metrics", "/readyz"] {
        let (_, text) = airlock.status(path);
        assert_visible(path, &text);
    }
    let (_, json) = airlock.status("/v1/status");
    let json: Value = serde_json::from_str(&json).unwrap();
    let holders = json["groups"][0]["lock"]["holders"].as_array().unwrap();
    assert!(holders.iter().any(|holder| holder["id"] == ids()[0]));
    for id in ids().iter().filter(|id| id.len() < 16_000) {
        assert!(airlock.client().lock("default", id).granted());
    }
    let log = airlock.log();
    assert_visible("the log", &log);
    let longest = log.lines().map(str::len).max();
    assert!(longest < Some(2_000), "{longest:?}");
}

/// Returns the command that the page suggests for the oldest holder.
fn suggested_unlock(airlock: &Airlock) -> Option<String> {
    let (_, page) = airlock.status("/");
    let commands = page.split("<code>").skip(1);
    let mut commands = commands.map(|rest| rest.split("</code>").next().unwrap());
    let command = commands.find(|command| command.contains(" unlock "))?;
    let unescaped = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    Some(
        unescaped
            .iter()
            .fold(command.to_owned(), |text, (from, to)| {
                text.replace(from, to)
            }),
    )
}

/// Runs a command that unlocks a holder, as in a shell, without confirmation.
fn paste(command: &str) {
    let binary = binary().display().to_string();
    let command = command.replacen("airlock ", &format!("{binary} "), 1);
    let command = command.replacen(" unlock ", " unlock --yes ", 1);
    let output = Command::new("bash").args(["-c", &command]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command}: {}", printed(&output));
}

#[test]
fn no_name_of_a_node_a_group_or_a_server_and_no_reason_controls_a_terminal() {
    let scene = Scene::new();
    let evil = "\u{1b}[31m\u{202e}\n\u{9b}2J";
    let group = format!("g{evil}");
    let hold = json!({
        "id": format!("id{evil}"), "name": format!("name{evil}"), "until": "2020-01-01T00:00:00Z",
        "by": format!("by{evil}"),
    });
    let held = format!("held{evil}");
    scene.put(
        "databases",
        &json!({ "total_slots": 1, "holders": [held] }),
        &json!({
            "holders": { (&held): { "since": "2020-01-01T00:00:00Z", "name": format!("name{evil}") } },
            "history": [hold],
            "gap": true,
            "admin": [
                { "at": "2020-01-01T00:00:00Z", "by": format!("by{evil}"), "action": "lock", "id": held },
                { "at": "2020-01-01T00:00:00Z", "by": format!("by{evil}"), "action": "pause" },
            ],
        }),
    );
    // The key of a group that only another program can have created.
    scene.put(
        "g%1B%5B31m%E2%80%AE%0A%C2%9B2J",
        &json!({ "total_slots": 0, "holders": [held] }),
        &json!({ "history": [hold], "gap": true }),
    );
    let document = json!({
        "version": format!("1{evil}"), "configuration": format!("c{evil}"), "more_rejected": true,
        "groups": [{ "name": "databases", "count": 5, "may_be_more": true, "nodes": [{
            "id": format!("waiting{evil}"), "name": format!("name{evil}"), "first_asked": "2020-01-01T00:00:00Z",
            "reason": format!("reason{evil}"),
        }] }],
        "rejected": [{
            "reason": format!("reason{evil}"), "peer": "192.0.2.1", "group": "databases", "id": format!("rejected{evil}"),
            "detail": format!("detail{evil}"), "first": "2020-01-01T00:00:00Z", "repeated": true,
        }],
    });
    scene.put_server_as("evil", &format!("host{evil}"), &document);
    let run = |arguments: &[&str]| {
        let mut command = airlock();
        command.current_dir(scene.folder.path());
        let output = command
            .args(["-c", "config.toml"])
            .args(arguments)
            .output()
            .unwrap();
        let text = printed(&output);
        assert_visible(&format!("{arguments:?}"), &text);
        text
    };
    for arguments in [
        &["status"][..],
        &["status", "-o", "wide"],
        &["status", "-o", "name"],
        &["status", "-o", "json"],
        &["status", "databases"],
        &["status", "databases", "--all"],
        &["status", &group],
        &["status", &held],
        &["status", &format!("rejected{evil}")],
        &["status", &format!("nowhere{evil}")],
        &["history"],
        &["history", "--json"],
        &["history", &group],
        &["history", "--node", &held],
        &["get", "slots"],
    ] {
        run(arguments);
    }
    // The texts are there.
    let fleet = run(&["status"]);
    for shown in ["host", "reason", "detail", "name", "rejected", "g"] {
        let escaped = format!(r"{shown}\x1b[31m\u202e\n\u009b2J");
        assert!(fleet.contains(&escaped), "{escaped}: {fleet}");
    }
    let all = run(&["status", "databases", "--all"]);
    assert!(
        all.contains(r"waiting") || all.contains(r"name\x1b[31m"),
        "{all}"
    );
    assert!(run(&["history"]).contains(r"by\x1b[31m\u202e"));
}

#[test]
fn the_commands_of_a_group_that_looks_like_an_option_can_be_pasted() {
    let etcd = Etcd::start();
    let groups = "[lock]\n[[lock.groups]]\nname = \"-g\"\nslots = 9\n";
    let airlock = Airlock::on_etcd(&etcd.endpoints(), groups);
    let hold = json!({ "id": "n", "until": "2020-01-01T00:00:00Z" });
    etcd.ctl_txn(&[
        (
            "com.coreos.airlock/groups/-g/v1/semaphore",
            r#"{"total_slots":1,"holders":["--yes"]}"#,
        ),
        (
            "com.coreos.airlock/groups/-g/v1/lock-times",
            &json!({ "history": vec![hold; 5] }).to_string(),
        ),
    ]);
    for node in ["a", "b", "c", "d"] {
        assert!(!airlock.client().lock("-g", node).granted());
    }
    let text = eventually("the waiting nodes", || {
        let text = printed(&airlock.command(&["status", "--", "-g"]));
        text.contains("WAITING  4 nodes").then_some(text)
    });
    let expected = [
        ("set slots -- -g 9", Some(0)),
        ("unlock -- -g --yes", Some(0)),
        ("status --all -- -g", Some(0)),
        ("history -- -g", Some(0)),
    ];
    for (command, code) in expected {
        let line = airlock.suggested(command);
        assert!(text.contains(&line), "{line} is not in {text}");
        let line = line.replacen("airlock ", &format!("{} ", binary().display()), 1);
        let line = line.replacen("unlock ", "unlock --yes ", 1);
        let line = line.replacen("set slots ", "set slots --yes ", 1);
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert_eq!(output.status.code(), code, "{line}: {}", printed(&output));
    }
}

#[test]
fn a_suggested_command_can_be_pasted_for_any_id() {
    let etcd = Etcd::start();
    etcd.put(KEY, &stored());
    let airlock = server(&etcd);
    let mut previous = None;
    for left in (0..ids().len()).rev() {
        // A page is shown for up to a second after it was rendered.
        let command = eventually("the page to be current", || {
            let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
            (airlock.metric(name) == Some((left + 1) as f64)).then_some(())?;
            suggested_unlock(&airlock).filter(|command| Some(command) != previous.as_ref())
        });
        assert_visible("the command", &command);
        paste(&command);
        previous = Some(command);
    }
    assert_eq!(etcd.get(KEY), r#"{"total_slots":7,"holders":[]}"#);
}

#[test]
fn a_holder_in_a_hint_can_be_pasted_for_any_id() {
    let etcd = Etcd::start();
    let airlock = Airlock::start(&format!("[etcd3]\nendpoints = {:?}\n", etcd.endpoints()));
    // An id that is longer than a server accepts is not listed in full.
    let mut ids = ids().to_vec();
    ids.retain(|id| id.len() < 253);
    ids.sort();
    for (index, id) in ids.iter().enumerate() {
        let value = json!({ "total_slots": 6, "holders": ids });
        etcd.put(KEY, &value.to_string());
        let hint = printed(&airlock.command(&["unlock", "default", "typo"]));
        let (_, holders) = hint.trim_end().split_once("the holders are: ").unwrap();
        let holder = holders.split(", ").nth(index).unwrap();
        paste(&airlock.suggested(&format!("unlock default {holder}")));
        let left = ids.iter().filter(|other| *other != id);
        let left = json!({ "total_slots": 6, "holders": left.collect::<Vec<_>>() });
        let found: Value = serde_json::from_str(&etcd.get(KEY)).unwrap();
        assert_eq!(found, left, "{holder}");
    }
}

#[test]
fn a_table_of_ids_of_zincati_fits_into_120_columns() {
    let etcd = Etcd::start();
    let ids = ["0", "a"].map(|digit| digit.repeat(32));
    let [first, second] = &ids;
    // A longer id moves only its own row.
    let long = "node".repeat(50);
    let value = json!({ "total_slots": 10_000, "holders": [first, second, long] });
    etcd.put(KEY, &value.to_string());
    let store = format!("[etcd3]\nendpoints = {:?}\n", etcd.endpoints());
    let airlock = Airlock::start(&store);
    let table = printed(&airlock.command(&["get", "slots"]));
    for id in &ids {
        let line = table.lines().find(|line| line.contains(id)).unwrap();
        // The longest age is longer than `unknown`, and an address of IPv4 than the title of its column.
        let (longer_age, longer_address) = ("123 d 23 h ago".len() - "unknown".len(), 8);
        assert!(line.len() + longer_age + longer_address <= 120, "{table}");
    }
    assert!(table.contains(&long), "{table}");
}

#[test]
fn a_password_in_a_url_is_printed_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for line in [
        "endpoints = [\"https://root:hunter2@etcd:2379\"]",
        "endpoints = [\"root:hunter2@etcd:2379\", \"http://127.0.0.1:2379\"]",
        "endpoints = [\"ftp://root:hunter2@etcd:2379/\"]",
        "endpoints = \"https://root:hunter2@etcd:2379\"",
        "endpoints = [https://root:hunter2@etcd:2379]",
        "endpoints = [\"https://root:hunter2@etcd:2379",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[service]\naddress = \"https://root:hunter2@host\"",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[service]\naddress = \"https://root:hunter2@host:9090\"",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[status]\nport = \"https://root:hunter2@host\"",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[lock]\ndefault_group_name = \"https://root:hunter2@host\"\n\
         on_slots_mismatch = \"https://root:hunter2@host\"",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[notify]\nurl = \"https://root:hunter2@hooks/\"",
        "endpoints = [\"http://127.0.0.1:2379\"]\n[notify]\nurl = \"https://root:hun/ter2hunter2@hooks/\"",
    ] {
        fs::write(&path, format!("[etcd3]\n{line}\n")).unwrap();
        for arguments in [
            &["check-config"][..],
            &["check-config", "--json"],
            &["serve", "-vvv"],
            &["serve", "--log-format", "json"],
            &["get", "slots"],
        ] {
            let output = airlock().arg("-c").arg(&path).args(arguments).output();
            let output = output.unwrap();
            let text = printed(&output);
            // `get slots` needs the section of the store only, and no etcd runs here.
            let expected = if arguments[0] == "get" && line.contains("\n[") {
                69
            } else {
                78
            };
            assert_eq!(output.status.code(), Some(expected), "{line}: {text}");
            assert!(!text.contains("hunter2"), "{arguments:?}: {text}");
            assert!(text.contains("root:***@"), "{arguments:?}: {text}");
        }
    }
}
