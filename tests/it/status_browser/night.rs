//! A fleet in a night in which a node does not come back.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;

/// The names of the groups of a [`night`], in the order in which they need attention.
pub(super) const ORDER: [&str; 8] = [
    "storage",
    "workers",
    "ingress",
    "gpu",
    "edge-berlin",
    "100 slots",
    "web",
    "default",
];

const GROUPS: &str = "[lock]\ndefault_slots = 2\n\
    [[lock.groups]]\nname = \"workers\"\nslots = 1\n\
    [[lock.groups]]\nname = \"storage\"\nslots = 1\n\
    [[lock.groups]]\nname = \"ingress\"\nslots = 2\n\
    [[lock.groups]]\nname = \"gpu\"\nslots = 1\n\
    [[lock.groups]]\nname = \"web\"\nslots = 3\n\
    [[lock.groups]]\nname = \"100 slots\"\nslots = 100\n\
    [[lock.groups]]\nname = \"edge-berlin\"\nslots = 3\n\
    [[lock.groups.windows]]\ndays = [\"{day}\"]\nstart_time = \"02:00\"\nlength_minutes = 60\n";

pub(super) fn id(node: u32) -> String {
    format!("2204af7f41984cb19b8cde4edc{node:06x}")
}

fn ago(minutes: i64) -> String {
    format!(
        "{:.0}",
        Timestamp::now() - SignedDuration::from_mins(minutes)
    )
}

/// A night with every state of a group: a node that does not come back, a damaged value, a pause, and 300 nodes that
/// wait for 100 slots.
pub(super) fn night() -> (Etcd, Airlock) {
    let etcd = Etcd::start();
    let hold = |node: u32, minutes: i64| json!({"since": ago(minutes), "peer": format!("10.0.4.{node}"), "name": format!("db-worker-{node}")});
    let ended = |node: u32, from: i64, until: i64| {
        json!({"id": id(node), "name": format!("db-worker-{node}"), "peer": format!("10.0.4.{node}"),
               "from": ago(from), "until": ago(until)})
    };
    let mut by_hand = ended(8, 960, 920);
    by_hand["by"] = "admin@ops-1".into();
    by_hand["after_gap"] = true.into();
    let history = json!([
        by_hand,
        ended(5, 151, 147),
        ended(2, 146, 142),
        ended(4, 140, 136)
    ]);
    put(
        &etcd,
        "workers",
        1,
        &json!({ id(7): hold(7, 125) }),
        &history,
    );
    put(
        &etcd,
        "ingress",
        5,
        &json!({ id(20): hold(20, 1) }),
        &json!([]),
    );
    put(
        &etcd,
        "gpu",
        0,
        &json!({ id(21): hold(21, 20) }),
        &json!([]),
    );
    put(
        &etcd,
        "web",
        3,
        &json!({ id(22): hold(22, 2), id(23): hold(23, 1) }),
        &json!([]),
    );
    let many: serde_json::Map<_, _> = (0..100).map(|node| (id(node), hold(node, 3))).collect();
    put(&etcd, "100+slots", 100, &many.into(), &json!([]));
    etcd.put(
        "com.coreos.airlock/groups/storage/v1/semaphore",
        "{\"total_slots\":1}",
    );

    let names: String = (0..120)
        .map(|node| format!("{} db-worker-{node}\n", id(node)))
        .collect();
    let in_two_days = Timestamp::now() + SignedDuration::from_hours(48);
    let groups = GROUPS.replace("{day}", &in_two_days.strftime("%a").to_string());
    let endpoints = etcd.endpoints();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names");
    fs::write(&file, names).unwrap();
    let names_key = format!("tls = false\nnode_names_path = {file:?}");
    let listen = LISTEN.replacen("tls = false", &names_key, 1);
    let airlock = Airlock::start_with(
        &format!("{listen}[etcd3]\nendpoints = {endpoints:?}\n{groups}"),
        &["-vv"],
    );
    let client = airlock.client();
    for node in 1..13 {
        assert!(!client.lock("workers", &id(100 + node)).granted());
    }
    for node in 0..300 {
        assert!(!client.lock("100 slots", &id(1000 + node)).granted());
    }
    for group in ["storage", "gpu", "edge-berlin"] {
        assert!(!client.lock(group, &id(200)).granted());
    }
    (etcd, airlock)
}

/// Stores the slots, the holders and the history of a group.
pub(super) fn put(etcd: &Etcd, group: &str, slots: u32, holders: &Value, history: &Value) {
    let ids: Vec<&String> = holders.as_object().unwrap().keys().collect();
    let semaphore = json!({"total_slots": slots, "holders": ids});
    let times = json!({"holders": holders, "history": history});
    let key = |name| format!("com.coreos.airlock/groups/{group}/v1/{name}");
    etcd.ctl_txn(&[
        (&key("semaphore"), &semaphore.to_string()),
        (&key("lock-times"), &times.to_string()),
    ]);
}
