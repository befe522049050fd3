//! The JSON of `/v1/status`. docs/reference.md documents its fields.

use airlock_test_support::airlock::Airlock;

use crate::cli_output::{assert_filtered_snapshot, format_json};

/// A server with a held group, a paused one that is waited for, and one with an open reboot window.
const GROUPS: &str = r#"
[[lock.groups]]
name = "paused"
[[lock.groups]]
name = "workers"
slots = 2
windows = [{ days = ["Sat"], start_time = "02:00", length_minutes = 10080 }]
"#;

#[test]
fn the_status_of_a_server_has_the_documented_fields() {
    let airlock = Airlock::embedded(GROUPS);
    let client = airlock.client();
    assert!(client.lock("workers", "holder").granted());
    let paused = airlock.command(&["pause", "paused", "--yes"]);
    assert!(paused.status.success(), "{paused:?}");
    assert!(!client.lock("paused", "waiting").granted());
    let (status, text) = airlock.status("/v1/status");
    assert_eq!(status, 200);
    let version = format!("\"version\": {:?}", env!("CARGO_PKG_VERSION"));
    let text = format_json(&text).replace(&version, "\"version\": \"[version]\"");
    assert_filtered_snapshot("status-json", &text);
}
