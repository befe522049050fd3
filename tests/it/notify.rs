//! `[notify]`: its check, the start of a server with it, the reload of its files, and which server sends an event.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use airlock_test_support::airlock::{Airlock, port_in};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, secret};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::check_config::{Config, EMBEDDED};
use crate::night::receiver;

/// A receiver that is not running, since no program listens on the port.
const NOTIFY: &str =
    "[notify]\nurl = \"http://127.0.0.1:1/token\"\nsecret_path = \"{folder}/secret\"\n";

const SECRET: &str = "a secret of the receiver\n";

fn config(notify: &str) -> Config {
    let config = Config::new(&format!("[service]\ntls = false\n{EMBEDDED}{notify}"));
    secret(&config.folder.path().join("secret"), SECRET);
    config
}

#[test]
fn the_receiver_is_described_without_its_token() {
    let config = config(NOTIFY);
    let text = config.check(0, &["--strict"]);
    let expected = format!(
        "  sends events (granted, released, overdue, admin, denied) to http://127.0.0.1:1/…, signed with the secret in \
         {}/secret\n",
        config.folder.path().display()
    );
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains("token"), "{text}");
    let config = self::config("[notify]\nurl = \"https://hooks\"\nevents = [\"denied\"]\n");
    let text = config.check(0, &["--strict"]);
    let expected = "  sends events (denied) to https://hooks, without a signature\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn files_that_cannot_be_used_and_unknown_events_are_errors_with_their_keys() {
    let config = config(
        "[notify]\nurl = \"https://hooks\"\nsecret_path = \"{folder}/secret\"\nca_cert_path = \"{folder}/ca.pem\"\n\
         events = [\"grants\"]\n",
    );
    secret(&config.folder.path().join("secret"), "short\n");
    config.assert_errors(&[
        (
            ":7, notify.secret_path",
            "contains a secret of 5 bytes; at least 16 are needed",
        ),
        (
            ":8, notify.ca_cert_path",
            "/ca.pem: cannot be read: No such file",
        ),
        (":9, notify.events[0]", "did you mean \"granted\"?"),
    ]);
    fs::remove_file(config.folder.path().join("secret")).unwrap();
    fs::copy(Ca::new("ca").path(), config.folder.path().join("ca.pem")).unwrap();
    let text = fs::read_to_string(config.path())
        .unwrap()
        .replace("grants", "granted");
    fs::write(config.path(), text).unwrap();
    config.assert_errors(&[(
        ":7, notify.secret_path",
        "/secret: cannot be read: No such file",
    )]);
}

#[test]
fn a_secret_that_everyone_can_read_and_plain_http_are_warnings() {
    let config = config(&NOTIFY.replace("127.0.0.1:1", "192.0.2.1"));
    let path = config.folder.path().join("secret");
    fs::set_permissions(config.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = config.check(0, &[]);
    let chmod = format!("chmod o= {}", path.display());
    for expected in [
        &chmod,
        ":7, notify.secret_path)",
        "in plain text",
        ":6, notify.url)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains(": valid, 2 warnings\n"), "{text}");
}

#[test]
fn the_metrics_of_events_exist_only_with_a_receiver() {
    let names = [
        "airlock_notify_events_total{result=\"delivered\"}",
        "airlock_notify_events_total{result=\"dropped\"}",
        "airlock_notify_events_total{result=\"rejected\"}",
        "airlock_notify_queue_events",
        "airlock_notify_failures_total",
        "airlock_tls_reload_failures_total{target=\"notify\"}",
    ];
    let folder = tempfile::tempdir().unwrap();
    secret(&folder.path().join("secret"), SECRET);
    let notify = NOTIFY.replace("{folder}", folder.path().to_str().unwrap());
    let (with, without) = (Airlock::embedded(&notify), Airlock::embedded(""));
    for name in names {
        assert_eq!(with.metric(name), Some(0.0), "{name}");
        assert_eq!(without.metric(name), None, "{name}");
    }
    assert!(with.client().lock("default", "a").granted());
}

#[test]
fn a_secret_is_reloaded_and_a_changed_receiver_needs_a_restart() {
    let mut airlock = Airlock::embedded("");
    let path = airlock.folder().join("secret");
    secret(&path, SECRET);
    airlock.reload(&format!("{EMBEDDED}{NOTIFY}"));
    airlock.wait_for_log("[notify] has changed; restart the server to apply the change");

    airlock.restart();
    secret(&path, "short");
    let failures = "airlock_tls_reload_failures_total{target=\"notify\"}";
    eventually("the secret to be rejected", || {
        (airlock.metric(failures) == Some(1.0)).then_some(())
    });
    airlock.wait_for_log("contains a secret of 5 bytes; at least 16 are needed; write a new one");
    secret(&path, "another secret of the receiver");
    airlock.wait_for_log("level=info msg=\"files reloaded\" what=notify");
    airlock.terminate();
    assert_eq!(airlock.process().wait().code(), Some(0));
}

/// What a receiver has received.
struct Events(Arc<Mutex<Vec<Value>>>);

impl Events {
    /// Returns a field of the data of each event of a kind.
    fn all(&self, kind: &str, field: &str) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let kind = format!("airlock.lock.{kind}");
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        let fields = of_kind.map(|event| event["data"][field].as_str().unwrap_or("").to_owned());
        fields.collect()
    }

    fn wait_for(&self, kind: &str, field: &str, expected: &[&str]) {
        eventually(&format!("{kind} events: {expected:?}"), || {
            (self.all(kind, field).len() >= expected.len()).then_some(())
        });
        assert_eq!(self.all(kind, field), expected);
    }

    /// Waits until the server has observed what it knew before the call, and until the events that it has sent about that
    /// were received. A denial is the next event, but a client causes one an hour for each reason.
    fn wait_for_observation(&self, server: &Airlock, reason: &str) {
        let count = || {
            let reasons = self.all("denied", "reason");
            reasons.iter().filter(|known| *known == reason).count()
        };
        let (before, client) = (count(), server.client());
        let denied = match reason {
            "unknown_group" => client.lock("wrong", "n"),
            "invalid_client_identity" => client.lock("default", ""),
            "not_found" => client.send("nothing", ""),
            other => panic!("no request for {other}"),
        };
        assert!(!denied.granted());
        eventually("the server to observe the denial", || {
            (count() > before).then_some(())
        });
    }
}

fn notify(url: &str) -> String {
    format!("[notify]\nurl = {url:?}\n")
}

/// Makes the only lock of the default group two hours and five minutes old.
fn age(etcd: &Etcd, id: &str) {
    let key = |name: &str| format!("com.coreos.airlock/groups/default/v1/{name}");
    let (semaphore, times) = (etcd.get(&key("semaphore")), etcd.get(&key("lock-times")));
    let mut times: Value = serde_json::from_str(&times).unwrap();
    let since = Timestamp::now() - SignedDuration::from_mins(125);
    times["holders"][id]["since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    etcd.ctl_txn(&[
        (&key("semaphore"), &semaphore),
        (&key("lock-times"), &times.to_string()),
    ]);
}

#[test]
fn one_of_two_servers_sends_an_event_and_the_other_one_if_the_first_is_killed() {
    let etcd = Etcd::start();
    let (url, events) = receiver();
    let events = Events(events);
    let mut servers = [(); 2].map(|()| Airlock::on_etcd(&etcd.endpoints(), &notify(&url)));
    let port = |server: &Airlock| port_in(&server.log(), "main service").unwrap().to_string();
    servers.sort_by_key(port);
    eventually("both servers to know each other", || {
        let known = |server: &Airlock| server.metric("airlock_servers") == Some(2.0);
        servers.iter().all(known).then_some(())
    });
    assert!(servers[0].client().lock("default", "n").granted());
    for server in &servers {
        events.wait_for_observation(server, "unknown_group");
    }
    age(&etcd, "n");
    events.wait_for("overdue", "id", &["n"]);
    for server in &servers {
        events.wait_for_observation(server, "invalid_client_identity");
    }
    events.wait_for("overdue", "id", &["n"]);

    let lost = port(&servers[0]);
    servers[0].process().kill();
    let unlocked = servers[1].command(&["unlock", "default", "n", "--yes"]);
    assert!(unlocked.status.success(), "{unlocked:?}");
    eventually("the command to be known", || {
        let held = servers[1].metric(r#"airlock_database_semaphore_lock_holders{group="default"}"#);
        (held == Some(0.0)).then_some(())
    });
    events.wait_for_observation(&servers[1], "not_found");
    events.wait_for("admin", "action", &[]);
    // As its lease would do after 45 s.
    let servers_keys = "com.coreos.airlock/groups/#servers/";
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", servers_keys]);
    let is_alive_key = |key: &&str| key.contains(&lost) && key.ends_with("/alive");
    let alive = keys.lines().find(is_alive_key).unwrap();
    etcd.ctl(&["del", alive]);
    events.wait_for("admin", "action", &["unlocked n"]);
    events.wait_for("released", "id", &["n"]);
    let by = &events.all("released", "released_by")[0];
    assert_eq!(*by, events.all("admin", "by")[0]);
    assert!(by.contains('@'), "{by}");
    // The lost server might not have sent the event from the minutes before, so the receiver can get it again.
    let received = events.0.lock().unwrap();
    let overdue = received
        .iter()
        .filter(|event| event["type"] == "airlock.lock.overdue");
    let ids: BTreeSet<String> = overdue.map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn a_restarted_server_repeats_no_event_about_an_overdue_hold() {
    let etcd = Etcd::start();
    let (url, events) = receiver();
    let events = Events(events);
    let mut server = Airlock::on_etcd(&etcd.endpoints(), &notify(&url));
    assert!(server.client().lock("default", "n").granted());
    events.wait_for_observation(&server, "unknown_group");
    age(&etcd, "n");
    events.wait_for("overdue", "id", &["n"]);

    // It withdraws its document, so that it does not take itself for another server.
    server.terminate();
    assert_eq!(server.process().wait().code(), Some(0));
    server.restart();
    let paused = server.command(&["pause", "default", "--yes"]);
    assert!(paused.status.success(), "{paused:?}");
    events.wait_for("admin", "action", &["paused the group"]);
    assert_eq!(events.all("overdue", "id"), ["n"]);
}
