//! `airlock check-config`: its diagnostics, its exit codes and its options.

use std::fs;
use std::path::Path;
use std::process::Output;

use airlock_test_support::airlock::airlock;
use airlock_test_support::pki::{Ca, Pair};
use rcgen::date_time_ymd;
use tempfile::TempDir;

const EMBEDDED: &str = "[embedded]\npath = \"{folder}/airlock.db\"\n";

/// A configuration file in a folder of its own. `{folder}` in the text is replaced by the path of the folder.
struct Config {
    folder: TempDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = text.replace("{folder}", &folder.path().display().to_string());
        fs::write(folder.path().join("c.toml"), text).unwrap();
        Config { folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("c.toml").display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = airlock()
            .args(["check-config", "-c", &self.path()])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output
    }

    /// Runs the check, which has to exit with `code`, and returns its output.
    #[track_caller]
    fn check(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// Expects that the configuration is invalid because of exactly these problems, each of them named once.
    #[track_caller]
    fn assert_errors(&self, expected: &[(&str, &str)]) {
        let text = self.check(78, &[]);
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), expected.len(), "{text}");
        for (error, (key, problem)) in errors.iter().zip(expected) {
            assert!(error.contains(&self.path()), "{text}");
            assert!(
                error.contains(key) && error.contains(problem),
                "{key}, {problem}: {text}"
            );
            assert_eq!(error.matches(key).count(), 1, "{text}");
        }
        let summary = match expected.len() {
            1 => "invalid: 1 error".to_owned(),
            count => format!("invalid: {count} errors"),
        };
        assert!(text.contains(&summary), "{text}");
        assert!(!text.contains("A server with this configuration"), "{text}");
        let strict = self.run(&["--strict"]);
        assert_eq!(strict.status.code(), Some(78));
    }
}

fn json(text: &str) -> serde_json::Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap()
}

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
fn a_valid_configuration_is_described() {
    let config = Config::new(&format!("[service]\ntls = false\n{EMBEDDED}"));
    let text = config.check(0, &[]);
    let expected = format!(
        "{}: valid\nA server with this configuration:\n  listens for nodes at http://0.0.0.0:9090/\n",
        config.path()
    );
    assert!(text.starts_with(&expected), "{text}");
    let grants = "  grants up to 1 lock in group default at the same time (slots in the store take precedence)\n";
    assert!(text.contains(grants), "{text}");
    assert!(
        !config.folder.path().join("airlock.db").exists(),
        "the check creates nothing"
    );
}

#[test]
fn every_problem_of_the_file_is_named_once_with_its_line() {
    let config = Config::new(
        "[service]\ntls = false\nprot = 1\n[etcd3]\nendpoints = []\n[lock]\ndefault_slots = 0\n",
    );
    config.assert_errors(&[(":5", "etcd3.endpoints"), (":7", "lock.default_slots")]);
    let text = config.check(78, &[]);
    assert_eq!(text.matches("warning: ").count(), 1, "{text}");
    assert!(
        text.ends_with("c.toml: invalid: 2 errors, 1 warning\n"),
        "{text}"
    );
    // The log of a server has the same diagnostics.
    let serve = airlock()
        .args(["serve", "-c", &config.path()])
        .output()
        .unwrap();
    assert_eq!(serve.status.code(), Some(78));
    let log = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(log.matches("level=error").count(), 2, "{log}");
    assert_eq!(log.matches("level=warning").count(), 1, "{log}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let config = Config::new("");
    fs::remove_file(config.path()).unwrap();
    config.assert_errors(&[("c.toml", "No such file")]);
}

#[test]
fn warnings_leave_a_configuration_valid_unless_strict() {
    let config = Config::new(&format!("[service]\ntls = false\nprot = 1\n{EMBEDDED}"));
    let text = config.check(0, &[]);
    assert_eq!(text.matches("service.prot").count(), 1, "{text}");
    assert!(text.starts_with("warning: "), "{text}");
    assert!(
        text.contains(": valid, 1 warning\nA server with this configuration:\n"),
        "{text}"
    );

    let text = config.check(78, &["--strict"]);
    assert!(
        text.starts_with("error: ") && text.contains("service.prot"),
        "{text}"
    );
    assert!(!text.contains("warning: "), "{text}");
    assert!(
        text.ends_with(": invalid: 1 error\nWith --strict, every warning is an error.\n"),
        "{text}"
    );
}

#[test]
fn json_is_one_object() {
    let config = Config::new(&format!("[service]\ntls = false\nprot = 1\n{EMBEDDED}"));
    let valid = json(&config.check(0, &["--json"]));
    assert_eq!(valid["valid"], true);
    assert_eq!(valid["errors"], serde_json::json!([]));
    let warning = &valid["warnings"][0];
    assert_eq!(warning["file"], config.path());
    assert_eq!(warning["line"], 3);
    assert_eq!(warning["key"], "service.prot");
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .contains("did you mean"),
        "{warning}"
    );
    assert_eq!(
        valid["description"][0],
        "listens for nodes at http://0.0.0.0:9090/"
    );

    let strict = json(&config.check(78, &["--json", "--strict"]));
    assert_eq!(strict["valid"], false);
    assert_eq!(strict["errors"], valid["warnings"]);
    assert_eq!(strict["warnings"], serde_json::json!([]));
    assert_eq!(strict["description"], serde_json::json!([]));

    fs::remove_file(config.path()).unwrap();
    let missing = json(&config.check(78, &["--json"]));
    let error = &missing["errors"][0];
    assert_eq!(error["line"], serde_json::Value::Null);
    assert_eq!(error["key"], serde_json::Value::Null);
    assert!(
        error["message"].as_str().unwrap().contains("No such file"),
        "{error}"
    );
}

#[test]
fn all_problems_with_files_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [service, status, etcd] =
        ["service", "status", "etcd"].map(|name| pair_in(folder.path(), name));
    let folder = folder.path().display();
    let config = Config::new(&format!(
        "{service}client_ca_path = \"{folder}/client-ca.pem\"\nhtpasswd_path = \"{folder}/htpasswd\"\n\
         {status}enabled = true\nport = 9091\n\
         [etcd3]\nendpoints = [\"https://127.0.0.1:2379\"]\nca_cert_path = \"{folder}/etcd-ca.pem\"\n\
         client_cert_pub_path = {:?}\nclient_cert_key_path = {:?}\n\
         username = \"airlock\"\npassword_path = \"{folder}/password\"\n",
        etcd.cert,
        etcd.key,
        service = listener("service", &service),
        status = listener("status", &status),
    ));
    config.assert_errors(&[
        ("service.tls_cert_path", "/service.pem"),
        ("service.tls_key_path", "/service-key.pem"),
        ("service.client_ca_path", "/client-ca.pem"),
        ("status.tls_cert_path", "/status.pem"),
        ("status.tls_key_path", "/status-key.pem"),
        ("service.htpasswd_path", "/htpasswd"),
        ("etcd3.ca_cert_path", "/etcd-ca.pem"),
        ("etcd3.client_cert_pub_path", "/etcd.pem"),
        ("etcd3.client_cert_key_path", "/etcd-key.pem"),
        ("etcd3.password_path", "/password"),
    ]);
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
    let missing = format!("the folder {}/missing ", config.folder.path().display());
    config.assert_errors(&[("embedded.path", &missing)]);
    fs::write(config.folder.path().join("missing"), "").unwrap();
    config.assert_errors(&[("embedded.path", "/missing is not a folder")]);
    fs::remove_file(config.folder.path().join("missing")).unwrap();
    fs::create_dir_all(config.folder.path().join("missing/airlock.db")).unwrap();
    config.assert_errors(&[("embedded.path", "/missing/airlock.db is a folder")]);
}

#[test]
fn one_port_for_both_listeners_and_an_address_with_a_port_are_errors() {
    let status = "[status]\nenabled = true\naddress = \"127.0.0.1\"\nport = 9090\n";
    let config = Config::new(&format!(
        "[service]\naddress = \"127.0.0.1\"\nport = 9090\ntls = false\n{status}{EMBEDDED}"
    ));
    let text = config.check(78, &[]);
    assert!(
        text.contains("status.port") && text.contains("9090"),
        "{text}"
    );
    let config = Config::new(&format!(
        "[service]\naddress = \"127.0.0.1:9090\"\ntls = false\n{EMBEDDED}"
    ));
    let text = config.check(78, &[]);
    assert!(
        text.contains("service.address") && text.contains("127.0.0.1:9090"),
        "{text}"
    );
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
        text.contains("notes.txt is not a SQLite database; move it away, or name another file"),
        "{text}"
    );
    fs::write(&store, "").unwrap();
    checked.check(0, &[]);
}
