//! The completions of a shell: commands, and the groups and nodes of the store.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use airlock_test_support::airlock::{Airlock, airlock, binary};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

use crate::cli_scene::Scene;

const GROUPS: &str = "[lock]\ndefault_slots = 4\n[[lock.groups]]\nname = \"workers\"\n";

/// Completes the last of `words`, as the script for bash does.
fn complete(folder: &Path, words: &[&str]) -> Output {
    airlock()
        .args(["--", "airlock"])
        .args(words)
        .env("AIRLOCK_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Returns the completions of the last of `words` but for options, with the configuration in the folder.
fn values(folder: &Path, words: &[&str]) -> Vec<String> {
    let output = complete(folder, &[&["-c", "config.toml"], words].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let values = text.lines().filter(|value| !value.starts_with('-'));
    let values = values.filter(|value| !value.is_empty() && *value != "help");
    values.map(str::to_owned).collect()
}

#[test]
fn groups_and_nodes_come_from_the_configuration_and_the_store() {
    let scene = Scene::new();
    let complete = |words: &[&str]| values(scene.folder.path(), words);
    let groups = [
        "databases",
        "default",
        "gpu",
        "shop",
        "storage",
        "urgent",
        "workers",
        "zone-a",
        "zone-b",
        "zone-c",
        "old",
    ];
    for command in [
        &["get", "slots", ""][..],
        &["history", ""],
        &["lock", ""],
        &["unlock", ""],
        &["unlock", "--yes", ""],
        &["set", "slots", ""],
        &["pause", ""],
        &["resume", ""],
        &["watch", "--json", ""],
    ] {
        assert_eq!(complete(command), groups, "{command:?}");
    }
    assert_eq!(complete(&["pause", "d"]), ["databases", "default"]);

    let dead = "2204af7f41984cb19b8cde4edc06c142";
    assert_eq!(complete(&["unlock", "workers", ""]), [dead]);
    assert_eq!(complete(&["unlock", "workers", "--dry-run", "22"]), [dead]);
    assert_eq!(complete(&["unlock", "old", ""]), ["node-9"]);
    assert_eq!(complete(&["unlock", "gpu", ""]), [""; 0]);
    assert_eq!(complete(&["unlock", "storage", ""]), [""; 0]);
    assert_eq!(complete(&["unlock", "nowhere", ""]), [""; 0]);

    assert_eq!(complete(&["history", "gpu", "--node", ""]), ["gpu-2"]);
    assert_eq!(
        complete(&["history", "--node", "db-worker-7"]),
        ["db-worker-7"]
    );
    assert_eq!(complete(&["status", "d"])[..2], ["databases", "default"]);
    for node in ["db-worker-7", "db-worker-9", "node-2"] {
        assert_eq!(complete(&["status", node]), [node]);
    }
}

#[test]
fn fish_gets_the_name_of_a_holder_as_well() {
    let scene = Scene::new();
    let output = airlock()
        .args([
            "--",
            "airlock",
            "-c",
            "config.toml",
            "unlock",
            "workers",
            "22",
        ])
        .env("AIRLOCK_COMPLETE", "fish")
        .current_dir(scene.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "2204af7f41984cb19b8cde4edc06c142\tdb-worker-7\n");
}

#[test]
fn an_id_that_would_be_a_command_of_the_shell_is_not_offered() {
    let server = Airlock::embedded(GROUPS);
    for id in ["node-1", "a;reboot", "$(reboot)", "--yes"] {
        assert!(server.client().lock("default", id).granted());
    }
    assert_eq!(
        values(server.folder(), &["unlock", "default", ""]),
        ["node-1"]
    );
}

#[test]
fn without_a_store_the_configured_groups_are_offered_in_time_and_nothing_is_printed_or_created() {
    let folder = tempfile::tempdir().unwrap();
    // It accepts connections, and never replies.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for store in [
        "[embedded]\npath = \"missing.db\"\n".to_owned(),
        "[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\n".to_owned(),
        format!("[etcd3]\nendpoints = [{silent:?}]\ntransaction_timeout_ms = 60000\n"),
    ] {
        let config = format!("[service]\ntls = false\n{store}{GROUPS}");
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let started = Instant::now();
        let groups = values(folder.path(), &["unlock", ""]);
        assert_eq!(groups, ["default", "workers"], "{store}");
        assert_eq!(values(folder.path(), &["unlock", "default", ""]), [""; 0]);
        assert_eq!(values(folder.path(), &["history", "--node", ""]), [""; 0]);
        // Far less than the timeout of the store.
        assert!(started.elapsed() < Duration::from_secs(20), "{store}");
    }
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1);
    fs::write(folder.path().join("config.toml"), "[service\n").unwrap();
    assert_eq!(values(folder.path(), &["unlock", ""]), [""; 0]);
    let nowhere = complete(folder.path(), &["-c", "nowhere.toml", "unlock", ""]);
    assert!(
        nowhere.status.success() && nowhere.stderr.is_empty(),
        "{nowhere:?}"
    );
    // A number of a word that the line does not have.
    let mut beyond = airlock();
    beyond
        .args(["--", "airlock"])
        .env("AIRLOCK_COMPLETE", "bash");
    let beyond = beyond.env("_CLAP_COMPLETE_INDEX", "7").output().unwrap();
    assert!(
        beyond.stdout.is_empty() && beyond.stderr.is_empty(),
        "{beyond:?}"
    );
}

#[test]
fn the_scripts_ask_the_program_in_the_path() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = airlock().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("AIRLOCK_COMPLETE"), "{shell}: {script}");
        let folder = binary().parent().unwrap().display().to_string();
        assert!(!script.contains(&folder), "{shell}: {script}");
    }
}

/// `script` of util-linux provides the terminal.
#[test]
fn in_bash_the_id_of_a_holder_is_completed() {
    let etcd = Etcd::start();
    let server = Airlock::on_etcd(&etcd.endpoints(), GROUPS);
    let dead = "2204af7f41984cb19b8cde4edc06c142";
    assert!(server.client().lock("workers", dead).granted());
    let folder = binary().parent().unwrap().to_owned();
    let path = std::env::join_paths(
        std::iter::once(folder).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let log = server.folder().join("typescript");
    let mut terminal = Command::new("script")
        .args([
            "--quiet",
            "--flush",
            "--command",
            "bash --norc --noprofile -i",
        ])
        .arg(&log)
        .env("PATH", path.unwrap())
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let wait = |expected: &str| {
        eventually(expected, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.contains(expected).then_some(())
        });
    };
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut type_in = |keys: &str| keyboard.write_all(keys.as_bytes()).unwrap();
    type_in("PS1='ready> '; source <(airlock completions bash)\n");
    wait("\nready> ");
    let config = server.folder().join("config.toml");
    type_in(&format!("airlock -c {} unlock work\t", config.display()));
    wait(" unlock workers");
    type_in("22\t");
    wait(&format!(" unlock workers {dead}"));
    type_in("--dry-run\n");
    wait(&format!("{dead} is unlocked; it held its slot for "));
    type_in("exit\n");
    assert!(terminal.wait().unwrap().success());
}
