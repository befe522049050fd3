//! A fleet that needs attention, as three servers would have stored it in etcd.
//!
//! Its times are relative to now, so that all ages are the same in each run.

use std::fmt::Write as _;
use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use airlock_test_support::etcd::Etcd;

const CONFIG: &str = r#"
[service]
tls = false
node_names_path = "names"
[lock]
default_slots = 2
[[lock.groups]]
name = "databases"
slots = 3
[[lock.groups]]
name = "gpu"
[[lock.groups]]
name = "storage"
[[lock.groups]]
name = "workers"
slots = 1
[[lock.groups]]
name = "shop"
[[lock.groups.freezes]]
from = 2020-01-01
until = 2999-12-30
reason = "for good"
[[lock.groups]]
name = "urgent"
[[lock.groups.freezes]]
from = 2020-01-01
until = 2999-12-30
[[lock.groups]]
name = "zone-a"
stall_after_minutes = 45
[[lock.groups.gates]]
name = "replica"
http = "http://127.0.0.1:1/"
[[lock.groups]]
name = "zone-b"
settle_minutes = 60
[[lock.groups.gates]]
name = "alerts"
prometheus = "http://127.0.0.1:1/"
query = "ALERTS"
[[lock.groups]]
name = "zone-c"
[[lock.caps]]
name = "zones"
groups = ["zone-a", "zone-b"]
max_groups = 1
[[lock.caps]]
name = "disks"
groups = ["storage", "zone-c"]
max_held = 2
"#;

pub(crate) const DEAD: &str = "2204af7f41984cb19b8cde4edc06c142";
const WAITING: &str = "3b1e0f52f0d44f6ea2b6ae40cf5dbd0c";
const NAMES: &str =
    "2204af7f41984cb19b8cde4edc06c142 db-worker-7\n3b1e0f52f0d44f6ea2b6ae40cf5dbd0c db-worker-3\n";

/// A fleet in etcd, and the configuration of a machine for administrators.
pub(crate) struct Scene {
    pub(crate) etcd: Etcd,
    pub(crate) folder: TempDir,
}

/// Returns the time that was so many minutes ago. It stays so many minutes ago for most of a minute.
fn minutes_ago(minutes: i64) -> String {
    let ago = SignedDuration::from_secs(minutes * 60 + 2);
    (Timestamp::now() - ago).to_string()
}

/// Returns the time in so many minutes. It stays so many minutes in the future for most of a minute.
fn in_minutes(minutes: i64) -> String {
    let ahead = SignedDuration::from_secs(minutes * 60 + 58);
    (Timestamp::now() + ahead).to_string()
}

/// Returns a JSON document that etcdctl can read in quotes.
fn ascii_json(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c.is_ascii() {
            true => text.push(c),
            false => write!(text, "\\u{:04x}", u32::from(c)).unwrap(),
        }
    }
    text
}

// === impl Scene ===

impl Scene {
    pub(crate) fn new() -> Self {
        let (etcd, folder) = (Etcd::start(), tempfile::tempdir().unwrap());
        let endpoints = etcd.endpoints();
        let names = folder.path().join("names");
        let config = CONFIG.replace("\"names\"", &format!("{names:?}"));
        let config = format!("{config}[etcd3]\nendpoints = {endpoints:?}\n");
        fs::write(folder.path().join("config.toml"), config).unwrap();
        fs::write(names, NAMES).unwrap();
        let scene = Scene { etcd, folder };
        scene.put_groups();
        scene.put_servers();
        scene
    }

    pub(crate) fn put(&self, group: &str, semaphore: &Value, beside: &Value) {
        let key = |name: &str| format!("com.coreos.airlock/groups/{group}/v1/{name}");
        self.etcd.ctl_txn(&[
            (&key("semaphore"), &ascii_json(semaphore)),
            (&key("lock-times"), &ascii_json(beside)),
        ]);
    }

    fn put_server(&self, host: &str, is_alive: bool, document: &Value) {
        self.put_document(&format!("{host}%3A3333"), host, is_alive, document);
    }

    /// Stores the document of a server that runs, in which it calls itself `host`.
    pub(crate) fn put_server_as(&self, key: &str, host: &str, document: &Value) {
        self.put_document(key, host, true, document);
    }

    fn put_document(&self, server: &str, host: &str, is_alive: bool, document: &Value) {
        let key = |name: &str| format!("com.coreos.airlock/groups/#servers/{server}/{name}");
        let mut document = document.clone();
        for (field, value) in [
            ("host", json!(host)),
            ("port", json!(3333)),
            ("instance", json!("1")),
            ("version", json!("1.0.0")),
            ("started", json!(minutes_ago(3 * 1440))),
        ] {
            document[field] = value;
        }
        self.etcd.put(&key("document"), &document.to_string());
        if is_alive {
            self.etcd.put(&key("alive"), "");
        }
    }

    fn put_groups(&self) {
        let hold = |id: &str, from: i64, minutes: i64| json!({ "id": id, "peer": "10.0.4.12", "from": minutes_ago(from + minutes), "until": minutes_ago(from) });
        let mut unlocked = hold("db-worker-8", 140, 40);
        unlocked["by"] = json!("admin@ops-1");
        self.put(
            "workers",
            &json!({ "total_slots": 1, "holders": [DEAD] }),
            &json!({
                "holders": { (DEAD): { "since": minutes_ago(125), "peer": "10.0.4.17" } },
                "history": [
                    hold("db-worker-1", 300, 4), hold(DEAD, 280, 4), hold("db-worker-5", 260, 3), unlocked,
                    hold("db-worker-2", 130, 4),
                ],
                "admin": [
                    { "at": minutes_ago(140), "by": "admin@ops-1", "action": "unlock", "ids": ["db-worker-8"] },
                ],
            }),
        );
        self.put(
            "gpu",
            &json!({ "total_slots": 0, "holders": [] }),
            &json!({ "admin": [
                { "at": minutes_ago(500), "by": "admin@ops-1", "action": "lock", "id": DEAD },
                { "at": minutes_ago(20), "by": "admin@ops-1", "action": "pause" },
            ] }),
        );
        self.put(
            "databases",
            &json!({ "total_slots": 3, "holders": ["node-1", WAITING] }),
            &json!({
                "holders": { (WAITING): { "since": minutes_ago(2), "peer": "2001:db8::7" } },
                "history": [hold("node-2", 90, 5)],
                "gap": true,
            }),
        );
        self.put(
            "old",
            &json!({ "total_slots": 1, "holders": ["node-9"] }),
            &json!({}),
        );
        self.put_groups_with_policies();
        let damaged = "com.coreos.airlock/groups/storage/v1/semaphore";
        self.etcd.put(damaged, r#"{"total_slots":1,"holder":[]}"#);
    }

    /// Groups that grant nothing because of a policy, or in spite of it.
    fn put_groups_with_policies(&self) {
        self.put(
            "urgent",
            &json!({ "total_slots": 2, "holders": [] }),
            &json!({
                "override": in_minutes(90),
                "admin": [{ "at": minutes_ago(30), "by": "admin@ops-1", "action": "override", "until": in_minutes(90) }],
            }),
        );
        self.put(
            "zone-a",
            &json!({ "total_slots": 2, "holders": ["zone-a-1"] }),
            &json!({ "holders": { "zone-a-1": minutes_ago(50) } }),
        );
        self.put(
            "zone-b",
            &json!({ "total_slots": 2, "holders": [] }),
            &json!({ "released": minutes_ago(10) }),
        );
    }

    fn put_servers(&self) {
        let waiter = |id: &str, minutes: i64, reason: &str| json!({ "id": id, "peer": "10.0.4.13", "first_asked": minutes_ago(minutes), "reason": reason });
        let full = "all slots held";
        let gate = |name: &str, state: &str, minutes: i64, reason: &str| json!({ "name": name, "state": state, "reason": reason, "since": minutes_ago(minutes) });
        self.put_server(
            "ops-1",
            true,
            &json!({
                "configuration": "5d1c6f", "more_rejected": false, "foreign_writes": ["zone-b"],
                "gates": [
                    gate("alerts", "closed", 40, "2 series, ALERTS{alertname=\"DiskFull\"}"),
                    gate("replica", "failed", 15, "no answer within 2000 ms"),
                ],
                "groups": [{ "name": "workers", "count": 1, "may_be_more": false, "nodes": [waiter("db-worker-9", 30, full)] }],
                "rejected": [
                    { "reason": "unknown_group", "peer": "10.0.7.3", "detail": "\"worker\"; did you mean \"workers\"?",
                      "first": minutes_ago(12), "repeated": true },
                ],
            }),
        );
        let nodes = [
            waiter("db-worker-3", 110, full),
            waiter("db-worker-4", 50, full),
            waiter("db-worker-6", 8, full),
        ];
        let rejected = |peer: u8| {
            json!({ "reason": "wrong_password", "peer": format!("10.0.4.{peer}"), "group": "databases",
                    "id": format!("node-{peer}"), "first": minutes_ago(14), "repeated": true })
        };
        self.put_server(
            "ops-2",
            true,
            &json!({
                "configuration": "5d1c6f", "more_rejected": true,
                "gates": [
                    gate("alerts", "closed", 40, "2 series, ALERTS{alertname=\"DiskFull\"}"),
                    json!({ "name": "replica", "state": "open", "since": minutes_ago(700) }),
                ],
                "groups": [
                    { "name": "workers", "count": 3, "may_be_more": false, "nodes": nodes },
                    { "name": "gpu", "count": 1, "may_be_more": false, "nodes": [waiter("gpu-2", 15, "group paused")] },
                ],
                "rejected": (20..30).map(rejected).collect::<Vec<_>>(),
            }),
        );
        self.put_server("ops-3", true, &json!({ "configuration": "99b7aa" }));
        self.put_server("ops-4", false, &json!({ "configuration": "5d1c6f" }));
    }
}
