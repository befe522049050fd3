//! The document that only Airlock stores: the lock times with the nodes behind them, the audit log, and the history.
//!
//! The time of a grant alone is a text; with the address or the name of the node, it is an object.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::audit::{AuditEntry, AuditLog};
use super::super::history::History;
use super::super::holders::{Client, Hold};
use super::super::semaphore::Semaphore;
use super::go_json::write_go_json;

/// The document with its parts not decoded yet.
#[derive(Default, Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    holders: Option<&'a RawValue>,
    #[serde(borrow)]
    admin: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
    #[serde(borrow)]
    gap: Option<&'a RawValue>,
    #[serde(borrow)]
    released: Option<&'a RawValue>,
    #[serde(borrow, rename = "override")]
    override_until: Option<&'a RawValue>,
}

/// What is known beside a semaphore.
pub(super) struct Beside {
    /// The holders as JSON.
    holders: serde_json::Value,
    pub(super) audit_log: AuditLog,
    pub(super) history: History,
    pub(super) released_at: Option<Timestamp>,
    pub(super) override_until: Option<Timestamp>,
}

/// A hold with the node behind it.
#[derive(Serialize)]
struct DetailedHold<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Decodes what was stored, as far as it can be decoded. Lock times that are not current are unknown.
pub(super) fn decode(bytes: &[u8], is_current: bool) -> Beside {
    let document: Document<'_> = serde_json::from_slice(bytes).unwrap_or_default();
    let holders = document.holders.filter(|_| is_current);
    let admin: Vec<serde_json::Value> = part(document.admin);
    let audit_log = admin
        .iter()
        .filter_map(|entry| AuditEntry::deserialize(entry).ok());
    let history = document.history.map_or("", RawValue::get);
    let history: Vec<&RawValue> = serde_json::from_str(history).unwrap_or_default();
    let history = History::decoded(&history, part(document.gap));
    Beside {
        // Without the holders, another program or a person has changed the group.
        history: match holders {
            Some(_) => history,
            None => history.with_gap(),
        },
        holders: part(holders),
        audit_log: audit_log.collect(),
        released_at: part(document.released),
        override_until: part(document.override_until),
    }
}

/// Decodes a part of the document; one that is missing or has another form is the default one.
fn part<T: DeserializeOwned + Default>(part: Option<&RawValue>) -> T {
    let decoded = part.and_then(|part| serde_json::from_str(part.get()).ok());
    decoded.unwrap_or_default()
}

/// Writes what is known about a lock.
pub(super) fn write_hold(bytes: &mut Vec<u8>, hold: &Hold) {
    let Hold {
        since,
        client: Client { peer, name },
    } = hold;
    match (since, peer, name) {
        (Some(since), None, None) => write_go_json(bytes, since),
        _ => write_go_json(
            bytes,
            &DetailedHold {
                since: *since,
                peer: *peer,
                name: name.as_deref(),
            },
        ),
    }
}

/// Writes the history behind the other members of the document.
pub(super) fn write_history(bytes: &mut Vec<u8>, history: &History) {
    for (index, hold) in history.encoded().enumerate() {
        let separator: &[u8] = if index == 0 { br#","history":["# } else { b"," };
        bytes.extend_from_slice(separator);
        bytes.extend_from_slice(hold.as_bytes());
    }
    if history.encoded().next().is_some() {
        bytes.push(b']');
    }
    if history.has_gap() {
        bytes.extend_from_slice(br#","gap":true"#);
    }
}

/// Writes the times that policies need behind the other members of the document.
pub(super) fn write_policy_times(bytes: &mut Vec<u8>, semaphore: &Semaphore) {
    let times = [
        (&br#","released":"#[..], semaphore.released_at),
        (br#","override":"#, semaphore.override_until),
    ];
    for (member, time) in times {
        if let Some(time) = time {
            bytes.extend_from_slice(member);
            write_go_json(bytes, &time);
        }
    }
}

// === impl Beside ===

impl Beside {
    /// Returns what is known about the lock of a holder.
    pub(super) fn hold(&self, id: &str) -> Hold {
        let found = &self.holders[id];
        let text = |name: &str| found[name].as_str();
        let time = |value: &serde_json::Value| Timestamp::deserialize(value).ok();
        Hold {
            since: time(found).or_else(|| time(&found["since"])),
            client: Client {
                peer: text("peer").and_then(|peer| peer.parse().ok()),
                name: text("name").map(Arc::from),
            },
        }
    }
}
