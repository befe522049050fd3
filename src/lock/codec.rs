//! The codec between a [`Semaphore`] and the bytes in the store.
//!
//! The semaphore is written exactly as coreos/airlock writes it, so that both can use one database: compact JSON,
//! `total_slots` before `holders`, holders sorted by their bytes, escaped as Go's `encoding/json` does. The lock times
//! are a second value, which is written in the same transaction.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use self::fields::Fields;
use super::audit::{AuditEntry, AuditLog};
use super::holders::{EncodedChunk, Holder};
use super::semaphore::Semaphore;

mod fields;

/// The bytes that the store keeps for one group. Both are written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The semaphore, in the format of coreos/airlock.
    pub semaphore: Vec<u8>,
    /// The lock times and the audit log; `None` if the stored ones do not belong to this semaphore.
    pub lock_times: Option<Vec<u8>>,
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
        self.revision == current.revision && self.value == current.value
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

/// Decodes the semaphore in `value` and its audit log.
///
/// Lock times and audit entries that cannot be decoded count as unknown, not as an error: they are information for
/// people, and no lock may depend on them. Each is decoded on its own, because the next write keeps only those that are
/// known.
///
/// # Errors
/// If the semaphore cannot be decoded.
pub fn decode(value: &Value) -> Result<(Semaphore, AuditLog), DecodeError> {
    if value.semaphore.is_empty() {
        return Err(DecodeError::Empty);
    }
    let (slots, holders) = decode_fields(&value.semaphore)
        .map_err(|problem| DecodeError::malformed(problem, &value.semaphore))?;
    let lock_times: serde_json::Value = value
        .lock_times
        .as_deref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    let times = &lock_times["holders"];
    let semaphore = Semaphore {
        slots,
        holders: holders
            .into_iter()
            .map(|id| {
                let since = Timestamp::deserialize(&times[id.as_ref()]).ok();
                (id, since)
            })
            .collect(),
    };
    let entries = lock_times["admin"].as_array().into_iter().flatten();
    let audit_log = entries.filter_map(|entry| AuditEntry::deserialize(entry).ok());
    Ok((semaphore, audit_log.collect()))
}

fn decode_fields(semaphore: &[u8]) -> Result<(u64, Vec<Arc<str>>), JsonProblem> {
    serde_json::from_slice::<Fields>(semaphore)?.check()
}

/// Encodes `semaphore` together with its audit log.
///
/// Holders that have not changed since an earlier call are not encoded again.
pub fn encode(semaphore: &Semaphore, audit_log: &[AuditEntry]) -> Value {
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
    holders.push(b'}');
    times.push(b'}');
    Value {
        semaphore: holders,
        lock_times: Some(times),
    }
}

/// Encodes holders with a comma after each one. Each id is escaped once for both documents.
#[expect(clippy::expect_used, reason = "a time written into a Vec cannot fail")]
fn encode_holders(holders: &[Holder]) -> EncodedChunk {
    let (mut semaphore, mut lock_times) = (Vec::new(), Vec::new());
    for (id, since) in holders {
        let start = semaphore.len();
        write_go_json(&mut semaphore, id);
        if let Some(since) = since {
            lock_times.extend_from_slice(&semaphore[start..]);
            lock_times.extend_from_slice(br#":""#);
            TIMES
                .print_timestamp(since, &mut lock_times)
                .expect("a time in memory");
            lock_times.extend_from_slice(br#"","#);
        }
        semaphore.push(b',');
    }
    EncodedChunk {
        semaphore,
        lock_times,
    }
}

/// Formats times as their `Serialize` does.
static TIMES: DateTimePrinter = DateTimePrinter::new();

/// Replaces the comma after the last entry, if there is one, with the end of the list.
fn end_list(list: &mut Vec<u8>, end: u8) {
    list.pop_if(|last| *last == b',');
    list.push(end);
}

/// Serializes as Go 1.18's `encoding/json` does by default.
#[expect(
    clippy::expect_used,
    reason = "strings and numbers written into a Vec cannot fail"
)]
fn write_go_json<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes, GoFormatter);
    value.serialize(&mut serializer).expect("JSON in memory");
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

/// Formats JSON strings as Go does.
struct GoFormatter;

impl Formatter for GoFormatter {
    /// Go also escapes the characters that could end a `<script>` element or a line of JavaScript.
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // The common case is a fragment without any of them. 0xe2 is the first byte of U+2028 and U+2029.
        let special = |byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
        if !fragment.bytes().any(special) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut written = 0;
        for (at, found) in fragment.match_indices(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            write!(
                writer,
                "\\u{:04x}",
                u32::from(found.chars().next().unwrap_or_default())
            )?;
            written = at + found.len();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }

    /// Go 1.18 writes no short form for backspace and form feed.
    fn write_char_escape<W>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        match escape {
            CharEscape::Backspace => writer.write_all(b"\\u0008"),
            CharEscape::FormFeed => writer.write_all(b"\\u000c"),
            other => CompactFormatter.write_char_escape(writer, other),
        }
    }
}

#[cfg(test)]
mod tests;
