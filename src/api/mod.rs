//! FleetLock over HTTP: the two endpoints, and the responses of the main listener.
//!
//! This layer reads requests and turns each result into a status, a kind and a text. It decides nothing about locks.

mod endpoint;
mod error;
pub(crate) mod identity;
mod metrics;
mod refusal;
mod response;
mod routes;

pub(crate) use metrics::ApiMetrics;
pub(crate) use response::refused_head;
pub(crate) use routes::{Api, router};
