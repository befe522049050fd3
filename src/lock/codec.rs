//! The codec between a [`Semaphore`] and the bytes in the store.
//!
//! The semaphore is written exactly as coreos/airlock writes it, so that both can use one database: compact JSON,
//! `total_slots` before `holders`, holders sorted by their bytes, escaped as Go's `encoding/json` does. The lock times
//! are a second value, with the audit log and the history, which is written in the same transaction.

use std::sync::Arc;

use serde_json::error::Category;

use self::fields::Fields;
use self::go_json::write_go_json;
use super::audit::{AuditEntry, AuditLog};
use super::history::History;
use super::holders::{EncodedChunk, Hold, Holder};
use super::semaphore::Semaphore;

mod fields;
mod go_json;
mod lock_times;

/// The bytes that the store keeps for one group. Both are written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The semaphore, in the format of coreos/airlock.
    pub semaphore: Vec<u8>,
    /// What only Airlock stores: the lock times, the audit log and the history.
    pub lock_times: LockTimes,
}

/// The lock times, the audit log and the history of a group, as far as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LockTimes {
    /// The store has none.
    #[default]
    Absent,
    /// A watch reported a write of the semaphore alone, by another program. The store may have them or not.
    Unreported,
    /// They were written together with the semaphore.
    Current(Vec<u8>),
    /// Another program has written the semaphore since: the lock times do not belong to it any more.
    Outdated(Vec<u8>),
}

/// A decoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The semaphore.
    pub semaphore: Semaphore,
    /// The latest commands of administrators.
    pub audit_log: AuditLog,
    /// The last completed holds.
    pub history: History,
}

/// The identity of a write. Revisions are comparable only within one group of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a group without a value.
    pub const ABSENT: Revision = Revision(0);
}

/// The content of the store for one group at one moment.
///
/// A commit compares both the revision and the bytes: a store that was restored from a backup counts on from an older
/// revision, so another value can have the revision of this one (invariant 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// [`Revision::ABSENT`] if and only if there is no value.
    pub revision: Revision,
    /// The value, if there is one.
    pub value: Option<Value>,
    /// The store's own clock at that moment; a larger one is newer.
    pub as_of: Revision,
}

impl Stored {
    /// Describes a group without a value at the moment `as_of`.
    pub fn absent(as_of: Revision) -> Self {
        Stored {
            revision: Revision::ABSENT,
            value: None,
            as_of,
        }
    }

    /// Describes a value that was written at `revision`.
    pub fn written(value: Value, revision: Revision) -> Self {
        Stored {
            revision,
            value: Some(value),
            as_of: revision,
        }
    }

    /// Reports whether a commit that expects this content finds it in `current`.
    pub fn is_still(&self, current: &Stored) -> bool {
        self.revision == current.revision && self.compared() == current.compared()
    }

    /// Returns the bytes that a commit compares. Outdated ones do not matter.
    fn compared(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let value = self.value.as_ref()?;
        Some((&value.semaphore, value.lock_times.current()))
    }
}

/// The reason why a stored value cannot be used. Such a value is never overwritten; an administrator has to repair it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The value has no bytes.
    #[error("it is empty")]
    Empty,
    /// The value is not the JSON of a semaphore.
    #[error("{problem}: {found}")]
    Malformed {
        /// The problem and its position.
        problem: JsonProblem,
        /// The beginning of the value, at most [`DecodeError::MAX_FOUND`] characters of it.
        found: String,
    },
}

/// The reason why a text is not the JSON of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// The text ends too early.
    #[error("its JSON is cut off")]
    CutOff,
    /// The text is not JSON.
    #[error("its JSON has a mistake at line {line}, column {column}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The byte in the line, counted from 1.
        column: usize,
    },
    /// The text is other JSON.
    #[error("its JSON does not have the form {{\"total_slots\":SLOTS,\"holders\":[\"ID\"]}}")]
    Form,
    /// A field is missing, perhaps because its name is misspelled.
    #[error("its JSON has no field {0:?}")]
    Missing(&'static str),
    /// A field occurs more than once. Programs disagree about which one counts.
    #[error("its JSON has more than one field {0:?}")]
    RepeatedField(&'static str),
    /// A holder is listed more than once. coreos/airlock counts each entry; one may stand in place of another holder.
    #[error("its JSON lists a holder more than once")]
    RepeatedHolder,
    /// The number of slots is greater than [`Semaphore::MAX_SLOTS`].
    #[error("its JSON has more than {} slots", Semaphore::MAX_SLOTS)]
    TooManySlots,
}

/// Decodes the semaphore in `value`, its audit log, and its history.
///
/// Lock times, audit entries and holds that cannot be decoded count as unknown, not as an error: they are information for
/// people, and no lock may depend on them. Each is decoded on its own, because the next write keeps only those that are
/// known.
///
/// # Errors
/// If the semaphore cannot be decoded.
pub fn decode(value: &Value) -> Result<Decoded, DecodeError> {
    if value.semaphore.is_empty() {
        return Err(DecodeError::Empty);
    }
    let (slots, holders) = decode_fields(&value.semaphore)
        .map_err(|problem| DecodeError::malformed(problem, &value.semaphore))?;
    let beside = decode_beside(value);
    let hold = |id: &Arc<str>| beside.hold(id);
    let semaphore = Semaphore {
        slots,
        holders: holders
            .into_iter()
            .map(|id| (Arc::clone(&id), hold(&id)))
            .collect(),
        released_at: beside.released_at,
        override_until: beside.override_until,
    };
    Ok(Decoded {
        semaphore,
        audit_log: beside.audit_log,
        history: beside.history,
    })
}

/// Decodes the audit log and the history beside a semaphore that cannot be decoded.
pub fn decode_records(value: &Value) -> (AuditLog, History) {
    let beside = decode_beside(value);
    (beside.audit_log, beside.history)
}

fn decode_beside(value: &Value) -> lock_times::Beside {
    match &value.lock_times {
        LockTimes::Absent | LockTimes::Unreported => lock_times::decode(&[], false),
        LockTimes::Current(bytes) => lock_times::decode(bytes, true),
        LockTimes::Outdated(bytes) => lock_times::decode(bytes, false),
    }
}

fn decode_fields(semaphore: &[u8]) -> Result<(u64, Vec<Arc<str>>), JsonProblem> {
    serde_json::from_slice::<Fields>(semaphore)?.check()
}

/// Encodes `semaphore` together with its audit log and its history.
///
/// Holders that have not changed since an earlier call are not encoded again.
pub fn encode(semaphore: &Semaphore, audit_log: &[AuditEntry], history: &History) -> Value {
    let mut holders = format!(r#"{{"total_slots":{},"holders":["#, semaphore.slots).into_bytes();
    let mut times = br#"{"holders":{"#.to_vec();
    for chunk in semaphore.holders.chunks() {
        let encoded = chunk.encoded(encode_holders);
        holders.extend_from_slice(&encoded.semaphore);
        times.extend_from_slice(&encoded.lock_times);
    }
    end_list(&mut holders, b']');
    end_list(&mut times, b'}');
    if !audit_log.is_empty() {
        times.extend_from_slice(br#","admin":"#);
        write_go_json(&mut times, audit_log);
    }
    lock_times::write_policy_times(&mut times, semaphore);
    lock_times::write_history(&mut times, history);
    holders.push(b'}');
    times.push(b'}');
    Value {
        semaphore: holders,
        lock_times: LockTimes::Current(times),
    }
}

/// Encodes holders with a comma after each one. Each id is escaped once for both documents.
fn encode_holders(holders: &[Holder]) -> EncodedChunk {
    let (mut semaphore, mut lock_times) = (Vec::new(), Vec::new());
    for (id, hold) in holders {
        let start = semaphore.len();
        write_go_json(&mut semaphore, id);
        if *hold != Hold::default() {
            lock_times.extend_from_slice(&semaphore[start..]);
            lock_times.push(b':');
            lock_times::write_hold(&mut lock_times, hold);
            lock_times.push(b',');
        }
        semaphore.push(b',');
    }
    EncodedChunk {
        semaphore,
        lock_times,
    }
}

/// Replaces the comma after the last entry, if there is one, with the end of the list.
fn end_list(list: &mut Vec<u8>, end: u8) {
    list.pop_if(|last| *last == b',');
    list.push(end);
}

// === impl Decoded ===

impl Decoded {
    /// Describes a group without a value: it counts as one with `slots` free slots.
    pub(crate) fn absent(slots: u64) -> Self {
        Decoded {
            semaphore: Semaphore::new(slots),
            audit_log: AuditLog::default(),
            history: History::default(),
        }
    }
}

// === impl LockTimes ===

impl LockTimes {
    /// Returns the bytes that belong to the semaphore.
    pub fn current(&self) -> Option<&[u8]> {
        match self {
            LockTimes::Current(bytes) => Some(bytes),
            LockTimes::Absent | LockTimes::Unreported | LockTimes::Outdated(_) => None,
        }
    }
}

impl From<Option<Vec<u8>>> for LockTimes {
    /// Takes what a store has that knows no outdated ones.
    fn from(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(LockTimes::Absent, LockTimes::Current)
    }
}

// === impl DecodeError ===

impl DecodeError {
    /// The maximum number of characters of a value in a message.
    pub(crate) const MAX_FOUND: usize = 120;

    /// Returns the message without the stored value.
    pub(crate) fn without_value(&self) -> String {
        match self {
            DecodeError::Empty => self.to_string(),
            DecodeError::Malformed { problem, .. } => problem.to_string(),
        }
    }

    fn malformed(problem: JsonProblem, value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let mut found: String = text.chars().take(DecodeError::MAX_FOUND).collect();
        if found.len() < text.len() {
            found.push('…');
        }
        DecodeError::Malformed { problem, found }
    }
}

// === impl JsonProblem ===

impl From<serde_json::Error> for JsonProblem {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Eof => JsonProblem::CutOff,
            Category::Io | Category::Syntax => JsonProblem::Syntax {
                line: error.line(),
                column: error.column(),
            },
            Category::Data => JsonProblem::Form,
        }
    }
}

#[cfg(test)]
mod tests;
