//! The events, and their form: CloudEvents 1.0 in JSON (structured mode). docs/reference.md documents it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::EventKind;
use crate::lock::GroupName;
use crate::text::escape::{escaped_json, printable};

/// Something that has happened. `name` is the display name of a node, `peer` the address that it asked from.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node was granted a slot.
    Granted {
        group: GroupName,
        id: Arc<str>,
        name: Option<Arc<str>>,
        peer: Option<IpAddr>,
        at: Timestamp,
    },
    /// A slot was released.
    Released {
        group: GroupName,
        id: Arc<str>,
        name: Option<Arc<str>>,
        peer: Option<IpAddr>,
        /// The time of the grant, if it is known.
        since: Option<Timestamp>,
        at: Timestamp,
        /// The administrator; `None`: the node itself.
        by: Option<Arc<str>>,
    },
    /// A node holds a slot for longer than usual.
    Overdue {
        group: GroupName,
        id: Arc<str>,
        name: Option<Arc<str>>,
        peer: Option<IpAddr>,
        since: Timestamp,
        /// The usual time, if it is known.
        usual: Option<Duration>,
    },
    /// An administrator has executed a command.
    Admin {
        group: GroupName,
        by: Arc<str>,
        /// The command as text, such as `paused the group`.
        action: String,
        at: Timestamp,
    },
    /// A request was denied.
    Denied {
        /// The group, if it is a configured one.
        group: Option<GroupName>,
        /// The reason as a word, such as `forbidden`.
        reason: String,
        peer: Option<IpAddr>,
        /// The id, if the request contained one.
        id: Option<Arc<str>>,
        /// The reason as a sentence.
        detail: String,
        /// How often the request was denied so far.
        times: u64,
    },
}

/// The attributes of an event, and its data.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Value,
}

/// Returns the attribute `source` of the events of a server on this host: a URI reference, in which a host is ASCII.
pub(super) fn source(host: &str) -> String {
    let encoded = host.bytes().map(|byte| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("//{}/airlock", encoded.collect::<String>())
}

// === impl Event ===

impl Event {
    /// Returns the kind.
    pub(super) fn kind(&self) -> EventKind {
        match self {
            Event::Granted { .. } => EventKind::Granted,
            Event::Released { .. } => EventKind::Released,
            Event::Overdue { .. } => EventKind::Overdue,
            Event::Admin { .. } => EventKind::Admin,
            Event::Denied { .. } => EventKind::Denied,
        }
    }

    /// Returns the id of an event that any server may send: each of them computes the same, so that a receiver recognizes
    /// an event that two of them have sent. `None`: only this server sends it.
    pub(super) fn shared_id(&self) -> Option<String> {
        let kind = self.kind().name();
        let content = match self {
            Event::Overdue {
                group, id, since, ..
            } => json!([kind, group.as_str(), id, since]),
            Event::Admin {
                group,
                by,
                action,
                at,
            } => json!([kind, group.as_str(), by, action, at]),
            Event::Released {
                group,
                id,
                since,
                at,
                by: Some(by),
                ..
            } => json!([kind, group.as_str(), id, since, at, by]),
            Event::Granted { .. } | Event::Released { by: None, .. } | Event::Denied { .. } => {
                return None;
            }
        };
        let digest = digest::digest(&digest::SHA256, content.to_string().as_bytes());
        let bytes = digest.as_ref().iter().take(16);
        Some(bytes.map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the number of bytes that the event takes in the memory.
    pub(super) fn bytes(&self) -> usize {
        let texts = match self {
            Event::Granted {
                group, id, name, ..
            }
            | Event::Overdue {
                group, id, name, ..
            } => [group.as_str().len(), id.len(), len(name), 0],
            Event::Released {
                group,
                id,
                name,
                by,
                ..
            } => [group.as_str().len(), id.len(), len(name), len(by)],
            Event::Admin {
                group, by, action, ..
            } => [group.as_str().len(), by.len(), action.capacity(), 0],
            Event::Denied {
                group,
                reason,
                id,
                detail,
                ..
            } => {
                let group = group.as_ref().map_or(0, |group| group.as_str().len());
                [group, reason.capacity(), len(id), detail.capacity()]
            }
        };
        size_of::<Event>() + texts.iter().sum::<usize>()
    }

    /// Returns the JSON of the event. `sent` is the time of an event that has no other one.
    pub(super) fn json(&self, id: &str, source: &str, sent: Timestamp) -> String {
        let event = CloudEvent {
            specversion: "1.0",
            id,
            source,
            kind: format!("airlock.lock.{}", self.kind().name()),
            subject: self.subject(),
            time: self.time().unwrap_or(sent),
            datacontenttype: "application/json",
            data: self.data(sent),
        };
        // The keys are strings and the numbers finite, so that this cannot fail.
        let json = serde_json::to_string(&event).unwrap_or_default();
        escaped_json(&json).into_owned()
    }

    /// Returns the group and the node, of which attributes must not contain control characters.
    fn subject(&self) -> Option<String> {
        let (group, id) = match self {
            Event::Granted { group, id, .. }
            | Event::Released { group, id, .. }
            | Event::Overdue { group, id, .. } => (group, Some(id)),
            Event::Admin { group, .. } => (group, None),
            Event::Denied { group, id, .. } => (group.as_ref()?, id.as_ref()),
        };
        let subject = match id {
            Some(id) => format!("{group}/{id}"),
            None => group.to_string(),
        };
        Some(printable(&subject).into_owned())
    }

    /// Returns the time at which it happened; `None`: when it was sent.
    fn time(&self) -> Option<Timestamp> {
        match self {
            Event::Granted { at, .. } | Event::Released { at, .. } | Event::Admin { at, .. } => {
                Some(*at)
            }
            Event::Overdue { .. } | Event::Denied { .. } => None,
        }
    }

    fn data(&self, sent: Timestamp) -> Value {
        let seconds =
            |since: Timestamp, until: Timestamp| until.duration_since(since).as_secs().max(0);
        match self {
            Event::Granted {
                group,
                id,
                name,
                peer,
                at,
            } => json!({
                "group": group.as_str(),
                "id": id,
                "name": name,
                "address": peer,
                "since": at,
            }),
            Event::Released {
                group,
                id,
                name,
                peer,
                since,
                at,
                by,
            } => json!({
                "group": group.as_str(),
                "id": id,
                "name": name,
                "address": peer,
                "since": since,
                "until": at,
                "held_seconds": since.map(|since| seconds(since, *at)),
                "released_by": by,
            }),
            Event::Overdue {
                group,
                id,
                name,
                peer,
                since,
                usual,
            } => json!({
                "group": group.as_str(),
                "id": id,
                "name": name,
                "address": peer,
                "since": since,
                "age_seconds": seconds(*since, sent),
                "usual_seconds": usual.map(|usual| usual.as_secs()),
            }),
            Event::Admin {
                group,
                by,
                action,
                at: _,
            } => json!({
                "group": group.as_str(),
                "by": by,
                "action": action,
            }),
            Event::Denied {
                group,
                reason,
                peer,
                id,
                detail,
                times,
            } => json!({
                "group": group.as_ref().map(GroupName::as_str),
                "id": id,
                "address": peer,
                "reason": reason,
                "detail": detail,
                "times": times,
            }),
        }
    }
}

fn len(text: &Option<Arc<str>>) -> usize {
    text.as_ref().map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests;
