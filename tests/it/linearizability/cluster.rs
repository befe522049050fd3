//! A cluster of three servers and three etcd members, and the faults that it is exposed to.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::check::{Reply, Request};
use super::record::{Recorder, Server, Servers};
use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::proxy::{Network, Proxy};

/// The groups and their slots.
pub(crate) const GROUPS: [(&str, u32); 2] = [("default", 2), ("one", 1)];

/// A fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Nothing,
    LeaderKilled,
    FollowerKilled,
    LeaderFrozen,
    MemberUnreachable,
    AllMembersSlow,
    QuorumLost,
    ClusterRestarted,
    Compaction,
    KeyDeleted,
    ServerKilled,
    ServerFrozen,
    ConnectionsCut,
}

pub(crate) const FAULTS: [Fault; 13] = [
    Fault::Nothing,
    Fault::LeaderKilled,
    Fault::FollowerKilled,
    Fault::LeaderFrozen,
    Fault::MemberUnreachable,
    Fault::AllMembersSlow,
    Fault::QuorumLost,
    Fault::ClusterRestarted,
    Fault::Compaction,
    Fault::KeyDeleted,
    Fault::ServerKilled,
    Fault::ServerFrozen,
    Fault::ConnectionsCut,
];

/// All running processes.
pub(crate) struct Cluster {
    etcd: Etcd,
    proxies: Vec<Proxy>,
    /// `None` while the server is killed.
    airlocks: Vec<Option<Airlock>>,
    /// Clients without a server. All others share their connections.
    patient: Client,
    hasty: Client,
    pub(crate) servers: Servers,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn start() -> Self {
        let etcd = Etcd::cluster(3);
        let proxies = etcd.endpoints().iter().map(|e| Proxy::to(e)).collect();
        let mut cluster = Cluster {
            etcd,
            proxies,
            airlocks: vec![None, None, None],
            patient: Client::with_timeout(String::new(), Duration::from_secs(6)),
            hasty: Client::with_timeout(String::new(), Duration::from_millis(25)),
            servers: Arc::new(Mutex::new(vec![None, None, None])),
        };
        cluster.start_servers();
        cluster
    }

    /// Causes a fault for a random time, then repairs the cluster.
    pub(crate) fn cause(
        &mut self,
        fault: Fault,
        recorders: &[Recorder],
        random: &mut fastrand::Rng,
    ) {
        let hold = Duration::from_millis(random.u64(1000..2500));
        let leader = self.etcd.leader();
        let follower = (leader + random.usize(1..3)) % 3;
        match fault {
            Fault::Nothing => thread::sleep(hold),
            Fault::LeaderKilled => self.kill_members(&[leader], hold),
            Fault::FollowerKilled => self.kill_members(&[follower], hold),
            Fault::LeaderFrozen => {
                self.etcd.members[leader].freeze();
                thread::sleep(hold);
                self.etcd.members[leader].thaw();
            }
            Fault::MemberUnreachable => {
                self.proxies[random.usize(..3)].set(Network::Frozen);
                thread::sleep(hold);
            }
            Fault::AllMembersSlow => {
                for proxy in &self.proxies {
                    // In each direction: the round trip takes 200 ms.
                    proxy.set(Network::Slow(Duration::from_millis(100)));
                }
                thread::sleep(hold);
            }
            Fault::QuorumLost => self.kill_members(&[leader, follower], hold),
            Fault::ClusterRestarted => self.kill_members(&[0, 1, 2], hold / 4),
            Fault::Compaction => self.repeat(hold, |cluster| cluster.compact()),
            Fault::KeyDeleted => self.repeat(hold, |cluster| cluster.delete_keys(recorders)),
            Fault::ServerKilled => {
                let server = random.usize(..3);
                self.servers.lock().unwrap()[server] = None;
                self.airlocks[server] = None;
                thread::sleep(hold / 2);
            }
            Fault::ServerFrozen => {
                let process = self.airlocks[random.usize(..3)].as_mut().unwrap().process();
                process.signal(Signal::STOP);
                thread::sleep(hold);
                process.signal(Signal::CONT);
            }
            Fault::ConnectionsCut => self.repeat(hold, |cluster| {
                for network in [Network::Cut, Network::Works] {
                    for proxy in &cluster.proxies {
                        proxy.set(network);
                    }
                }
            }),
        }
        self.repair();
    }

    fn repeat(&mut self, hold: Duration, mut act: impl FnMut(&mut Self)) {
        for _ in 0..4 {
            act(self);
            thread::sleep(hold / 4);
        }
    }

    fn kill_members(&mut self, members: &[usize], hold: Duration) {
        for member in members {
            self.etcd.members[*member].kill();
        }
        thread::sleep(hold);
        for member in members {
            self.etcd.members[*member].spawn();
        }
    }

    fn repair(&mut self) {
        for proxy in &self.proxies {
            proxy.set(Network::Works);
        }
        self.etcd.wait_until_ready();
        self.start_servers();
    }

    /// Starts the servers that are not running.
    fn start_servers(&mut self) {
        let endpoints: Vec<String> = self.proxies.iter().map(Proxy::endpoint).collect();
        for (index, airlock) in self.airlocks.iter_mut().enumerate() {
            if airlock.is_some() {
                continue;
            }
            let mut endpoints = endpoints.clone();
            endpoints.rotate_left(index);
            let config = format!(
                "{LISTEN}[etcd3]\nendpoints = {endpoints:?}\ntransaction_timeout_ms = 1500\n\
                 [lock]\ndefault_slots = 2\n[[lock.groups]]\nname = \"one\"\nslots = 1\n"
            );
            let started = Airlock::start_with(&config, &["-v"]);
            self.servers.lock().unwrap()[index] = Some(Server {
                patient: self.patient.at(started.url()),
                hasty: self.hasty.at(started.url()),
            });
            *airlock = Some(started);
        }
    }

    fn compact(&self) {
        let status = self
            .etcd
            .ctl(&["endpoint", "status", "--write-out", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let revision = status[0]["Status"]["header"]["revision"].to_string();
        self.etcd.ctl(&["compact", &revision]);
    }

    fn delete_keys(&self, recorders: &[Recorder]) {
        for recorder in recorders {
            recorder.record(super::BY_HAND, Request::Delete, || {
                let key = key(recorder.group());
                let deleted = self.etcd.try_ctl(&["del", &key]);
                Some(deleted.map_or(Reply::Unknown, |_| Reply::Yes))
            });
        }
    }

    /// Unlocks all holders of a group, with requests that are part of the history.
    ///
    /// SUBTLE: after the barrier no earlier operation can take effect, so the next round is a separate history.
    /// Each server answers the requests of a group in order, so a response to the barrier follows all earlier
    /// requests. The grant to the barrier's node is a write, so every comparison that is still in flight in etcd
    /// fails.
    pub(crate) fn barrier(&self, recorder: &Recorder, nodes: usize) {
        let servers: Vec<Server> = self
            .servers
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .cloned()
            .collect();
        let ask = |server: &Server, request: Request| {
            eventually("a response at the end of a round", || {
                let reply = recorder.ask(super::BY_HAND, &server.patient, request);
                reply.filter(|reply| *reply != Reply::Unknown)
            })
        };
        let barrier = nodes;
        for server in &servers {
            ask(server, Request::Unlock(barrier));
        }
        for node in 0..nodes {
            ask(&servers[0], Request::Unlock(node));
        }
        for server in &servers {
            ask(server, Request::Lock(barrier));
            ask(server, Request::Unlock(barrier));
        }
    }

    pub(crate) fn stored(&self, group: &str) -> String {
        self.etcd.get(&key(group))
    }
}

fn key(group: &str) -> String {
    format!("com.coreos.airlock/groups/{group}/v1/semaphore")
}
