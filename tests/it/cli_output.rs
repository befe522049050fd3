//! Snapshots of the command line: help, tables, JSON, confirmations and errors.
//!
//! Each test runs a few commands and compares their transcript with a file in snapshots/. After a change of a text,
//! this command writes the new transcripts, for review with `git diff`:
//!
//! ```sh
//! INSTA_UPDATE=always cargo test --test it cli_output
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::etcd::Etcd;
use tempfile::TempDir;

/// Parts of the output that differ between runs and machines, and their replacements.
const FILTERS: [(&str, &str); 11] = [
    (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?Z)?",
        "[time]",
    ),
    (r"\b\d{8}T\d{6}Z(-\d+)?", "[time]"),
    (r"\bin \d{6} d( \d+ h)?\b", "in [years]"),
    (r"\b\d+ (s|min|h|d)( \d+ (s|min|h|d))? ago\b", "[age] ago"),
    (r"\bits slot for \d+ (s|min|h|d)\b", "its slot for [age]"),
    (r#""age_seconds": ?\d+"#, r#""age_seconds": [age]"#),
    (r#""held_seconds": ?\d+"#, r#""held_seconds": [time]"#),
    (r"\b(127\.0\.0\.1|localhost)(:| port )\d{5}\b", "$1$2[port]"),
    (r"[\w.+-]+@[\w.-]+", "[user@host]"),
    (r"\bairlock \d+\.\d+\.\d+\b", "airlock [version]"),
    // Lines of help texts end with spaces.
    (r"(?m) +$", ""),
];

const GROUPS: &str = r#"
[lock]
default_slots = 2
[[lock.groups]]
name = "workers"
slots = 1
[[lock.groups]]
name = "databases"
slots = 3
"#;

/// The commands of a test and their output.
pub(crate) struct Transcript {
    /// The working directory of the commands; its path is replaced in the output.
    folder: PathBuf,
    /// The time zone of the administrator.
    time_zone: String,
    text: String,
}

// === impl Transcript ===

impl Transcript {
    pub(crate) fn new(folder: &Path) -> Self {
        Transcript {
            folder: folder.to_owned(),
            time_zone: "UTC".to_owned(),
            text: String::new(),
        }
    }

    /// Returns the transcript for commands of an administrator in this time zone.
    pub(crate) fn with_time_zone(self, time_zone: &str) -> Self {
        Transcript {
            time_zone: time_zone.to_owned(),
            ..self
        }
    }

    /// Returns the commands and their output up to now.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Starts a transcript of commands that use the configuration of a server.
    fn beside(server: &Airlock) -> Self {
        Transcript::new(server.folder())
    }

    /// Runs a command with the configuration in the folder and appends it to the transcript. Returns its stdout.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> String {
        let output = airlock()
            .args(arguments)
            .arg("--config")
            .arg(self.folder.join("config.toml"))
            .current_dir(&self.folder)
            // The width of help texts.
            .env("COLUMNS", "100")
            .env("TZ", &self.time_zone)
            .env_remove("SUDO_USER")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap();
        let separator = if self.text.is_empty() { "" } else { "\n" };
        writeln!(
            self.text,
            "{separator}$ airlock {} -> {code}",
            arguments.join(" ")
        )
        .unwrap();
        let shown = if arguments.contains(&"--json") {
            format_json(&stdout)
        } else {
            stdout.clone()
        };
        for (name, output) in [("stdout", &shown), ("stderr", &stderr)] {
            if !output.is_empty() {
                writeln!(self.text, "[{name}]\n{}", output.trim_end_matches('\n')).unwrap();
            }
        }
        stdout
    }

    /// Compares the transcript with the snapshot of this name.
    fn assert_snapshot(self, name: &str) {
        let text = (self.text).replace(self.folder.to_str().unwrap(), "[folder]");
        assert_filtered_snapshot(name, &text);
    }
}

/// Compares a text with the snapshot of this name, without the parts that differ between runs.
pub(crate) fn assert_filtered_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Returns a JSON document with one field per line, which is easier to review.
pub(crate) fn format_json(document: &str) -> String {
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    serde_json::to_string_pretty(&document).unwrap()
}

/// Creates a folder with a configuration that uses the store of an etcd.
fn configured(etcd: &Etcd) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let endpoints = etcd.endpoints();
    let config = format!("[service]\ntls = false\n[etcd3]\nendpoints = {endpoints:?}\n{GROUPS}");
    fs::write(folder.path().join("config.toml"), config).unwrap();
    folder
}

fn put(etcd: &Etcd, group: &str, semaphore: &str, lock_times: &str) {
    let key = |name: &str| format!("com.coreos.airlock/groups/{group}/v1/{name}");
    etcd.ctl_txn(&[
        (&key("semaphore"), semaphore),
        (&key("lock-times"), lock_times),
    ]);
}

/// Returns the names of all commands, such as `get slots`, and of the parts before the spaces. The first one is empty.
pub(crate) fn commands() -> BTreeSet<String> {
    let help = airlock().arg("-h").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help
        .lines()
        .skip_while(|line| !line.starts_with("Usage: "))
        .take_while(|line| *line != "Options:");
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split("  ").next());
    let mut commands = BTreeSet::from([String::new()]);
    for name in names {
        let ends = name.match_indices(' ').map(|(end, _)| end);
        commands.extend(ends.chain([name.len()]).map(|end| name[..end].to_owned()));
    }
    commands
}

#[test]
fn help_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::new(folder.path());
    for command in commands() {
        let words = command.split_whitespace().chain(["--help"]);
        transcript.run(&words.collect::<Vec<_>>());
    }
    assert!(transcript.text.contains("$ airlock ex get slots --help"));
    transcript.run(&["-h"]);
    transcript.assert_snapshot("help");
}

#[test]
fn get_slots_of_free_held_paused_and_damaged_groups() {
    let etcd = Etcd::start();
    let folder = configured(&etcd);
    put(
        &etcd,
        "workers",
        r#"{"total_slots":1,"holders":["2204af7f41984cb19b8cde4edc06c142","unknown"]}"#,
        r#"{"holders":{"2204af7f41984cb19b8cde4edc06c142":"2020-01-02T03:04:05Z"}}"#,
    );
    let mut transcript = Transcript::new(folder.path());
    transcript.run(&["get", "slots"]);
    transcript.run(&["pause", "databases", "--yes"]);
    transcript.run(&["get", "slots"]);
    transcript.run(&["get", "slots", "--json"]);
    transcript.run(&["ex", "get", "slots"]);
    let damaged = "com.coreos.airlock/groups/default/v1/semaphore";
    etcd.put(damaged, r#"{"total_slots":1,"holders":["#);
    transcript.run(&["get", "slots"]);
    transcript.run(&["get", "slots", "--json"]);
    transcript.run(&["ex", "get", "slots"]);
    transcript.run(&["unlock", "default", "node1", "--yes"]);
    transcript.assert_snapshot("get-slots");
}

#[test]
fn administrator_commands_with_dry_run_and_yes() {
    let server = Airlock::embedded(GROUPS);
    for id in ["node1", "node2"] {
        assert!(server.client().lock("default", id).granted());
    }
    let mut transcript = Transcript::beside(&server);
    for command in [
        &["unlock", "default", "node1"][..],
        &["lock", "workers", "node3"],
        &["set", "slots", "default", "5"],
        &["pause", "default"],
        &["resume", "default"],
    ] {
        for confirmation in ["--dry-run", "--yes"] {
            transcript.run(&[command, &[confirmation]].concat());
        }
    }
    transcript.run(&["resume", "default", "--yes"]);
    transcript.run(&["unlock", "default", "--held-longer-than", "2h", "--yes"]);
    transcript.assert_snapshot("administrator-commands");
}

#[test]
fn refused_administrator_commands() {
    let server = Airlock::embedded(GROUPS);
    assert!(server.client().lock("workers", "node1").granted());
    let mut transcript = Transcript::beside(&server);
    for command in [
        &["unlock", "databsaes", "node1", "--yes"][..],
        &["get", "slots", "databsaes"],
        &["unlock", "workers", "node2", "--yes"],
        &["unlock", "workers", "node1"],
        &["unlock", "workers"],
        &["lock", "workers", "node2", "--yes"],
        &["lock", "workers", "", "--yes"],
        &["set", "slots", "workers", "0", "--yes"],
        &["set", "slots", "workers", "two", "--yes"],
        &["pause", "databases", "--yes"],
        &["lock", "databases", "node1", "--yes"],
        &["unlok", "workers", "node1"],
    ] {
        transcript.run(command);
    }
    transcript.assert_snapshot("refused-commands");
}

#[test]
fn backup_and_restore() {
    let mut server = Airlock::embedded(GROUPS);
    let lock = |server: &Airlock, id: &str| assert!(server.client().lock("default", id).granted());
    lock(&server, "node1");
    let mut transcript = Transcript::beside(&server);
    transcript.run(&["backup", "backup.db"]);
    transcript.run(&["backup", "backup.db"]);
    transcript.run(&["restore", "backup.db", "--yes"]);
    lock(&server, "node2");
    assert!(server.client().lock("workers", "node3").granted());
    server.process().kill();
    for arguments in [
        &["restore", "missing.db", "--yes"][..],
        &["restore", "config.toml", "--yes"],
        &["restore", "backup.db", "--dry-run"],
        &["restore", "backup.db", "--pause", "--yes"],
        &["get", "slots"],
        &["restore", "backup.db", "--yes"],
    ] {
        transcript.run(arguments);
    }
    transcript.assert_snapshot("backup-and-restore");
}

#[test]
fn commands_without_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::new(folder.path());
    for store in [
        "[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\ntransaction_timeout_ms = 500\n",
        "[embedded]\npath = \"missing.db\"\n",
    ] {
        let config = format!("[service]\ntls = false\n{store}{GROUPS}");
        fs::write(folder.path().join("config.toml"), config).unwrap();
        for command in [
            &["get", "slots"][..],
            &["ex", "get", "slots"],
            &["unlock", "workers", "node1", "--yes"],
            &["watch"],
        ] {
            transcript.run(command);
        }
    }
    transcript.assert_snapshot("no-store");
}

#[test]
fn check_config_of_good_and_bad_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut transcript = Transcript::new(folder.path());
    let file = folder.path().join("config.toml");
    transcript.run(&["check-config"]);
    for config in [
        include_str!("../../examples/standalone.toml"),
        "[service]\ntls = false\nprot = 3333\n[embedded]\npath = \"airlock.db\"\n",
        "[service]\ntls = 0\nport = 70000\n[etcd3]\nendpoints = []\n[lock]\ndefault_slots = \"2\"\n",
        "[service]\ntls = false\n[embedded]\npath = \"airlock.db\"\n\
         [[lock.windows]]\ndays = [\"Mo\"]\nstart_time = \"24:00\"\nlength_minutes = \"4h\"\ntime_zone = \"Europe/Berln\"\n",
        "[service\n",
    ] {
        fs::write(&file, config).unwrap();
        transcript.run(&["check-config"]);
    }
    transcript.run(&["serve"]);
    transcript.assert_snapshot("check-config");
}
