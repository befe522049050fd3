//! The commands in README.md, CONTRIBUTING.md, and docs/: they run as they are written and print what the documents
//! show, or at least each program that they call accepts them. No block of code can be forgotten.

mod blocks;
mod files;
mod lines;
mod picture;
mod scene;

use std::process::Command;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::repository;

use crate::check_config::EMBEDDED;
use crate::contrib::assert_good;
use blocks::{Block, blocks};
use scene::Scene;

/// The sections whose commands a test of this file runs.
const RUN: &[(&str, &str)] = &[
    ("README.md", "## Quick start"),
    ("docs/etcd-cluster.md", "# Try Airlock with an etcd cluster"),
    ("docs/migrating.md", "### Check the configuration"),
    ("docs/operations.md", "## Back up etcd"),
    ("docs/operations.md", "## Back up the embedded store"),
    ("docs/operations.md", "## Check the store first"),
    ("docs/operations.md", "## Give names to nodes"),
    ("docs/operations.md", "## Grant reboots in an emergency"),
    ("docs/operations.md", "## Nothing is updating"),
    ("docs/operations.md", "## Repair a damaged value"),
    ("docs/operations.md", "## Run an administrator command"),
    ("docs/operations.md", "## Stop a group"),
    ("docs/operations.md", "### A server is down or lost"),
    ("docs/operations.md", "### The store is unavailable"),
    (
        "docs/operations.md",
        "### Walkthrough: a node dies holding a lock",
    ),
    ("docs/tutorial.md", "## Let a node come back"),
    ("docs/tutorial.md", "## Let the nodes ask"),
    ("docs/tutorial.md", "## Release the slot of a dead node"),
    ("docs/tutorial.md", "## Start a server"),
];

/// The blocks that no test of this file runs, with the reasons.
const NOT_RUN: &str = include_str!("documented_commands/not_run.txt");

/// Returns the documents and the beginnings of the blocks that do not run.
fn not_run() -> impl Iterator<Item = (&'static str, &'static str)> {
    let entries = NOT_RUN.lines().filter(|line| !line.starts_with('#'));
    entries.map(|entry| {
        let mut fields = entry.split(" | ");
        let block = (fields.next().unwrap(), fields.next().unwrap());
        assert!(
            fields.next().is_some_and(|reason| !reason.is_empty()),
            "{entry} has no reason"
        );
        block
    })
}

fn is_not_run(block: &Block) -> bool {
    block.case.is_some() || not_run().any(|entry| lists(entry, block))
}

fn lists((file, start): (&str, &str), block: &Block) -> bool {
    let line = block.first_line().trim_start_matches("$ ");
    block.file == file && line.starts_with(start)
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
            "no test runs the block of {}, {}: add its section to RUN and to a test, or the block to not_run.txt:\n{}",
            block.file,
            block.section,
            block.code
        );
    }
    for entry in not_run() {
        assert!(
            blocks.iter().any(|block| lists(entry, block)),
            "there is no such block: {entry:?}"
        );
    }
}

#[test]
fn each_block_for_systemd_is_run_by_its_cases() {
    let cases: Vec<String> = blocks()
        .into_iter()
        .filter_map(|block| block.case)
        .collect();
    assert!(!cases.is_empty());
    for case in cases {
        let (file, name) = case.split_once(": ").unwrap();
        let cases = std::fs::read_to_string(repository().join(file)).unwrap();
        let runs = |line: &str| {
            line.split(" || ")
                .any(|command| command.trim() == format!("documented {name}"))
        };
        assert!(cases.lines().any(runs), "{case}");
    }
}

#[test]
fn the_quick_start_works_as_it_is_written() {
    run(&mut Scene::new(), "README.md", "## Quick start");
}

#[test]
fn the_tutorial_works_as_it_is_written() {
    let mut scene = Scene::new();
    for section in [
        "## Start a server",
        "## Let the nodes ask",
        "## Let a node come back",
        "## Release the slot of a dead node",
    ] {
        run(&mut scene, "docs/tutorial.md", section);
    }
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

#[test]
fn the_documented_ca_signs_a_certificate_that_curl_accepts() {
    let folder = tempfile::tempdir().unwrap();
    for case in [
        "tools/systemd-cases: ca",
        "tools/systemd-cases: certificate",
    ] {
        let blocks = blocks().into_iter();
        let mut of_case = blocks.filter(|block| block.case.as_deref() == Some(case));
        let code = of_case.next().unwrap().code;
        let mut command = Command::new("sh");
        command.args(["-euc", &code]).current_dir(&folder);
        assert_good(&command.output().unwrap());
    }
    let file = |name: &str| folder.path().join(name);
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let config = format!(
        "[service]\naddress = \"127.0.0.1\"\nport = 0\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}\n\
         [status]\nenabled = true\naddress = \"127.0.0.1\"\nport = 0\n{EMBEDDED}"
    );
    let airlock = Airlock::start_with(&config, &["-v"]);
    let port = airlock.url().rsplit_once(':').unwrap().1.to_owned();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--header",
            "fleet-lock-protocol: true",
        ])
        .args([
            "--data",
            r#"{"client_params": {"id": "n", "group": "default"}}"#,
            "--cacert",
        ])
        .arg(file("ca.pem"))
        .args([
            "--resolve",
            &format!("airlock.example.org:{port}:127.0.0.1"),
        ])
        .arg(format!("https://airlock.example.org:{port}/v1/pre-reboot"))
        .output()
        .unwrap();
    assert_good(&output);
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
        "### A server is down or lost",
        "## Check the store first",
        "## Back up etcd",
        "## Stop a group",
        "## Grant reboots in an emergency",
        "## Give names to nodes",
    ] {
        runbook(&mut scene, section);
    }
    assert_the_check_of_the_store_prints_what_the_runbook_shows(&scene);
    scene.prepare(&format!(
        "etcdctl put {SEMAPHORE} '{{\"total_slots\":1,\"holders\":['"
    ));
    runbook(&mut scene, "## Repair a damaged value");
}

/// The versions of etcd have different bugs, so another one than that of the runbook has other warnings.
fn assert_the_check_of_the_store_prints_what_the_runbook_shows(scene: &Scene) {
    let shown = blocks()
        .into_iter()
        .find(|block| block.first_line().starts_with("ENDPOINT"));
    let shown = shown.expect("the output of the check");
    let printed = scene.prepare("airlock check-config --online");
    let is_same_version = printed.contains(" 3.4.23 ");
    for line in shown
        .code
        .lines()
        .filter(|line| is_same_version || line.starts_with("ok: "))
    {
        // Without the round trip.
        let end = line.find("     ").filter(|_| line.starts_with("http://"));
        let line = &line[..end.unwrap_or(line.len())];
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
}

#[test]
fn the_embedded_store_is_backed_up_as_it_is_written() {
    let mut scene = Scene::new();
    scene.prepare("cp examples/standalone.toml /etc/airlock/config.toml");
    scene.serve("airlock serve");
    runbook(&mut scene, "## Back up the embedded store");
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
