//! Snapshots of `airlock status`, `history`, `get slots` and `watch` for a fleet that needs attention, and their JSON.
//!
//! The time zone is one in which it is late in the evening, so that all times are on the same day.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use airlock_test_support::airlock::airlock;
use airlock_test_support::process::Process;
use airlock_test_support::{eventually, repository};

use crate::cli_output::Transcript;
use crate::cli_scene::{DEAD, Scene};
use crate::status_json::{assert_documented, collect_fields};

/// Parts of the output that differ between runs and machines, and their replacements. Those in tables are as long as
/// what they replace.
const FILTERS: [(&str, &str); 7] = [
    (r"\b\d\d:\d\d EVE\b", "hh:mm EVE"),
    (r"\bin \d{6} d( \d+ h)?\b", "in [years]"),
    (r"\blast seen \d+ s ago\b", "last seen [age] ago"),
    (r"\b127\.0\.0\.1:\d{5}\b", "127.0.0.1:[port]"),
    (r"\bcluster [0-9a-f]{1,16}\b", "cluster [id]"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
    (r"[\w.+-]+@(ops-1|[\w.-]+)", "[user]@$1"),
];

/// Returns a time zone in which it is about ten in the evening.
fn evening() -> String {
    let now = Timestamp::now().to_zoned_datetime(TimeZone::UTC);
    format!("EVE{}", now.hour() - 22)
}

// === impl Scene ===

impl Scene {
    fn transcript(&self) -> Transcript {
        Transcript::new(self.folder.path()).with_time_zone(&evening())
    }

    /// Returns the JSON that a command prints.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.transcript().run(arguments);
        serde_json::from_str(&text).unwrap()
    }
}

fn assert_snapshot(transcript: &Transcript, folder: &Path, name: &str) {
    let text = transcript
        .text()
        .replace(folder.to_str().unwrap(), "[folder]");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn snapshot(name: &str, commands: &[&[&str]]) {
    let scene = Scene::new();
    let mut transcript = scene.transcript();
    for command in commands {
        transcript.run(command);
    }
    assert_snapshot(&transcript, scene.folder.path(), name);
}

#[test]
fn status_of_the_fleet() {
    snapshot(
        "status-fleet",
        &[
            &["status"],
            &["status", "-o", "wide"],
            &["status", "-o", "name"],
            &["get", "slots"],
        ],
    );
}

#[test]
fn status_of_groups() {
    snapshot(
        "status-group",
        &[
            &["status", "workers"],
            &["status", "workers", "--all"],
            &["status", "gpu"],
            &["status", "databases"],
            &["status", "storage"],
            &["status", "default"],
            &["status", "old"],
            &["status", "shop"],
            &["status", "urgent"],
            &["status", "zone-a"],
            &["status", "zone-b"],
            &["status", "zone-c"],
        ],
    );
}

#[test]
fn status_of_nodes() {
    snapshot(
        "status-node",
        &[
            &["status", "db-worker-7"],
            &["status", DEAD],
            &["status", "10.0.4.12"],
            &["status", "db-worker-4"],
            &["status", "node-2"],
            &["status", "10.0.4.21"],
            &["status", "nowhere"],
        ],
    );
}

#[test]
fn history_and_the_changes_of_named_nodes() {
    snapshot(
        "history",
        &[
            &["history"],
            &["history", "databases"],
            &["history", "--node", "db-worker-7"],
            &["history", "gpu", "--node", DEAD, "--since", "9h"],
            &["history", "--since", "1m"],
            &["history", "default"],
            &["unlock", "workers", DEAD, "--dry-run"],
            &["lock", "databases", "node-3", "--dry-run"],
        ],
    );
}

#[test]
fn the_json_of_status_and_history_has_the_documented_fields() {
    let scene = Scene::new();
    assert_documented(&scene.json(&["status", "-o", "json"]));
    let of_one = scene.json(&["status", "gpu", "-o", "json"]);
    assert_eq!(of_one["groups"].as_array().unwrap().len(), 1);
    assert_eq!(of_one["needs_attention"], true);
    assert_eq!(of_one["groups"][0]["waiting"][0]["id"], "gpu-2");

    let history = scene.json(&["history", "workers", "--json"]);
    let group = &history["groups"][0];
    let (_, reference) = reference()
        .split_once("\n`airlock history --json`:\n")
        .unwrap();
    let row = reference
        .lines()
        .find(|line| line.starts_with("`groups` |"))
        .unwrap();
    let documented = quoted(
        row.split_once("the fields")
            .unwrap()
            .1
            .split(" of a ")
            .next()
            .unwrap(),
    );
    assert_eq!(fields(group), documented);
    assert_eq!(
        fields(&history),
        ["store", "groups"].map(str::to_owned).into()
    );
    let mut found = BTreeSet::new();
    collect_fields(group, "", &mut found);
    for field in &found {
        let row = format!("\n`{field}` | ");
        let is_documented =
            reference.contains(&row) || reference.contains(&format!("\n`{field}[]."));
        assert!(is_documented, "{field}");
    }
}

#[test]
fn the_json_of_watch_has_the_documented_fields_and_names() {
    let scene = Scene::new();
    let mut command = airlock();
    let config = scene.folder.path().join("config.toml");
    command
        .arg("--config")
        .arg(config)
        .args(["watch", "--json", "workers"]);
    let watch = Process::start(command, &scene.folder.path().join("watch"));
    let changes = eventually("the first state", || {
        let log = watch.log();
        log.ends_with('\n').then_some(log)
    });
    let change: Value = serde_json::from_str(changes.lines().next().unwrap()).unwrap();
    assert_eq!(change["granted"][0]["name"], "db-worker-7");
    let (_, reference) = reference()
        .split_once("\n`airlock watch --json` prints")
        .unwrap();
    let rows = reference.split("\n### ").next().unwrap().lines();
    let rows = rows.filter(|line| line.starts_with('`'));
    let names = rows.flat_map(|row| quoted(row.split(" | ").next().unwrap()));
    assert_eq!(fields(&change), names.collect());
    let row = reference
        .lines()
        .find(|line| line.starts_with("`granted`"))
        .unwrap();
    let documented = quoted(row.split_once("each with").unwrap().1);
    assert_eq!(fields(&change["granted"][0]), documented);
}

fn reference() -> &'static str {
    Box::leak(
        fs::read_to_string(repository().join("docs/reference.md"))
            .unwrap()
            .into(),
    )
}

fn fields(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// Returns the words in backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}
