//! The server under test: the real binary, started as a process.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Client;
use super::eventually;
use super::process::Process;

/// Configures both listeners on free ports of the loopback interface.
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

/// The line that a server logs at every verbosity once it listens and all other lines about its start are written.
const STARTED: &str = "msg=\"airlock started\"";

/// A running server with its own temporary folder.
pub struct Airlock {
    process: Process,
    config: PathBuf,
    folder: TempDir,
}

impl Airlock {
    /// Starts `airlock serve -vv` with the configuration [`LISTEN`] plus `config` and waits until the server
    /// listens.
    ///
    /// `{folder}` in the configuration is replaced by the path of the server's own folder.
    pub fn start(config: &str) -> Self {
        Airlock::start_with(&format!("{LISTEN}{config}"), &["-vv"])
    }

    /// Starts a server with a complete configuration and the arguments to `serve`.
    pub fn start_with(config: &str, arguments: &[&str]) -> Self {
        Airlock::start_with_environment(config, arguments, &[])
    }

    /// Starts a server with a complete configuration, the arguments to `serve` and additional environment
    /// variables.
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
        airlock.wait_for_log(STARTED);
        airlock
    }

    /// Starts a server that keeps its locks in etcd; `more` is the rest of the configuration.
    pub fn on_etcd(endpoints: &[String], more: &str) -> Self {
        Airlock::start(&format!("[etcd3]\nendpoints = {endpoints:?}\n{more}"))
    }

    /// Starts a server with an embedded store; `more` is the rest of the configuration.
    pub fn embedded(more: &str) -> Self {
        Airlock::start(&format!(
            "[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}"
        ))
    }

    /// Kills the server and starts it again with the same configuration. The log is continued.
    pub fn restart(&mut self) {
        self.process.kill();
        let seen = self.log().matches(STARTED).count();
        self.process = Process::start(
            serve(&self.config, &["-vv"]),
            &self.folder.path().join("log"),
        );
        eventually("the server to listen again", || {
            (self.log().matches(STARTED).count() > seen).then_some(())
        });
    }

    /// Returns the path of the server's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the command line that messages of this server suggest for `command`.
    pub fn suggested(&self, command: &str) -> String {
        let config = self.folder().join("config.toml");
        format!("airlock -c {} {command}", config.display())
    }

    /// Returns the process of the server.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns the log up to now.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log contains `text`. Panics with the log if the server exits first.
    pub fn wait_for_log(&mut self, text: &str) {
        eventually(&format!("{text:?} in the log"), || {
            let status = self.process.exit_status();
            let log = self.process.log();
            if log.contains(text) {
                return Some(());
            }
            assert!(status.is_none(), "the server has exited: {log}");
            None
        });
    }

    /// Replaces the configuration with [`LISTEN`] plus `config` and sends SIGHUP.
    pub fn reload(&self, config: &str) {
        self.reload_with(&format!("{LISTEN}{config}"));
    }

    /// Replaces the complete configuration and sends SIGHUP.
    pub fn reload_with(&self, config: &str) {
        let folder = self.folder.path().display().to_string();
        fs::write(&self.config, config.replace("{folder}", &folder)).unwrap();
        self.process.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Returns the URL of the main listener, `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        self.url_of("main service")
    }

    /// Returns the URL of the status listener.
    pub fn status_url(&self) -> String {
        self.url_of("status service")
    }

    /// Returns the newest address in the log: a restart chooses new ports.
    fn url_of(&self, service: &str) -> String {
        let port = port_in(&self.log(), service).unwrap();
        format!("http://127.0.0.1:{port}")
    }

    /// Returns a client of the main listener.
    pub fn client(&self) -> Client {
        Client::new(self.url())
    }

    /// Requests a path of the status listener and returns the status code and the body.
    pub fn status(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.status_url());
        let response = reqwest::blocking::get(url).unwrap();
        (response.status().as_u16(), response.text().unwrap())
    }

    /// Returns the value of one metric; `name` includes the labels as the server prints them.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.status("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// Starts another command of the binary with this server's configuration. The process runs in the
    /// background until it is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        let mut command = airlock();
        command.arg("--config").arg(&self.config).args(arguments);
        Process::start(command, &self.folder.path().join("command.log"))
    }

    /// Runs another command of the binary with this server's configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.command_to(Stdio::piped(), arguments)
    }

    /// Runs another command of the binary with this server's configuration and the given stdout.
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

/// Returns the newest port in a log that the service listens on.
pub fn port_in(log: &str, service: &str) -> Option<u16> {
    let message = format!("msg=\"{service}\"");
    let line = log.lines().rfind(|line| line.contains(&message))?;
    line.split("port=").nth(1)?.split(' ').next()?.parse().ok()
}

/// Returns the path of the binary under test: the one that AIRLOCK_BINARY names, or the one that cargo has
/// built for this test.
///
/// Cargo sets CARGO_BIN_EXE_airlock for the tests and benchmarks that it runs. A test that is started by hand
/// uses the binary in the parent of its own folder, where cargo puts it.
pub fn binary() -> PathBuf {
    let named = ["AIRLOCK_BINARY", "CARGO_BIN_EXE_airlock"];
    named.into_iter().find_map(env::var_os).map_or_else(
        || {
            let own = env::current_exe().unwrap();
            own.ancestors().nth(2).unwrap().join("airlock")
        },
        PathBuf::from,
    )
}

/// The id of a user without files.
pub const UNPRIVILEGED_USER: u32 = 65534;

/// Returns a command that runs the binary under test.
pub fn airlock() -> Command {
    Command::new(binary())
}

/// Copies the binary under test into a folder, and returns a command that runs it as a user without privileges. Such a
/// user may have no access to the build folder.
///
/// While another test starts a process, the copy may count as being written, and cannot be executed for a moment.
pub fn unprivileged_airlock(folder: &Path) -> Command {
    let copy = folder.join("airlock");
    fs::copy(binary(), &copy).unwrap();
    let mut command = Command::new(copy);
    unprivileged(&mut command);
    command
}

/// Lets a command run as a user without privileges.
pub fn unprivileged(command: &mut Command) {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(UNPRIVILEGED_USER).gid(UNPRIVILEGED_USER);
    }
}

/// Runs `airlock serve` with a configuration that prevents the start and returns its stderr.
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
