//! `[limits]`: the defaults. `schema` has the ranges.

use std::time::Duration;

use crate::config::field::Field;
use crate::config::schema::LimitsSection;

/// The limits on the resources that clients can use (invariant 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The maximum size of a request body.
    pub(crate) body_bytes: usize,
    /// The maximum size of a request head.
    pub(crate) header_bytes: usize,
    /// The maximum number of headers of a request.
    pub(crate) max_headers: usize,
    /// From the start of a connection to the end of the TLS handshake.
    pub(crate) handshake_timeout: Duration,
    /// From the first byte of a request, or the start of the connection, to the end of the head.
    pub(crate) header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub(crate) body_timeout: Duration,
    /// From a response to the first byte of the next request.
    pub(crate) idle_timeout: Duration,
    /// From a response to the time at which the client has read it.
    pub(crate) response_timeout: Duration,
    /// The maximum number of open connections.
    pub(crate) max_connections: usize,
    /// The maximum number of open connections of one network, if it is configured.
    pub(crate) max_connections_per_peer: Option<usize>,
    /// The maximum number of bytes that all connections hold together.
    pub(crate) connection_bytes: usize,
    /// The maximum number of requests in the queue of a group.
    pub(crate) waiting_requests_per_group: usize,
    /// The maximum number of passwords that wait for verification.
    pub(crate) max_pending_auth: usize,
}

// === impl Limits ===

impl Limits {
    /// The status listener gets the connections of the main listener, divided by this number.
    pub(crate) const OPERATORS_SHARE: usize = 8;

    /// The minimum of the memory of its connections: some dozens that receive a page.
    const MIN_OPERATORS_BYTES: usize = 8 << 20;

    /// Returns the limits of the status listener: the same ones, with fewer connections.
    pub(crate) fn for_operators(&self) -> Self {
        let share = |connections: usize| (connections / Limits::OPERATORS_SHARE).max(16);
        Limits {
            max_connections: share(self.max_connections),
            max_connections_per_peer: self.max_connections_per_peer.map(share),
            connection_bytes: (self.connection_bytes / Limits::OPERATORS_SHARE)
                .max(Limits::MIN_OPERATORS_BYTES),
            ..self.clone()
        }
    }

    /// Returns the maximum number of open connections of one network: by default a sixteenth of all, but at least 16.
    pub(crate) fn connections_per_peer(&self) -> usize {
        let default = (self.max_connections / 16).max(16);
        self.max_connections_per_peer.unwrap_or(default)
    }
}

/// Applies the defaults.
pub(super) fn check(section: LimitsSection) -> Limits {
    Limits {
        body_bytes: count(section.body_bytes, 16 << 10),
        header_bytes: count(section.header_bytes, 16 << 10),
        max_headers: count(section.max_headers, 64),
        handshake_timeout: timeout(section.handshake_timeout_ms, 10_000),
        header_timeout: timeout(section.header_timeout_ms, 10_000),
        body_timeout: timeout(section.body_timeout_ms, 10_000),
        idle_timeout: timeout(section.idle_timeout_ms, 60_000),
        response_timeout: timeout(section.response_timeout_ms, 30_000),
        max_connections: count(section.max_connections, 16_384),
        max_connections_per_peer: section
            .max_connections_per_peer
            .present()
            .map(|number| to_usize(number.value)),
        connection_bytes: count(section.connection_bytes, 256 << 20),
        waiting_requests_per_group: count(section.waiting_requests_per_group, 100_000),
        max_pending_auth: count(section.max_pending_auth, 64),
    }
}

fn count(field: Field<u64>, default: u64) -> usize {
    to_usize(field.value_or(default))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn timeout(field: Field<u64>, default_ms: u64) -> Duration {
    Duration::from_millis(field.value_or(default_ms))
}
