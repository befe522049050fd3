//! The context that a listener gives to its connections, and a connection to its requests.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::head::Refuse;
use super::metrics::ListenerMetrics;
use crate::config::Limits;
use crate::denials::{Denial, DenialReason, Denials};

/// The context of all connections of one listener.
pub(crate) struct ConnectionContext {
    pub(crate) router: Router,
    /// Returns the response to a request with a refused head.
    pub(crate) refuse: Refuse,
    /// Records the clients that are rejected before a request. `None`: the listener is not for nodes.
    pub(crate) denials: Option<Arc<Denials>>,
    /// Returns the current limits. A connection keeps the limits it started with.
    pub(crate) limits: Box<dyn Fn() -> Limits + Send + Sync>,
    pub(crate) metrics: ListenerMetrics,
    /// The proxies from which the headers `Forwarded` and `X-Forwarded-For` are trusted.
    pub(crate) trusted_proxies: Arc<[IpNet]>,
    /// Stops accepting connections, and closes each connection after its current request.
    pub(crate) shutdown: CancellationToken,
    /// Tracks the task of every connection.
    pub(crate) connections: TaskTracker,
}

/// The address of the client, also behind a trusted proxy. An extension of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

// === impl ConnectionContext ===

impl ConnectionContext {
    /// Records that a connection is rejected.
    pub(super) fn record(&self, reason: DenialReason, peer: IpAddr, detail: &str) {
        let Some(denials) = &self.denials else {
            return;
        };
        let denial = Denial {
            reason,
            peer,
            group: None,
            id: None,
            detail: Some(detail),
        };
        denials.record(&denial, Timestamp::now());
    }
}
