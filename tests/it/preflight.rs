//! The check of everything that a configuration names, by `airlock check-config` and by a server at its start.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use airlock_test_support::airlock::{airlock, binary, unprivileged_airlock};
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, Pair};
use rcgen::date_time_ymd;
use rusqlite::Connection;

use crate::check_config::{Config, EMBEDDED};

fn listener(section: &str, pair: &Pair) -> String {
    let (cert, key) = (&pair.cert, &pair.key);
    format!("[{section}]\ntls = true\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}\n")
}

fn pair_in(folder: &Path, name: &str) -> Pair {
    Pair {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}-key.pem")),
    }
}

#[test]
fn all_problems_with_files_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [service, status, etcd] =
        ["service", "status", "etcd"].map(|name| pair_in(folder.path(), name));
    let folder = folder.path().display();
    let config = Config::new(&format!(
        "{service}client_ca_path = \"{folder}/client-ca.pem\"\nhtpasswd_path = \"{folder}/htpasswd\"\n\
         node_names_path = \"{folder}/names\"\n{status}enabled = true\nport = 9091\n\
         [etcd3]\nendpoints = [\"https://127.0.0.1:2379\"]\nca_cert_path = \"{folder}/etcd-ca.pem\"\n\
         client_cert_pub_path = {:?}\nclient_cert_key_path = {:?}\n\
         username = \"airlock\"\npassword_path = \"{folder}/password\"\n",
        etcd.cert,
        etcd.key,
        service = listener("service", &service),
        status = listener("status", &status),
    ));
    config.assert_errors(&[
        (":3, service.tls_cert_path", "/service.pem"),
        (":4, service.tls_key_path", "/service-key.pem"),
        (":5, service.client_ca_path", "/client-ca.pem"),
        (":6, service.htpasswd_path", "/htpasswd"),
        (":7, service.node_names_path", "/names"),
        (":10, status.tls_cert_path", "/status.pem"),
        (":11, status.tls_key_path", "/status-key.pem"),
        (":16, etcd3.ca_cert_path", "/etcd-ca.pem"),
        (":17, etcd3.client_cert_pub_path", "/etcd.pem"),
        (":18, etcd3.client_cert_key_path", "/etcd-key.pem"),
        (":20, etcd3.password_path", "/password"),
    ]);
    // The server does not start, and reports the same.
    let serve = airlock().args(["serve", "-c", &config.path()]).output();
    let serve = serve.unwrap();
    assert_eq!(serve.status.code(), Some(78));
    let log = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(log.matches("level=error").count(), 11, "{log}");
}

#[test]
fn an_invalid_configuration_does_not_hide_problems_with_files() {
    let config = Config::new(
        "[service]\ntls = false\nhtpasswd_path = \"{folder}/users\"\n[lock]\ndefault_slots = 0\n",
    );
    let text = config.check(78, &[]);
    let errors = text.lines().filter(|line| line.starts_with("error: "));
    let errors: Vec<&str> = errors.collect();
    assert_eq!(errors.len(), 3, "{text}");
    assert!(
        errors[0].contains("/users: cannot be read: No such file"),
        "{text}"
    );
    assert!(errors[1].contains(":5, lock.default_slots"), "{text}");
    assert!(errors[2].contains("no store is configured"), "{text}");
    // The folder in which the check runs does not matter, even if it no longer exists.
    let gone = config.folder.path().join("gone");
    let script = "mkdir \"$0\" && cd \"$0\" && rmdir \"$0\" && exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(gone)
        .arg(binary())
        .args(["check-config", "-c", &config.path()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_errors() {
    let ca = Ca::new("ca");
    let (one, two) = (
        ca.issue("one", &["localhost"]),
        ca.issue("two", &["localhost"]),
    );
    let mixed = Pair {
        cert: one.cert.clone(),
        key: two.key.clone(),
    };
    let swapped = Pair {
        cert: one.key.clone(),
        key: one.cert.clone(),
    };
    let pair = listener("service", &mixed);
    Config::new(&format!("{pair}{EMBEDDED}"))
        .assert_errors(&[("service.tls_cert_path, service.tls_key_path", "two-key.pem")]);
    let pair = listener("service", &swapped);
    Config::new(&format!("{pair}{EMBEDDED}")).assert_errors(&[
        ("service.tls_cert_path", "one-key.pem"),
        ("service.tls_key_path", "one.pem"),
    ]);
    let (pair, key) = (listener("service", &one), &two.key);
    Config::new(&format!("{pair}client_ca_path = {key:?}\n{EMBEDDED}"))
        .assert_errors(&[("service.client_ca_path", "two-key.pem")]);
    Config::new(&format!(
        "[service]\ntls = false\n[etcd3]\nendpoints = [\"https://127.0.0.1:2379\"]\n\
         client_cert_pub_path = {:?}\nclient_cert_key_path = {:?}\n",
        mixed.cert, mixed.key
    ))
    .assert_errors(&[(
        "etcd3.client_cert_pub_path, etcd3.client_cert_key_path",
        "two-key.pem",
    )]);
}

#[test]
fn the_certificate_that_both_listeners_share_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let pair = listener("service", &pair_in(folder.path(), "both"));
    let status = "[status]\nenabled = true\nport = 9091\ntls = true\n";
    Config::new(&format!("{pair}{status}{EMBEDDED}")).assert_errors(&[
        ("service.tls_cert_path", "/both.pem"),
        ("service.tls_key_path", "/both-key.pem"),
    ]);
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let ca = Ca::new("ca");
    let expired = ca.issue_with("expired", &["localhost"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let config = Config::new(&format!("{}{EMBEDDED}", listener("service", &expired)));
    let text = config.check(0, &[]);
    assert!(text.starts_with("warning: "), "{text}");
    for expected in [
        "service.tls_cert_path",
        "expired.pem",
        "2020-01-01T00:00:00Z",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    config.check(78, &["--strict"]);
}

#[test]
fn the_htpasswd_file_has_to_be_valid_and_should_contain_the_users_of_the_groups() {
    let text = format!(
        "[service]\ntls = false\nhtpasswd_path = \"{{folder}}/htpasswd\"\n{EMBEDDED}\
         [lock]\ndefault_users = [\"node\", \"absent\"]\n[[lock.groups]]\nname = \"g\"\n"
    );
    let config = Config::new(&text);
    let htpasswd = config.folder.path().join("htpasswd");
    for (content, problem) in [("node:{SHA}x\n", "/htpasswd:1"), ("", "/htpasswd")] {
        fs::write(&htpasswd, content).unwrap();
        // The configuration itself has a warning: passwords without TLS.
        let text = config.check(78, &[]);
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{text}");
        assert!(
            errors[0].contains("service.htpasswd_path") && errors[0].contains(problem),
            "{text}"
        );
    }
    let hash = bcrypt::hash("secret", 4).unwrap();
    fs::write(&htpasswd, format!("node:{hash}\n")).unwrap();
    let text = config.check(0, &[]);
    assert_eq!(text.matches("\"absent\"").count(), 1, "{text}");
    assert!(text.contains("groups default, g"), "{text}");
    assert!(!text.contains("\"node\""), "{text}");
    let add = format!("htpasswd -B {} absent", htpasswd.display());
    assert!(text.contains(&add), "{text}");
}

#[test]
fn an_empty_password_file_is_an_error() {
    let config = Config::new(
        "[service]\ntls = false\n[etcd3]\nendpoints = [\"https://127.0.0.1:2379\"]\n\
         username = \"airlock\"\npassword_path = \"{folder}/password\"\n",
    );
    fs::write(config.folder.path().join("password"), "\n").unwrap();
    config.assert_errors(&[("etcd3.password_path", "/password")]);
}

#[test]
fn the_folder_of_the_embedded_store_has_to_exist() {
    let config =
        Config::new("[service]\ntls = false\n[embedded]\npath = \"{folder}/missing/airlock.db\"\n");
    let missing = format!(
        "cannot open its folder {}/missing: No such file",
        config.folder.path().display()
    );
    config.assert_errors(&[(":4, embedded.path", &missing)]);
    fs::write(config.folder.path().join("missing"), "").unwrap();
    config.assert_errors(&[("embedded.path", "/missing is not a folder")]);
    fs::remove_file(config.folder.path().join("missing")).unwrap();
    fs::create_dir_all(config.folder.path().join("missing/airlock.db")).unwrap();
    config.assert_errors(&[(
        "embedded.path",
        "/missing/airlock.db: cannot be used: this is a folder",
    )]);
}

#[test]
fn an_embedded_store_that_is_not_a_database_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("notes.txt");
    fs::write(&store, "not a database").unwrap();
    let checked = Config::new(&format!(
        "[service]\ntls = false\n[embedded]\npath = {store:?}\n"
    ));
    let text = checked.check(78, &[]);
    assert!(
        text.contains("notes.txt: cannot be used: file is not a database"),
        "{text}"
    );
    fs::write(&store, "").unwrap();
    checked.check(0, &[]);
}

#[test]
fn an_embedded_store_of_another_program_or_of_a_newer_version_is_an_error() {
    let config = Config::new(&format!("[service]\ntls = false\n{EMBEDDED}"));
    let file = Connection::open(config.folder.path().join("airlock.db")).unwrap();
    file.execute_batch("CREATE TABLE t (c)").unwrap();
    config.assert_errors(&[(":4, embedded.path", "a SQLite database of another program")]);
    file.execute_batch("PRAGMA application_id = 1634300524; PRAGMA user_version = 7")
        .unwrap();
    config.assert_errors(&[(":4, embedded.path", "a newer version of Airlock")]);
}

#[test]
fn an_address_that_no_server_can_use_is_an_error() {
    for (address, problem) in [
        // A label of a name has at most 63 characters, so that no name server is asked.
        (&*"x".repeat(64), "cannot resolve the address"),
        // An address for documentation, which no machine has.
        ("192.0.2.1", "cannot listen on 192.0.2.1:9090"),
    ] {
        let text = format!("[service]\ntls = false\naddress = \"{address}\"\n{EMBEDDED}");
        let config = Config::new(&text);
        config.assert_errors(&[(":3, service.address", problem)]);
        // The server reports the same; its exit code is not that of an invalid configuration, since the address may
        // become usable later.
        let serve = airlock().args(["serve", "-c", &config.path()]).output();
        let serve = serve.unwrap();
        assert_eq!(serve.status.code(), Some(1), "{serve:?}");
        let log = String::from_utf8(serve.stderr).unwrap();
        let last = log.lines().last().unwrap();
        assert!(
            last.contains(problem) && last.contains(":3, service.address)"),
            "{log}"
        );
    }
}

#[test]
fn a_locked_store_is_no_error_of_the_configuration() {
    let config = Config::new(&format!(
        "[service]\ntls = false\n{EMBEDDED}transaction_timeout_ms = 200\n"
    ));
    let file = Connection::open(config.folder.path().join("airlock.db")).unwrap();
    file.execute_batch("CREATE TABLE x (x); BEGIN EXCLUSIVE")
        .unwrap();
    config.check(0, &[]);
    let get = airlock()
        .args(["get", "slots", "-c", &config.path()])
        .output();
    let get = get.unwrap();
    assert_eq!(get.status.code(), Some(69), "{get:?}");
    let text = String::from_utf8(get.stderr).unwrap();
    let expected = [
        "another process keeps the file locked",
        ":4, embedded.path)",
    ];
    assert!(
        expected.iter().all(|expected| text.contains(expected)),
        "{text}"
    );
    assert!(!text.contains("hint: "), "{text}");
}

#[test]
fn a_secret_that_every_user_can_read_is_a_warning() {
    let config = Config::new(&format!(
        "[service]\ntls = false\nhtpasswd_path = \"{{folder}}/users\"\n{EMBEDDED}"
    ));
    let users = config.folder.path().join("users");
    fs::write(
        &users,
        format!("node:{}\n", bcrypt::hash("secret", 4).unwrap()),
    )
    .unwrap();
    let folder = config.folder.path();
    let check = |mode, folder_mode| {
        fs::set_permissions(&users, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(folder_mode)).unwrap();
        config.check(0, &[])
    };
    let text = "every user of this machine can access the secret";
    let remedy = format!("which has mode 0604: chmod o= {} (", users.display());
    let exposed = check(0o604, 0o755);
    assert!(
        exposed.contains(text) && exposed.contains(&remedy),
        "{exposed}"
    );
    for protected in [check(0o640, 0o755), check(0o604, 0o700)] {
        assert!(!protected.contains(text), "{protected}");
    }
}

#[test]
fn only_a_regular_file_can_be_the_embedded_store() {
    for path in ["/dev/null", "{folder}/pipe", "{folder}/link"] {
        let text = format!("[service]\ntls = false\n[embedded]\npath = \"{path}\"\n");
        let config = Config::new(&text);
        let place = |name: &str| config.folder.path().join(name);
        let made = Command::new("mkfifo").arg(place("pipe")).status().unwrap();
        assert!(made.success());
        symlink("nowhere", place("link")).unwrap();
        config.assert_errors(&[(":4, embedded.path", "this is not a regular file")]);
    }
}

#[test]
fn what_the_user_may_not_use_is_an_error() {
    let config = Config::new(
        "[service]\ntls = false\nport = 81\nhtpasswd_path = \"{folder}/users\"\n[embedded]\npath = \"{folder}/closed/airlock.db\"\n",
    );
    let path = |name: &str| config.folder.path().join(name);
    fs::write(path("users"), "").unwrap();
    fs::create_dir(path("closed")).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("users", 0o000);
    mode("closed", 0o555);
    let mut command = unprivileged_airlock(config.folder.path());
    command.args(["check-config", "-c", &config.path()]);
    let output = eventually("the copy to be executable", || command.output().ok());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    let first_port = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let is_privileged = first_port.trim().parse::<u16>().unwrap() > 81;
    let port = [":3, service.port", "choose a higher port"].map(|text| (text, is_privileged));
    let files = [
        ":4, service.htpasswd_path",
        "must be able to read the file, which has mode 0000, uid ",
        "+r ",
        ":6, embedded.path",
        "is not writable: Permission denied",
    ];
    for (expected, is_expected) in files.map(|text| (text, true)).into_iter().chain(port) {
        assert_eq!(text.contains(expected), is_expected, "{expected}: {text}");
    }
}

#[test]
fn a_certificate_of_version_1_is_an_error_with_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair_in(folder.path(), "v1");
    fs::write(&pair.cert, VERSION_1).unwrap();
    fs::write(&pair.key, VERSION_1_KEY).unwrap();
    let text = format!("{}{EMBEDDED}", listener("service", &pair));
    Config::new(&text).assert_errors(&[(
        ":3, service.tls_cert_path",
        "v1.pem: contains an X.509 certificate of version 1, but TLS needs version 3",
    )]);
}

/// A self-signed certificate without extensions, from OpenSSL 3.0: `openssl x509 -req -signkey`.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJDCBywIUYgolxV8St86edSYTnCYRuf8Pv/QwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDE3MzU1MFoYDzIxMjYxMDMxMTczNTUw
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASQm8yP+YQJuBFLUk3eRj7CU6GPiCyJHBcn25hjzPMGNl/ld/lomLeNK6gGE3bk
TSxKvzpBklhWfhnhZbXpMpltMAoGCCqGSM49BAMCA0gAMEUCIHeqnKBvgUh6ohDM
Y3xXJ/swdY2xqZbhDyX2pEOMVP+0AiEAzPJYp/52pFPcHfpbB5DP4W659Nlx3XAI
NjnvI/58/Ek=
-----END CERTIFICATE-----
";

const VERSION_1_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+DhpelIEZcq7yWTl
ikPDQe/AFhvhXnFX26KmsMaC8qmhRANCAASQm8yP+YQJuBFLUk3eRj7CU6GPiCyJ
HBcn25hjzPMGNl/ld/lomLeNK6gGE3bkTSxKvzpBklhWfhnhZbXpMplt
-----END PRIVATE KEY-----
";
