//! All integration tests, as one binary: real sockets, the real binary, a real etcd.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends on what it did not expect"
)]

mod admin_commands;
mod api;
mod auth;
mod cli;
mod cli_output;
mod cluster;
mod conformance;
mod contrib;
mod etcd_compat;
mod etcd_tls;
mod faults;
mod howto;
mod lifecycle;
mod limits;
mod linearizability;
mod model;
mod prometheus;
mod reload;
mod runbook;
mod sqlite;
mod status_page;
mod systemd;
mod tls;
mod unprivileged;
mod windows;
