//! One member of a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ctl::{EtcdctlError, etcdctl};
use super::version::Version;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::{eventually, free_port};

/// One member of a cluster. Its process can be stopped and started again with the same data.
pub struct Member {
    version: Version,
    /// The name of the member in its cluster.
    pub name: String,
    scheme: &'static str,
    client_port: u16,
    peer_port: u16,
    pub(super) data: PathBuf,
    /// The arguments of every start, followed by those that describe the cluster.
    pub(super) arguments: Vec<String>,
    pub(super) cluster: Vec<String>,
    /// The arguments with which etcdctl authenticates.
    pub(super) ctl: Vec<String>,
    log: PathBuf,
    /// The proxy through which the other members connect to this one.
    pub(super) peers: Option<Proxy>,
    process: Option<Process>,
    /// The id that the member last reported; 0 before it has responded.
    id: AtomicU64,
}

/// The state of a member, as the member itself reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The id of the cluster.
    pub cluster: u64,
    /// The id of the member.
    pub id: u64,
    /// The id of the leader; 0 if the member knows none.
    pub leader: u64,
    /// Whether the member is a learner.
    pub is_learner: bool,
    /// The current revision of the store.
    pub revision: i64,
    /// The size of the database in bytes.
    pub size: u64,
}

// === impl Member ===

impl Member {
    /// Returns a member that is not started. Its data and its log are in `folder`. With `proxied`, the other members
    /// connect to it through a proxy.
    pub(super) fn new(
        version: Version,
        scheme: &'static str,
        name: String,
        folder: &Path,
        proxied: bool,
    ) -> Self {
        let peer_port = free_port();
        let real = format!("http://127.0.0.1:{peer_port}");
        Member {
            version,
            scheme,
            client_port: free_port(),
            peer_port,
            data: folder.join(&name),
            arguments: Vec::new(),
            cluster: Vec::new(),
            ctl: Vec::new(),
            log: folder.join(format!("{name}.log")),
            peers: proxied.then(|| Proxy::between_members(&real)),
            name,
            process: None,
            id: AtomicU64::new(0),
        }
    }

    /// Returns the client URL.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    /// Returns the URL at which the other members reach this one.
    pub fn peer_url(&self) -> String {
        match &self.peers {
            Some(proxy) => proxy.endpoint(),
            None => self.own_peer_url(),
        }
    }

    fn own_peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// Runs etcdctl with this member.
    pub(super) fn ctl(&self, arguments: &[&str], input: &str) -> Result<String, EtcdctlError> {
        let ctl: Vec<&str> = self.ctl.iter().map(String::as_str).collect();
        self.unauthenticated_ctl(&[&ctl, arguments].concat(), input)
    }

    fn unauthenticated_ctl(&self, arguments: &[&str], input: &str) -> Result<String, EtcdctlError> {
        etcdctl(&self.version.etcdctl(), &self.endpoint(), arguments, input)
    }

    /// Returns the state of the member, or `None` if it does not respond.
    pub fn status(&self) -> Option<Status> {
        self.process.as_ref()?;
        let command = ["endpoint", "status", "--write-out", "json"];
        // The latest 3.5 requires a user while authentication is enabled; the others do not, and a login needs a leader.
        let answer = match self.unauthenticated_ctl(&command, "") {
            Err(error) if error.stderr.contains("user name is empty") => self.ctl(&command, ""),
            answer => answer,
        };
        let answer = answer.ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        let status = &answer[0]["Status"];
        let header = &status["header"];
        let id = header["member_id"].as_u64()?;
        self.id.store(id, Ordering::Relaxed);
        Some(Status {
            cluster: header["cluster_id"].as_u64()?,
            id,
            leader: status["leader"].as_u64().unwrap_or(0),
            is_learner: status["isLearner"].as_bool().unwrap_or(false),
            revision: header["revision"].as_i64()?,
            size: status["dbSize"].as_u64().unwrap_or(0),
        })
    }

    /// Returns the id of the member, as it last reported it.
    pub fn id(&self) -> u64 {
        match self.id.load(Ordering::Relaxed) {
            0 => eventually("a member to report its id", || self.status()).id,
            known => known,
        }
    }

    /// Starts the process with the data that it has.
    pub fn spawn(&mut self) {
        let (client, peer) = (self.endpoint(), self.own_peer_url());
        let mut command = Command::new(self.version.etcd());
        command
            .arg("--name")
            .arg(&self.name)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &self.peer_url()])
            .args(&self.cluster)
            .args(&self.arguments);
        self.process = Some(Process::start(command, &self.log));
    }

    /// Returns whether the process was started and not killed.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Returns the running process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Returns the log of all processes of this member.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the last lines of the log. The process may have ended by itself.
    pub fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Kills the process and keeps its data.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills the process and removes its data.
    pub fn wipe(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.data);
        self.id.store(0, Ordering::Relaxed);
    }

    /// Stops the process and waits until it has stopped: it keeps its connections and does not respond.
    pub fn freeze(&self) {
        self.process().freeze();
    }

    /// Continues the process after [`Member::freeze`].
    pub fn thaw(&self) {
        self.process().thaw();
    }
}
