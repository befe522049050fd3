//! A real etcd cluster of one or more members.

mod ctl;
mod member;
mod membership;
mod partition;
mod users;
mod version;

use std::collections::BTreeMap;

use tempfile::TempDir;

pub use ctl::EtcdctlError;
pub use member::{Member, Status};
pub use users::{ALL_GROUPS, ROOT, USER, connect_as, keys_of_user};
pub use version::{Bug, Release, Version};

use super::pki::Pair;
use super::{eventually, eventually_ok};

/// A running cluster on the loopback interface, with its data in a temporary folder.
pub struct Etcd {
    /// The members, in the order of their endpoints.
    pub members: Vec<Member>,
    version: Version,
    scheme: &'static str,
    /// Whether the members reach each other through proxies.
    proxied: bool,
    /// Additional arguments of each member.
    more: Vec<String>,
    /// The arguments of etcdctl for this cluster.
    ctl: Vec<String>,
    folder: TempDir,
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
        Etcd::prepare(version, "http", more).run(size)
    }

    /// Starts a cluster whose members reach each other through proxies: [`Etcd::block`] partitions it.
    pub fn partitionable(version: Version, size: usize, more: &[&str]) -> Self {
        let mut etcd = Etcd::prepare(version, "http", more);
        etcd.proxied = true;
        etcd.run(size)
    }

    /// Starts one member that serves TLS with this certificate, valid or not.
    pub fn secure(version: Version, pair: &Pair, more: &[&str]) -> Self {
        let (cert, key) = (pair.cert.to_str().unwrap(), pair.key.to_str().unwrap());
        let arguments = [&["--cert-file", cert, "--key-file", key], more].concat();
        let mut etcd = Etcd::prepare(version, "https", &arguments);
        let ctl = ["--insecure-skip-tls-verify", "--cert", cert, "--key", key];
        etcd.ctl = ctl.map(str::to_owned).into();
        etcd.run(1)
    }

    fn prepare(version: Version, scheme: &'static str, more: &[&str]) -> Self {
        Etcd {
            members: Vec::new(),
            version,
            scheme,
            proxied: false,
            more: more.iter().map(ToString::to_string).collect(),
            ctl: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn run(mut self, size: usize) -> Self {
        self.members = (0..size)
            .map(|index| self.member(format!("m{index}")))
            .collect();
        let cluster = self.initial_cluster();
        for member in &mut self.members {
            member.cluster = vec!["--initial-cluster".to_owned(), cluster.clone()];
            member.spawn();
        }
        self.wait_until_ready();
        self
    }

    /// Returns a new member of this cluster that is not started.
    fn member(&self, name: String) -> Member {
        let folder = self.folder.path();
        let mut member = Member::new(self.version, self.scheme, name, folder, self.proxied);
        member.arguments.clone_from(&self.more);
        member.ctl.clone_from(&self.ctl);
        member
    }

    /// Returns the members in the form of `--initial-cluster`.
    fn initial_cluster(&self) -> String {
        let members = self.members.iter();
        let peers: Vec<String> = members
            .map(|member| format!("{}={}", member.name, member.peer_url()))
            .collect();
        peers.join(",")
    }

    /// Returns the client URLs of all members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// Makes etcdctl authenticate as this user, `name:password`, also while authentication is disabled.
    pub fn authenticate_as(&mut self, user: &str) {
        self.ctl = vec!["--user".to_owned(), user.to_owned()];
        for member in &mut self.members {
            member.ctl.clone_from(&self.ctl);
        }
    }

    /// Waits until each running member serves linearizable reads.
    pub fn wait_until_ready(&self) {
        for member in &self.members {
            if member.is_running() {
                eventually_ok("etcd to be ready", || {
                    let answer = self.try_ctl_at(member, &["get", "ready"]);
                    answer.map_err(|error| format!("{error}\n{}", member.end_of_log()))
                });
            }
        }
    }

    /// Waits until the running members agree on a leader and returns its index.
    pub fn leader(&self) -> usize {
        eventually("etcd to have a leader", || self.known_leader())
    }

    /// Returns the index of the leader if the running members agree on it.
    pub fn known_leader(&self) -> Option<usize> {
        let status: Vec<Option<Status>> = self.members.iter().map(Member::status).collect();
        let leader = status.iter().flatten().next()?.leader;
        if status.iter().flatten().any(|other| other.leader != leader) {
            return None;
        }
        let is_leader = |status: &Option<Status>| status.is_some_and(|status| status.id == leader);
        status.iter().position(is_leader)
    }

    /// Runs etcdctl with the first member and returns its output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap()
    }

    /// Runs etcdctl with the first member and returns its output, or its error.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<String, EtcdctlError> {
        self.try_ctl_at(&self.members[0], arguments)
    }

    /// Runs etcdctl with the given member and returns its output, or its error.
    pub fn try_ctl_at(&self, member: &Member, arguments: &[&str]) -> Result<String, EtcdctlError> {
        member.ctl(arguments, "")
    }

    /// Runs etcdctl with the running members in turn until one succeeds. Returns what all of them wrote to stderr.
    pub fn try_ctl_anywhere(&self, arguments: &[&str]) -> Result<String, EtcdctlError> {
        let mut result = self.try_ctl(arguments);
        for member in self.members.iter().skip(1).filter(|m| m.is_running()) {
            let Err(earlier) = result else {
                break;
            };
            result = self.try_ctl_at(member, arguments).map_err(|mut error| {
                error.stderr.insert_str(0, &earlier.stderr);
                error
            });
        }
        result
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
        self.members[0].ctl(&["txn"], &script).unwrap();
    }

    /// Puts one key.
    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", "--", key, value]);
    }

    /// Puts one key, of any size that etcd accepts, or returns the error of etcdctl.
    pub fn try_put(&self, key: &str, value: &str) -> Result<(), EtcdctlError> {
        // etcdctl reads a missing value from its input.
        self.members[0].ctl(&["put", key], value).map(drop)
    }

    /// Writes the key `filler` until etcd is out of space and has raised its alarm. The quota has to be small.
    pub fn exhaust_space(&self) {
        let filler = "x".repeat(20_000);
        eventually("etcd to run out of space", || {
            let _ = self.try_ctl(&["put", "filler", &filler]);
            let alarms = self.ctl(&["alarm", "list"]);
            alarms.contains("NOSPACE").then_some(())
        });
    }

    /// Returns the number of calls of each gRPC method that the first member has received.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let url = format!("{}/metrics", self.members[0].endpoint());
        let metrics = reqwest::blocking::get(url).unwrap().text().unwrap();
        let counters = metrics.lines();
        let counters = counters.filter_map(|line| line.strip_prefix("grpc_server_started_total{"));
        let calls = counters.map(|counter| {
            let (labels, number) = counter.split_once("} ").unwrap();
            let method = labels.split("grpc_method=").nth(1).unwrap();
            let method = method.split('"').nth(1).unwrap();
            (method.to_owned(), number.parse().unwrap())
        });
        calls.collect()
    }

    /// Returns the number of calls that the first member has received since it returned [`Etcd::calls`], by method.
    pub fn calls_since(&self, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let mut calls = self.calls();
        for (method, number) in &mut calls {
            *number -= before.get(method).unwrap_or(&0);
        }
        calls.retain(|_, number| *number > 0);
        calls
    }

    /// Discards all old revisions.
    pub fn compact(&self) -> Result<(), EtcdctlError> {
        let status = self.members.iter().find_map(Member::status);
        self.compact_to(status.map_or(0, |status| status.revision))
    }

    /// Discards the revisions before this one.
    pub fn compact_to(&self, revision: i64) -> Result<(), EtcdctlError> {
        self.try_ctl_anywhere(&["compact", &revision.to_string()])
            .map(drop)
    }
}
