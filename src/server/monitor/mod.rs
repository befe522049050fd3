//! The monitor of the store: three tasks that run whether or not nodes send requests.
//!
//! They keep the known state of the groups current, notice when the store becomes unavailable, and compare slots with
//! the configuration. Only the consistency check writes, and only if `lock.on_slots_mismatch` says so.

mod consistency;
mod follower;
mod probe;

pub(super) use consistency::check_consistency;
pub(super) use follower::follow;
pub(super) use probe::probe;
