//! The command line: its output and exit codes.

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
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("not-there.db: no such file"), "{errors}");
    assert!(!folder.path().join("not-there.db").exists());
}

#[test]
fn ex_get_slots_names_an_unreachable_store() {
    let mut etcd = Etcd::start();
    etcd.members[0].kill();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "transaction_timeout_ms = 200");
    let output = airlock.command(&["ex", "get", "slots"]);
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains(&etcd.endpoints()[0]), "{errors}");
}

#[test]
fn check_config_prints_all_problems_and_exits_with_0_or_78() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let path = path.to_str().unwrap();

    fs::write(
        path,
        "[service]\ntls = false\n[etcd3]\nendpoints = []\n[lock]\ndefault_slots = 0\n",
    )
    .unwrap();
    let output = run(&["check-config", "-c", path]);
    assert_eq!(output.status.code(), Some(78));
    let text = stdout(&output);
    assert!(
        text.contains(&format!("error: {path}:4: etcd3.endpoints: is empty")),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "error: {path}:6: lock.default_slots: must be at least 1"
        )),
        "{text}"
    );
    let serve = run(&["serve", "-c", path]);
    assert_eq!(serve.status.code(), Some(78));
    let log = String::from_utf8(serve.stderr).unwrap();
    assert_eq!(log.matches("level=error").count(), 2, "{log}");

    fs::write(
        path,
        "[service]\ntls = false\nprot = 1\n[embedded]\npath = \"x\"\n",
    )
    .unwrap();
    let output = run(&["check-config", "-c", path]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(
        text.contains(&format!(
            "warning: {path}:3: service.prot: unknown key, ignored; did you mean service.port?"
        )),
        "{text}"
    );

    let output = run(&["check-config", "-c", "/nowhere/c.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stdout(&output).contains("/nowhere/c.toml: cannot be read: No such file"));
}

#[test]
fn logs_are_json_with_log_format_json() {
    let airlock = Airlock::embedded("");
    let output = airlock.command(&["--log-format", "json", "ex", "get", "slots", "-vv"]);
    assert!(output.status.success());
    let output = run(&["--log-format", "json", "serve", "-c", "/nowhere/c.toml"]);
    let log = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("/nowhere/c.toml"));
}

#[test]
fn the_version_and_completions_are_printed() {
    let version = run(&["--version"]);
    assert_eq!(
        stdout(&version),
        format!("airlock {}\n", env!("CARGO_PKG_VERSION"))
    );
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(stdout(&output).contains("check-config"), "{shell}");
    }
}

#[test]
fn check_health_checks_the_server_and_not_the_store() {
    let config = "[status]\nenabled = true\naddress = \"localhost\"\nport = {status}\n\
                  [service]\naddress = \"127.0.0.1\"\nport = 0\ntls = false\n\
                  [etcd3]\nendpoints = [ \"http://127.0.0.1:1\" ]\n";
    let config = config.replace("{status}", &free_port().to_string());
    let mut airlock = Airlock::start_with(&config, &["-vv"]);
    let healthy = airlock.command(&["check-health"]);
    assert!(
        healthy.status.success(),
        "etcd is unreachable and the server is healthy: {healthy:?}"
    );

    airlock.process().signal(Signal::STOP);
    let frozen = airlock.command(&["check-health"]);
    assert_eq!(frozen.status.code(), Some(69), "{frozen:?}");

    airlock.process().kill();
    let gone = airlock.command(&["check-health"]);
    assert_eq!(gone.status.code(), Some(69));
    let text = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(
        text.contains("localhost port") && text.contains("refused"),
        "{text}"
    );
}

#[test]
fn manual_pages_cover_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(&["man", folder.path().to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let page = fs::read_to_string(folder.path().join("airlock.1")).unwrap();
    assert!(
        page.contains("check\\-config") && page.contains(env!("CARGO_PKG_VERSION")),
        "{page}"
    );
    assert!(folder.path().join("airlock-serve.1").is_file());
    assert!(
        !folder.path().join("airlock-man.1").exists(),
        "the command is not for operators"
    );
}
