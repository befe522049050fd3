//! `[limits]`.

use std::time::Duration;

use crate::config::document::{At, Notes};
use crate::config::file::LimitsSection;

/// What strangers may cost (invariant 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub body_bytes: usize,
    pub header_bytes: usize,
    pub headers: usize,
    /// From a connection's start to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request, or the connection's start, to the end of the head.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// From an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    pub connections: usize,
    pub connections_per_peer: usize,
    pub waiting_requests_per_group: usize,
    /// Passwords that wait to be verified.
    pub waiting_passwords: usize,
}

impl Limits {
    /// Operators get this part of the connections that nodes get.
    pub const OPERATORS_SHARE: usize = 8;

    /// For the listener of operators, who are few: the same, with fewer connections.
    pub fn for_operators(&self) -> Self {
        let share = |connections: usize| (connections / Limits::OPERATORS_SHARE).max(16);
        Limits {
            connections: share(self.connections),
            connections_per_peer: share(self.connections_per_peer),
            ..self.clone()
        }
    }
}

pub(super) fn check(notes: &mut Notes<'_>, section: LimitsSection) -> Limits {
    let mut number = |value: Option<At<u64>>, default: u64, least: u64, most: u64| -> u64 {
        match value {
            Some(value) if !(least..=most).contains(&value.value) => {
                notes.error(&value, format!("must be {least} to {most}"));
                default
            }
            Some(value) => value.value,
            None => default,
        }
    };
    let mut timeout = |value: Option<At<u64>>, default: u64| {
        Duration::from_millis(number(value, default, 100, 3_600_000))
    };
    let (handshake_timeout, header_timeout, body_timeout, idle_timeout) = (
        timeout(section.handshake_timeout_ms, 10_000),
        timeout(section.header_timeout_ms, 10_000),
        timeout(section.body_timeout_ms, 10_000),
        timeout(section.idle_timeout_ms, 60_000),
    );
    let mut count = |value: Option<At<u64>>, default: u64, least: u64, most: u64| {
        usize::try_from(number(value, default, least, most)).unwrap_or(usize::MAX)
    };
    Limits {
        body_bytes: count(section.body_bytes, 16 << 10, 1 << 10, 16 << 20),
        header_bytes: count(section.header_bytes, 16 << 10, 8 << 10, 1 << 20),
        headers: count(section.headers, 64, 8, 1000),
        handshake_timeout,
        header_timeout,
        body_timeout,
        idle_timeout,
        connections: count(section.connections, 16_384, 1, 10_000_000),
        connections_per_peer: count(section.connections_per_peer, 4096, 1, 10_000_000),
        waiting_requests_per_group: count(
            section.waiting_requests_per_group,
            100_000,
            1,
            10_000_000,
        ),
        waiting_passwords: count(section.waiting_passwords, 64, 1, 10_000),
    }
}
