//! The server without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use airlock_test_support::airlock::{LISTEN, port_in, unprivileged, unprivileged_airlock};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::process::Process;

#[test]
fn the_server_runs_as_a_user_without_any_writable_folder() {
    let etcd = Etcd::start();
    let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = folder.path().join("config.toml");
    let endpoints = etcd.endpoints();
    fs::write(
        &config,
        format!("{LISTEN}[etcd3]\nendpoints = {endpoints:?}\n"),
    )
    .unwrap();
    let mut command = unprivileged_airlock(folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let before = fs::metadata(folder.path()).unwrap().mtime_nsec();

    command.args(["serve", "-vv", "--config"]).arg(&config);
    command.current_dir(folder.path()).env_clear();
    let server = Process::start(command, &log.path().join("log"));
    let port = eventually("the server to listen", || {
        port_in(&server.log(), "main service")
    });
    let node = Client::new(format!("http://127.0.0.1:{port}"));
    assert!(node.lock("default", "n").granted() && node.unlock("default", "n").granted());
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let capabilities = status
        .lines()
        .find(|line| line.starts_with("CapEff:"))
        .unwrap();
    assert!(
        capabilities.ends_with("\t0000000000000000"),
        "{capabilities}"
    );
    assert_eq!(fs::metadata(folder.path()).unwrap().mtime_nsec(), before);
}

#[test]
fn a_command_that_may_not_open_the_store_names_the_user_to_run_it_as() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let database = path("airlock.db");
    let config = format!("{LISTEN}[embedded]\npath = {database:?}\n");
    fs::write(path("config.toml"), config).unwrap();
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE t (c)")
        .unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = unprivileged_airlock(folder.path());
    command.args(["ex", "get", "slots", "--config"]);
    command.arg(path("config.toml"));
    let output = eventually("the copy to be executable", || command.output().ok());
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = "run the command as the user of the server";
    assert!(
        !output.status.success() && text.contains(expected),
        "{text}"
    );
}

#[test]
fn limits_of_the_process_that_do_not_suffice_are_an_error_and_no_panic() {
    for (limit, expected) in [
        ("--nofile=20", "the process may open 20 files only"),
        ("--nproc=1", "Resource temporarily unavailable"),
        ("--nproc=3", "Resource temporarily unavailable"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let database = folder.path().join("airlock.db");
        fs::write(
            &config,
            format!("{LISTEN}[embedded]\npath = {database:?}\n"),
        )
        .unwrap();
        let server = unprivileged_airlock(folder.path());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("prlimit");
        unprivileged(&mut command);
        let output = command
            .arg(limit)
            .arg(server.get_program())
            .args(server.get_args())
            .args(["serve", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{limit}: {text}");
        for expected in [expected, "raise the limit of "] {
            assert!(text.contains(expected), "{limit}: {text}");
        }
        assert!(!text.contains("panicked"), "{limit}: {text}");
    }
}
