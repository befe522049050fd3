//! A real etcd: one member or a cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::pki::Pair;
use super::process::Process;
use super::{eventually, free_port};

/// The versions that are tested: Debian's, and PyPI's.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    V3_4,
    V3_5,
}

impl Version {
    fn program(self) -> PathBuf {
        match self {
            Version::V3_4 => "etcd".into(),
            Version::V3_5 => {
                Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/etcd-3.5/etcd")
            }
        }
    }
}

/// A running cluster, on loopback, in temporary folders.
pub struct Etcd {
    pub members: Vec<Member>,
    /// What etcdctl needs to talk to it.
    ctl: Vec<String>,
    _folder: TempDir,
}

/// One member. Its process can be ended and started again on its data.
pub struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    scheme: &'static str,
    client_port: u16,
    process: Option<Process>,
}

impl Etcd {
    /// One member of Debian's version, ready.
    pub fn start() -> Self {
        Etcd::with(Version::V3_4, 1, &[])
    }

    /// A cluster of `size` members, ready.
    pub fn cluster(size: usize) -> Self {
        Etcd::with(Version::V3_4, size, &[])
    }

    /// A cluster of a version, with more arguments.
    pub fn with(version: Version, size: usize, more: &[&str]) -> Self {
        Etcd::speaking("http", version, size, more, Vec::new())
    }

    /// One member that speaks TLS with this certificate, good or not.
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
            .map(|(index, (client, peer))| {
                let data = folder.path().join(format!("m{index}"));
                let mut arguments: Vec<String> = [
                    ("--name", format!("m{index}")),
                    ("--data-dir", data.display().to_string()),
                    (
                        "--listen-client-urls",
                        format!("{scheme}://127.0.0.1:{client}"),
                    ),
                    (
                        "--advertise-client-urls",
                        format!("{scheme}://127.0.0.1:{client}"),
                    ),
                    ("--listen-peer-urls", format!("http://127.0.0.1:{peer}")),
                    (
                        "--initial-advertise-peer-urls",
                        format!("http://127.0.0.1:{peer}"),
                    ),
                    ("--initial-cluster", peers.join(",")),
                ]
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value])
                .collect();
                arguments.extend(more.iter().map(ToString::to_string));
                Member {
                    program: version.program(),
                    arguments,
                    log: folder.path().join(format!("m{index}.log")),
                    scheme,
                    client_port: *client,
                    process: None,
                }
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

    /// The client URLs of all members.
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

    /// The index of the member that leads, as soon as the running ones agree on one.
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

    /// Runs etcdctl against the first member; its output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap()
    }

    /// The same where it may fail; what etcdctl complained about.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        self.etcdctl(&self.members[0], arguments)
    }

    fn etcdctl(&self, member: &Member, arguments: &[&str]) -> Result<String, String> {
        let ctl: Vec<&str> = self.ctl.iter().map(String::as_str).collect();
        etcdctl(&member.endpoint(), &[&ctl, arguments].concat())
    }

    /// The value of a key, empty if there is none.
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
        // etcdctl reads comparisons, then what to do, then what else, each ended by an empty line.
        let script = format!("\n{}\n\n", puts.concat());
        etcdctl_with_input(&self.members[0].endpoint(), &["txn"], &script).unwrap();
    }

    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", "--", key, value]);
    }
}

impl Member {
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// The ids of itself and of the leader that it follows; `None` if it does not answer.
    fn ids(&self) -> Option<(u64, u64)> {
        self.process.as_ref()?;
        let status = ["endpoint", "status", "--write-out", "json"];
        let answer = etcdctl(&self.endpoint(), &status).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        let status = &answer[0]["Status"];
        let id = status["header"]["member_id"].as_u64()?;
        Some((id, status["leader"].as_u64()?))
    }

    /// Starts it on its data.
    pub fn spawn(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.process = Some(Process::start(command, &self.log));
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Ends it at once; its data stay.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }
}

/// Runs etcdctl (API 3); its output, or what it complained about.
pub fn etcdctl(endpoint: &str, arguments: &[&str]) -> Result<String, String> {
    etcdctl_with_input(endpoint, arguments, "")
}

fn etcdctl_with_input(endpoint: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint, "--command-timeout", "2s"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl cannot be started; `make setup` installs what is missing");
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
