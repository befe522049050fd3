//! The units of contrib/, read by the programs that will read them. tools/test-systemd starts them.

use std::fs;
use std::process::{Command, Output};

use airlock_test_support::airlock::{airlock, binary};
use airlock_test_support::prometheus::contrib;
use airlock_test_support::repository;

use crate::contrib::{assert_good, read};

/// Runs `systemd-analyze` on a unit, with its programs replaced by programs that exist on this machine.
fn systemd_analyze(unit: &str, arguments: &[&str]) -> Output {
    let (folder, binary) = (tempfile::tempdir().unwrap(), binary());
    let binary = binary.to_str().unwrap();
    let source = contrib(unit);
    let mut units = vec![source.clone()];
    // The units of a node refer to each other.
    if unit.starts_with("client/") {
        let beside = ["airlock-steady-state.service", "airlock-reboot.service"];
        units.extend(beside.map(|name| source.with_file_name(name)));
    }
    for unit in units {
        let text = read(&unit)
            .replace("/usr/local/bin/airlock", binary)
            .replace("/usr/bin/podman", binary)
            .replace("/usr/bin/loginctl", "/bin/true")
            // This user does not exist on this machine.
            .replace("User=airlock\n", "User=daemon\n");
        fs::write(folder.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(folder.path().join(source.file_name().unwrap()))
        .output()
        .expect("systemd-analyze cannot be started; `make setup` installs what is missing")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    for unit in [
        "systemd/airlock.service",
        "systemd/airlock-podman.service",
        "client/airlock-steady-state.service",
        "client/airlock-reboot.service",
        "client/airlock-reboot.timer",
    ] {
        let output = systemd_analyze(unit, &["verify"]);
        assert_good(&output);
        // An unknown key is only a warning.
        assert!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_drop_in_for_bootc_stages_updates_and_does_not_reboot() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("bootc-fetch-apply-updates.service");
    let drop_ins = folder.path().join("bootc-fetch-apply-updates.service.d");
    fs::write(
        &unit,
        "[Service]\nType=oneshot\nExecStart=/nowhere --apply\n",
    )
    .unwrap();
    fs::create_dir(&drop_ins).unwrap();
    let text = read(&contrib("bootc/10-airlock.conf"));
    assert!(text.ends_with("\nExecStart=\nExecStart=/usr/bin/bootc upgrade --quiet\n"));
    let text = text.replace("/usr/bin/bootc", "/bin/true");
    fs::write(drop_ins.join("10-airlock.conf"), text).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let output = verify.arg("verify").arg(&unit).output().unwrap();
    assert_good(&output);
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_unit_of_the_binary_is_sandboxed_as_far_as_a_network_service_can_be() {
    // 1.1 of 10. The use of the network accounts for 0.5 + 0.3 + 0.2; the comments of the unit explain the rest.
    assert_good(&systemd_analyze(
        "systemd/airlock.service",
        &["security", "--offline=true", "--no-pager", "--threshold=11"],
    ));
}

/// Translates the quadlet, of which `from` is replaced by `to`, to a unit.
fn quadlet(from: &str, to: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let text = read(&contrib("systemd/airlock.container")).replace(from, to);
    fs::write(folder.path().join("airlock.container"), text).unwrap();
    Command::new(repository().join("target/tools/podman-5.4/quadlet"))
        .arg("-dryrun")
        .env("QUADLET_UNIT_DIRS", folder.path())
        .output()
        .expect("podman's quadlet cannot be started; `make setup` installs what is missing")
}

#[test]
fn podman_translates_the_quadlet_to_a_unit_that_runs_commands_of_airlock() {
    let output = quadlet("", "");
    assert_good(&output);
    let unit = String::from_utf8(output.stdout).unwrap();
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    // The image contains no shell, so the command of the health check has to be a list.
    for option in [
        r#" "--health-cmd=[\"/usr/local/bin/airlock\", \"healthcheck\"]" "#,
        " --label io.containers.autoupdate=registry ",
        " --sdnotify=container ",
        " --cap-drop all ",
    ] {
        assert!(start.contains(option), "no {option} in {start}");
    }
    let (_, command) = start
        .split_once(" registry.example/airlock:1 airlock ")
        .unwrap();
    for arguments in [command, "healthcheck", "check-config"] {
        assert_good(
            &airlock()
                .args(arguments.split(' '))
                .arg("--help")
                .output()
                .unwrap(),
        );
    }
    let unknown = quadlet("Notify=", "Notifies=");
    assert!(!unknown.status.success(), "an unknown key is an error");
}

#[test]
fn the_quadlet_has_only_keys_of_the_first_podman_with_quadlets() {
    // Those of [Container] in podman 4.4 that Airlock has a use for.
    let known = [
        "ContainerName",
        "DropCapability",
        "Exec",
        "Image",
        "Label",
        "Network",
        "NoNewPrivileges",
        "Notify",
        "PodmanArgs",
        "ReadOnly",
        "Volume",
    ];
    let text = read(&contrib("systemd/airlock.container"));
    let (_, section) = text.split_once("[Container]\n").unwrap();
    let (section, _) = section.split_once("\n[").unwrap();
    for line in section
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (key, _) = line.split_once('=').unwrap();
        assert!(known.contains(&key), "{line}");
    }
}
