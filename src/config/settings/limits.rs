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
    /// For the head of a request, and for an idle connection.
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub connections: usize,
    pub connections_per_peer: usize,
    pub waiting_requests_per_group: usize,
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
    let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        body_bytes: count(number(section.body_bytes, 16 << 10, 1 << 10, 16 << 20)),
        header_bytes: count(number(section.header_bytes, 16 << 10, 8 << 10, 1 << 20)),
        headers: count(number(section.headers, 64, 8, 1000)),
        header_timeout: Duration::from_millis(number(
            section.header_timeout_ms,
            30_000,
            100,
            3_600_000,
        )),
        body_timeout: Duration::from_millis(number(
            section.body_timeout_ms,
            10_000,
            100,
            3_600_000,
        )),
        connections: count(number(section.connections, 16_384, 1, 10_000_000)),
        connections_per_peer: count(number(section.connections_per_peer, 4096, 1, 10_000_000)),
        waiting_requests_per_group: count(number(
            section.waiting_requests_per_group,
            100_000,
            1,
            10_000_000,
        )),
    }
}
