//! The colors of the command line: on a terminal, and nowhere else.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use airlock_test_support::airlock::{Airlock, airlock, binary};

const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

/// The variables that decide about colors.
const VARIABLES: [&str; 5] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "CI"];

/// Returns what `airlock` prints to a pipe, stderr after stdout.
fn to_pipe(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = airlock();
    for name in VARIABLES {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Returns what `airlock` prints to a terminal, which `script` of util-linux provides.
fn to_terminal(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> String {
    let log = folder.join("typescript");
    let line = format!("{} {arguments}", binary().display());
    let mut command = Command::new("script");
    for name in VARIABLES {
        command.env_remove(name);
    }
    command
        .args(["--quiet", "--flush", "--command", &line])
        .arg(&log)
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    fs::read_to_string(&log).unwrap()
}

#[test]
fn states_and_labels_have_colors_on_a_terminal_only() {
    let server = Airlock::embedded("[[lock.groups]]\nname = \"workers\"\n");
    let folder = server.folder();
    let config = folder.join("config.toml");
    let config = config.to_str().unwrap();
    let arguments = ["status", "-c", config];
    let line = arguments.join(" ");
    let colored = format!("  {GREEN}free{RESET}");

    let plain = to_pipe(&arguments, &[]);
    assert!(plain.contains("workers  free") && !plain.contains('\u{1b}'));
    assert!(to_pipe(&arguments, &[("CLICOLOR_FORCE", "1")]).contains(&colored));
    assert!(to_terminal(folder, &line, &[]).contains(&colored));
    for off in [("NO_COLOR", "1"), ("TERM", "dumb"), ("CLICOLOR", "0")] {
        let text = to_terminal(folder, &line, &[off]);
        assert!(
            text.contains("free") && !text.contains('\u{1b}'),
            "{off:?}: {text:?}"
        );
    }

    let force = [("CLICOLOR_FORCE", "1")];
    let slots = to_pipe(&["get", "slots", "-c", config], &force);
    assert!(slots.contains(&colored), "{slots:?}");
    let group = to_pipe(&["status", "workers", "-c", config], &force);
    assert!(
        group.starts_with(&format!("workers: {GREEN}free{RESET}.")),
        "{group:?}"
    );
    let json = to_pipe(&["status", "-o", "json", "-c", config], &force);
    assert!(!json.contains('\u{1b}'), "{json:?}");
    let error = to_pipe(&["unlock", "nowhere", "a", "-c", config], &force);
    assert!(
        error.contains(&format!("{RED}error:{RESET} unknown group")),
        "{error:?}"
    );
}

#[test]
fn a_name_cannot_bring_its_own_colors_and_attention_is_red_or_yellow() {
    let server = Airlock::embedded("[lock]\ndefault_slots = 2\n");
    let config = server.folder().join("config.toml");
    let config = config.to_str().unwrap();
    let force = [("CLICOLOR_FORCE", "1")];
    assert!(server.client().lock("default", "a").granted());
    let other = fs::read_to_string(config)
        .unwrap()
        .replace("_slots = 2", "_slots = 3\nx = 1");
    let path = server.folder().join("other.toml");
    fs::write(&path, other).unwrap();
    let status = to_pipe(&["status", "-c", path.to_str().unwrap()], &force);
    assert!(
        status.contains(&format!("default  \u{1b}[1m{YELLOW}slots differ{RESET}")),
        "{status:?}"
    );
    assert!(
        status.contains(&format!("{YELLOW}warning:{RESET}")),
        "{status:?}"
    );
    let error = to_pipe(&["status", "\u{1b}[31mx", "-c", config], &force);
    assert!(error.contains(r"\x1b[31mx"), "{error:?}");
}
