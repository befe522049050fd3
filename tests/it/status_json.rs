//! The JSON of `/v1/status`. docs/reference.md documents its fields.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use airlock_test_support::airlock::{Airlock, port_in};
use airlock_test_support::{eventually, repository};

use crate::cli_output::{assert_filtered_snapshot, format_json};

/// A server with a held group, a paused one that is waited for, one with an open reboot window, two that share a cap, of
/// which one has a gate and the other one a freeze, and a rejected client.
const GROUPS: &str = r#"
[[lock.groups]]
name = "paused"
[[lock.groups]]
name = "workers"
slots = 2
windows = [{ days = ["Sat"], start_time = "02:00", length_minutes = 10080 }]
[[lock.groups]]
name = "zone-a"
gates = [{ name = "replica", http = "http://127.0.0.1:1/" }]
[[lock.groups]]
name = "zone-b"
freezes = [{ from = 2020-01-01, until = 2999-12-30, reason = "for good" }]
[[lock.caps]]
name = "zones"
groups = ["zone-a", "zone-b"]
max_groups = 1
"#;

#[test]
fn the_status_of_a_server_has_the_documented_fields() {
    let airlock = Airlock::embedded(GROUPS);
    let client = airlock.client();
    assert!(client.lock("workers", "holder").granted());
    assert!(client.lock("workers", "back").granted());
    assert!(client.unlock("workers", "back").granted());
    for command in [
        &["pause", "paused", "--yes"][..],
        &["override", "zone-a", "--for", "2h", "--yes"],
    ] {
        let done = airlock.command(command);
        assert!(done.status.success(), "{done:?}");
    }
    assert!(client.lock("zone-a", "urgent").granted());
    assert!(!client.lock("paused", "waiting").granted());
    assert_eq!(client.lock("worker", "rejected").status, 400);
    let mut document = eventually("the servers to be known", || {
        let (status, text) = airlock.status("/v1/status");
        assert_eq!(status, 200);
        let document: Value = serde_json::from_str(&text).unwrap();
        let has_asked = document["gates"][0]["state"] == "failed";
        (document["servers"].is_array() && has_asked).then_some(document)
    });
    assert_documented(&document);
    let host = document["host"].take();
    document["host"] = "[host]".into();
    document["version"] = "[version]".into();
    let server = &mut document["servers"][0];
    for (field, expected) in [
        ("host", host.clone()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("port", port_in(&airlock.log(), "main service").into()),
    ] {
        assert_eq!(server[field].take(), expected);
    }
    for denial in document["denials"].as_array_mut().unwrap() {
        assert_eq!(denial["server"].take(), host);
    }
    for server in document["gates"][0]["servers"].as_array_mut().unwrap() {
        assert_eq!(server["server"].take(), host);
    }
    let location = document["store"]["location"].take();
    let groups = document["groups"].as_array_mut().unwrap().iter_mut();
    let waiting = groups.flat_map(|group| group["waiting"].as_array_mut().unwrap());
    for node in waiting {
        assert_eq!(node["server"].take(), host);
    }
    assert!(
        location.as_str().unwrap().starts_with("file /"),
        "{location}"
    );
    assert_filtered_snapshot("status-json", &format_json(&document.to_string()));
}

/// Asserts that docs/reference.md lists the fields of `document`, and no other ones.
pub(crate) fn assert_documented(document: &Value) {
    let text = fs::read_to_string(repository().join("docs/reference.md")).unwrap();
    let rows = |from: &str, to: &str| -> Vec<String> {
        let (_, section) = text.split_once(from).unwrap();
        let section = section.split(to).next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix('`'));
        rows.filter_map(|row| row.split_once("` | "))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let of_server = rows("\n`/v1/status`:\n", "\n`airlock get slots --json`:\n");
    let of_group = rows("\n### Group\n", "\n### ").into_iter();
    let of_group = of_group.map(|name| format!("groups[].{name}"));
    let of_servers = rows("\n### Server\n", "\n### ").into_iter();
    let of_servers = of_servers.map(|name| format!("servers[].{name}"));
    let of_server = of_server.into_iter().chain(of_servers);
    let documented: BTreeSet<String> = of_server.chain(of_group).collect();
    let mut found = BTreeSet::new();
    collect_fields(document, "", &mut found);
    for name in &found {
        // An object may have rows for its fields only.
        let is_documented = documented.iter().any(|row| {
            let rest = row.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        assert!(is_documented, "{name} is not documented");
    }
    // Each action of the audit log has other fields, and only a command has some about etcd.
    let mut documented = documented
        .iter()
        .filter(|name| !name.contains("audit_log[]") && !name.starts_with("store.etcd."));
    let missing = documented.find(|name| !found.contains(*name));
    assert_eq!(missing, None, "not a field");
}

/// Collects the names of all fields, in the notation of docs/reference.md.
pub(crate) fn collect_fields(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(entries) => {
            for entry in entries {
                collect_fields(
                    entry,
                    &format!("{}[].", prefix.trim_end_matches('.')),
                    found,
                );
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = format!("{prefix}{field}");
                collect_fields(value, &format!("{name}."), found);
                found.insert(name);
            }
        }
        _ => {}
    }
}
