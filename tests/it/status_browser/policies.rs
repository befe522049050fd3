//! Groups to which every policy applies.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

/// The groups of [`policies`] and their states, in the order in which they need attention.
pub(super) const POLICIES: [&str; 6] = [
    "storage: damaged",
    "databases: stalled",
    "zone-c: cap unusable",
    "zone-b: foreign writer",
    "default: closed",
    "urgent: overridden",
];

const CONFIG: &str = r#"
[[lock.windows]]
days = ["{day}"]
start_time = "02:00"
length_minutes = 60
time_zone = "Europe/Berlin"
[[lock.groups]]
name = "storage"
[[lock.groups]]
name = "databases"
slots = 3
stall_after_minutes = 45
settle_minutes = 60
[[lock.groups.freezes]]
from = 2020-01-01
until = 2999-12-30
reason = "<i>for good</i>"
[[lock.groups.gates]]
name = "replica"
http = "http://127.0.0.1:1/"
[[lock.groups.gates]]
name = "alerts"
http = "{etcd}/alerts"
[[lock.groups.gates]]
name = "health"
http = "{etcd}/health"
[[lock.groups]]
name = "zone-b"
windows = []
[[lock.groups]]
name = "zone-c"
windows = []
[[lock.groups]]
name = "urgent"
gates = [{ name = "alerts", http = "{etcd}/alerts" }]
[[lock.caps]]
name = "zones"
groups = ["databases", "zone-b"]
max_groups = 2
max_held = 2
[[lock.caps]]
name = "disks"
groups = ["storage", "zone-c"]
max_held = 2
"#;

fn ago(minutes: i64) -> String {
    format!(
        "{:.0}",
        Timestamp::now() - SignedDuration::from_mins(minutes)
    )
}

/// A server on etcd with these groups, as soon as it knows all about them.
pub(super) fn policies() -> (Etcd, Airlock) {
    let etcd = Etcd::start();
    let put = |group: &str, semaphore: &Value, beside: Option<Value>| {
        let key = |name| format!("com.coreos.airlock/groups/{group}/v1/{name}");
        let mut writes = vec![(key("semaphore"), semaphore.to_string())];
        writes.extend(beside.map(|beside| (key("lock-times"), beside.to_string())));
        let writes: Vec<_> = writes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        etcd.ctl_txn(&writes);
    };
    put("storage", &json!({ "total_slots": 1 }), None);
    put(
        "databases",
        &json!({ "total_slots": 3, "holders": ["db-1"] }),
        Some(json!({ "holders": { "db-1": ago(125) }, "released": ago(5) })),
    );
    put(
        "urgent",
        &json!({ "total_slots": 1, "holders": [] }),
        Some(json!({
            "override": ago(-90),
            "admin": [{ "at": ago(30), "by": "admin@ops-1", "action": "override", "until": ago(-90) }],
        })),
    );
    let zone = json!({ "total_slots": 1, "holders": ["zone-b-1"] });
    put("zone-b", &zone, Some(json!({})));
    let endpoints = etcd.endpoints();
    let in_two_days = Timestamp::now() + SignedDuration::from_hours(48);
    let config = CONFIG
        .replace("{etcd}", &endpoints[0])
        .replace("{day}", &in_two_days.strftime("%a").to_string());
    let airlock = Airlock::start_with(
        &format!("{LISTEN}[etcd3]\nendpoints = {endpoints:?}\n{config}"),
        &["-v"],
    );
    eventually("the server to know groups and gates", || {
        let (_, status) = airlock.status("/v1/status");
        let status: Value = serde_json::from_str(&status).unwrap();
        let known = |list: &Value| {
            let mut entries = list.as_array().into_iter().flatten();
            entries.all(|entry| entry["state"] != "unknown")
        };
        let is_known = known(&status["groups"]) && known(&status["gates"]);
        (is_known && status["servers"].is_array()).then_some(())
    });
    put("zone-b", &zone, None);
    eventually("the server to notice the foreign write", || {
        let (_, page) = airlock.status("/");
        page.contains("foreign writer").then_some(())
    });
    (etcd, airlock)
}
