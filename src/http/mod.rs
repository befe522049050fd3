//! HTTP transport for both listeners: addresses, connections, TLS handshakes, limits and timeouts.
//!
//! It serves any router, and knows neither FleetLock nor groups.

mod address;
mod connection;
mod context;
mod header_limit;
mod listener;
mod metrics;
mod timeouts;

pub(crate) use address::{BindError, check_address};
pub(crate) use context::{ConnectionContext, Peer};
pub(crate) use listener::Listener;
pub(crate) use metrics::ConnectionMetrics;
