//! The real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Client;
use super::eventually;
use super::process::Process;

/// `[service]` and `[status]` on free ports of loopback.
pub const LISTEN: &str = r#"
[service]
address = "127.0.0.1"
port = 0
tls = false
[status]
enabled = true
address = "127.0.0.1"
port = 0
"#;

/// A running server with a folder of its own.
pub struct Airlock {
    process: Process,
    config: PathBuf,
    folder: TempDir,
}

impl Airlock {
    /// Starts `airlock serve -vv`, with `config` behind [`LISTEN`], and waits until it listens.
    ///
    /// `{folder}` in the configuration stands for the server's own folder.
    pub fn start(config: &str) -> Self {
        Airlock::start_with(&format!("{LISTEN}{config}"), &["-vv"])
    }

    /// The same with the whole configuration and the arguments behind `serve`.
    pub fn start_with(config: &str, arguments: &[&str]) -> Self {
        Airlock::start_with_environment(config, arguments, &[])
    }

    /// The same with more environment variables.
    pub fn start_with_environment(
        config: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(
            &path,
            config.replace("{folder}", &folder.path().display().to_string()),
        )
        .unwrap();
        let mut command = serve(&path, arguments);
        command.envs(environment.iter().copied());
        let process = Process::start(command, &folder.path().join("log"));
        let mut airlock = Airlock {
            process,
            config: path,
            folder,
        };
        airlock.wait_for_log("msg=\"main service\"");
        airlock
    }

    /// A server in front of an etcd; `more` is the rest of its configuration.
    pub fn on_etcd(endpoints: &[String], more: &str) -> Self {
        Airlock::start(&format!("[etcd3]\nendpoints = {endpoints:?}\n{more}"))
    }

    /// A server with a file of its own.
    pub fn embedded(more: &str) -> Self {
        Airlock::start(&format!(
            "[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}"
        ))
    }

    /// Starts it once more, on the same configuration; the log goes on.
    pub fn restart(&mut self) {
        self.process.kill();
        let seen = self.log().matches("msg=\"main service\"").count();
        self.process = Process::start(
            serve(&self.config, &["-vv"]),
            &self.folder.path().join("log"),
        );
        eventually("the server to listen again", || {
            (self.log().matches("msg=\"main service\"").count() > seen).then_some(())
        });
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log has `text` in it. Panics with the log if the server ends before.
    pub fn wait_for_log(&mut self, text: &str) {
        eventually(&format!("{text:?} in the log"), || {
            let ended = self.process.ended();
            let log = self.process.log();
            if log.contains(text) {
                return Some(());
            }
            assert!(ended.is_none(), "the server has ended: {log}");
            None
        });
    }

    /// Writes another configuration, as [`Airlock::start`] does, and sends SIGHUP.
    pub fn reload(&self, config: &str) {
        self.reload_with(&format!("{LISTEN}{config}"));
    }

    /// The same with the whole configuration.
    pub fn reload_with(&self, config: &str) {
        let folder = self.folder.path().display().to_string();
        fs::write(&self.config, config.replace("{folder}", &folder)).unwrap();
        self.process.signal(Signal::HUP);
    }

    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// `http://127.0.0.1:port` of the main listener.
    pub fn url(&self) -> String {
        self.url_of("main service")
    }

    /// The same of the status listener.
    pub fn status_url(&self) -> String {
        self.url_of("status service")
    }

    /// The newest address in the log, since a restart brings new ports.
    fn url_of(&self, service: &str) -> String {
        let port = port_in(&self.log(), service).unwrap();
        format!("http://127.0.0.1:{port}")
    }

    /// A node's view of it.
    pub fn client(&self) -> Client {
        Client::new(self.url())
    }

    /// A page of the status listener.
    pub fn status(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.status_url());
        let response = reqwest::blocking::get(url).unwrap();
        (response.status().as_u16(), response.text().unwrap())
    }

    /// The value of one metric, with its labels as they are printed.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.status("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// The same, running beside the test until it is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        let mut command = airlock();
        command.arg("--config").arg(&self.config).args(arguments);
        Process::start(command, &self.folder.path().join("command.log"))
    }

    /// Runs another command of the binary on this server's configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.command_to(Stdio::piped(), arguments)
    }

    /// The same with another stdout.
    pub fn command_to(&self, stdout: impl Into<Stdio>, arguments: &[&str]) -> Output {
        airlock()
            .arg("--config")
            .arg(&self.config)
            .args(arguments)
            .stdout(stdout)
            .output()
            .unwrap()
    }
}

/// The newest port in a log that the service listens on.
pub fn port_in(log: &str, service: &str) -> Option<u16> {
    let message = format!("msg=\"{service}\"");
    let line = log.lines().rfind(|line| line.contains(&message))?;
    line.split("port=").nth(1)?.split(' ').next()?.parse().ok()
}

/// The binary under test: cargo's, or the one that AIRLOCK_BINARY names.
pub fn binary() -> PathBuf {
    std::env::var_os("AIRLOCK_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_airlock").into(), PathBuf::from)
}

pub fn airlock() -> Command {
    Command::new(binary())
}

/// What `airlock serve` says when it does not start on this configuration.
pub fn refusal_to_start(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let folder = folder.path().display().to_string();
    fs::write(&path, config.replace("{folder}", &folder)).unwrap();
    let output = serve(&path, &[]).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn serve(config: &Path, arguments: &[&str]) -> Command {
    let mut command = airlock();
    command
        .arg("serve")
        .arg("--config")
        .arg(config)
        .args(arguments);
    command
}
