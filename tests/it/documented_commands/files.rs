//! The parts of configuration files in the documents.

use std::fs;

use airlock_test_support::airlock::airlock;
use toml::{Table, Value};

use super::blocks::blocks;

/// The sections of the configuration of the server. Other files are those of Zincati, for example.
const SECTIONS: &[&str] = &[
    "service", "status", "etcd3", "embedded", "lock", "notify", "limits",
];

#[test]
fn every_part_of_a_configuration_in_the_documents_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let mut count = 0;
    for block in blocks() {
        let Ok(mut config) = block.code.parse::<Table>() else {
            continue;
        };
        if !config.keys().any(|key| SECTIONS.contains(&key.as_str())) {
            continue;
        }
        count += 1;
        complete(&mut config);
        fs::write(&path, config.to_string()).unwrap();
        let mut check = airlock();
        let output = check
            .args(["check-config", "--json", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for kind in ["errors", "warnings"] {
            for problem in report[kind].as_array().unwrap() {
                let message = problem["message"].as_str().unwrap();
                // The files that it names are not here.
                assert!(
                    message.contains("No such file or directory"),
                    "{}, {}: {message}: {}",
                    block.file,
                    block.section,
                    block.code
                );
            }
        }
    }
    assert!(count > 15, "{count}");
}

/// Adds what a server needs besides: a store, ports, the groups that caps name, and plain HTTP without a certificate.
fn complete(config: &mut Table) {
    let groups: Vec<Value> = caps(config);
    let mut add = |section: &str, key: &str, value: Value| {
        let section = config.entry(section).or_insert_with(|| Table::new().into());
        section.as_table_mut().unwrap().entry(key).or_insert(value);
    };
    add("service", "port", 0.into());
    add("service", "address", "127.0.0.1".into());
    add("status", "enabled", true.into());
    add("status", "port", 0.into());
    add("lock", "default_slots", 3.into());
    add("lock", "groups", groups.into());
    let service = config["service"].as_table_mut().unwrap();
    if !service.contains_key("tls_cert_path") {
        service.insert("tls".into(), false.into());
    }
    match config.get_mut("etcd3") {
        Some(etcd) => {
            let endpoints = Value::Array(vec!["https://etcd.example:2379".into()]);
            etcd.as_table_mut()
                .unwrap()
                .entry("endpoints")
                .or_insert(endpoints);
        }
        None => {
            let store = Table::from_iter([("path".to_owned(), "airlock.db".into())]);
            config.insert("embedded".into(), store.into());
        }
    }
}

/// Returns a group for each name in the caps, but for the default group.
fn caps(config: &Table) -> Vec<Value> {
    let caps = config.get("lock").and_then(|lock| lock.get("caps"));
    let caps = caps.and_then(Value::as_array).into_iter().flatten();
    let names = caps.flat_map(|cap| cap["groups"].as_array().unwrap());
    let names = names.filter(|name| name.as_str() != Some("default"));
    names
        .map(|name| Table::from_iter([("name".to_owned(), name.clone())]).into())
        .collect()
}
