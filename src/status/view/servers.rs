//! The view of the servers of the fleet.

use jiff::Timestamp;
use serde::Serialize;

use crate::fleet::{Fleet, FleetServer, ServerId};
use crate::store::presence::Liveness;

/// The view of a server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerView {
    /// The name for people: the host, with the port if several servers run there.
    #[serde(skip)]
    pub(crate) label: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether it is the one that made this document; always false from the command line.
    pub(crate) this: bool,
    pub(crate) version: String,
    pub(crate) started: Timestamp,
    /// Whether it runs. A server that was stopped is not listed.
    pub(crate) alive: bool,
    /// When it was last seen, if it does not run and that is known.
    pub(crate) last_seen: Option<Timestamp>,
    /// The digest of the groups in its configuration.
    pub(crate) configuration: String,
    /// Whether most running servers have another configuration, or it is one of two that differ.
    pub(crate) configuration_differs: bool,
}

/// Returns the view of all servers. `own` is the server that makes it.
pub(crate) fn servers(fleet: &Fleet, own: Option<&ServerId>, now: Timestamp) -> Vec<ServerView> {
    let usual = usual_configuration(fleet);
    let view = |server: &FleetServer| {
        let document = &server.document;
        let (alive, last_seen) = match server.liveness {
            Liveness::Alive => (true, None),
            Liveness::Gone { last_seen } => (false, last_seen.map(|at| at.min(now))),
        };
        ServerView {
            label: fleet.label(&document.id),
            host: document.id.host.clone(),
            port: document.id.port,
            this: own == Some(&document.id),
            version: document.version.clone(),
            started: document.started,
            alive,
            last_seen,
            configuration: document.configuration.clone(),
            configuration_differs: alive && usual != Some(&document.configuration),
        }
    };
    fleet.servers.iter().map(view).collect()
}

/// Returns the configuration that more than half of the running servers have; `None` if there is none.
fn usual_configuration(fleet: &Fleet) -> Option<&String> {
    let configurations = || fleet.alive().map(|server| &server.document.configuration);
    let alive = configurations().count();
    configurations().find(|candidate| {
        let same = configurations().filter(|other| other == candidate);
        2 * same.count() > alive
    })
}
