//! The picture of the status page in README.md.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use airlock_test_support::repository;

use super::scene::Scene;

const CONFIG: &str = r#"
[service]
address = "127.0.0.1"
port = 3333
tls = false
node_names_path = "/etc/airlock/node-names.txt"
[status]
enabled = true
address = "127.0.0.1"
port = 2222
[etcd3]
endpoints = ["http://127.0.0.1:2379"]
[lock]
default_slots = 2
[[lock.groups]]
name = "workers"
slots = 1
[[lock.groups]]
name = "gpu"
slots = 1
[[lock.groups]]
name = "web"
slots = 3
[[lock.groups]]
name = "databases"
slots = 1
[[lock.groups]]
name = "edge-berlin"
slots = 3
[[lock.groups.freezes]]
from = 2020-12-18
until = 2999-01-06
time_zone = "Europe/Berlin"
reason = "year-end"
"#;

/// `cargo test --test it -- --ignored the_picture_of_the_status_page` takes it.
#[test]
#[ignore = "it writes docs/status-page.png"]
fn the_picture_of_the_status_page() {
    let mut scene = Scene::new();
    let config = CONFIG.replace("2999-01-06", &in_days(20));
    let names = ["workers", "web", "gpu", "databases", "edge-berlin"];
    let names = names
        .iter()
        .flat_map(|group| (1..13).map(move |node| name_of(group, node)));
    let names: String = names
        .map(|name| format!("{} {name}\n", id(&name)))
        .collect();
    for (file, text) in [("config.toml", config), ("node-names.txt", names)] {
        scene.prepare(&format!("cat >/etc/airlock/{file} <<'END'\n{text}END"));
    }
    scene.serve("etcd");
    put(
        &scene,
        "workers",
        1,
        &[hold("workers", 7, 125, None)],
        &json!([]),
        &json!([]),
    );
    let paused = json!([{ "at": ago(20), "by": "admin@ops1", "action": "pause" }]);
    put(&scene, "gpu", 0, &[], &json!([]), &paused);
    let rebooting = [hold("web", 3, 2, None), hold("web", 8, 1, None)];
    put(&scene, "web", 3, &rebooting, &json!([]), &json!([]));
    put(
        &scene,
        "databases",
        1,
        &[],
        &json!([hold("databases", 2, 304, Some(300))]),
        &json!([]),
    );
    scene.serve("airlock serve");
    for (group, nodes) in [("workers", 8..12), ("gpu", 1..2), ("edge-berlin", 1..3)] {
        for node in nodes {
            let id = id(&name_of(group, node));
            scene.prepare(&format!(
                "curl -H 'fleet-lock-protocol: true' -d '{{\"id\":\"{id}\",\"group\":\"{group}\"}}' \
                 http://127.0.0.1:3333/v1/pre-reboot"
            ));
        }
    }
    scene.prepare(
        "chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --disable-lcd-text --force-color-profile=srgb \
         --user-data-dir=\"$TMPDIR/chromium\" --window-size=1180,850 --virtual-time-budget=3000 \
         --screenshot=picture.png http://127.0.0.1:2222/",
    );
    std::fs::copy(
        scene.path("picture.png"),
        repository().join("docs/status-page.png"),
    )
    .unwrap();
}

/// Returns a hold: a current one, or one that has ended.
fn hold(group: &str, node: u32, from: i64, until: Option<i64>) -> Value {
    let name = name_of(group, node);
    let mut hold = json!({ "id": id(&name), "name": name, "peer": format!("10.0.4.{node}"), "from": ago(from) });
    if let Some(until) = until {
        hold["until"] = ago(until).into();
    }
    hold
}

/// Stores a group.
fn put(scene: &Scene, group: &str, slots: u32, holds: &[Value], history: &Value, admin: &Value) {
    let of =
        |hold: &Value| json!({ "since": hold["from"], "name": hold["name"], "peer": hold["peer"] });
    let holders: Map<_, _> = holds
        .iter()
        .map(|hold| (hold["id"].as_str().unwrap().to_owned(), of(hold)))
        .collect();
    let ids: Vec<&String> = holders.keys().collect();
    let semaphore = json!({ "total_slots": slots, "holders": ids }).to_string();
    let times = json!({ "holders": holders, "history": history, "admin": admin }).to_string();
    let key = format!("com.coreos.airlock/groups/{group}/v1");
    scene.prepare(&format!(
        "etcdctl txn <<'END'\n\nput {key}/semaphore {semaphore:?}\nput {key}/lock-times {times:?}\n\n\nEND"
    ));
}

fn name_of(group: &str, node: u32) -> String {
    format!("{}-{node}", group.trim_end_matches('s'))
}

/// Returns the id of a node.
fn id(name: &str) -> String {
    let sum = name.bytes().fold(7u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!(
        "{:016x}{:016x}",
        sum.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        sum.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    )
}

fn ago(minutes: i64) -> String {
    format!(
        "{:.0}",
        Timestamp::now() - SignedDuration::from_mins(minutes)
    )
}

fn in_days(days: i64) -> String {
    let then = Timestamp::now() + SignedDuration::from_hours(24 * days);
    then.strftime("%Y-%m-%d").to_string()
}
