//! HTTP transport for both listeners: addresses, connections, TLS handshakes, limits and timeouts.
//!
//! It serves any router, and knows neither FleetLock nor groups.

mod activity;
mod address;
mod connection;
mod connections;
mod context;
pub(crate) mod forwarded;
mod head;
mod io;
mod lingering;
mod listener;
mod metrics;
mod table;

pub(crate) use address::{BindError, check_address};
pub(crate) use context::{ConnectionContext, Peer};
pub(crate) use head::{HeadLimits, Refuse, RefusedHead};
pub(crate) use listener::Listener;
pub(crate) use metrics::ConnectionMetrics;
