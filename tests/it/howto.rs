//! The how-to for operators of coreos/airlock, step by step, with the real binary and a real etcd.

use std::fs;
use std::process::Command;

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::etcd::Etcd;

fn curl(url: &str, body: &str) -> String {
    let output = Command::new("curl")
        .args([
            "-s",
            "-w",
            "%{http_code}",
            "-H",
            "fleet-lock-protocol: true",
        ])
        .args(["-d", body, url])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

const FIRST: &str = r#"{"id": "2204af7f41984cb19b8cde4edc06c142", "group": "patroni"}"#;
const SECOND: &str = r#"{"id": "second", "group": "patroni"}"#;

/// The fields of log lines about the first node.
const FIRST_LOGGED: &str = "group=patroni id=2204af7f41984cb19b8cde4edc06c142";

/// Returns the configuration of the how-to with free ports.
fn config(endpoints: &[String]) -> String {
    format!(
        r#"
[status]
enabled = true
address = "localhost"
port = 0
tls = false
[service]
address = "localhost"
port = 0
tls = false
[etcd3]
endpoints = [ "{}","{}" ]
client_cert_pub_path = "{{folder}}/proventa-client-cert.pem"
client_cert_key_path = "{{folder}}/proventa-client-cert-key.pem"
[lock]
default_group_name = "default"
default_slots = 2
[[lock.groups]]
name = "patroni"
slots = 1
"#,
        endpoints[0], endpoints[1]
    )
}

#[test]
fn the_how_to_works_as_it_is_written() {
    let etcd = Etcd::cluster(2);
    let endpoints = etcd.endpoints();
    let mut airlock = Airlock::start_with(&config(&endpoints), &["-vv"]);
    assert_the_configuration_is_logged(&airlock, &endpoints);

    let pre_reboot = format!("{}/v1/pre-reboot", airlock.url());
    let steady_state = format!("{}/v1/steady-state", airlock.url());

    assert_eq!(curl(&pre_reboot, FIRST), "200");
    assert_the_grant_is_logged(&mut airlock);

    assert_eq!(
        curl(&pre_reboot, SECOND),
        "{\"kind\":\"failed_lock\",\"value\":\"all 1 semaphore slots currently locked\"}\n500"
    );
    airlock.wait_for_log(
        "level=error msg=\"failed to lock semaphore: all 1 semaphore slots currently locked\" group=patroni id=second \
         peer=127.0.0.1",
    );
    assert_eq!(
        etcd.get("com.coreos.airlock/groups/patroni/v1/semaphore"),
        r#"{"total_slots":1,"holders":["2204af7f41984cb19b8cde4edc06c142"]}"#
    );

    assert_eq!(curl(&steady_state, FIRST), "200");
    airlock.wait_for_log(&format!("msg=\"steady-state confirmed\" {FIRST_LOGGED}"));
    assert_eq!(curl(&pre_reboot, SECOND), "200");
}

fn assert_the_configuration_is_logged(airlock: &Airlock, endpoints: &[String]) {
    for expected in [
        "is not used because all endpoints are plain http:// and does not exist",
        ", etcd3.client_cert_pub_path)",
        ", etcd3.client_cert_key_path)",
        &format!(
            "level=debug msg=\"etcd3 configuration\" endpoints=\"[{} {}]\"",
            endpoints[0], endpoints[1]
        ),
        "level=debug msg=\"lock groups\" groups=\"map[default:2 patroni:1]\"",
        "level=info msg=\"status service\" address=localhost port=",
        "level=info msg=\"main service\" address=localhost port=",
        &format!(
            "level=info msg=\"airlock started\" version={} store=\"etcd {} {}\" service=\"127.0.0.1:",
            env!("CARGO_PKG_VERSION"),
            endpoints[0],
            endpoints[1]
        ),
        " (plain HTTP)\" groups=\"2 (default:2 patroni:1)\"",
    ] {
        assert!(
            airlock.log().contains(expected),
            "{expected} in {}",
            airlock.log()
        );
    }
}

/// Checks the last three lines of the log about requests, and their order.
fn assert_the_grant_is_logged(airlock: &mut Airlock) {
    let green =
        format!("level=debug msg=\"givin green-flag to pre-reboot request\" {FIRST_LOGGED}");
    airlock.wait_for_log(&green);
    let log = airlock.log();
    // The check of the store at the start runs beside requests.
    let requests = log.lines().filter(|line| line.contains("level=debug"));
    let lines: Vec<&str> = requests.rev().take(3).collect();
    for (line, expected) in lines.iter().rev().zip([
        "level=debug msg=\"got pre-reboot request\"",
        &format!("level=debug msg=\"processing client pre-reboot request\" {FIRST_LOGGED}"),
        &green,
    ]) {
        assert!(line.ends_with(expected), "{line}");
    }
}

/// The complete file of the how-to, including its comments. Its certificates need not exist for plain endpoints.
#[test]
fn check_config_describes_the_file_of_the_how_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock-config.toml");
    let config = r#"# Status service configuration
[status]
enabled = true
address = "localhost" # Can be changed to private / public IP of the machine
port = 2222
tls = false

# Main service configuration
[service]
address = "localhost" # Can be changed to private / public IP of the machine
port = 3333
tls = false

# Etcd-v3 client configuration
[etcd3]
endpoints = [ "http://10.0.1.33:2379","http://10.0.1.34:2379" ] # Replace with your etcd endpoints
client_cert_pub_path = "/etc/ssl/self-certs/proventa-client-cert.pem"
client_cert_key_path = "/etc/ssl/self-certs/proventa-client-cert-key.pem"

# Lock configuration, base reboot group
[lock]
default_group_name = "default"
default_slots = 2

# Additional reboot groups
[[lock.groups]]
name = "patroni"
slots = 1
"#;
    fs::write(&path, config).unwrap();
    let output = airlock()
        .arg("check-config")
        .arg("-c")
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for line in [
        "listens for nodes at http://localhost:3333/",
        "serves the status page and the metrics at http://localhost:2222/",
        "stores locks in etcd at http://10.0.1.33:2379, http://10.0.1.34:2379, under com.coreos.airlock/groups/",
        "grants up to 2 locks in group default at the same time (slots in the store take precedence)",
        "grants up to 1 lock in group patroni at the same time (slots in the store take precedence)",
    ] {
        assert!(text.contains(&format!("  {line}\n")), "{line} in {text}");
    }
}
