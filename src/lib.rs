//! Airlock: a FleetLock server. It answers one question for a fleet of machines: may this node
//! reboot now?
//!
//! The way of a request:
//!
//! ```text
//! http (limits, routes) -> fleetlock::Identity -> group (one task each) -> store (compare-and-swap)
//!                                                   |
//!                                                   +-- semaphore (what the answer is), stored (bytes)
//! ```
//!
//! * [`fleetlock`], [`semaphore`], [`policy`], [`act`] and [`stored`] are pure: the protocol, the locking,
//!   the reboot windows, what administrators did, the bytes.
//! * [`store`] keeps one value a group: etcd, a SQLite file, or memory for tests.
//! * [`group`] holds the one task that stands between requests and the store.
//! * [`access`] says who may lock what, by passwords.
//! * [`live`] is what the server works by right now, and [`reload`] replaces it.
//! * [`http`] and [`status`] are the two listeners; [`cli`] is the command line, [`admin`] what its
//!   commands change in the store.
//! * [`config`], [`logging`], [`metrics`], [`tls`], [`shutdown`] are what their names say; [`files`] reads
//!   files again.
//! * [`serve`] binds everything, then runs everything; [`monitor`] looks at the store
//!   meanwhile, [`notify`] tells the service manager.
//!
//! docs/architecture.md has the invariants (numbered in comments and tests here) and the list of tasks.

pub mod access;
pub mod act;
pub mod admin;
pub mod age;
pub mod cli;
pub mod config;
pub mod files;
pub mod fleetlock;
pub mod group;
pub mod http;
pub mod live;
pub mod logging;
pub mod metrics;
pub mod monitor;
#[cfg(test)]
mod mutation;
pub mod notify;
pub mod open_files;
pub mod policy;
pub mod quote;
pub mod reload;
pub mod semaphore;
pub mod serve;
pub mod shutdown;
pub mod status;
pub mod store;
pub mod stored;
pub mod tls;
