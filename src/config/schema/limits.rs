//! `[limits]`.

use super::section::{Applies, Kind, Section, defaults_to, section, without_it};
use crate::config::diagnostic::Diagnostics;
use crate::config::field::{Field, NumberRange};
use crate::config::toml::Table;

const BODY_BYTES: NumberRange = NumberRange::new(1 << 10, 16 << 20);
const HEADER_BYTES: NumberRange = NumberRange::new(8 << 10, 1 << 20);
const HEADERS: NumberRange = NumberRange::new(8, 1000);
/// The maximum is an hour.
const TIMEOUT_MS: NumberRange = NumberRange::new(100, 3_600_000);
const CONNECTIONS: NumberRange = NumberRange::new(1, 10_000_000);
const CONNECTION_BYTES: NumberRange = NumberRange::new(1 << 20, 1 << 40);
const WAITING_REQUESTS: NumberRange = NumberRange::new(1, 10_000_000);
const PENDING_AUTH: NumberRange = NumberRange::new(1, 10_000);

section! {
    /// [Limits](security.md#limits) on the resources that clients can use. Times are in milliseconds.
    LimitsSection, Reload => {
        /// Size of a request body.
        body_bytes: Integer(BODY_BYTES) = defaults_to("16384").example("65536"),
        /// Size of the headers of a request.
        header_bytes: Integer(HEADER_BYTES) = defaults_to("16384").example("32768"),
        /// Number of headers of a request.
        max_headers: Integer(HEADERS) = defaults_to("64").example("100"),
        /// Time of the TLS handshake.
        handshake_timeout_ms: Integer(TIMEOUT_MS) = defaults_to("10000").example("5000"),
        /// Time from the start of a connection, or the first byte of a later request, to the end of the headers.
        header_timeout_ms: Integer(TIMEOUT_MS) = defaults_to("10000").example("5000"),
        /// Time from the end of the headers to the end of the body.
        body_timeout_ms: Integer(TIMEOUT_MS) = defaults_to("10000").example("5000"),
        /// Time from a response to the next request.
        idle_timeout_ms: Integer(TIMEOUT_MS) = defaults_to("60000").example("30000"),
        /// Time from a response until the client has read it.
        response_timeout_ms: Integer(TIMEOUT_MS) = defaults_to("30000").example("60000"),
        /// Number of connections of nodes. The status listener has an eighth of it, but at least 16.
        max_connections: Integer(CONNECTIONS) = defaults_to("16384").example("4096"),
        /// Number of connections of one IPv4 address, or of one IPv6 network of 64 bits. For the status listener, an eighth
        /// of it, but at least 16.
        max_connections_per_peer: Integer(CONNECTIONS) =
            without_it("a sixteenth of `max_connections`, but at least 16").example("256"),
        /// Memory of all connections of nodes, in bytes. The status listener has an eighth of it, but at least 8 MiB.
        connection_bytes: Integer(CONNECTION_BYTES) = defaults_to("268435456").example("134217728"),
        /// Number of requests in the queue of a group.
        waiting_requests_per_group: Integer(WAITING_REQUESTS) = defaults_to("100000").example("10000").on_restart(),
        /// Number of passwords that wait to be verified.
        max_pending_auth: Integer(PENDING_AUTH) = defaults_to("64").example("128").on_restart(),
    }
}
