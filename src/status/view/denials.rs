//! The view of rejected clients.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::denials::{DenialReason, DeniedClient, Relevance};
use crate::fleet::{Fleet, RejectedClient, ServerId};
use crate::names::NodeNames;

/// The number of clients from which a reason needs attention that a few scanners can cause, and also one for which no
/// client has been rejected again yet. The alert AirlockClientsRejected has it, too.
const MANY: usize = 5;

/// The view of a rejected client.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DenialView {
    /// The server that rejected it.
    pub(crate) server: String,
    /// The label of the reason.
    pub(crate) reason: String,
    pub(crate) peer: IpAddr,
    /// The configured group that the client claims to belong to.
    pub(crate) group: Option<String>,
    /// The node that it claimed to be most recently.
    pub(crate) id: Option<String>,
    /// The name of that node, if it is known.
    pub(crate) name: Option<String>,
    /// What else is known about the latest denial. It may contain any character.
    pub(crate) detail: Option<String>,
    pub(crate) first: Timestamp,
    /// The latest denial; `None`: only its server knows.
    pub(crate) last: Option<Timestamp>,
    /// The number of denials; `None`: only its server knows.
    pub(crate) times: Option<u64>,
    /// Whether the server has rejected it more than once.
    #[serde(skip)]
    pub(crate) repeated: bool,
    /// Whether an operator should look at it: it is most likely a node, and not a single mistyped request.
    pub(crate) needs_attention: bool,
}

/// Returns the clients that this server has rejected, `own` under its name, and then those that the other servers have.
pub(crate) fn denials(
    own: Vec<DeniedClient>,
    label: &str,
    fleet: Option<&Fleet>,
    id: Option<&ServerId>,
    names: &NodeNames,
) -> Vec<DenialView> {
    let own = own.into_iter().map(|client| DenialView::new(client, label));
    let others = fleet.into_iter().flat_map(|fleet| fleet.rejected(id));
    let others = others.map(|(server, client)| DenialView::published(client, server));
    let mut all: Vec<DenialView> = own.chain(others).collect();
    for client in &mut all {
        let name = client.id.as_deref().and_then(|id| names.name(id));
        client.name = name.map(|name| name.to_string());
    }
    mark(&mut all);
    all
}

/// Marks the clients that need attention.
fn mark(denials: &mut [DenialView]) {
    let mut peers: HashMap<String, HashSet<IpAddr>> = HashMap::new();
    let mut servers: HashMap<(String, IpAddr), HashSet<String>> = HashMap::new();
    for client in &*denials {
        let reason = &client.reason;
        peers.entry(reason.clone()).or_default().insert(client.peer);
        let servers = servers.entry((reason.clone(), client.peer)).or_default();
        servers.insert(client.server.clone());
    }
    for client in denials {
        // A reason of a later version.
        let relevance = DenialReason::from_label(&client.reason)
            .map_or(Relevance::Node, DenialReason::relevance);
        // A node can ask another server each time.
        let servers = &servers[&(client.reason.clone(), client.peer)];
        let repeated = client.repeated || servers.len() > 1;
        let are_many = peers[&client.reason].len() >= MANY;
        client.needs_attention = match relevance {
            Relevance::Node => repeated || are_many,
            Relevance::IfMany => are_many,
            Relevance::None => false,
        };
    }
}

// === impl DenialView ===

impl DenialView {
    fn new(client: DeniedClient, server: &str) -> Self {
        DenialView {
            server: server.to_owned(),
            reason: client.reason.label().to_owned(),
            peer: client.peer,
            group: client.group,
            id: client.id,
            name: None,
            detail: client.detail,
            first: client.first,
            last: Some(client.last),
            times: Some(client.times),
            repeated: client.times > 1,
            needs_attention: false,
        }
    }

    fn published(client: &RejectedClient, server: String) -> Self {
        DenialView {
            server,
            reason: client.reason.clone(),
            peer: client.peer,
            group: client.group.clone(),
            id: client.id.clone(),
            name: None,
            detail: client.detail.clone(),
            first: client.first,
            last: None,
            times: None,
            repeated: client.repeated,
            needs_attention: false,
        }
    }

    /// Returns the address, with the name or the id of the node if it claimed to be one.
    pub(crate) fn node(&self) -> String {
        match self.name.as_ref().or(self.id.as_ref()) {
            Some(node) => format!("{} ({node})", self.peer),
            None => self.peer.to_string(),
        }
    }

    /// Returns the reason in words, with what else is known.
    pub(crate) fn text(&self) -> String {
        let reason = DenialReason::from_label(&self.reason);
        let mut text = match reason {
            Some(reason) => reason.as_str().to_owned(),
            None => self.reason.clone(),
        };
        if let Some(group) = &self.group {
            text = format!("{text}, group {group}");
        }
        match &self.detail {
            Some(detail) => format!("{text}: {detail}"),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(reason: DenialReason, peer: u8, times: u64) -> DeniedClient {
        DeniedClient {
            reason,
            peer: [192, 0, 2, peer].into(),
            group: None,
            id: None,
            detail: None,
            first: Timestamp::UNIX_EPOCH,
            last: Timestamp::UNIX_EPOCH,
            times,
        }
    }

    #[test]
    fn a_node_that_is_rejected_again_or_many_clients_need_attention() {
        use DenialReason::{NotFound, TlsHandshake, WrongPassword};
        let marked = |clients: &[DeniedClient]| {
            let all = denials(clients.to_vec(), "a", None, None, &NodeNames::default());
            all.iter().filter(|client| client.needs_attention).count()
        };
        let clients = |reason, number| -> Vec<DeniedClient> {
            (0..number).map(|peer| client(reason, peer, 1)).collect()
        };
        assert_eq!(marked(&[client(WrongPassword, 1, 1)]), 0);
        assert_eq!(marked(&[client(WrongPassword, 1, 2)]), 1);
        assert_eq!(marked(&clients(WrongPassword, 4)), 0);
        assert_eq!(marked(&clients(WrongPassword, 5)), 5);
        assert_eq!(marked(&[client(TlsHandshake, 1, 100)]), 0);
        assert_eq!(marked(&clients(TlsHandshake, 5)), 5);
        assert_eq!(marked(&clients(NotFound, 5)), 0);
    }

    #[test]
    fn a_node_that_asked_two_servers_needs_attention() {
        let at = |server| DenialView::new(client(DenialReason::WrongPassword, 1, 1), server);
        let mut both = [at("a"), at("b")];
        mark(&mut both);
        assert!(both.iter().all(|client| client.needs_attention));
    }
}
