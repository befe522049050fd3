//! The context that a listener gives to its connections, and a connection to its requests.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::head::Refuse;
use super::metrics::ListenerMetrics;
use crate::config::Limits;

/// The context of all connections of one listener.
pub(crate) struct ConnectionContext {
    pub(crate) router: Router,
    /// Returns the response to a request with a refused head.
    pub(crate) refuse: Refuse,
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
