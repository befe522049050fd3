//! The fleet: what the servers that share a store know together.
//!
//! Each server publishes a [`ServerDocument`] about itself. All of them, and the command line, read the documents of all
//! servers. This is information for people: no lock depends on it.

mod document;
mod gates;
mod metrics;
mod reader;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::lock::GroupName;
use crate::store::presence::Liveness;
use crate::store::{Store, StoreError};
#[cfg(test)]
use document::GroupWaiting;
pub(crate) use document::{RejectedClient, ServerDocument, ServerId, WaitingNode};
pub(crate) use gates::{GateState, GateStatus, gates_of};
pub(crate) use metrics::FleetCollector;
pub(crate) use reader::FleetReader;

/// The servers of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    /// The servers, by name; those that are gone are among them for a day.
    pub(crate) servers: Vec<FleetServer>,
    /// The ports of the servers on each host.
    ports: HashMap<String, BTreeSet<u16>>,
    /// The running servers at which nodes of each group wait: the positions of the server, and of the group in its
    /// document.
    waiting: HashMap<String, Vec<(usize, usize)>>,
}

/// A server of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct FleetServer {
    /// The name under which it publishes.
    pub(crate) name: String,
    pub(crate) document: Arc<ServerDocument>,
    pub(crate) liveness: Liveness,
}

/// The nodes that wait for a group, as one server or all of them know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// The longest waiting ones that are known by id.
    pub(crate) nodes: Vec<FleetWaiter>,
    /// The number of all known ones.
    pub(crate) count: usize,
    /// There may be more than `count`.
    pub(crate) may_be_more: bool,
}

/// A waiting node, and the server that it asked.
#[derive(Clone, Debug)]
pub(crate) struct FleetWaiter {
    pub(crate) node: WaitingNode,
    /// The name of the server for people.
    pub(crate) server: String,
    /// The time of the latest denial and the number of denials, which only the server itself knows.
    pub(crate) latest: Option<(Timestamp, u64)>,
}

/// The latest state of the fleet; `None` until the store has replied once.
pub(crate) type FleetReceiver = watch::Receiver<Option<Arc<Fleet>>>;

// === impl Fleet ===

impl Fleet {
    /// Reads the documents of all servers once.
    ///
    /// # Errors
    /// If the store does not reply.
    pub(crate) async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let servers = FleetReader::default().read(store).await?;
        Ok(Fleet::new(servers))
    }

    /// Creates the fleet of these servers, without those that are gone and whose address another one has taken since.
    pub(crate) fn new(mut servers: Vec<FleetServer>) -> Self {
        let address = |server: &FleetServer| {
            let id = &server.document.id;
            (id.host.clone(), id.port)
        };
        let alive = servers.iter().filter(|server| server.is_alive());
        let alive: BTreeSet<_> = alive.map(address).collect();
        servers.retain(|server| server.is_alive() || !alive.contains(&address(server)));
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut ports: HashMap<String, BTreeSet<u16>> = HashMap::new();
        for (host, port) in servers.iter().map(address) {
            ports.entry(host).or_default().insert(port);
        }
        let mut waiting: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (index, server) in servers.iter().enumerate() {
            let groups = server.document.groups.iter().enumerate();
            for (position, group) in groups.filter(|_| server.is_alive()) {
                let waiting = waiting.entry(group.name.clone()).or_default();
                waiting.push((index, position));
            }
        }
        Fleet {
            servers,
            ports,
            waiting,
        }
    }

    /// Returns the servers that run.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &FleetServer> {
        self.servers.iter().filter(|server| server.is_alive())
    }

    fn alive_except(&self, except: Option<&ServerId>) -> impl Iterator<Item = &FleetServer> {
        self.alive()
            .filter(move |server| Some(&server.document.id) != except)
    }

    /// Returns the name of a server for people: its host, with the port if several run there.
    pub(crate) fn label(&self, id: &ServerId) -> String {
        let mut ports = self.ports.get(&id.host).into_iter().flatten();
        match ports.any(|port| *port != id.port) {
            true => id.name(),
            false => id.host.clone(),
        }
    }

    /// Returns the nodes that wait for `group` at the running servers, except those at the server `except`.
    pub(crate) fn waiting(&self, group: &GroupName, except: Option<&ServerId>) -> Waiting {
        let mut all = Waiting::default();
        let positions = self.waiting.get(group.as_str()).into_iter().flatten();
        let found = positions.filter_map(|&(server, group)| {
            let document = &self.servers.get(server)?.document;
            Some((&document.id, document.groups.get(group)?))
        });
        for (id, waiting) in found.filter(|(id, _)| Some(*id) != except) {
            let label = self.label(id);
            all.count += waiting.count;
            all.may_be_more |= waiting.may_be_more;
            let nodes = waiting.nodes.iter().map(|node| FleetWaiter {
                node: node.clone(),
                server: label.clone(),
                latest: None,
            });
            all.nodes.extend(nodes);
        }
        all
    }

    /// Returns the clients that running servers have rejected, with the name of the server, except those of `except`.
    pub(crate) fn rejected(
        &self,
        except: Option<&ServerId>,
    ) -> impl Iterator<Item = (String, &RejectedClient)> {
        self.alive_except(except).flat_map(|server| {
            let label = self.label(&server.document.id);
            let rejected = server.document.rejected.iter();
            rejected.map(move |client| (label.clone(), client))
        })
    }

    /// Returns the gates of the running servers, except `except`, with the name of the server.
    pub(crate) fn gates(
        &self,
        except: Option<&ServerId>,
    ) -> impl Iterator<Item = (String, &GateStatus)> {
        self.alive_except(except).flat_map(|server| {
            let label = self.label(&server.document.id);
            let gates = server.document.gates.iter();
            gates.map(move |gate| (label.clone(), gate))
        })
    }

    /// Returns the groups of caps of which the running servers report that another program has written them lately.
    pub(crate) fn foreign_writes(&self) -> impl Iterator<Item = &str> {
        let groups = self
            .alive()
            .flat_map(|server| &server.document.foreign_writes);
        groups.map(String::as_str)
    }

    /// Reports whether the running servers, except `except`, have rejected more clients than they have published.
    pub(crate) fn more_rejected(&self, except: Option<&ServerId>) -> bool {
        self.alive_except(except)
            .any(|server| server.document.more_rejected)
    }
}

// === impl FleetServer ===

impl FleetServer {
    pub(crate) fn is_alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }
}

// === impl Waiting ===

impl Waiting {
    /// Adds what others know. A node that asked several servers counts once, as far as it is known by id: from its first
    /// request on, with its latest denial.
    pub(crate) fn merge(mut self, other: Waiting) -> Self {
        self.count += other.count;
        self.may_be_more |= other.may_be_more;
        let mut by_id: BTreeMap<String, FleetWaiter> = BTreeMap::new();
        let mut repeated = 0;
        for waiter in self.nodes.into_iter().chain(other.nodes) {
            let Some(known) = by_id.get_mut(&waiter.node.id) else {
                by_id.insert(waiter.node.id.clone(), waiter);
                continue;
            };
            repeated += 1;
            let first = known.node.first_asked.min(waiter.node.first_asked);
            if known.latest.is_none() && waiter.latest.is_some() {
                *known = waiter;
            }
            known.node.first_asked = first;
        }
        self.nodes = by_id.into_values().collect();
        self.nodes.sort_by_key(|waiter| waiter.node.first_asked);
        self.count = self.count.saturating_sub(repeated);
        self
    }

    /// Removes the nodes for which `is_served` reports that they do not wait any more: another server has served them.
    pub(crate) fn without(mut self, is_served: impl Fn(&WaitingNode) -> bool) -> Self {
        let before = self.nodes.len();
        self.nodes.retain(|waiter| !is_served(&waiter.node));
        self.count = self.count.saturating_sub(before - self.nodes.len());
        self
    }
}

#[cfg(test)]
mod tests;
