//! Airlock: a FleetLock server. It answers one question for a fleet of machines: may this node reboot now?
//!
//! The modules below are layers, from the bottom up: a module uses only modules of the groups above its own
//! declaration. tests/it/architecture.rs reads this file and enforces it. docs/architecture.md describes the layers,
//! the path of a request, the invariants (which comments and tests cite by number), and the tasks.
//!
//! The public items are those that the binary, the tests and the benchmarks use. The crate has no stable API.

// Layer: pure decisions. No I/O, no clock.
pub mod lock;

// Layer: text for people.
mod text;

// Layer: the files that an operator names.
mod file;

// Layer: the configuration.
pub mod config;

// Layer: the networks of clients.
mod network;

// Layer: what the process has in common.
mod denials;
mod logging;
mod reloadable;

// Layer: what is loaded from files.
mod names;
mod tls;

// Layer: requests to other servers.
mod http_client;

// Layer: the outside world.
mod auth;
mod fleetlock_client;
mod http;
mod notify;
pub mod store;

// Layer: conditions outside of the store.
mod gate;

// Layer: the tasks that commit.
mod group;

// Layer: administrators' commands.
mod admin;

// Layer: the application.
mod coordinator;

// Layer: what the servers know together.
mod fleet;

// Layer: FleetLock over HTTP.
mod api;

// Layer: the status listener.
mod status;

// Layer: the process.
mod server;

// Layer: the command line.
pub mod cli;

// Layer: the fuzz targets.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(test)]
mod testing;
