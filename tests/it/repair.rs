//! The repair command that `airlock get slots` prints for a damaged value: it works in a POSIX shell as it is written, with only the
//! placeholders filled in.

use std::process::Command;

use rusqlite::Connection;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::eventually;
use airlock_test_support::pki::Ca;

/// The name of a configured group, with every character that has a meaning in a shell or in SQL.
const GROUP: &str = "it's \"$HOME\" `x` \\ !é%";

const GROUPS: &str = "[[lock.groups]]\nname = '''it's \"$HOME\" `x` \\ !é%'''\n";

/// Runs the repair command for a damaged value of `group`, and checks that the server uses the repaired value.
fn repair(airlock: &Airlock, group: &str) {
    let client = airlock.client();
    let records = |airlock: &Airlock| {
        let shown = airlock.command(&["history", "--json", "--", group]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let found = &shown["groups"][0];
        [&found["history"], &found["audit_log"]].map(|list| list.as_array().unwrap().len())
    };
    let damaged = client.lock(group, "a");
    assert_eq!((damaged.status, &*damaged.kind()), (500, "failed_sem_init"));
    assert!(!damaged.value().contains("SLOTS"), "{damaged:?}");
    let shown = airlock.command(&["get", "slots", "--", group]);
    let errors = String::from_utf8(shown.stderr).unwrap();
    let mut lines = errors.lines();
    let command = lines
        .find_map(|line| {
            Some(
                line.strip_prefix("hint: ")?
                    .split_once("repair it with: ")?
                    .1,
            )
        })
        .unwrap();
    assert!(
        command.contains("SLOTS") && command.contains("ID"),
        "{command}"
    );
    let command = command.replace("SLOTS", "1").replace("ID", "holder");
    let output = Command::new("sh").args(["-c", &command]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    assert!(output.stderr.is_empty(), "{command}: {output:?}");
    // The follower of the server sees the repaired value before any node asks.
    let holders = |airlock: &Airlock| {
        let (_, json) = airlock.status("/v1/status");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let groups = json["groups"].as_array().unwrap();
        let found = groups.iter().find(|found| found["name"] == group).unwrap();
        found["lock"]["holders"][0]["id"]
            .as_str()
            .map(ToOwned::to_owned)
    };
    eventually("the repaired value to be shown", || {
        (holders(airlock).as_deref() == Some("holder")).then_some(())
    });
    assert_eq!(client.lock(group, "a").kind(), "failed_lock");
    assert!(client.unlock(group, "holder").granted());
    assert!(client.lock(group, "a").granted());
    // What was recorded before the damage is still there.
    assert_eq!(records(airlock), [2, 2]);
}

/// Lets the store record a hold and two commands.
fn record(airlock: &Airlock, group: &str) {
    let client = airlock.client();
    assert!(client.lock(group, "before").granted());
    assert!(client.unlock(group, "before").granted());
    for command in ["pause", "resume"] {
        let changed = airlock.command(&[command, "--yes", "--", group]);
        assert!(changed.status.success(), "{changed:?}");
    }
}

#[test]
fn a_damaged_value_in_sqlite_is_repaired_with_the_command_in_the_message() {
    let airlock = Airlock::embedded(GROUPS);
    let file = Connection::open(airlock.folder().join("airlock.db")).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    for group in ["default", GROUP] {
        record(&airlock, group);
        file.execute_batch(
            "BEGIN; UPDATE clock SET revision = revision + 1; \
             UPDATE semaphores SET semaphore = 'x', revision = (SELECT revision FROM clock); COMMIT",
        )
        .unwrap();
        repair(&airlock, group);
    }
}

#[test]
fn a_damaged_value_in_etcd_is_repaired_with_the_command_in_the_message() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &[]);
        let airlock = Airlock::on_etcd(&etcd.endpoints(), GROUPS);
        for (group, key) in [
            ("default", "default"),
            (GROUP, "it%27s+%22%24HOME%22+%60x%60+%5C+%21%C3%A9%25"),
        ] {
            record(&airlock, group);
            etcd.put(
                &format!("com.coreos.airlock/groups/{key}/v1/semaphore"),
                "x",
            );
            repair(&airlock, group);
        }
    }
}

#[test]
fn the_repair_command_uses_the_certificates_of_the_server() {
    let ca = Ca::new("ca");
    let trusted = ca.path();
    let etcd = Etcd::secure(
        Version::V3_4,
        &ca.issue("etcd", &["127.0.0.1"]),
        &[
            "--client-cert-auth",
            "--trusted-ca-file",
            trusted.to_str().unwrap(),
        ],
    );
    let client = ca.issue("airlock", &[]);
    let keys = format!(
        "ca_cert_path = {trusted:?}\nclient_cert_pub_path = {:?}\nclient_cert_key_path = {:?}\n",
        client.cert, client.key
    );
    let airlock = Airlock::on_etcd(&etcd.endpoints(), &keys);
    record(&airlock, "default");
    etcd.put("com.coreos.airlock/groups/default/v1/semaphore", "x");
    repair(&airlock, "default");
}
