//! The locking itself: names and ids, semaphores, the bytes in the store, the commit protocol, administrators' commands
//! and reboot windows.
//!
//! Everything here is pure. No function performs I/O or reads a clock, and no file imports from another module of
//! this crate: the time, the stored value and the request come in as arguments, and a decision goes out.

pub mod audit;
pub mod codec;
pub mod command;
pub mod history;
pub mod holders;
mod machine;
mod names;
pub mod policy;
pub mod protocol;
pub mod semaphore;
mod state;
pub(crate) mod window;

/// The maximum number of other groups that a commit compares because of caps. etcd limits the operations of a
/// transaction to 128.
pub(crate) const MAX_CAP_MEMBERS: usize = 60;

pub(crate) use machine::{InvalidMachineId, MachineId};
pub use names::{GroupName, InvalidNodeId, NodeId, RequestId};
pub(crate) use names::{code_point, is_control_or_format};
pub(crate) use state::GroupState;
