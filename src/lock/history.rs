//! The history of a group: its last completed holds, as stored beside the lock times.
//!
//! A hold is recorded in the transaction that ends it. coreos/airlock records nothing and leaves the history alone; what it
//! did is a gap.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::holders::{Client, Hold};

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedHold {
    /// The node.
    pub id: Arc<str>,
    /// Its name, if the server knew one at the time of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The address that asked for the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The time of the grant, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The time of the release.
    pub until: Timestamp,
    /// The administrator who unlocked it, as `user@host`; `None`: the node released it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// Before this hold, another program changed the group, so that holds may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_gap: bool,
}

/// The last completed holds of a group. Cheap to copy, and to encode again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Oldest first.
    entries: Arc<[Arc<Entry>]>,
    /// Since the last hold, another program has changed the group.
    has_gap: bool,
}

/// A hold in its encoded form. Most are never decoded.
#[derive(Debug)]
struct Entry {
    encoded: Box<str>,
    /// `None`: it is no hold.
    hold: OnceLock<Option<CompletedHold>>,
}

// === impl CompletedHold ===

impl CompletedHold {
    /// Describes a hold that its node ends.
    pub(super) fn new(id: Arc<str>, hold: Hold, until: Timestamp) -> Self {
        let Hold {
            since,
            client: Client { peer, name },
        } = hold;
        CompletedHold {
            id,
            name,
            peer,
            from: since,
            until,
            by: None,
            after_gap: false,
        }
    }

    /// Returns how long the slot was held; `None` if that is unknown. A clock that was set back makes it zero.
    pub fn duration(&self) -> Option<SignedDuration> {
        let duration = self.until.duration_since(self.from?);
        Some(duration.max(SignedDuration::ZERO))
    }
}

// === impl History ===

impl History {
    /// The maximum number of holds.
    pub const MAX_HOLDS: usize = 64;

    /// The maximum size of the encoded holds. Beside as many holders as etcd accepts in one request, there is not much
    /// more space.
    const MAX_BYTES: usize = 16 << 10;

    /// The number of holds that are needed to know the usual duration.
    const MIN_USUAL: usize = 3;

    /// Returns the holds, the latest first.
    pub fn holds(&self) -> impl Iterator<Item = &CompletedHold> {
        self.entries.iter().rev().filter_map(|entry| entry.hold())
    }

    /// Reports whether another program has changed the group since the last hold.
    pub fn has_gap(&self) -> bool {
        self.has_gap
    }

    /// Returns the history after another program has changed the group.
    #[must_use]
    pub fn with_gap(self) -> Self {
        History {
            has_gap: !self.entries.is_empty(),
            ..self
        }
    }

    /// Returns the history with these holds appended, without the oldest ones if there are too many.
    #[must_use]
    pub fn append(&self, holds: &[CompletedHold]) -> Self {
        if holds.is_empty() {
            return self.clone();
        }
        // A batch can end any number.
        let skipped = holds.len().saturating_sub(History::MAX_HOLDS);
        let mut after_gap = self.has_gap;
        let new = holds[skipped..].iter().map(|hold| {
            Arc::new(Entry::new(CompletedHold {
                after_gap: std::mem::take(&mut after_gap),
                ..hold.clone()
            }))
        });
        let new: Vec<Arc<Entry>> = new.collect();
        History::bounded(self.entries.iter().cloned().chain(new), after_gap)
    }

    /// Returns the usual duration of a hold: the median of those that nodes have ended, if there are enough.
    pub fn usual(&self) -> Option<SignedDuration> {
        let by_node = self.holds().filter(|hold| hold.by.is_none());
        let mut durations: Vec<_> = by_node.filter_map(CompletedHold::duration).collect();
        durations.sort_unstable();
        let median = durations.get(durations.len() / 2)?;
        (durations.len() >= History::MIN_USUAL).then_some(*median)
    }

    /// Returns the history with these encoded holds.
    pub(super) fn decoded(holds: &[&RawValue], has_gap: bool) -> Self {
        let entry = |raw: &&RawValue| {
            Arc::new(Entry {
                encoded: raw.get().into(),
                hold: OnceLock::new(),
            })
        };
        let skipped = holds.len().saturating_sub(History::MAX_HOLDS);
        History::bounded(holds[skipped..].iter().map(entry), has_gap)
    }

    /// Returns the encoded holds, oldest first.
    pub(super) fn encoded(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.encoded)
    }

    fn bounded(entries: impl Iterator<Item = Arc<Entry>>, has_gap: bool) -> Self {
        let entries: Vec<Arc<Entry>> = entries.collect();
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            bytes += entry.encoded.len();
            bytes <= History::MAX_BYTES
        };
        let latest = entries.iter().rev().take(History::MAX_HOLDS);
        let kept = latest.take_while(fits).count();
        History {
            entries: entries[entries.len() - kept..].into(),
            has_gap,
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(hold: CompletedHold) -> Self {
        Entry {
            // It has no maps with keys other than texts, which JSON could not represent.
            encoded: serde_json::to_string(&hold).unwrap_or_default().into(),
            hold: Some(hold).into(),
        }
    }

    fn hold(&self) -> Option<&CompletedHold> {
        let decode = || serde_json::from_str(&self.encoded).ok();
        self.hold.get_or_init(decode).as_ref()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hold(id: &str, seconds: i64) -> CompletedHold {
        let hold = Hold {
            since: Some(second(0)),
            client: Client::default(),
        };
        CompletedHold::new(id.into(), hold, second(seconds))
    }

    fn ids(history: &History) -> Vec<&str> {
        history.holds().map(|hold| &*hold.id).collect()
    }

    #[test]
    fn golden_a_hold_in_json() {
        let json = |hold: &CompletedHold| serde_json::to_string(hold).unwrap();
        assert_eq!(
            json(&CompletedHold::new("a".into(), Hold::default(), second(0))),
            r#"{"id":"a","until":"1970-01-01T00:00:00Z"}"#
        );
        let complete = CompletedHold {
            name: Some("db-1".into()),
            peer: Some([192, 0, 2, 1].into()),
            by: Some("root@ops".into()),
            after_gap: true,
            ..hold("a", 60)
        };
        assert_eq!(
            json(&complete),
            r#"{"id":"a","name":"db-1","peer":"192.0.2.1","from":"1970-01-01T00:00:00Z","until":"1970-01-01T00:01:00Z","by":"root@ops","after_gap":true}"#
        );
        assert_eq!(
            serde_json::from_str::<CompletedHold>(&json(&complete)).unwrap(),
            complete
        );
    }

    #[test]
    fn only_the_latest_holds_are_kept() {
        let mut history = History::default();
        for number in 0..100 {
            history = history.append(&[hold(&number.to_string(), 1)]);
        }
        assert_eq!(history.holds().count(), History::MAX_HOLDS);
        assert_eq!(ids(&history)[..2], ["99", "98"]);
        let many: Vec<_> = (0..100)
            .map(|number| hold(&number.to_string(), 1))
            .collect();
        assert_eq!(ids(&History::default().append(&many)), ids(&history));
    }

    #[test]
    fn invariant_8_the_history_is_bounded_in_bytes() {
        let long = "x".repeat(History::MAX_BYTES / 3);
        let mut history = History::default();
        for _ in 0..5 {
            history = history.append(&[hold(&long, 1)]);
        }
        assert_eq!(history.holds().count(), 2);
        let too_long = hold(&"x".repeat(History::MAX_BYTES), 1);
        assert_eq!(history.append(&[too_long]).holds().count(), 0);
    }

    #[test]
    fn a_gap_is_marked_at_the_next_hold() {
        let history = History::default().with_gap();
        assert!(!history.has_gap(), "there is nothing that a gap separates");
        let history = history.append(&[hold("a", 1)]).with_gap();
        assert!(history.has_gap());
        assert!(history.append(&[]).has_gap());
        let history = history.append(&[hold("b", 1), hold("c", 1)]);
        assert!(!history.has_gap());
        let marked = history.holds().filter(|hold| hold.after_gap);
        assert_eq!(marked.map(|hold| &*hold.id).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn the_usual_duration_is_the_median_of_holds_that_nodes_ended() {
        let mut history = History::default().append(&[hold("a", 60), hold("b", 300)]);
        assert_eq!(history.usual(), None);
        let by_hand = CompletedHold {
            by: Some("root@ops".into()),
            ..hold("c", 9000)
        };
        history = history.append(&[by_hand]);
        assert_eq!(history.usual(), None);
        // The clock was set back.
        history = history.append(&[hold("d", -5)]);
        assert_eq!(history.usual(), Some(SignedDuration::from_secs(60)));
    }
}
