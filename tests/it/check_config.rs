//! `airlock check-config`: its diagnostics, its exit codes and its options.

use std::fs;
use std::process::Output;

use airlock_test_support::airlock::airlock;
use tempfile::TempDir;

pub(crate) const EMBEDDED: &str = "[embedded]\npath = \"{folder}/airlock.db\"\n";

/// A configuration file in a folder of its own. `{folder}` in the text is replaced by the path of the folder.
pub(crate) struct Config {
    pub(crate) folder: TempDir,
}

impl Config {
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = text.replace("{folder}", &folder.path().display().to_string());
        fs::write(folder.path().join("c.toml"), text).unwrap();
        Config { folder }
    }

    pub(crate) fn path(&self) -> String {
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
    pub(crate) fn check(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// Expects that the configuration is invalid because of exactly these problems, each of them named once.
    #[track_caller]
    pub(crate) fn assert_errors(&self, expected: &[(&str, &str)]) {
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
