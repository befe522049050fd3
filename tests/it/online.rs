//! `airlock check-config --online`, and the same inspection at the start of a server, with real etcds and files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, USER, Version, keys_of_user};
use airlock_test_support::pki::Ca;
use airlock_test_support::process::Process;
use airlock_test_support::{eventually, free_port};

use crate::check_config::{Config, EMBEDDED};

/// A check of a configuration with etcd.
struct Check {
    config: Config,
}

// === impl Check ===

impl Check {
    /// Prepares a check of these endpoints; `keys` are the other keys of `[etcd3]`.
    fn new(endpoints: &[String], keys: &str) -> Self {
        let config = format!("{LISTEN}[etcd3]\nendpoints = {endpoints:?}\n{keys}");
        Check {
            config: Config::new(&config),
        }
    }

    fn embedded() -> Self {
        Check {
            config: Config::new(&format!("{LISTEN}{EMBEDDED}")),
        }
    }

    /// Runs the check, which has to exit with `code`, and returns the part of the JSON about the store.
    #[track_caller]
    fn run(&self, code: i32) -> Value {
        let text = self.config.check(code, &["--online", "--json"]);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["valid"], true, "{text}");
        assert_eq!(json["store"]["is_usable"], code == 0, "{text}");
        json["store"].clone()
    }
}

/// Returns the findings of a check, each as its severity and its text.
fn findings<'a>(store: &'a Value, check: &str) -> Vec<(&'a str, String)> {
    let findings = store["findings"].as_array().unwrap();
    let findings = findings.iter().filter(|finding| finding["check"] == check);
    let text = |finding: &'a Value| {
        let (message, remedy) = (&finding["message"], &finding["remedy"]);
        let text = format!(
            "{}: {}; {}",
            finding["subjects"],
            message.as_str().unwrap(),
            remedy.as_str().unwrap_or_default()
        );
        (finding["severity"].as_str().unwrap(), text)
    };
    findings.map(text).collect()
}

/// Returns the only finding of a check.
#[track_caller]
fn finding<'a>(store: &'a Value, check: &str) -> (&'a str, String) {
    let mut found = findings(store, check);
    assert_eq!(found.len(), 1, "{check}: {store:#}");
    found.remove(0)
}

/// Expects exactly one finding of a check, with this severity and these parts of the text.
#[track_caller]
fn assert_finding(store: &Value, check: &str, severity: &str, parts: &[&str]) {
    let (found, text) = finding(store, check);
    assert_eq!(found, severity, "{check}: {text}");
    for part in parts {
        assert!(text.contains(part), "{check}: {text}");
    }
}

/// Returns the number of errors.
fn errors(store: &Value) -> usize {
    let findings = store["findings"].as_array().unwrap();
    let errors = findings
        .iter()
        .filter(|finding| finding["severity"] == "error");
    errors.count()
}

fn revision(etcd: &Etcd) -> Value {
    let status = etcd.ctl(&["endpoint", "status", "--write-out", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    status[0]["Status"]["header"]["revision"].clone()
}

#[test]
fn a_healthy_member_passes_and_nothing_is_written() {
    for (version, number, bugs) in [
        (Version::V3_4, "3.4.", &["#20418", "#17780", "#20271"][..]),
        (
            Version::V3_5_1,
            "3.5.1",
            &[
                "#20418", "#17780", "#20271", "#13766", "#14733", "#14370", "#13435",
            ],
        ),
    ] {
        let etcd = Etcd::with(version, 1, &[]);
        let before = revision(&etcd);
        let store = Check::new(&etcd.endpoints(), "").run(0);
        assert_eq!(errors(&store), 0, "{store:#}");
        let endpoint = &store["endpoints"][0];
        assert_eq!(endpoint["endpoint"], etcd.endpoints()[0]);
        assert_eq!(endpoint["role"], "leader");
        assert_eq!(endpoint["member"], "m0");
        let found = endpoint["version"].as_str().unwrap();
        assert!(found.starts_with(number), "{found}");
        assert!(endpoint["round_trip_microseconds"].as_u64().unwrap() > 0);
        assert_eq!(endpoint["clock_ahead_seconds"], 0);
        for check in ["alarm", "read", "write", "clock", "members"] {
            assert_finding(&store, check, "ok", &[&etcd.endpoints()[0]]);
        }
        let known = findings(&store, "version");
        assert_eq!(known.len(), bugs.len(), "{known:?}");
        for bug in bugs {
            let found = known.iter().find(|(_, text)| text.contains(bug));
            let (severity, text) = found.unwrap();
            assert_eq!(*severity, "warning");
            assert!(text.contains(&format!("etcd {}", endpoint["version"].as_str().unwrap())));
            assert!(text.contains("upgrade etcd to 3."), "{text}");
        }
        assert_eq!(revision(&etcd), before);
        assert_eq!(etcd.ctl(&["get", "--prefix", "com.coreos.airlock/"]), "");
    }
}

#[test]
fn a_stored_value_survives_the_check() {
    let etcd = Etcd::start();
    let key = "com.coreos.airlock/groups/default/v1/semaphore";
    let value = r#"{"total_slots":1,"holders":["n"]}"#;
    etcd.put(key, value);
    Check::new(&etcd.endpoints(), "").run(0);
    assert_eq!(etcd.get(key), value);
}

#[test]
fn a_stopped_member_is_a_warning_and_a_lost_majority_an_error() {
    let mut etcd = Etcd::cluster(3);
    let check = Check::new(&etcd.endpoints(), "transaction_timeout_ms = 5000\n");
    let store = check.run(0);
    assert_finding(&store, "members", "ok", &["3 voting members", "reached 3"]);
    let roles = |store: &Value, role: &str| {
        let endpoints = store["endpoints"].as_array().unwrap();
        endpoints
            .iter()
            .filter(|endpoint| endpoint["role"] == role)
            .count()
    };
    assert_eq!((roles(&store, "leader"), roles(&store, "follower")), (1, 2));
    let known = findings(&store, "version");
    assert!(
        known.iter().all(|(_, text)| !text.contains("#14370")),
        "a bug of single members: {known:?}"
    );

    let leader = etcd.leader();
    let stopped = (leader + 1) % 3;
    etcd.members[stopped].kill();
    let store = check.run(0);
    let endpoint = etcd.members[stopped].endpoint();
    assert_finding(&store, "reachable", "warning", &[&endpoint, "refused"]);
    assert_finding(&store, "members", "ok", &["3 voting members", "reached 2"]);
    assert_eq!(store["endpoints"][stopped]["version"], Value::Null);

    let text = check.config.check(69, &["--online", "--strict"]);
    assert!(text.contains("not usable"), "{text}");
    assert!(
        text.ends_with("With --strict, every warning is an error.\n"),
        "{text}"
    );

    let other = (leader + 2) % 3;
    etcd.members[other].kill();
    let last = etcd.members[leader].endpoint();
    eventually("the last member to lose its leader", || {
        let text = check.config.check(69, &["--online", "--json"]);
        let json: Value = serde_json::from_str(&text).unwrap();
        let leader = findings(&json["store"], "leader");
        let (severity, text) = leader.first()?;
        assert_eq!(*severity, "error");
        (text.contains(&last) && text.contains("no leader")).then_some(())
    });
}

#[test]
fn a_member_that_does_not_reply_is_given_up_at_the_timeout() {
    let etcd = Etcd::start();
    etcd.members[0].freeze();
    let store = Check::new(&etcd.endpoints(), "transaction_timeout_ms = 300\n").run(69);
    assert_finding(&store, "reachable", "error", &["no reply within 300 ms"]);
    etcd.members[0].thaw();
}

#[test]
fn endpoints_of_different_clusters_are_an_error_that_names_both() {
    let (one, two) = (Etcd::start(), Etcd::start());
    let endpoints = [one.endpoints(), two.endpoints()].concat();
    let check = Check::new(&endpoints, "");
    let store = check.run(69);
    let id = |index: usize| store["endpoints"][index]["cluster_id"].as_str().unwrap();
    assert_ne!(id(0), id(1));
    let parts = [
        format!("{} ({})", id(0), endpoints[0]),
        format!("{} ({})", id(1), endpoints[1]),
        "etcd3.cluster_id".to_owned(),
    ];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    assert_finding(&store, "cluster", "error", &parts);
}

#[test]
fn a_server_that_knows_one_of_several_members_is_told_the_others() {
    let etcd = Etcd::cluster(3);
    let store = Check::new(&etcd.endpoints()[..1], "").run(0);
    let others = etcd.endpoints()[1..].to_vec();
    let parts = ["knows only one", &others[0], &others[1]];
    assert_finding(&store, "members", "warning", &parts);
}

#[test]
fn a_learner_as_the_first_endpoint_is_a_warning() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &[]);
        let folder = tempfile::tempdir().unwrap();
        let (learner, endpoint) = add_learner(&etcd, version, folder.path());
        let endpoints = [vec![endpoint.clone()], etcd.endpoints()].concat();
        let check = Check::new(&endpoints, "");
        let store = eventually("the learner to join", || {
            let text = check.config.check(0, &["--online", "--json"]);
            let json: Value = serde_json::from_str(&text).unwrap();
            (json["store"]["endpoints"][0]["role"] == "learner").then(|| json["store"].clone())
        });
        assert_finding(
            &store,
            "learner",
            "warning",
            &[&endpoint, "etcdctl member promote"],
        );
        assert_finding(
            &store,
            "write",
            "ok",
            &etcd
                .endpoints()
                .iter()
                .map(|url| &**url)
                .collect::<Vec<_>>(),
        );
        assert_finding(&store, "members", "ok", &["one voting member"]);

        // Without another endpoint, the server cannot work.
        let store = Check::new(std::slice::from_ref(&endpoint), "").run(69);
        assert_finding(&store, "learner", "error", &[&endpoint]);
        drop(learner);
    }
}

/// Adds a learner to a cluster, and returns its process and its endpoint.
fn add_learner(etcd: &Etcd, version: Version, folder: &Path) -> (Process, String) {
    let (client, peer) = (free_port(), free_port());
    let (client, peer) = [client, peer]
        .map(|port| format!("http://127.0.0.1:{port}"))
        .into();
    etcd.ctl(&[
        "member",
        "add",
        "learner",
        "--learner",
        "--peer-urls",
        &peer,
    ]);
    let members = etcd.ctl(&["member", "list", "--write-out", "json"]);
    let members: Value = serde_json::from_str(&members).unwrap();
    let first = members["members"][0]["peerURLs"][0].as_str().unwrap();
    let second = members["members"][1]["peerURLs"][0].as_str().unwrap();
    let other = if first == peer { second } else { first };
    let mut command = Command::new(version.etcd());
    command
        .args(["--name", "learner", "--initial-cluster-state", "existing"])
        .args(["--initial-cluster", &format!("m0={other},learner={peer}")])
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .arg("--data-dir")
        .arg(folder.join("data"));
    (Process::start(command, &folder.join("log")), client)
}

#[test]
fn an_etcd_out_of_space_is_an_error_and_is_not_written() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &["--quota-backend-bytes", "200000"]);
        etcd.exhaust_space();
        let before = revision(&etcd);
        let store = Check::new(&etcd.endpoints(), "").run(69);
        assert_finding(
            &store,
            "alarm",
            "error",
            &["NOSPACE", "etcdctl alarm disarm"],
        );
        assert_finding(&store, "write", "error", &["database space exceeded"]);
        assert_finding(&store, "read", "ok", &[]);
        assert_eq!(revision(&etcd), before);
    }
}

#[test]
fn each_missing_permission_is_named() {
    for version in Version::ALL {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys_of_user(folder.path(), USER.1);
        let check = |permission: &str, keys: &str, code| {
            let etcd = Etcd::with(version, 1, &[]);
            etcd.require_users(&[permission]);
            let store = Check::new(&etcd.endpoints(), keys).run(code);
            // The process ends here; nothing else of it is needed.
            store
        };
        let store = check(ALL_GROUPS, &keys, 0);
        assert_finding(&store, "read", "ok", &[]);
        assert_finding(&store, "write", "ok", &[]);
        assert_eq!(errors(&store), 0, "{store:#}");

        let store = check("--prefix=true read com.coreos.airlock/groups/", &keys, 69);
        assert_finding(&store, "read", "ok", &[]);
        assert_finding(
            &store,
            "write",
            "error",
            &["permission denied", "readwrite"],
        );

        let store = check("--prefix=true readwrite elsewhere/", &keys, 69);
        assert_finding(&store, "read", "error", &["permission denied", "readwrite"]);
        assert!(findings(&store, "write").is_empty(), "{store:#}");

        let store = check(
            "--prefix=true readwrite com.coreos.airlock/groups/default/",
            &keys,
            0,
        );
        assert_finding(
            &store,
            "read",
            "warning",
            &["cannot watch", "grant-permission"],
        );
        assert_finding(&store, "write", "ok", &[]);

        let store = check(ALL_GROUPS, "", 69);
        assert_finding(
            &store,
            "read",
            "error",
            &["user name is empty", "etcd3.username"],
        );
    }
}

#[test]
fn a_wrong_password_is_an_error_and_a_user_without_authentication_a_warning() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &[]);
        let folder = tempfile::tempdir().unwrap();
        let check = Check::new(&etcd.endpoints(), &keys_of_user(folder.path(), "wrong"));
        let store = check.run(0);
        let parts = [
            "authentication off",
            "etcdctl auth enable",
            "etcd3.username",
        ];
        assert_finding(&store, "authentication", "warning", &parts);
        assert_finding(&store, "write", "ok", &[]);

        etcd.require_users(&[ALL_GROUPS]);
        let store = check.run(69);
        let parts = ["invalid user ID or password", "etcd3.password_path"];
        assert_finding(&store, "authentication", "error", &parts);
    }
}

#[test]
fn tls_is_checked_with_the_configured_ca() {
    let ca = Ca::new("ca");
    let etcd = Etcd::secure(Version::V3_4, &ca.issue("etcd", &["127.0.0.1"]), &[]);
    let keys = |ca: &Ca| format!("ca_cert_path = {:?}\n", ca.path());
    let store = Check::new(&etcd.endpoints(), &keys(&ca)).run(0);
    assert_finding(&store, "write", "ok", &[]);
    // The clock is read over TLS, too.
    assert_finding(&store, "clock", "ok", &[]);

    let store = Check::new(&etcd.endpoints(), &keys(&Ca::new("other"))).run(69);
    let parts = ["not signed by a trusted CA", "etcd3.ca_cert_path"];
    assert_finding(&store, "reachable", "error", &parts);
    assert_eq!(store["endpoints"][0]["clock_ahead_seconds"], Value::Null);
}

#[test]
fn the_clock_is_read_with_the_client_certificate() {
    let ca = Ca::new("ca");
    let trusted = ca.path();
    let more = [
        "--client-cert-auth",
        "--trusted-ca-file",
        trusted.to_str().unwrap(),
    ];
    let etcd = Etcd::secure(Version::V3_5_1, &ca.issue("etcd", &["127.0.0.1"]), &more);
    let pair = ca.issue("airlock", &[]);
    let keys = format!(
        "ca_cert_path = {trusted:?}\nclient_cert_pub_path = {:?}\nclient_cert_key_path = {:?}\n",
        pair.cert, pair.key
    );
    let store = Check::new(&etcd.endpoints(), &keys).run(0);
    assert_finding(&store, "clock", "ok", &[]);
}

#[test]
fn an_invalid_configuration_is_reported_without_asking_the_store() {
    let config = Config::new(&format!("{LISTEN}[etcd3]\nendpoints = []\n"));
    let text = config.check(78, &["--online", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["store"], Value::Null);
}

#[test]
fn a_healthy_file_passes_with_and_without_a_server() {
    let check = Check::embedded();
    let store = check.run(0);
    assert_finding(&store, "file", "ok", &["does not exist"]);
    // A temporary folder may be in memory.
    finding(&store, "filesystem");
    let path = check.config.folder.path().join("airlock.db");
    assert!(!path.exists(), "the check creates nothing");

    let airlock = Airlock::embedded("");
    assert!(airlock.client().lock("default", "n").granted());
    let online = || {
        let output = airlock.command(&["check-config", "--online", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["store"].clone()
    };
    let store = online();
    finding(&store, "filesystem");
    assert_finding(&store, "integrity", "ok", &[]);
    assert_finding(&store, "schema", "ok", &["version 1"]);
    assert_eq!(store["file"]["schema_version"], 1);
    assert!(store["file"]["wal_bytes"].as_u64().unwrap() > 0);
    // The server goes on: the check has neither its locks nor its files removed.
    assert!(airlock.client().unlock("default", "n").granted());
    assert!(airlock.client().lock("default", "m").granted());
    assert_eq!(errors(&online()), 0);
}

/// Returns a check of a database with one lock, which no process has open.
fn file_with_a_lock() -> Check {
    let check = Check::embedded();
    let mut airlock = Airlock::embedded("");
    assert!(airlock.client().lock("default", "n").granted());
    airlock.process().kill();
    for file in ["airlock.db", "airlock.db-wal"] {
        let copy = check.config.folder.path().join(file);
        fs::copy(airlock.folder().join(file), copy).unwrap();
    }
    // Writes the log into the database, as the last user of a file does.
    assert_eq!(errors(&check.run(0)), 0);
    check
}

/// Changes every page but the first one, which has the schema, and returns the path.
fn damage(check: &Check) -> std::path::PathBuf {
    let path = check.config.folder.path().join("airlock.db");
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 4096, "{}", bytes.len());
    for byte in &mut bytes[4096..] {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_damaged_file_is_an_error() {
    let check = file_with_a_lock();
    let path = damage(&check);
    let store = check.run(69);
    assert_finding(&store, "integrity", "error", &[&path.display().to_string()]);
    let text = check.config.check(69, &["--online"]);
    assert!(text.contains("the file is damaged"), "{text}");

    // Damage that SQLite meets only if it compares an index with its table: the name of the group in the index.
    let check = file_with_a_lock();
    let path = check.config.folder.path().join("airlock.db");
    let mut bytes = fs::read(&path).unwrap();
    let name = bytes.windows(7).rposition(|name| name == b"default");
    bytes[name.unwrap()] ^= 1;
    fs::write(&path, bytes).unwrap();
    let parts = ["missing from index", "airlock restore FILE --pause"];
    assert_finding(&check.run(69), "integrity", "error", &parts);
}

#[test]
fn a_database_that_was_copied_without_its_log_is_a_warning() {
    let check = Check::embedded();
    let copy = check.config.folder.path().join("airlock.db");
    // WAL mode is in the header, the schema is only in the log. An earlier version could leave this behind.
    let connection = rusqlite::Connection::open(&copy).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    drop(connection);
    let store = check.run(0);
    assert_finding(
        &store,
        "schema",
        "warning",
        &[
            "contains no locks",
            "airlock.db-wal",
            "airlock restore FILE --pause",
        ],
    );
}

#[test]
fn a_file_that_every_user_can_open_is_a_warning() {
    let check = file_with_a_lock();
    let folder = check.config.folder.path();
    let path = folder.join("airlock.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_finding(&check.run(0), "file_permissions", "ok", &[]);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let store = check.run(0);
    assert_finding(
        &store,
        "file_permissions",
        "warning",
        &["0644", "chmod o= "],
    );
    assert_eq!(store["file"]["mode"], "0644");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_finding(&check.run(0), "file_permissions", "ok", &[]);
}

#[test]
fn a_server_logs_the_problems_of_etcd_once_and_works_meanwhile() {
    let etcd = Etcd::with(Version::V3_5_1, 1, &[]);
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    assert!(airlock.client().lock("default", "n").granted());
    airlock.wait_for_log("#20418");
    let log = airlock.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("#20418")).collect();
    let [line] = lines[..] else {
        panic!("{log}");
    };
    let at = format!("at=\"{}\"", etcd.endpoints()[0]);
    for part in [
        "level=warning",
        "check=version",
        &at,
        "etcd 3.5.1",
        "3.5.28",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn the_inspection_delays_neither_requests_nor_the_end_of_a_server() {
    let etcd = Etcd::start();
    etcd.members[0].freeze();
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "transaction_timeout_ms = 600000\n");
    let (status, _) = airlock.status("/healthz");
    assert_eq!(status, 200);
    airlock.terminate();
    assert!(airlock.process().wait().success());
    etcd.members[0].thaw();
}

#[test]
fn a_server_logs_a_damaged_file() {
    let check = file_with_a_lock();
    let path = damage(&check);
    let config = format!("{LISTEN}[embedded]\npath = {path:?}\n");
    let airlock = Airlock::start_with(&config, &["-vv"]);
    let log = airlock.log();
    assert!(log.contains("check=integrity"), "{log}");
}
