//! The command line: its output, its messages and its exit codes.

use std::fs;
use std::process::Output;

use rustix::process::Signal;

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::free_port;

fn run(arguments: &[&str]) -> Output {
    airlock().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn ex_get_slots_prints_the_format_of_coreos_airlock_with_sorted_groups() {
    let expected = "group: default\n semaphore slots: 2\n lock owners:\n - 2204af7f41984cb19b8cde4edc06c142\n - a\n\n---\n\
                    group: empty\n semaphore slots: 1\n lock owners:\n\n---\n";
    let groups = "[lock]\ndefault_slots = 2\n[[lock.groups]]\nname = \"empty\"\nslots = 1\n";
    let etcd = Etcd::start();
    for airlock in [
        Airlock::on_etcd(&etcd.endpoints(), groups),
        Airlock::embedded(groups),
    ] {
        let client = airlock.client();
        assert!(client.lock("default", "a").granted());
        assert!(
            client
                .lock("default", "2204af7f41984cb19b8cde4edc06c142")
                .granted()
        );
        let output = airlock.command(&["ex", "get", "slots"]);
        assert_eq!(stdout(&output), expected);
        assert!(output.status.success());
    }
    assert_eq!(
        etcd.get("com.coreos.airlock/groups/empty/v1/semaphore"),
        "",
        "a read creates nothing"
    );
}

#[test]
fn ex_get_slots_does_not_create_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    fs::write(
        &config,
        "[service]\ntls = false\n[embedded]\npath = \"not-there.db\"\n",
    )
    .unwrap();
    let output = airlock()
        .current_dir(folder.path())
        .args(["ex", "get", "slots", "-c"])
        .arg("c.toml")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69));
    let errors = stderr(&output);
    assert!(
        errors.starts_with("error: ") && errors.contains("not-there.db: no such file"),
        "{errors}"
    );
    assert!(
        errors.contains(
            "\nhint: correct embedded.path, which is relative to the directory in which the command is started; if the \
             store was lost, put it back, or restore a backup; "
        ),
        "{errors}"
    );
    assert!(!folder.path().join("not-there.db").exists());
}

#[test]
fn ex_get_slots_names_an_unreachable_store() {
    let mut etcd = Etcd::start();
    etcd.members[0].kill();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "transaction_timeout_ms = 200");
    let output = airlock.command(&["ex", "get", "slots"]);
    assert_eq!(output.status.code(), Some(69));
    let endpoint = &etcd.endpoints()[0];
    let errors = stderr(&output);
    let lines: Vec<&str> = errors.lines().collect();
    let [error, cause, hint] = lines[..] else {
        panic!("{errors}");
    };
    let store = format!("error: cannot reach the store (etcd {endpoint}, from ");
    assert!(error.starts_with(&store), "{errors}");
    let cause = cause.strip_prefix("  caused by: ").unwrap();
    assert!(cause.starts_with(endpoint.as_str()), "{errors}");
    assert!(
        hint.starts_with("hint: check that etcd is running"),
        "{errors}"
    );
}

#[test]
fn the_log_of_the_server_is_json_if_requested_and_other_commands_print_plain_text() {
    let airlock = Airlock::embedded("");
    let output = airlock.command(&["--log-format", "json", "ex", "get", "slots", "-vv"]);
    assert!(output.status.success());
    let output = run(&[
        "--log-format",
        "json",
        "get",
        "slots",
        "-c",
        "/nowhere/c.toml",
    ]);
    let errors = stderr(&output);
    assert!(
        errors.starts_with("error: ") && errors.contains("/nowhere/c.toml"),
        "{errors}"
    );
    let output = run(&["--log-format", "json", "serve", "-c", "/nowhere/c.toml"]);
    let log = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("/nowhere/c.toml"));
}

#[test]
fn warnings_and_errors_of_commands_are_plain_text_each_printed_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let path = path.to_str().unwrap();
    fs::write(
        path,
        "[service]\ntls = false\nprot = 1\n[etcd3]\nendpoints = []\n[lock]\ndefault_slots = 0\n",
    )
    .unwrap();
    for command in [&["get", "slots"][..], &["get", "gates"]] {
        let output = run(&[command, &["-c", path]].concat());
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(stdout(&output), "");
        let errors = stderr(&output);
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), 3, "{errors}");
        assert!(
            lines[0].starts_with("warning: ") && lines[0].contains("service.prot"),
            "{errors}"
        );
        assert!(
            lines[1].starts_with("error: ") && lines[1].contains("etcd3.endpoints"),
            "{errors}"
        );
        assert!(
            lines[2].starts_with("error: ") && lines[2].contains("lock.default_slots"),
            "{errors}"
        );
    }
}

#[test]
fn an_unknown_command_lists_the_commands_and_suggests_none_of_them() {
    let output = run(&["state"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = stderr(&output);
    assert!(
        errors.contains("unrecognized subcommand 'state'")
            && errors.contains("the commands are: serve, check-config, healthcheck, status, "),
        "{errors}"
    );
    assert!(!errors.contains("similar"), "{errors}");
}

#[test]
fn the_version_and_completions_are_there() {
    let version = run(&["--version"]);
    assert_eq!(
        stdout(&version),
        format!("airlock {}\n", env!("CARGO_PKG_VERSION"))
    );
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{shell}"
        );
    }
}

#[test]
fn the_healthcheck_is_about_the_server_and_not_about_the_store() {
    let config = "[status]\nenabled = true\naddress = \"localhost\"\nport = {status}\n\
                  [service]\naddress = \"127.0.0.1\"\nport = 0\ntls = false\n\
                  [etcd3]\nendpoints = [ \"http://127.0.0.1:1\" ]\n";
    let config = config.replace("{status}", &free_port().to_string());
    let mut airlock = Airlock::start_with(&config, &["-vv"]);
    let healthy = airlock.command(&["healthcheck"]);
    assert!(
        healthy.status.success(),
        "etcd is down and the server is not: {healthy:?}"
    );
    let listener = config.replace("port = 0", "port = -1");
    let others = format!("{config}username = 1\n[[lock.windows]]\nstart_time = \"25:00\"\n");
    for (text, code) in [(others, 0), (listener, 78)] {
        let path = airlock.folder().join("later.toml");
        fs::write(&path, text).unwrap();
        let output = airlock.command(&["healthcheck", "-c", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }

    airlock.process().signal(Signal::STOP);
    let frozen = airlock.command(&["healthcheck"]);
    assert_eq!(frozen.status.code(), Some(69), "{frozen:?}");

    airlock.process().kill();
    let gone = airlock.command(&["healthcheck"]);
    assert_eq!(gone.status.code(), Some(69));
    let text = stderr(&gone);
    assert!(
        text.starts_with("error: the server at localhost port ")
            && text.contains(
                "config.toml)\n  caused by: cannot connect\n  caused by: Connection refused"
            ),
        "{text}"
    );
}
