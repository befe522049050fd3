//! The document that a server publishes about itself.
//!
//! It contains nothing that changes all the time, since etcd keeps each version: not how often a node has asked, nor when
//! last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::gates::{GateStatus, gates_of};
use crate::coordinator::ServerState;
use crate::denials::{DenialReason, DeniedClient};
use crate::group;
use crate::store::presence::MAX_DOCUMENT;

/// What a server publishes about itself. docs/reference.md documents its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerDocument {
    #[serde(flatten)]
    pub(crate) id: ServerId,
    /// The version of Airlock.
    pub(crate) version: String,
    /// The time at which the process started.
    pub(crate) started: Timestamp,
    /// The digest of the groups in its configuration, which all servers should have in common.
    pub(crate) configuration: String,
    /// Whether it has a receiver of events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) notifies: bool,
    /// The groups for which nodes wait at this server.
    #[serde(default, deserialize_with = "known_entries")]
    pub(crate) groups: Vec<GroupWaiting>,
    /// The clients that this server has rejected lately, some of each reason, the first one first.
    #[serde(default, deserialize_with = "known_entries")]
    pub(crate) rejected: Vec<RejectedClient>,
    /// There are more of them.
    #[serde(default)]
    pub(crate) more_rejected: bool,
    /// The gates of its groups, as it has asked them last.
    #[serde(
        default,
        deserialize_with = "known_entries",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) gates: Vec<GateStatus>,
    /// The groups of caps that another program has written lately.
    #[serde(
        default,
        deserialize_with = "known_entries",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) foreign_writes: Vec<String>,
}

/// A client that a server has rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RejectedClient {
    /// The label of the reason, which may be one of a later version.
    pub(crate) reason: String,
    pub(crate) peer: IpAddr,
    /// The configured group that the client claims to belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// The node that it claimed to be most recently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The first denial.
    pub(crate) first: Timestamp,
    /// Whether it was rejected more than once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repeated: bool,
}

/// The identity of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerId {
    /// The name of its machine.
    pub(crate) host: String,
    /// The port of the main listener.
    pub(crate) port: u16,
    /// A random number of the process, in hexadecimal digits.
    pub(crate) instance: String,
}

/// The nodes that wait for a group at one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupWaiting {
    /// The name of the group.
    pub(crate) name: String,
    /// The number of the nodes.
    pub(crate) count: usize,
    /// There may be more.
    pub(crate) may_be_more: bool,
    /// The longest waiting ones.
    #[serde(deserialize_with = "known_entries")]
    pub(crate) nodes: Vec<WaitingNode>,
}

/// A node that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingNode {
    pub(crate) id: String,
    /// Its name, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Arc<str>>,
    /// The address of its latest request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<IpAddr>,
    /// The time of the first denial.
    pub(crate) first_asked: Timestamp,
    /// The reason for the latest denial.
    pub(crate) reason: String,
}

/// The maximum number of nodes in a document.
const MAX_NODES: usize = 200;

/// The maximum number of rejected clients in a document.
const MAX_REJECTED: usize = 50;

/// The maximum number of groups in a document: the first ones with waiting nodes.
const MAX_GROUPS: usize = 500;

/// The maximum number of gates in a document, which the configuration has at most.
const MAX_GATES: usize = 64;

/// The maximum number of groups in a document that another program has written.
const MAX_FOREIGN: usize = 50;

// === impl ServerDocument ===

impl ServerDocument {
    /// Describes the server `id` in its current state.
    pub(crate) fn new(
        id: ServerId,
        started: Timestamp,
        configuration: String,
        state: &ServerState,
        rejected: &[DeniedClient],
    ) -> Self {
        let groups = state.groups.values().map(|configured| &configured.group);
        let waiting = groups.filter(|group| group.waiting_count() > 0);
        let waiting: Vec<_> = waiting.take(MAX_GROUPS).collect();
        let of_group = |(index, group): (usize, &&group::Group)| {
            let waiting = group.waiting(share(MAX_NODES, waiting.len(), index));
            GroupWaiting {
                name: group.name().to_string(),
                count: waiting.count,
                may_be_more: waiting.may_be_more,
                nodes: waiting.longest.iter().map(WaitingNode::new).collect(),
            }
        };
        let (rejected, more_rejected) = RejectedClient::stable(rejected);
        let gates = gates_of(state).into_values().take(MAX_GATES);
        let groups = state.groups.values().map(|configured| &configured.group);
        let foreign = groups.filter(|group| group.is_written_by_others());
        let foreign = foreign.map(|group| group.name().to_string());
        ServerDocument {
            id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            configuration,
            notifies: false,
            groups: waiting.iter().enumerate().map(of_group).collect(),
            rejected,
            more_rejected,
            gates: gates
                .map(|gate| GateStatus::new(gate).published())
                .collect(),
            foreign_writes: foreign.take(MAX_FOREIGN).collect(),
        }
    }

    /// Returns the JSON, in which as much is left out as is necessary for its maximum size: details of nodes and of
    /// rejected clients, at last groups.
    pub(crate) fn into_json(mut self) -> String {
        loop {
            // It has no maps with keys other than texts, which JSON could not represent.
            let json = serde_json::to_string(&self).unwrap_or_default();
            if json.len() <= MAX_DOCUMENT {
                return json;
            }
            let listed = self
                .groups
                .iter()
                .map(|group| group.nodes.len())
                .sum::<usize>();
            let groups = self.groups.len();
            for (index, group) in self.groups.iter_mut().enumerate() {
                group.nodes.truncate(share(listed / 2, groups, index));
            }
            self.more_rejected |= !self.rejected.is_empty();
            self.rejected.truncate(self.rejected.len() / 2);
            self.foreign_writes.truncate(self.foreign_writes.len() / 2);
            if listed == 0 && self.rejected.is_empty() {
                self.groups.truncate(groups / 2);
            }
        }
    }
}

/// Reads a list without the entries that this version does not know.
fn known_entries<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let entries = Vec::<serde_json::Value>::deserialize(deserializer)?.into_iter();
    Ok(entries
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}

/// Returns the share of `all` that the group at `index` has among `groups`.
fn share(all: usize, groups: usize, index: usize) -> usize {
    all / groups + usize::from(index < all % groups)
}

// === impl RejectedClient ===

impl RejectedClient {
    /// Returns up to [`MAX_REJECTED`] of the clients, in an order that does not change with each denial, and whether there
    /// are more. Each reason has its share, so that a new one is seen however many clients another one has.
    fn stable(clients: &[DeniedClient]) -> (Vec<Self>, bool) {
        let mut by_reason: BTreeMap<DenialReason, Vec<&DeniedClient>> = BTreeMap::new();
        for client in clients {
            by_reason.entry(client.reason).or_default().push(client);
        }
        let share = MAX_REJECTED / by_reason.len().max(1);
        let mut listed = Vec::new();
        for mut clients in by_reason.into_values() {
            clients.sort_by_key(|client| (client.first, client.peer));
            clients.truncate(share);
            listed.extend(clients);
        }
        listed.sort_by_key(|client| (client.first, client.reason, client.peer));
        let more = listed.len() < clients.len();
        (listed.into_iter().map(RejectedClient::new).collect(), more)
    }

    fn new(client: &DeniedClient) -> Self {
        RejectedClient {
            reason: client.reason.label().to_owned(),
            peer: client.peer,
            group: client.group.clone(),
            id: client.id.clone(),
            detail: client.detail.clone(),
            first: client.first,
            repeated: client.times > 1,
        }
    }
}

// === impl ServerId ===

impl ServerId {
    /// Returns the name under which the server publishes.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

// === impl WaitingNode ===

impl WaitingNode {
    pub(crate) fn new(waiter: &group::Waiter) -> Self {
        WaitingNode {
            id: waiter.id.to_string(),
            name: waiter.client.name.clone(),
            peer: waiter.client.peer,
            first_asked: waiter.first_asked,
            reason: waiter.reason.as_str().to_owned(),
        }
    }
}
