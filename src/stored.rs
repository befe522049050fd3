//! The bytes in the store: how a [`Semaphore`] is written, and what is accepted when it is read.
//!
//! The semaphore is written exactly as Airlock writes it, so that both can run on one database:
//! compact JSON, `total_slots` before `holders`, holders sorted bytewise, escaped as Go's `encoding/json`
//! does. Lock times are a second value, written in the same transaction. Nothing here does I/O.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::act::{Act, Acts};
use crate::semaphore::{Holders, Semaphore};
use crate::store::Value;

/// Why a stored value cannot be used. It is never overwritten; somebody has to repair it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

#[derive(Deserialize)]
struct SemaphoreIn {
    // Go reads a missing or null field as the zero value.
    total_slots: Option<u64>,
    holders: Option<Vec<Arc<str>>>,
}

#[derive(Serialize)]
struct SemaphoreOut<'a> {
    total_slots: u64,
    #[serde(serialize_with = "ids")]
    holders: &'a Holders,
}

#[derive(Deserialize, Default)]
struct LockTimesIn {
    #[serde(default)]
    holders: BTreeMap<String, Timestamp>,
    /// Acts, each for itself: one that a newer version wrote must not hide the times.
    #[serde(default)]
    admin: Vec<serde_json::Value>,
}

#[derive(Serialize)]
struct LockTimesOut<'a> {
    #[serde(serialize_with = "known_times")]
    holders: &'a Holders,
    #[serde(skip_serializing_if = "<[Act]>::is_empty")]
    admin: &'a [Act],
}

/// The semaphore in `value`, and what administrators did to it lately. Lock times and acts that do not
/// parse are unknown, not an error: they are for people's eyes, and a lock must never depend on them.
pub fn decode(value: &Value) -> Result<(Semaphore, Acts), Invalid> {
    if value.semaphore.is_empty() {
        return Err(Invalid("it is empty".into()));
    }
    let stored: SemaphoreIn =
        serde_json::from_slice(&value.semaphore).map_err(|error| Invalid(error.to_string()))?;
    let times: LockTimesIn = value
        .lock_times
        .as_deref()
        .and_then(|bytes| serde_json::from_slice(bytes).ok())
        .unwrap_or_default();
    let holders = stored.holders.unwrap_or_default();
    let semaphore = Semaphore {
        slots: stored.total_slots.unwrap_or_default(),
        holders: holders
            .into_iter()
            .map(|id| {
                let since = times.holders.get(id.as_ref()).copied();
                (id, since)
            })
            .collect(),
    };
    let acts = times.admin.into_iter();
    let acts = acts.filter_map(|act| serde_json::from_value(act).ok());
    Ok((semaphore, acts.collect()))
}

/// The bytes of `semaphore`, with the acts of administrators that are to be remembered.
pub fn encode(semaphore: &Semaphore, acts: &[Act]) -> Value {
    let holders = &semaphore.holders;
    Value {
        semaphore: go_json(&SemaphoreOut {
            total_slots: semaphore.slots,
            holders,
        }),
        lock_times: Some(go_json(&LockTimesOut {
            holders,
            admin: acts,
        })),
    }
}

fn ids<S: Serializer>(holders: &&Holders, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(holders.keys())
}

fn known_times<S: Serializer>(holders: &&Holders, serializer: S) -> Result<S::Ok, S::Error> {
    let known = holders
        .iter()
        .filter_map(|(id, since)| Some((id, (*since)?)));
    serializer.collect_map(known)
}

/// JSON as Go 1.18's `encoding/json` writes it by default.
fn go_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoFormatter);
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers into a Vec: no step of it can fail"
    )]
    value.serialize(&mut serializer).expect("JSON in memory");
    bytes
}

struct GoFormatter;

impl Formatter for GoFormatter {
    /// Go also escapes what could end a `<script>` and what JavaScript once took for a line's end.
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // Hardly any has one of them: 0xe2 begins U+2028 and U+2029.
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

    /// Go 1.18 has no short form for backspace and form feed.
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
mod tests {
    use super::*;
    use crate::mutation::mutated;
    use proptest::prelude::*;

    fn stored(semaphore: &str, lock_times: Option<&str>) -> Value {
        Value {
            semaphore: semaphore.into(),
            lock_times: lock_times.map(Into::into),
        }
    }

    fn text(value: &Value) -> (&str, &str) {
        (
            std::str::from_utf8(&value.semaphore).unwrap(),
            std::str::from_utf8(value.lock_times.as_deref().unwrap()).unwrap(),
        )
    }

    fn semaphore_in(value: &Value) -> Semaphore {
        decode(value).unwrap().0
    }

    fn held_by(slots: u64, ids: &[&str]) -> Semaphore {
        let mut semaphore = Semaphore::new(slots);
        for id in ids {
            semaphore
                .holders
                .insert((*id).into(), Some("2026-11-22T20:33:00Z".parse().unwrap()));
        }
        semaphore
    }

    #[test]
    fn golden_what_is_written_is_what_airlock_writes() {
        assert_eq!(
            text(&encode(&held_by(2, &["b", "a"]), &[])),
            (
                r#"{"total_slots":2,"holders":["a","b"]}"#,
                r#"{"holders":{"a":"2026-11-22T20:33:00Z","b":"2026-11-22T20:33:00Z"}}"#
            )
        );
        assert_eq!(
            text(&encode(&Semaphore::new(1), &[])),
            (r#"{"total_slots":1,"holders":[]}"#, r#"{"holders":{}}"#)
        );
    }

    #[test]
    fn golden_holders_are_sorted_by_their_bytes() {
        let semaphore = encode(&held_by(9, &["é", "z", "Z", "10", "9"]), &[]);
        assert_eq!(
            text(&semaphore).0,
            r#"{"total_slots":9,"holders":["10","9","Z","z","é"]}"#
        );
    }

    #[test]
    fn golden_strings_are_escaped_as_go_does() {
        let semaphore = held_by(1, &["<a>&\"\\\u{8}\u{c}\n\u{2028}\u{1}\u{7f}"]);
        assert_eq!(
            text(&encode(&semaphore, &[])).0,
            "{\"total_slots\":1,\"holders\":[\"\\u003ca\\u003e\\u0026\\\"\\\\\\u0008\\u000c\\n\\u2028\\u0001\u{7f}\"]}"
        );
        assert_eq!(semaphore_in(&encode(&semaphore, &[])), semaphore);
    }

    #[test]
    fn any_order_doubles_spaces_and_unknown_fields_are_read() {
        let value = stored(
            r#" { "extra": [1], "holders": ["b","a","b"], "total_slots": 3 } "#,
            None,
        );
        let semaphore = semaphore_in(&value);
        assert_eq!(semaphore.slots, 3);
        assert_eq!(
            semaphore
                .holders
                .keys()
                .map(AsRef::as_ref)
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn missing_and_null_fields_are_zero_as_in_go() {
        assert_eq!(semaphore_in(&stored("{}", None)), Semaphore::new(0));
        assert_eq!(
            semaphore_in(&stored(r#"{"total_slots":1,"holders":null}"#, None)),
            Semaphore::new(1)
        );
    }

    #[test]
    fn what_does_not_parse_says_what_is_wrong() {
        for (bytes, expected) in [
            ("", "it is empty"),
            ("{", "EOF while parsing"),
            (r#"{"total_slots":-1}"#, "invalid value: integer `-1`"),
            (
                r#"{"total_slots":1,"holders":[7]}"#,
                "invalid type: integer `7`",
            ),
            (r#"{"total_slots":1,"holders":[]}x"#, "trailing characters"),
        ] {
            let error = decode(&stored(bytes, None)).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes}: {error}");
        }
    }

    #[test]
    fn lock_times_of_others_or_unreadable_ones_are_unknown() {
        let semaphore = r#"{"total_slots":2,"holders":["a","b"]}"#;
        let times = r#"{"holders":{"a":"2026-11-22T20:33:00Z","gone":"2026-11-22T20:33:00Z"}}"#;
        let known = semaphore_in(&stored(semaphore, Some(times)));
        assert_eq!(
            known.holders["a"],
            Some("2026-11-22T20:33:00Z".parse().unwrap())
        );
        assert_eq!(known.holders["b"], None);
        assert_eq!(known.holders.len(), 2);
        for broken in ["", "7", r#"{"holders":{"a":"yesterday"}}"#] {
            let unknown = semaphore_in(&stored(semaphore, Some(broken)));
            assert_eq!(unknown.holders["a"], None, "{broken}");
        }
    }

    #[test]
    fn acts_are_kept_and_one_that_is_not_understood_hides_nothing() {
        let semaphore = r#"{"total_slots":2,"holders":["a"]}"#;
        let act = r#"{"at":"2026-11-22T20:33:00Z","by":"root@ops","action":"pause"}"#;
        let times = format!(
            r#"{{"holders":{{"a":"2026-11-22T20:33:00Z"}},"admin":[{{"action":"dance"}},{act}]}}"#
        );
        let (read, acts) = decode(&stored(semaphore, Some(&times))).unwrap();
        assert!(read.holders["a"].is_some());
        assert_eq!(acts.len(), 1);
        assert_eq!(acts[0].action, crate::act::Action::Pause);
        assert_eq!(
            text(&encode(&read, &acts)).1,
            format!(r#"{{"holders":{{"a":"2026-11-22T20:33:00Z"}},"admin":[{act}]}}"#)
        );
    }

    const VALUES: &[&str] = &[
        r#"{"total_slots":2,"holders":["a","b"]}"#,
        r#"{"holders":{"a":"2026-11-22T20:33:00Z"}}"#,
        r#"{"holders":{},"admin":[{"at":"2026-11-22T20:33:00Z","by":"r@h","action":"unlock","ids":["a"],"more":1}]}"#,
        r#"{"total_slots":18446744073709551615,"holders":["\u003c"]}"#,
    ];

    prop_compose! {
        fn any_semaphore()(
            slots: u64,
            holders in prop::collection::btree_map(
                any::<String>(),
                prop::option::of(-62_000_000_000..253_000_000_000_i64),
                0..8,
            ),
        ) -> Semaphore {
            let since = |second| Timestamp::from_second(second).unwrap();
            let holders = holders.into_iter();
            Semaphore {
                slots,
                holders: holders.map(|(id, second)| (id.into(), second.map(since))).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_semaphore_or_an_error(semaphore: Vec<u8>, lock_times: Option<Vec<u8>>) {
            let _ = decode(&Value { semaphore, lock_times });
        }

        #[test]
        fn what_is_read_from_a_strange_value_is_written_and_read_as_the_same(
            semaphore in mutated(VALUES),
            lock_times in mutated(VALUES),
        ) {
            if let Ok((read, acts)) = decode(&stored(&semaphore, Some(&lock_times))) {
                prop_assert_eq!(decode(&encode(&read, &acts)), Ok((read, acts)));
            }
        }

        #[test]
        fn any_semaphore_is_read_as_it_was_written(semaphore in any_semaphore()) {
            let value = encode(&semaphore, &[]);
            prop_assert_eq!(value.semaphore.iter().find(|byte| byte.is_ascii_control()), None);
            prop_assert_eq!(decode(&value).unwrap().0, semaphore);
        }
    }
}
