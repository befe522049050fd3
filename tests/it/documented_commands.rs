//! The commands in README.md, CONTRIBUTING.md, and docs/: they run as they are written and print what the documents
//! show, or at least each program that they call accepts them. No block of code can be forgotten.

mod blocks;
mod files;
mod lines;
mod picture;
mod scene;

use blocks::{Block, blocks};
use scene::Scene;

/// The sections whose commands a test of this file runs.
const RUN: &[(&str, &str)] = &[
    ("README.md", "## Quick start"),
    ("docs/etcd-cluster.md", "# Try Airlock with an etcd cluster"),
    ("docs/migrating.md", "### Check the configuration"),
    ("docs/operations.md", "## Check the store first"),
    ("docs/operations.md", "## Give names to nodes"),
    ("docs/operations.md", "## Grant reboots in an emergency"),
    ("docs/operations.md", "## Nothing is updating"),
    ("docs/operations.md", "## Repair a damaged value"),
    ("docs/operations.md", "## Run an administrator command"),
    ("docs/operations.md", "## Stop a group"),
    ("docs/operations.md", "### The store is unavailable"),
    (
        "docs/operations.md",
        "### Walkthrough: a node dies holding a lock",
    ),
];

/// The blocks that no test of this file runs: their documents, their first lines, and the reason.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "CONTRIBUTING.md",
        "cargo clippy --all-targets",
        "they build and test the project itself",
    ),
    (
        "CONTRIBUTING.md",
        "cargo test --test it -- --ignored",
        "it changes the source tree",
    ),
    (
        "CONTRIBUTING.md",
        "INSTA_UPDATE=always cargo test",
        "it changes the source tree",
    ),
    ("docs/architecture.md", "HTTP -> api", "a picture"),
    ("docs/installing.md", "podman push", "needs a registry"),
    (
        "docs/installing.md",
        "podman run",
        "needs an image: `make test-image` runs it",
    ),
    (
        "docs/installing.md",
        "tar xf",
        "needs a release, and systemd as the first process",
    ),
    (
        "docs/installing.md",
        "groupadd",
        "changes the machine, and needs systemd as the first process",
    ),
    (
        "docs/installing.md",
        "systemd-run",
        "needs systemd as the first process",
    ),
    (
        "docs/installing.md",
        "systemctl",
        "needs systemd as the first process",
    ),
    ("docs/installing.md", "[Service]", "a part of a unit"),
    (
        "docs/installing.md",
        "mkdir contrib/butane/secrets",
        "it changes the source tree",
    ),
    ("docs/installing.md", "butane", "needs Butane"),
    (
        "docs/kubernetes.md",
        "make image",
        "needs podman and a registry: `make test-image` builds the image",
    ),
    (
        "docs/kubernetes.md",
        "openssl req",
        "kubernetes/pod.rs runs it",
    ),
    (
        "docs/kubernetes.md",
        "htpasswd",
        "asks for a password, and needs the tools of Apache",
    ),
    (
        "docs/kubernetes.md",
        "kubectl",
        "needs a cluster: kubernetes/pod.rs runs what needs none",
    ),
    (
        "docs/kubernetes.md",
        "curl --cacert",
        "kubernetes/pod.rs runs it",
    ),
    (
        "docs/kubernetes.md",
        "{ printf",
        "kubernetes/pod.rs runs it",
    ),
    (
        "docs/kubernetes.md",
        "scrape_configs:",
        "a part of a file, of kubernetes/pod.rs",
    ),
    (
        "docs/operations.md",
        "GROUP    STATE      HELD",
        "output of a larger fleet",
    ),
    (
        "docs/operations.md",
        "etcdctl get --prefix --keys-only",
        "etcd_users.rs and presence.rs run it",
    ),
    (
        "docs/operations.md",
        "etcdctl del 'com.coreos.airlock/groups/#servers/",
        "needs a server that is lost",
    ),
    (
        "docs/operations.md",
        "ENDPOINT",
        "output, of one version of etcd: online.rs compares it",
    ),
    (
        "docs/operations.md",
        "\"labels\"",
        "a part of the response of Prometheus, of runbook.rs",
    ),
    (
        "docs/operations.md",
        "level=warning msg=\"an administrator",
        "a line of the log, of runbook.rs",
    ),
    (
        "docs/operations.md",
        "{\"kind\":\"failed_lock\"",
        "a response",
    ),
    (
        "docs/operations.md",
        "level=warning msg=\"semaphore max slots",
        "a line of the log",
    ),
    (
        "docs/operations.md",
        "workers: the configuration has 3 slots",
        "a line of the output",
    ),
    (
        "docs/operations.md",
        "systemctl reload airlock",
        "needs systemd as the first process: reload.rs sends the signal",
    ),
    (
        "docs/operations.md",
        "for node in",
        "needs nodes: node_ids.rs runs it",
    ),
    (
        "docs/operations.md",
        "etcdctl endpoint status",
        "needs an etcd without space: etcd_errors.rs follows it",
    ),
    (
        "docs/operations.md",
        "etcdctl snapshot save",
        "backup.rs runs it",
    ),
    (
        "docs/operations.md",
        "etcdutl snapshot restore",
        "needs the etcdutl of etcd 3.5",
    ),
    ("docs/operations.md", "airlock backup", "backup.rs runs it"),
    (
        "docs/operations.md",
        "sqlite3 airlock.db",
        "repair.rs repairs an embedded store",
    ),
    (
        "docs/policies.md",
        "airlock override GROUP",
        "it has a placeholder",
    ),
    (
        "docs/reference.md",
        "key=$(sed",
        "src/notify/tests/example.rs runs it",
    ),
    ("docs/reference.md", "level=", "a line of the log"),
    (
        "docs/security.md",
        "htpasswd",
        "asks for passwords, and needs the tools of Apache",
    ),
    (
        "docs/security.md",
        "etcdctl role add",
        "asks for passwords: etcd_users.rs follows it",
    ),
    (
        "docs/security.md",
        "etcdctl --user airlock get",
        "asks for a password",
    ),
];

fn is_not_run(block: &Block) -> bool {
    NOT_RUN.iter().any(|entry| lists(entry, block))
}

fn lists((file, start, _): &(&str, &str, &str), block: &Block) -> bool {
    block.file == *file
        && block
            .first_line()
            .trim_start_matches("$ ")
            .starts_with(start)
}

/// Runs the commands of a section.
fn run(scene: &mut Scene, file: &str, section: &str) {
    assert!(
        RUN.contains(&(file, section)),
        "{file}, {section} is not in RUN"
    );
    let blocks = blocks().into_iter();
    let of_section = blocks.filter(|block| block.file == file && block.section == section);
    let mut run: Vec<Block> = of_section.collect();
    run.retain(|block| !block.is_data() && !is_not_run(block));
    assert!(!run.is_empty(), "{file}, {section} has no commands");
    for block in &run {
        scene.run(block);
    }
}

/// Runs a section of the runbook.
fn runbook(scene: &mut Scene, section: &str) {
    run(scene, "docs/operations.md", section);
}

#[test]
fn each_block_is_data_or_runs_or_is_listed_with_the_reason() {
    let blocks = blocks();
    for block in &blocks {
        let runs = RUN.contains(&(&block.file, &block.section));
        assert!(
            block.is_data() || runs || is_not_run(block),
            "no test runs the block of {}, {}: add its section to RUN and to a test, or the block to NOT_RUN:\n{}",
            block.file,
            block.section,
            block.code
        );
    }
    for entry in NOT_RUN {
        assert!(
            blocks.iter().any(|block| lists(entry, block)),
            "there is no such block: {entry:?}"
        );
    }
}

#[test]
fn the_quick_start_works_as_it_is_written() {
    run(&mut Scene::new(), "README.md", "## Quick start");
}

#[test]
fn the_steps_with_an_etcd_cluster_work_as_they_are_written() {
    let mut scene = Scene::new();
    run(
        &mut scene,
        "docs/etcd-cluster.md",
        "# Try Airlock with an etcd cluster",
    );
}

/// Returns a machine with etcd, and with a server of which group `workers` has one slot.
fn machine() -> Scene {
    let mut scene = Scene::new();
    scene.prepare("sed -i 's/^name = \"workers\"/&\\nslots = 1/' /etc/airlock/config.toml");
    scene.serve("etcd");
    scene.serve("airlock serve");
    scene
}

const SEMAPHORE: &str = "com.coreos.airlock/groups/workers/v1/semaphore";
const LOCK_TIMES: &str = "com.coreos.airlock/groups/workers/v1/lock-times";

#[test]
fn the_walkthrough_of_the_runbook_works_as_it_is_written() {
    let mut scene = machine();
    let node = |action: &str, node: &str| {
        format!(
            "curl -H 'fleet-lock-protocol: true' -d '{{\"id\":\"{node}\",\"group\":\"workers\"}}' \
             http://127.0.0.1:3333/v1/{action}"
        )
    };
    // The lock is two hours old.
    let two_hours_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    let semaphore = r#"{"total_slots":1,"holders":["node1"]}"#;
    let times =
        format!(r#"{{"holders":{{"node1":{{"since":"{two_hours_ago:.0}","peer":"127.0.0.1"}}}}}}"#);
    scene.prepare(&format!(
        "etcdctl txn <<'END'\n\nput {SEMAPHORE} {semaphore:?}\nput {LOCK_TIMES} {times:?}\n\n\nEND"
    ));
    scene.prepare(&node("pre-reboot", "node3"));
    runbook(&mut scene, "### Walkthrough: a node dies holding a lock");
    let granted = scene.prepare(&node("pre-reboot", "node2"));
    assert_eq!(granted, "");
}

#[test]
fn the_commands_of_the_runbook_work_as_they_are_written() {
    let mut scene = machine();
    for section in [
        "## Nothing is updating",
        "### The store is unavailable",
        "## Check the store first",
        "## Stop a group",
        "## Grant reboots in an emergency",
        "## Give names to nodes",
    ] {
        runbook(&mut scene, section);
    }
    scene.prepare(&format!(
        "etcdctl put {SEMAPHORE} '{{\"total_slots\":1,\"holders\":['"
    ));
    runbook(&mut scene, "## Repair a damaged value");
}

#[test]
fn the_error_of_the_runbook_is_the_one_without_a_store() {
    runbook(&mut Scene::new(), "## Run an administrator command");
}

#[test]
fn the_check_of_the_migration_describes_the_file_of_the_how_to() {
    let mut scene = Scene::new();
    scene.prepare(
        "sed -i -e 's/127.0.0.1/localhost/; s/\"workers\"/\"patroni\"\\nslots = 1/; /\"controllers\"/,$d' \
         -e 's|^endpoints.*|endpoints = [\"http://10.0.1.33:2379\", \"http://10.0.1.34:2379\"]|' \
         /etc/airlock/config.toml; sed -i '$d' /etc/airlock/config.toml",
    );
    run(
        &mut scene,
        "docs/migrating.md",
        "### Check the configuration",
    );
}
