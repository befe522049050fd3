//! The monitor of the store: three tasks that run whether or not nodes send requests.
//!
//! They keep the known state of the groups current, notice when the store becomes unavailable, and compare slots with
//! the configuration. Only the consistency check writes, and only if `lock.on_slots_mismatch` says so. At the start, the
//! store is inspected once.

mod consistency;
mod follower;
mod inspection;
mod probe;

pub(super) use consistency::check_consistency;
pub(super) use follower::follow;
pub(super) use inspection::{inspect_embedded, inspect_etcd};
pub(super) use probe::probe;
