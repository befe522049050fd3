//! All integration tests, as one binary: real sockets, the real binary, a real etcd.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends on what it did not expect"
)]

mod support;

mod access;
mod api;
mod cli;
mod cluster;
mod conformance;
mod contrib;
mod database;
mod etcd_tls;
mod faults;
mod history;
mod howto;
mod least_power;
mod life;
mod limits;
mod model;
mod night;
mod operator;
mod page;
mod prometheus;
mod reload;
mod sqlite;
mod systemd;
mod tls;
mod windows;
