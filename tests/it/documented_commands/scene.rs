//! A machine on which the commands of the documents run: with its own network, host name, /etc, home, and current folder, so
//! that ports and paths are those of the documents.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command as Program, Stdio};

use tempfile::TempDir;

use airlock_test_support::airlock::binary;
use airlock_test_support::process::Process;
use airlock_test_support::{eventually, eventually_ok, repository};

use super::blocks::{Block, Command};

/// Makes what the machine has of its own, and then waits for its end.
const BEGIN: &str = "set -e
ip link set lo up
echo airlock1 >/proc/sys/kernel/hostname
cp -a /etc etc 2>/dev/null || true
mount --bind etc /etc
mkdir -p /etc/airlock
cp examples/config.toml /etc/airlock/
echo ready
exec sleep infinity";

/// The commands that ask for confirmation.
const CHANGES: &[&str] = &["lock", "override", "pause", "resume", "set", "unlock"];

pub(super) struct Scene {
    servers: Vec<Process>,
    /// The process whose namespaces the commands enter.
    machine: Process,
    folder: TempDir,
    /// The variables that commands have exported.
    exports: String,
}

impl Scene {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["backup", "bin", "target/debug", "tmp"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["examples", "contrib"] {
            symlink(repository().join(name), path(name)).unwrap();
        }
        for name in ["bin/airlock", "target/debug/airlock"] {
            symlink(binary(), path(name)).unwrap();
        }
        // As on a terminal, where curl shows no progress.
        fs::write(path(".curlrc"), "silent\nshow-error\n").unwrap();

        let mut unshare = Program::new("unshare");
        unshare.args(["--net", "--mount", "--uts"]);
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare.args(["sh", "-c", BEGIN]).current_dir(&folder);
        let machine = Process::start(unshare, &path("machine.log"));
        eventually("the machine to be ready", || {
            machine.log().contains("ready").then_some(())
        });
        Scene {
            servers: Vec::new(),
            machine,
            folder,
            exports: String::new(),
        }
    }

    /// Runs the commands of a block, and compares what they print.
    pub(super) fn run(&mut self, block: &Block) {
        for command in block.commands() {
            if command.line.starts_with("export ") {
                // The server has printed the name of the folder.
                let folder = r#""$(echo "${TMPDIR:-/tmp}"/airlock-dev-*)""#;
                let line = command.line.replace("/tmp/airlock-dev-7f3a", folder);
                self.exports.push_str(&format!("{line}\n"));
            } else if let Some(server) = server(&command.line) {
                self.serve(&server);
            } else {
                self.check(&command, block);
            }
        }
    }

    /// Starts a server, and waits until it is ready.
    pub(super) fn serve(&mut self, command: &str) {
        let log = self
            .folder
            .path()
            .join(format!("server-{}.log", self.servers.len()));
        let process = Process::start(self.program(&format!("exec {command}")), &log);
        eventually("a server to be ready", || {
            let log = process.log();
            let ready = ["msg=\"airlock started\"", "ready to serve"];
            ready.iter().any(|ready| log.contains(ready)).then_some(())
        });
        self.servers.push(process);
    }

    /// Runs a command that no document contains, and returns its output.
    pub(super) fn prepare(&self, command: &str) -> String {
        let output = self.program(command).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the path of a file in the current folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn check(&self, command: &Command, block: &Block) {
        // The folder at the root of the file system is that of the real machine.
        let line = &command.line.replace(" /backup/", " backup/");
        // At a terminal, a person confirms a change.
        let asks = CHANGES
            .iter()
            .any(|name| line.starts_with(&format!("airlock {name} ")));
        let confirmation = if asks && !line.contains(" --yes") {
            " --yes"
        } else {
            ""
        };
        let program = format!("exec 2>&1\n{}{line}{confirmation}\n", self.exports);
        let run = || {
            let output = self.program(&program).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            (output.status.code(), printed)
        };
        let Some(expected) = &command.output else {
            let (code, printed) = run();
            // `airlock status` exits with 1 if something needs attention, as it does in these scenes.
            let attention = line == "airlock status" && code == Some(1);
            assert!(code == Some(0) || attention, "{line}: {printed}");
            return;
        };
        let expected = comparable(line, &expected.join("\n"));
        if ["airlock get ", "airlock status"]
            .iter()
            .any(|start| line.starts_with(start))
        {
            // The servers publish the waiting nodes within 10 s.
            eventually_ok(line, || match comparable(line, &run().1) {
                printed if printed == expected => Ok(()),
                printed => Err(format!("{printed:#?}, not {expected:#?}")),
            });
        } else {
            let (file, section) = (&block.file, &block.section);
            assert_eq!(
                comparable(line, &run().1),
                expected,
                "{file}, {section}: {line}"
            );
        }
    }

    /// Returns a command that runs a script on the machine.
    fn program(&self, script: &str) -> Program {
        let mut program = Program::new("nsenter");
        program.arg(format!("--target={}", self.machine.id()));
        program.args(["--net", "--mount", "--uts"]);
        if !rustix::process::geteuid().is_root() {
            program.args(["--user", "--preserve-credentials"]);
        }
        let folder = self.folder.path();
        program.arg(format!("--wd={}", folder.display()));
        let path = format!(
            "{}:{}",
            folder.join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        program
            .args(["sh", "-c", script])
            .env("PATH", path)
            .env("HOME", folder)
            .env("TMPDIR", folder.join("tmp"))
            .stdin(Stdio::null());
        program
    }
}

/// Returns the command of a server, which goes on while others run.
fn server(line: &str) -> Option<String> {
    match line {
        "make run" => Some(last_command_of_make_run()),
        _ if line.starts_with("etcd ") || line.contains("airlock serve") => Some(line.to_owned()),
        _ => None,
    }
}

/// Returns how `make run` starts the server. It builds it first, as the tests have.
fn last_command_of_make_run() -> String {
    let mut make = Program::new("make");
    // Below `make test`, make would print its folder as well.
    let output = make
        .args(["--no-print-directory", "-n", "run"])
        .env_remove("MAKEFLAGS")
        .current_dir(repository())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let command = text.lines().last().unwrap().strip_prefix("exec ");
    command.expect("make run ends with the server").to_owned()
}

/// Returns the lines of the output of a command, without what is another at each run.
fn comparable(command: &str, output: &str) -> Vec<String> {
    let mut lines: Vec<String> = output.trim_end().lines().map(normalized).collect();
    if command.starts_with("curl -i ") {
        lines.truncate(1);
    }
    lines
}

/// Replaces times, durations, users and hosts, and the folder of `airlock serve --dev`. The width of a column depends on
/// them.
fn normalized(line: &str) -> String {
    let indentation = line.len() - line.trim_start().len();
    let mut normalized: Vec<String> = vec![" ".repeat(indentation)];
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let unit = words
            .peek()
            .map(|unit| unit.trim_end_matches([':', ';', ',', '.', ')']));
        let number = word.trim_start_matches('(');
        let is_duration =
            is_number(number) && unit.is_some_and(|unit| ["s", "min", "h", "d"].contains(&unit));
        let is_time = word
            .split_once(':')
            .is_some_and(|(hour, minute)| is_number(hour) && is_number(minute));
        let is_user = word
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
        let folder = word
            .find("/airlock-dev-")
            .map(|start| word[start + 1..].split_once('/'));
        normalized.push(match folder {
            _ if is_duration => {
                words.next();
                "DURATION".to_owned()
            }
            _ if is_time => "TIME".to_owned(),
            _ if is_user => "USER@HOST".to_owned(),
            Some(Some((_, file))) => format!("/tmp/airlock-dev/{file}"),
            _ => word.to_owned(),
        });
    }
    normalized.join(" ")
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}
