//! The night played again: an operator is paged because nodes do not update, and finds out why at any server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use airlock_test_support::airlock::{Airlock, LISTEN, port_in};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::pki::secret;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::prometheus::rules;
use crate::runbook::sections;

const DYING: &str = "2204af7f41984cb19b8cde4edc06c142";
const WAITING: [&str; 2] = [
    "5a1f9e0c7d3b4a2e8f6c1b0d9e8f7a6b",
    "7c00c0ffee0000000000000000000000",
];

/// Starts a server on etcd that knows the names of the nodes; `more` is the rest of the configuration.
fn server(etcd: &Etcd, names: &str, more: &str) -> Airlock {
    let listen = LISTEN.replace(
        "[service]\n",
        &format!("[service]\nnode_names_path = {names:?}\n"),
    );
    let endpoints = etcd.endpoints();
    let groups = "[[lock.groups]]\nname = \"workers\"\n";
    let config = format!("{listen}[etcd3]\nendpoints = {endpoints:?}\n{groups}{more}");
    Airlock::start_with(&config, &["-v"])
}

/// Makes the only lock of the group two hours and five minutes old.
fn age(etcd: &Etcd) {
    let key = |name: &str| format!("com.coreos.airlock/groups/workers/v1/{name}");
    let (semaphore, times) = (etcd.get(&key("semaphore")), etcd.get(&key("lock-times")));
    let mut times: Value = serde_json::from_str(&times).unwrap();
    let since = Timestamp::now() - SignedDuration::from_mins(125);
    times["holders"][DYING]["since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    etcd.ctl_txn(&[
        (&key("semaphore"), &semaphore),
        (&key("lock-times"), &times.to_string()),
    ]);
}

/// Runs a command that finds something to look at.
fn attention(airlock: &Airlock, arguments: &[&str]) -> String {
    let output = airlock.command(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn any_server_names_the_dying_node_who_waits_where_and_the_command() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("names");
    fs::write(
        &names,
        format!(
            "{DYING} db-worker-7\n{} db-worker-3\n{} db-worker-9\n",
            WAITING[0], WAITING[1]
        ),
    )
    .unwrap();
    let names = names.display().to_string();
    let servers = [(); 3].map(|()| server(&etcd, &names, ""));
    assert!(servers[0].client().lock("workers", DYING).granted());
    let granted = servers[0].log();
    for field in ["lock granted", "peer=127.0.0.1", "name=db-worker-7"] {
        assert!(granted.contains(field), "{granted}");
    }
    for (server, node) in servers[1..].iter().zip(WAITING) {
        assert!(!server.client().lock("workers", node).granted());
    }
    age(&etcd);
    let port = |server: &Airlock| port_in(&server.log(), "main service").unwrap();
    let asked = [port(&servers[1]), port(&servers[2])];
    for server in &servers {
        let unlock = server.suggested(&format!("unlock workers {DYING}"));
        let text = eventually("both waiting nodes in the status", || {
            let text = attention(server, &["status", "workers", "--all"]);
            text.contains("WAITING  2 nodes").then_some(text)
        });
        for expected in [
            "workers: overdue. db-worker-7 has held a slot for 2 h 5 min",
            "127.0.0.1",
            DYING,
            &unlock,
            "db-worker-3",
            "db-worker-9",
            "all slots held",
            "a slot becomes free when db-worker-7 reports or is unlocked",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        for (asked, name) in asked.iter().zip(["db-worker-3", "db-worker-9"]) {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            assert!(line.contains(&format!(":{asked}  ")), "{line}");
        }
        let all = attention(server, &["status"]);
        assert!(all.contains("3 servers: "), "{all}");
        let first = all.lines().skip_while(|line| !line.starts_with("GROUP"));
        let first = first.clone().nth(1).unwrap_or_default();
        assert!(first.starts_with("workers  overdue"), "{all}");
        let node = attention(server, &["status", "db-worker-9"]);
        let waits = format!(
            "db-worker-9 ({}, 127.0.0.1) has waited for a slot of group workers",
            WAITING[1]
        );
        assert!(node.contains(&waits), "{node}");
        assert!(
            node.contains(&format!(":{}: all slots", asked[1])),
            "{node}"
        );
        let page = eventually("the page of the same", || {
            let (_, page) = server.status("/");
            (page.contains("db-worker-3") && page.contains("db-worker-9")).then_some(page)
        });
        let headline = "workers: db-worker-7 has held the only slot for 2 h 5 min";
        for expected in [headline, &unlock, "127.0.0.1", "2 nodes waiting"] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
        for (asked, node) in asked.iter().zip(WAITING) {
            let row = page.split("<tr").find(|row| row.contains(node)).unwrap();
            assert!(row.contains(&format!(":{asked}</td>")), "{row}");
        }
    }
    // The alert leads to the section that names the command. `runbook` checks that each alert has such a section.
    let mut rules = rules().into_iter();
    let rule = rules.find(|rule| rule.alert == "AirlockLockHeldTooLong");
    let url = rule.unwrap().runbook_url;
    let (_, anchor) = url.split_once('#').unwrap();
    let sections = sections();
    let section = &sections[anchor];
    assert!(section.contains("`airlock status`"), "{section}");
    let dead = "release-the-slot-of-a-dead-node";
    assert!(section.contains(&format!("(#{dead})")), "{section}");
    assert!(sections[dead].contains("`airlock unlock GROUP ID`"));

    // The node is unlocked by hand, and the others update.
    let unlocked = servers[2].command(&["unlock", "workers", DYING, "--yes"]);
    assert!(unlocked.status.success(), "{unlocked:?}");
    assert!(servers[0].client().lock("workers", WAITING[0]).granted());
    assert!(servers[1].client().unlock("workers", WAITING[0]).granted());
    let released = servers[1].log();
    for field in ["lock released", "name=db-worker-3", "held_seconds="] {
        assert!(released.contains(field), "{released}");
    }
    let history = servers[0].command(&["history", "workers", "--since", "24h"]);
    let history = String::from_utf8(history.stdout).unwrap();
    for expected in ["db-worker-7", "2 h 5 min", "db-worker-3", "unlocked"] {
        assert!(history.contains(expected), "{expected} is not in {history}");
    }
    let only = servers[0].command(&["history", "--node", "db-worker-3", "--json"]);
    let only: Value = serde_json::from_slice(&only.stdout).unwrap();
    let holds: Vec<&Value> = only["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["history"].as_array().unwrap())
        .collect();
    assert_eq!(holds.len(), 1, "{only}");
    assert_eq!(holds[0]["id"], WAITING[0]);
}

#[test]
fn the_history_outlives_coreos_airlock_and_shows_a_gap() {
    const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    let client = airlock.client();
    assert!(client.lock("default", "before").granted());
    assert!(client.unlock("default", "before").granted());
    etcd.put(KEY, r#"{"total_slots":1,"holders":[]}"#);
    let gap = "default: another program, such as coreos/airlock, has changed the group as well";
    let history = || {
        let output = airlock.command(&["history"]);
        String::from_utf8(output.stdout).unwrap()
    };
    let text = history();
    assert!(text.contains("before") && text.contains(gap), "{text}");
    assert!(client.lock("default", "after").granted());
    assert!(client.unlock("default", "after").granted());
    let text = history();
    for expected in ["before", "after", gap] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn a_fleet_with_a_wrong_password_is_red_at_every_server() {
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    let hash = bcrypt::hash("secret", 4).unwrap();
    secret(&users, &format!("node:{hash}\n"));
    let start = || {
        let listen = LISTEN.replace(
            "[service]\n",
            &format!("[service]\nhtpasswd_path = {users:?}\n"),
        );
        let endpoints = etcd.endpoints();
        Airlock::start_with(
            &format!("{listen}[etcd3]\nendpoints = {endpoints:?}\n"),
            &["-v"],
        )
    };
    let servers = [start(), start()];
    // As a healthy fleet, nothing needs attention.
    eventually("the servers to be known", || {
        servers[1]
            .command(&["status"])
            .status
            .success()
            .then_some(())
    });
    let url = format!("{}/v1/pre-reboot", servers[0].url());
    // A single request can be mistyped.
    for _ in 0..2 {
        let denied = reqwest::blocking::Client::new()
            .post(&url)
            .header("fleet-lock-protocol", "true")
            .basic_auth("node", Some("wrong"))
            .body(r#"{"client_params":{"id":"n","group":"default"}}"#)
            .send()
            .unwrap();
        assert_eq!(denied.status(), 401);
    }
    let metric = r#"airlock_denied_clients{reason="wrong_password"}"#;
    assert_eq!(servers[0].metric(metric), Some(1.0));
    for server in &servers {
        let text = eventually("the rejected client in the status", || {
            let output = server.command(&["status"]);
            let text = String::from_utf8(output.stdout).unwrap();
            let is_red = output.status.code() == Some(1);
            (is_red && text.contains("Rejected clients:")).then_some(text)
        });
        let client = "127.0.0.1 (n), for ";
        let reason = ": wrong user or password, group default\n";
        assert!(text.contains(client) && text.contains(reason), "{text}");
        assert!(text.contains("rejected clients"), "{text}");
        let group = server.command(&["status", "default"]);
        assert_eq!(group.status.code(), Some(1), "{group:?}");
        let node = server.command(&["status", "n"]);
        let node = String::from_utf8(node.stdout).unwrap();
        assert!(node.contains(&format!("rejected: {client}")), "{node}");
        eventually("the rejected client on the page", || {
            let (_, page) = server.status("/");
            page.contains("1 client is rejected").then_some(())
        });
    }
}

/// Receives events, and responds to each of them with a 204.
pub(crate) fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let events = Arc::<Mutex<Vec<Value>>>::default();
    let received = Arc::clone(&events);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, received) = (stream.unwrap(), Arc::clone(&received));
            thread::spawn(move || receive(&stream, &received));
        }
    });
    (url, events)
}

fn receive(stream: &TcpStream, events: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        events
            .lock()
            .unwrap()
            .push(serde_json::from_slice(&body).unwrap());
        let mut writer = stream;
        writer
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
    }
}

#[test]
fn each_event_of_the_night_is_sent_once() {
    let etcd = Etcd::start();
    let (url, events) = receiver();
    let notify = format!("[notify]\nurl = {url:?}\n");
    let servers = [(); 2].map(|()| Airlock::on_etcd(&etcd.endpoints(), &notify));
    let clients = servers.each_ref().map(Airlock::client);
    let received = |kind: &str, field: &str| {
        let events = events.lock().unwrap();
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        let fields = of_kind.map(|event| event["data"][field].as_str().unwrap().to_owned());
        fields.collect::<Vec<_>>()
    };
    // A server sends events in the order in which it observes their causes, and one about each client that it has rejected
    // itself: the event shows that the server has looked, and that all that it observed before was received.
    let both_look = |group: &str, id: &str, reason: &str| {
        for client in &clients {
            assert_eq!(client.lock(group, id).status, 400);
        }
        eventually("both servers to look", || {
            let reasons = received("airlock.lock.denied", "reason");
            let matching = reasons.iter().filter(|known| *known == reason);
            (matching.count() == 2).then_some(())
        });
    };
    eventually("both servers to know each other", || {
        let known = |server: &Airlock| server.metric("airlock_servers") == Some(2.0);
        servers.iter().all(known).then_some(())
    });
    assert!(clients[0].lock("default", "n").granted());
    assert!(clients[1].unlock("default", "n").granted());
    both_look("wrong", "n", "unknown_group");
    for (command, is_paused) in [("pause", 1.0), ("resume", 0.0)] {
        let output = servers[0].command(&[command, "default", "--yes"]);
        assert!(output.status.success(), "{output:?}");
        eventually("both servers to know the command", || {
            let metric = r#"airlock_group_paused{group="default"}"#;
            let knows = |server: &Airlock| server.metric(metric) == Some(is_paused);
            servers.iter().all(knows).then_some(())
        });
    }
    both_look("default", "", "invalid_client_identity");
    assert_eq!(received("airlock.lock.granted", "id"), ["n"]);
    assert_eq!(received("airlock.lock.released", "id"), ["n"]);
    let commands = received("airlock.lock.admin", "action");
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(commands[0].starts_with("paused"), "{commands:?}");
    assert!(commands[1].starts_with("resumed"), "{commands:?}");
    assert_eq!(received("airlock.lock.denied", "reason").len(), 4);
}
