//! Nodes, as commands find and name them.

use std::net::IpAddr;
use std::sync::Arc;

use super::output::shown;
use crate::lock::holders::Hold;
use crate::names::NodeNames;
use crate::status::{CompletedHoldView, GroupView, HolderView, WaiterView};

/// A node, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) id: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) peer: Option<IpAddr>,
}

/// Returns the nodes that hold a slot of a group, wait for one, or have held one lately. A node may occur repeatedly.
pub(super) fn nodes(group: &GroupView) -> impl Iterator<Item = Node<'_>> {
    let holders = group.lock.iter().flat_map(|lock| &lock.holders);
    let waiting = group.waiting.iter().flatten();
    let holders = holders.map(Node::from).chain(waiting.map(Node::from));
    holders.chain(group.history.iter().map(Node::from))
}

/// Returns the present name of a holder, or the one at the time of the grant, or its id.
pub(super) fn name_or_id(names: &NodeNames, id: &str, hold: &Hold) -> String {
    match present_name(names, id, hold) {
        Some(name) => name.to_string(),
        None => shown(id).into_owned(),
    }
}

/// Describes a holder, such as `db-worker-7 (2204af7f…)`.
pub(super) fn describe_holder(names: &NodeNames, id: &str, hold: &Hold) -> String {
    let name = present_name(names, id, hold);
    let node = Node {
        id,
        name: name.as_deref(),
        peer: None,
    };
    node.describe()
}

/// Returns the present name of a holder, or the one at the time of the grant.
pub(super) fn present_name(names: &NodeNames, id: &str, hold: &Hold) -> Option<Arc<str>> {
    names.name(id).or_else(|| hold.client.name.clone())
}

// === impl Node ===

impl Node<'_> {
    /// Reports whether `wanted` is the id, the name or the address of the node.
    pub(super) fn is(self, wanted: &str) -> bool {
        let address = wanted.parse::<IpAddr>().ok();
        self.id == wanted
            || self.name == Some(wanted)
            || (address.is_some() && address == self.peer)
    }

    /// Describes the node, such as `db-worker-7 (2204af7f…, 10.0.4.17)`.
    pub(super) fn describe(self) -> String {
        let id = shown(self.id);
        let peer = self.peer.map(|peer| peer.to_string());
        match (self.name, peer) {
            (Some(name), Some(peer)) => format!("{name} ({id}, {peer})"),
            (Some(name), None) => format!("{name} ({id})"),
            (None, Some(peer)) => format!("{id} ({peer})"),
            (None, None) => id.into_owned(),
        }
    }
}

impl<'a> From<&'a HolderView> for Node<'a> {
    fn from(holder: &'a HolderView) -> Self {
        Node {
            id: &holder.id,
            name: holder.name.as_deref(),
            peer: holder.peer,
        }
    }
}

impl<'a> From<&'a WaiterView> for Node<'a> {
    fn from(waiter: &'a WaiterView) -> Self {
        Node {
            id: &waiter.id,
            name: waiter.name.as_deref(),
            peer: waiter.peer,
        }
    }
}

impl<'a> From<&'a CompletedHoldView> for Node<'a> {
    fn from(hold: &'a CompletedHoldView) -> Self {
        Node {
            id: &hold.id,
            name: hold.name.as_deref(),
            peer: hold.peer,
        }
    }
}
