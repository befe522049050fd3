//! A cluster of three servers and three etcd members, with a proxy in front of each member and between the members.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::check::{Reply, Request};
use super::committed::Committed;
use super::faults::make_space;
use super::gauges::Contents;
use super::record::{
    GROUPS, Group, MAX_GROUPS, MAX_HELD, Recorder, Server, Servers, capped_groups,
};
use super::{BY_HAND, note};
use airlock_test_support::airlock::{Airlock, LISTEN, airlock};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, ROOT, USER, Version, keys_of_user};
use airlock_test_support::proxy::{Network, Proxy};
use airlock_test_support::{eventually, eventually_ok};

/// All running processes.
pub(crate) struct Cluster {
    pub(crate) version: Version,
    pub(crate) etcd: Etcd,
    /// The proxies between the servers and the members.
    pub(crate) proxies: Vec<Proxy>,
    /// The endpoint of a member that joins later. The servers list it from the start; the last one prefers it.
    pub(crate) spare: Proxy,
    /// `None` while the server is killed.
    pub(crate) airlocks: Vec<Option<Airlock>>,
    /// Clients without a server. All others share their connections.
    patient: Client,
    hasty: Client,
    pub(crate) servers: Servers,
    pub(crate) committed: Committed,
    pub(crate) folder: TempDir,
    /// The user of the servers, in the form of the configuration.
    user: String,
}

/// The number of servers and of members.
pub(crate) const SIZE: usize = 3;

/// The database size at which etcd refuses writes.
const QUOTA: &str = "16777216";

// === impl Cluster ===

impl Cluster {
    pub(crate) fn start(version: Version) -> Self {
        let more = ["--quota-backend-bytes", QUOTA];
        let elections = ["--heartbeat-interval", "50", "--election-timeout", "500"];
        // Each connection of etcdctl and of a server checks a password.
        let passwords = ["--bcrypt-cost", "4"];
        let arguments = [&more[..], &elections, &passwords].concat();
        let mut etcd = Etcd::partitionable(version, SIZE, &arguments);
        etcd.create_users(&[ALL_GROUPS]);
        etcd.authenticate_as(ROOT);
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            version,
            proxies: etcd.endpoints().iter().map(|e| Proxy::to(e)).collect(),
            // No process listens on this port.
            spare: Proxy::to("http://127.0.0.1:1"),
            etcd,
            airlocks: (0..SIZE).map(|_| None).collect(),
            patient: Client::with_timeout(String::new(), Duration::from_secs(6)),
            hasty: Client::with_timeout(String::new(), Duration::from_millis(25)),
            servers: Arc::new(Mutex::new(vec![None; SIZE])),
            committed: Committed::new(),
            user: keys_of_user(folder.path(), USER.1),
            folder,
        };
        cluster.start_servers();
        cluster
    }

    /// Returns the configuration of a server, with other numbers of slots if `more` is not 0.
    pub(crate) fn config(&self, server: usize, more: u32) -> String {
        let mut endpoints: Vec<String> = self.proxies.iter().map(Proxy::endpoint).collect();
        endpoints.rotate_left(server);
        let place = if server == SIZE - 1 { 0 } else { SIZE };
        endpoints.insert(place, self.spare.endpoint());
        format!(
            "{LISTEN}[etcd3]\nendpoints = {endpoints:?}\ntransaction_timeout_ms = 1500\n{}{}",
            self.user,
            groups(more)
        )
    }

    /// Starts the servers that are not running.
    pub(crate) fn start_servers(&mut self) {
        for index in 0..SIZE {
            if self.airlocks[index].is_some() {
                continue;
            }
            let started = Airlock::start_with(&self.config(index, 0), &["-v"]);
            self.servers.lock().unwrap()[index] = Some(Server {
                patient: self.patient.at(started.url()),
                hasty: self.hasty.at(started.url()),
            });
            self.airlocks[index] = Some(started);
        }
    }

    /// Ends what remains of all faults and waits until every process is ready.
    pub(crate) fn repair(&mut self) {
        for proxy in self.proxies.iter().chain([&self.spare]) {
            proxy.set(Network::Works);
        }
        // Before it is, a member that joined with a snapshot may refuse all users (etcd-io/etcd #13172).
        eventually_ok("authentication to be disabled", || {
            self.etcd.try_ctl_anywhere(&["auth", "disable"])
        });
        self.etcd.wait_until_ready();
        // A restored snapshot, and a member that repeats the writes which had filled the database, raise the alarm again.
        let alarms = eventually_ok("the alarms of etcd", || {
            self.etcd.try_ctl_anywhere(&["alarm", "list"])
        });
        if !alarms.trim().is_empty() {
            note(&format!("  alarms: {}", alarms.trim()));
            make_space(self);
        }
        self.start_servers();
    }

    /// Discards old revisions, which are checked before.
    pub(crate) fn compact(&mut self) -> Result<(), String> {
        self.committed.read(&self.etcd)?;
        let compacted = self.etcd.compact_to(self.committed.checked());
        compacted.map_err(|error| error.to_string())
    }

    /// Returns the slots and the holders of a group in the store.
    pub(crate) fn stored(&self, group: &Group) -> Contents {
        contents(group, &self.etcd.get(&group.key()))
    }

    /// Returns the path of the configuration of an administrator.
    pub(crate) fn admin_config(&self) -> PathBuf {
        let path = self.folder.path().join("administrator.toml");
        fs::write(&path, self.config(0, 0)).unwrap();
        path
    }

    /// Releases all slots of a group, with requests that are part of the history.
    ///
    /// SUBTLE: after the barrier no earlier operation can take effect, so the next round is a separate history.
    /// Each server answers the requests of a group in order, so a response to the barrier follows all earlier
    /// requests. The grant to the barrier's node is a write, so every comparison that is still in flight in etcd
    /// fails.
    ///
    /// The groups of `later` follow. Their slots are released now if a cap leaves no room otherwise.
    pub(crate) fn barrier(&self, recorder: &Recorder, later: &[Recorder]) {
        let servers: Vec<Server> = self
            .servers
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .cloned()
            .collect();
        let config = self.admin_config();
        let slots = Request::SetSlots(recorder.group().slots);
        barrier(recorder, &servers, &mut |reply| {
            if reply == Reply::Capped {
                release_capped(later, &servers[0]);
            } else {
                admin(&config, recorder, slots);
            }
        });
        if self.stored(recorder.group()).0 != u64::from(recorder.group().slots) {
            eventually("the slots of the configuration", || {
                (admin(&config, recorder, slots) == Some(Reply::Yes)).then_some(())
            });
        }
    }
}

/// Returns the contents of the semaphore of a group, which is empty if the store has none.
pub(crate) fn contents(group: &Group, semaphore: &str) -> Contents {
    if semaphore.is_empty() {
        return (group.slots.into(), Vec::new());
    }
    let value: serde_json::Value = serde_json::from_str(semaphore).unwrap();
    let holders = value["holders"].as_array().unwrap();
    let holders = holders.iter().map(|id| id.as_str().unwrap().to_owned());
    (value["total_slots"].as_u64().unwrap(), holders.collect())
}

/// Returns the groups and the cap in the form of the configuration.
pub(crate) fn groups(more: u32) -> String {
    let mut text = format!("[lock]\ndefault_slots = {}\n", GROUPS[0].slots + more);
    for group in &GROUPS[1..] {
        let (name, slots) = (group.name, group.slots + more);
        text += &format!("[[lock.groups]]\nname = {name:?}\nslots = {slots}\n");
    }
    let capped: Vec<&str> = capped_groups().map(|group| group.name).collect();
    text += &format!(
        "[[lock.caps]]\nname = \"zones\"\ngroups = {capped:?}\nmax_held = {MAX_HELD}\nmax_groups = {MAX_GROUPS}\n"
    );
    text
}

/// Runs an administrator's command with this configuration and records it.
pub(crate) fn admin(config: &Path, recorder: &Recorder, request: Request) -> Option<Reply> {
    let group = recorder.group().name;
    let node = |node: usize| format!("n{node}");
    let arguments: Vec<String> = match request {
        Request::Lock(id) => vec!["lock".into(), group.into(), node(id)],
        Request::Unlock(id) => vec!["unlock".into(), group.into(), node(id)],
        Request::SetSlots(slots) => {
            vec![
                "set".into(),
                "slots".into(),
                group.into(),
                slots.to_string(),
            ]
        }
        Request::Pause => vec!["pause".into(), group.into()],
        Request::Resume => vec!["resume".into(), group.into()],
        other => unreachable!("{other:?} is no command"),
    };
    recorder.record(super::ADMINISTRATOR, request, || {
        let mut command = airlock();
        command
            .arg("--config")
            .arg(config)
            .args(&arguments)
            .arg("--yes");
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        // A refused unlock found no lock to release, which is what it asked for.
        let is_done = output.status.success() || stderr.contains("does not hold a slot");
        let is_full = ["slots are held", "slot is held", "is paused"];
        Some(if is_done {
            Reply::Yes
        } else if is_full.iter().any(|text| stderr.contains(text)) {
            Reply::Full
        } else if stderr.contains("the cap \"zones\" is reached") {
            Reply::Capped
        } else {
            Reply::Unknown
        })
    })
}

/// Releases the slots of all groups that share the cap.
pub(crate) fn release_capped(recorders: &[Recorder], server: &Server) {
    let capped = recorders
        .iter()
        .filter(|recorder| recorder.group().is_capped());
    for recorder in capped {
        for node in 0..recorder.group().nodes {
            recorder.ask(BY_HAND, &server.patient, Request::Unlock(node));
        }
    }
}

/// Sends the requests of [`Cluster::barrier`]. `free` makes a slot available after a refusal.
pub(crate) fn barrier(recorder: &Recorder, servers: &[Server], free: &mut dyn FnMut(Reply)) {
    let nodes = recorder.group().nodes;
    let mut until = |server: &Server, request: Request, wanted: &[Reply]| {
        eventually_ok("a response at the end of a round", || {
            let reply = recorder.ask(BY_HAND, &server.patient, request);
            if let Some(refusal @ (Reply::Full | Reply::Capped)) = reply {
                free(refusal);
            }
            match reply {
                Some(reply) if wanted.contains(&reply) => Ok(()),
                other => Err(format!("{request:?}: {other:?}")),
            }
        });
    };
    for server in servers {
        until(server, Request::Unlock(nodes), &[Reply::Yes]);
    }
    for node in 0..nodes {
        until(&servers[0], Request::Unlock(node), &[Reply::Yes]);
    }
    for server in servers {
        until(server, Request::Lock(nodes), &[Reply::Yes]);
        until(server, Request::Unlock(nodes), &[Reply::Yes]);
    }
}
