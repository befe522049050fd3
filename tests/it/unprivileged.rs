//! What the server needs of the system: hardly anything.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use airlock_test_support::airlock::{LISTEN, binary, port_in};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::process::Process;

/// Any that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn it_serves_as_a_user_who_may_write_nowhere() {
    let etcd = Etcd::start();
    let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = folder.path().join("config.toml");
    let endpoints = etcd.endpoints();
    fs::write(
        &config,
        format!("{LISTEN}[etcd3]\nendpoints = {endpoints:?}\n"),
    )
    .unwrap();
    // A copy, since where this is built may be closed to others.
    let copy = folder.path().join("airlock");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let before = fs::metadata(folder.path()).unwrap().mtime_nsec();

    let mut command = Command::new(&copy);
    command.args(["serve", "-vv", "--config"]).arg(&config);
    command.current_dir(folder.path()).env_clear();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
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
