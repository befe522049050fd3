//! A client of FleetLock servers, which asks them as Zincati does.
//!
//! * `base_url` reads the URL of a server.
//! * `endpoint` has the two requests of the protocol.
//! * `node` sends them, and tells what the responses mean.

mod base_url;
mod endpoint;
mod node;

pub(crate) use base_url::{BaseUrlError, User, join};
pub(crate) use endpoint::Endpoint;
pub(crate) use node::{AskError, Node};
