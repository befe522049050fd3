//! The FleetLock protocol, pure: who asks ([`Identity`]), and what a node is told ([`Refusal`]).
//!
//! It knows no status codes (those are in `http`), no store and no clock.

mod identity;
mod node_id;
mod refusal;

pub use identity::{Identity, InvalidIdentity};
pub use node_id::{InvalidNodeId, NodeId};
pub use refusal::Refusal;

/// The two things that a node says to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/pre-reboot`: "may I reboot?" Locks a slot.
    PreReboot,
    /// `POST /v1/steady-state`: "I am up again." Releases the slot, if one is held.
    SteadyState,
}
