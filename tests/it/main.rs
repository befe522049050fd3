//! The integration tests in one binary: they start the real server with a real etcd and real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics on an unexpected result"
)]

mod access;
mod admin_commands;
mod admin_terminal;
mod api;
mod architecture;
mod auth;
mod backup;
mod check_config;
mod cli;
mod cli_color;
mod cli_completions;
mod cli_output;
mod cli_scene;
mod cli_status;
mod client;
mod client_units;
mod cluster;
mod conformance;
mod contrib;
mod denials;
mod dev;
mod documented_commands;
mod documented_tests;
mod documents;
mod environment;
mod etcd_compat;
mod etcd_errors;
mod etcd_identity;
mod etcd_tls;
mod etcd_users;
mod fairness;
mod faults;
mod files;
mod foreign_ids;
mod gates;
mod hostile;
mod howto;
mod idle;
mod kubernetes;
mod lifecycle;
mod limits;
mod linearizability;
mod log;
mod model;
mod night;
mod node_ids;
mod node_names;
mod notify;
mod online;
mod password_flood;
mod policies;
mod preflight;
mod presence;
mod printed_text;
mod project;
mod prometheus;
mod recipes;
mod reload;
mod repair;
mod runbook;
mod sqlite;
mod sqlite_files;
mod status_browser;
mod status_json;
mod status_page;
mod systemd;
mod tls;
mod tls_sessions;
mod unprivileged;
mod waiting;
mod windows;
