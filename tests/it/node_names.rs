//! `service.node_names_path`: the check, the reload, and the commands.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::{eventually, repository};

use crate::check_config::{Config, EMBEDDED};

const NAMED: &str = "[service]\ntls = false\nnode_names_path = \"{folder}/names\"\n";

const FAILURES: &str = "airlock_tls_reload_failures_total{target=\"node_names\"}";

fn listening() -> String {
    format!(
        "{NAMED}address = \"127.0.0.1\"\nport = 0\n[status]\nenabled = true\nport = 0\n{EMBEDDED}"
    )
}

/// Makes every user able to read the file at `path`.
fn expose(path: &Path) {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(path.parent().unwrap(), 0o755);
    mode(path, 0o644);
}

/// Starts a server with the names in `file`, in a folder that the server does not have.
fn server(file: &Path) -> Airlock {
    let config = listening().replace("{folder}/names", file.to_str().unwrap());
    Airlock::start_with(&config, &["-vv"])
}

#[test]
fn the_example_is_valid_is_described_and_is_no_secret() {
    let config = Config::new(&format!("{NAMED}{EMBEDDED}"));
    let names = config.folder.path().join("names");
    fs::copy(repository().join("examples/node-names.txt"), &names).unwrap();
    expose(&names);
    let text = config.check(0, &["--strict"]);
    let described = format!("\n  shows the names of nodes in {}\n", names.display());
    assert!(text.contains(&described), "{text}");
}

#[test]
fn every_unusable_line_is_an_error_of_the_check_and_of_the_start() {
    let config = Config::new(&format!("{NAMED}{EMBEDDED}"));
    let names = config.folder.path().join("names");
    fs::write(&names, "# nodes\na 1\nb\na 2\n").unwrap();
    config.assert_errors(&[
        (
            ":3, service.node_names_path",
            "/names:3: the id \"b\" is not followed by a name; ",
        ),
        (
            ":3, service.node_names_path",
            "/names:4: the id \"a\" is the same as on line 2; ",
        ),
    ]);
    let serve = airlock().args(["serve", "-c", &config.path()]).output();
    let serve = serve.unwrap();
    assert_eq!(serve.status.code(), Some(78), "{serve:?}");
    let log = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(log.matches("level=error").count(), 2, "{log}");

    fs::write(&names, "a\n".repeat(21)).unwrap();
    config.assert_errors(&[(":3, service.node_names_path", "; and 1 more (")]);
}

#[test]
fn a_changed_file_is_reloaded_and_one_that_cannot_be_used_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("names");
    fs::write(&names, "a 1\n").unwrap();
    expose(&names);
    let mut airlock = server(&names);
    assert_eq!(airlock.metric(FAILURES), Some(0.0));
    assert!(!airlock.log().contains("the secret"), "{}", airlock.log());

    fs::write(&names, "a 1\nb\n").unwrap();
    airlock.wait_for_log("files cannot be reloaded; their previous content stays in use");
    let log = airlock.log();
    let line = log.lines().find(|line| line.contains("cannot be reloaded"));
    let line = line.unwrap();
    assert!(line.contains("what=service.node_names_path"), "{line}");
    assert!(
        line.contains("/names:2: the id \\\"b\\\" is not "),
        "{line}"
    );
    eventually("the failure to be counted", || {
        (airlock.metric(FAILURES) == Some(1.0)).then_some(())
    });

    fs::write(&names, "a 1\nb 2\n").unwrap();
    airlock.wait_for_log("msg=\"files reloaded\" what=service.node_names_path");
    assert_eq!(airlock.metric(FAILURES), Some(1.0));
    assert!(!airlock.log().contains("the secret"), "{}", airlock.log());
}

#[test]
fn another_file_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("names");
    fs::write(&names, "").unwrap();
    let mut airlock = server(&names);
    airlock.reload_with(&listening().replace("{folder}/names", "/elsewhere"));
    airlock.wait_for_log("[service] has changed; restart the server to apply the change");
    airlock.wait_for_log("configuration reloaded");
}

#[test]
fn a_command_works_without_a_file_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("names");
    fs::write(&names, "").unwrap();
    let airlock = server(&names);
    let usable = airlock.command(&["get", "slots"]);
    assert!(usable.status.success() && usable.stderr.is_empty());
    for (content, problem) in [
        (Some("a\n"), "/names:1: the id \"a\" is not followed by "),
        (None, "/names: cannot be read: No such file or directory"),
    ] {
        match content {
            Some(content) => fs::write(&names, content).unwrap(),
            None => fs::remove_file(&names).unwrap(),
        }
        let output = airlock.command(&["get", "slots"]);
        assert!(output.status.success(), "{output:?}");
        let warning = String::from_utf8(output.stderr).unwrap();
        assert_eq!(warning.lines().count(), 1, "{warning}");
        assert!(
            warning.starts_with("warning: nodes are shown without their names: "),
            "{warning}"
        );
        for expected in [problem, "config.toml:3, service.node_names_path)\n"] {
            assert!(warning.contains(expected), "{expected}: {warning}");
        }
    }
}
