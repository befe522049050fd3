//! HTTP: listeners, routes, limits, status codes. Nothing is locked here; the groups do that.

mod activity;
pub mod answer;
mod basic;
pub mod connection;
pub mod listener;
pub mod routes;
