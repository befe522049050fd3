//! The variables of the environment that set options: AIRLOCK_CONFIG and AIRLOCK_LOG_FORMAT.

use std::fs;
use std::path::Path;
use std::process::Output;

use airlock_test_support::airlock::{Airlock, airlock};

const GROUPS: &str = "[lock]\ndefault_slots = 2\n[[lock.groups]]\nname = \"workers\"\nslots = 1\n";

/// Runs a command with variables.
fn run(arguments: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = airlock();
    command.args(arguments).envs(variables.iter().copied());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Returns the exit code and the messages of a command that fails.
fn failure(output: &Output) -> (i32, String) {
    let messages = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code().unwrap(), messages)
}

#[test]
fn airlock_config_names_the_configuration_unless_the_option_does() {
    let server = Airlock::embedded(GROUPS);
    let config = server.folder().join("config.toml");
    let file = config.to_str().unwrap();
    let named = [("AIRLOCK_CONFIG", config.as_path())];
    assert!(stdout(&run(&["get", "slots"], &named)).contains("workers"));

    let other = [("AIRLOCK_CONFIG", Path::new("/nowhere/other.toml"))];
    for arguments in [
        ["-c", file, "get", "slots"],
        ["get", "slots", "--config", file],
    ] {
        assert!(stdout(&run(&arguments, &other)).contains("workers"));
    }
    let (code, messages) = failure(&run(&["get", "slots"], &other));
    assert_eq!(code, 78);
    assert!(
        messages.contains("correct AIRLOCK_CONFIG, or name the file with -c/--config")
            && messages.contains("(/nowhere/other.toml)"),
        "{messages}"
    );
    let empty = [("AIRLOCK_CONFIG", Path::new(""))];
    let (code, messages) = failure(&run(&["get", "slots"], &empty));
    assert_eq!(code, 78);
    assert!(
        messages.contains("(/etc/airlock/config.toml)") && !messages.contains("AIRLOCK_CONFIG"),
        "{messages}"
    );
}

/// The variable is set for the server, in a container or a unit, and perhaps not in the shell of the person who reads
/// a message.
#[test]
fn a_command_in_a_message_works_where_airlock_config_is_not_set() {
    let server = Airlock::embedded(GROUPS);
    let config = server.folder().join("config.toml");
    let named = [("AIRLOCK_CONFIG", config.as_path())];
    run(&["pause", "workers", "--yes"], &named);
    let shown = stdout(&run(&["get", "slots"], &named));
    let (_, command) = shown.split_once("to end the pause: airlock ").unwrap();
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[..2], ["-c", config.to_str().unwrap()]);
    let resumed = stdout(&run(&[&words[..], &["--yes"]].concat(), &[]));
    assert!(resumed.contains("done: group workers has 1 slot"));
}

#[test]
fn airlock_log_format_sets_the_format_of_the_log_unless_the_option_does() {
    let nowhere = ["-c", "/nowhere/c.toml", "serve"];
    let log = |arguments: &[&str], format: &str| {
        let variables = [("AIRLOCK_LOG_FORMAT", Path::new(format))];
        failure(&run(&[&nowhere, arguments].concat(), &variables))
    };
    let (code, json) = log(&[], "json");
    assert_eq!(code, 78);
    let line: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(line["level"], "error");
    for (arguments, format) in [(&["--log-format", "logfmt"][..], "json"), (&[], "")] {
        let (_, logfmt) = log(arguments, format);
        assert!(logfmt.starts_with("time="), "{logfmt}");
    }
    let (code, message) = log(&[], "xml");
    assert_eq!(code, 2);
    assert!(
        message.starts_with("error: invalid value 'xml' for 'AIRLOCK_LOG_FORMAT'\n")
            && message.contains("logfmt, json"),
        "{message}"
    );
    // The option takes precedence, before and after the command, and other commands do not use the format.
    let variables = [("AIRLOCK_LOG_FORMAT", Path::new("xml"))];
    for arguments in [
        ["--log-format", "json", "-c", "/nowhere/c.toml", "serve"],
        ["-c", "/nowhere/c.toml", "serve", "--log-format", "json"],
    ] {
        let (code, log) = failure(&run(&arguments, &variables));
        assert!(code == 78 && log.starts_with('{'), "{log}");
    }
    stdout(&run(&["version"], &variables));
    let (_, message) = log(&["--log-format", "yaml"], "json");
    assert!(message.contains("'--log-format <FORMAT>'"), "{message}");
}

#[test]
fn completions_use_the_configuration_of_airlock_config() {
    let server = Airlock::embedded(GROUPS);
    let config = server.folder().join("config.toml");
    let other = server.folder().join("other.toml");
    fs::write(
        &other,
        "[service]\ntls = false\n[embedded]\npath = \"o.db\"\n",
    )
    .unwrap();
    let complete = |words: &[&str], variable: &Path| {
        let output = airlock()
            .args(["--", "airlock"])
            .args(words)
            .env("AIRLOCK_COMPLETE", "bash")
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
            .env("AIRLOCK_CONFIG", variable)
            .output()
            .unwrap();
        stdout(&output).lines().any(|line| line == "workers")
    };
    assert!(complete(&["pause", "w"], &config));
    assert!(!complete(&["pause", "w"], &other));
    assert!(complete(
        &["-c", config.to_str().unwrap(), "pause", "w"],
        &other
    ));
}

#[test]
fn the_version_is_the_same_as_that_of_the_option() {
    let version = stdout(&run(&["version"], &[]));
    assert_eq!(version, stdout(&run(&["--version"], &[])));
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["version", "--json"], &[]))).unwrap();
    assert_eq!(
        version,
        format!("airlock {}\n", json["version"].as_str().unwrap())
    );
}
