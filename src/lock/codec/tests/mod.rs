//! Tests of the codec: golden values, and properties for arbitrary bytes.

mod foreign;

use std::collections::BTreeMap;

use super::*;
use jiff::Timestamp;
use serde::Serialize;

use crate::fuzzing;
use crate::lock::holders::Client;
use crate::lock::policy::{Conditions, Terms};
use crate::lock::semaphore::Command;
use crate::testing::mutated;
use proptest::prelude::*;

fn stored(semaphore: &str, lock_times: Option<&str>) -> Value {
    Value {
        semaphore: semaphore.into(),
        lock_times: lock_times.map(|text| text.as_bytes().to_vec()).into(),
    }
}

fn text(value: &Value) -> (&str, &str) {
    (
        std::str::from_utf8(&value.semaphore).unwrap(),
        std::str::from_utf8(value.lock_times.current().unwrap()).unwrap(),
    )
}

fn semaphore_in(value: &Value) -> Semaphore {
    decode(value).unwrap().semaphore
}

/// Describes a lock of which only the time is known.
fn since(text: &str) -> Hold {
    Some(text.parse().unwrap()).into()
}

fn held_by(slots: u64, ids: &[&str]) -> Semaphore {
    let mut semaphore = Semaphore::new(slots);
    for id in ids {
        semaphore
            .holders
            .insert((*id).into(), since("2026-11-22T20:33:00Z"));
    }
    semaphore
}

#[test]
fn golden_values_have_the_format_of_coreos_airlock() {
    assert_eq!(
        text(&encode(&held_by(2, &["b", "a"]), &[], &History::default())),
        (
            r#"{"total_slots":2,"holders":["a","b"]}"#,
            r#"{"holders":{"a":"2026-11-22T20:33:00Z","b":"2026-11-22T20:33:00Z"}}"#
        )
    );
    assert_eq!(
        text(&encode(&Semaphore::new(1), &[], &History::default())),
        (r#"{"total_slots":1,"holders":[]}"#, r#"{"holders":{}}"#)
    );
}

#[test]
fn golden_holders_are_sorted_by_their_bytes() {
    let semaphore = encode(
        &held_by(9, &["é", "z", "Z", "10", "9"]),
        &[],
        &History::default(),
    );
    assert_eq!(
        text(&semaphore).0,
        r#"{"total_slots":9,"holders":["10","9","Z","z","é"]}"#
    );
}

#[test]
fn golden_strings_are_escaped_as_go_does() {
    let semaphore = held_by(1, &["<a>&\"\\\u{8}\u{c}\n\u{2028}\u{1}\u{7f}"]);
    assert_eq!(
        text(&encode(&semaphore, &[], &History::default())).0,
        "{\"total_slots\":1,\"holders\":[\"\\u003ca\\u003e\\u0026\\\"\\\\\\u0008\\u000c\\n\\u2028\\u0001\u{7f}\"]}"
    );
    assert_eq!(
        semaphore_in(&encode(&semaphore, &[], &History::default())),
        semaphore
    );
}

#[test]
fn a_decode_error_names_the_problem() {
    const FORM: &str = r#"its JSON does not have the form {"total_slots":SLOTS,"holders":["ID"]}"#;
    for (bytes, expected) in [
        ("{", "its JSON is cut off"),
        (r#"{"total_slots":-1}"#, FORM),
        (r#"{"holders":[7]}"#, FORM),
        (
            r#"{"total_slots":1}x"#,
            "its JSON has a mistake at line 1, column 18",
        ),
        (
            r#"{"total_slots":1,"holder":[]}"#,
            r#"its JSON has no field "holders""#,
        ),
        (
            r#"{"holders":["a"],"Holders":[]}"#,
            r#"its JSON has more than one field "holders""#,
        ),
        (
            r#"{"total_slots":1,"holders":["a","a"]}"#,
            "its JSON lists a holder more than once",
        ),
        (
            r#"{"total_slots":9223372036854775808,"holders":[]}"#,
            "its JSON has more than 9223372036854775807 slots",
        ),
    ] {
        let error = decode(&stored(bytes, None)).unwrap_err();
        assert_eq!(error.to_string(), format!("{expected}: {bytes}"));
    }
    let error = decode(&stored("", None)).unwrap_err();
    assert_eq!(error.to_string(), "it is empty");
}

#[test]
fn a_decode_error_shows_the_beginning_of_the_value_only_where_it_may() {
    let long = "x".repeat(DecodeError::MAX_FOUND);
    for (bytes, shown) in [
        (long.clone(), long.clone()),
        (format!("{long}y"), format!("{long}…")),
    ] {
        let error = decode(&stored(&bytes, None)).unwrap_err();
        let problem = "its JSON has a mistake at line 1, column 1";
        assert_eq!(error.to_string(), format!("{problem}: {shown}"));
        assert_eq!(error.without_value(), problem);
    }
    assert_eq!(DecodeError::Empty.without_value(), "it is empty");
}

#[test]
fn missing_and_unreadable_lock_times_are_unknown() {
    let semaphore = r#"{"total_slots":2,"holders":["a","b"]}"#;
    let times = r#"{"holders":{"a":"2026-11-22T20:33:00Z","gone":"2026-11-22T20:33:00Z"}}"#;
    let known = semaphore_in(&stored(semaphore, Some(times)));
    assert_eq!(known.holders["a"], since("2026-11-22T20:33:00Z"));
    assert_eq!(known.holders["b"], Hold::default());
    assert_eq!(known.holders.len(), 2);
    for broken in ["", "7", r#"{"holders":{"a":"yesterday"}}"#] {
        let unknown = semaphore_in(&stored(semaphore, Some(broken)));
        assert_eq!(unknown.holders["a"], Hold::default(), "{broken}");
    }
}

#[test]
fn audit_entries_are_kept_and_an_unreadable_one_is_skipped() {
    let semaphore = r#"{"total_slots":2,"holders":["a"]}"#;
    let entry = r#"{"at":"2026-11-22T20:33:00Z","by":"root@ops","action":"pause"}"#;
    let times = format!(
        r#"{{"holders":{{"a":"2026-11-22T20:33:00Z"}},"admin":[{{"action":"dance"}},{entry}]}}"#
    );
    let read = decode(&stored(semaphore, Some(&times))).unwrap();
    let (read, audit_log) = (read.semaphore, read.audit_log);
    assert!(read.holders["a"].since.is_some());
    assert_eq!(audit_log.len(), 1);
    assert_eq!(audit_log[0].action, crate::lock::audit::Action::Pause);
    assert_eq!(
        text(&encode(&read, &audit_log, &History::default())).1,
        format!(r#"{{"holders":{{"a":"2026-11-22T20:33:00Z"}},"admin":[{entry}]}}"#)
    );
}

#[test]
fn one_unreadable_part_of_the_lock_times_leaves_the_others_known() {
    let semaphore = r#"{"total_slots":3,"holders":["a","b","c"]}"#;
    let (time, admin) = (
        r#""2026-11-22T20:33:00Z""#,
        r#"[{"at":"2026-11-22T20:33:00Z","by":"root@ops","action":"pause"}]"#,
    );
    for (times, known, entries) in [
        (
            format!(r#"{{"holders":{{"a":{time},"b":"yesterday","c":7}},"admin":{admin}}}"#),
            ["a"].as_slice(),
            1,
        ),
        (format!(r#"{{"holders":null,"admin":{admin}}}"#), &[], 1),
        (format!(r#"{{"holders":["a"],"admin":{admin}}}"#), &[], 1),
        (
            format!(r#"{{"holders":{{"a":{time},"c":{time}}},"admin":7}}"#),
            &["a", "c"],
            0,
        ),
        (format!("[{admin}]"), &[], 0),
    ] {
        let read = decode(&stored(semaphore, Some(&times))).unwrap();
        let (read, audit_log) = (read.semaphore, read.audit_log);
        let with_time = read.holders.iter().filter(|(_, hold)| hold.since.is_some());
        let with_time: Vec<&str> = with_time.map(|(id, _)| id.as_ref()).collect();
        assert_eq!(
            (with_time.as_slice(), audit_log.len()),
            (known, entries),
            "{times}"
        );
        assert_eq!(read.holders.len(), 3);
    }
}

const VALUES: &[&str] = &[
    r#"{"total_slots":2,"holders":["a","b"]}"#,
    r#"{"holders":{"a":"2026-11-22T20:33:00Z"}}"#,
    r#"{"holders":{},"admin":[{"at":"2026-11-22T20:33:00Z","by":"r@h","action":"unlock","ids":["a"],"more":1}]}"#,
    r#"{"holders":{"a":{"since":"2026-11-22T20:33:00Z","peer":"192.0.2.1","name":"n"}},"history":[{"id":"b","until":"2026-11-22T20:33:00Z"}],"gap":true}"#,
    r#"{"total_slots":9223372036854775807,"holders":["\u003c"]}"#,
];

prop_compose! {
    fn any_semaphore()(
        slots in 0..=Semaphore::MAX_SLOTS,
        holders in prop::collection::btree_map(
            any::<String>(),
            prop::option::of(-62_000_000_000..253_000_000_000_i64),
            0..8,
        ),
        released_at in prop::option::of(-62_000_000_000..253_000_000_000_i64),
        override_until in prop::option::of(-62_000_000_000..253_000_000_000_i64),
    ) -> Semaphore {
        let since = |second: i64| Timestamp::from_second(second).unwrap();
        let holders = holders.into_iter();
        Semaphore {
            slots,
            holders: holders.map(|(id, second)| (id.into(), second.map(since).into())).collect(),
            released_at: released_at.map(since),
            override_until: override_until.map(since),
        }
    }
}

/// The documents as types.
#[derive(Serialize)]
struct SemaphoreOut<'a> {
    total_slots: u64,
    holders: Vec<&'a str>,
}

#[derive(Serialize)]
struct LockTimesOut<'a> {
    holders: BTreeMap<&'a str, Timestamp>,
    #[serde(skip_serializing_if = "<[AuditEntry]>::is_empty")]
    admin: &'a [AuditEntry],
    #[serde(skip_serializing_if = "Option::is_none")]
    released: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "override")]
    override_until: Option<Timestamp>,
}

fn go_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_go_json(&mut bytes, value);
    bytes
}

fn json_of_types(semaphore: &Semaphore, admin: &[AuditEntry]) -> Value {
    let holders = semaphore.holders.iter();
    let known = holders.filter_map(|(id, hold)| Some((&**id, hold.since?)));
    Value {
        semaphore: go_json(&SemaphoreOut {
            total_slots: semaphore.slots,
            holders: semaphore.holders.keys().map(|id| &**id).collect(),
        }),
        lock_times: LockTimes::Current(go_json(&LockTimesOut {
            holders: known.collect(),
            admin,
            released: semaphore.released_at,
            override_until: semaphore.override_until,
        })),
    }
}

proptest! {
    #[test]
    fn both_documents_are_the_json_of_their_types(
        semaphore in any_semaphore(),
        by in prop::collection::vec(any::<String>(), 0..3),
    ) {
        let action = crate::lock::audit::Action::Pause;
        let entry = |by: String| AuditEntry { at: Timestamp::UNIX_EPOCH, by: by.into(), action: action.clone() };
        let admin: Vec<_> = by.into_iter().map(entry).collect();
        prop_assert_eq!(encode(&semaphore, &admin, &History::default()), json_of_types(&semaphore, &admin));
    }

    #[test]
    fn any_bytes_decode_to_a_semaphore_or_an_error(semaphore: Vec<u8>, lock_times: Option<Vec<u8>>) {
        let lock_times = lock_times.into();
        let _ = decode(&Value { semaphore, lock_times });
    }

    #[test]
    fn a_decoded_mutated_value_is_encoded_and_decoded_to_the_same(
        semaphore in mutated(VALUES),
        lock_times in mutated(VALUES),
    ) {
        fuzzing::codec(format!("{semaphore}\n\n{lock_times}").as_bytes());
    }

    #[test]
    fn any_semaphore_is_decoded_as_it_was_encoded(semaphore in any_semaphore()) {
        let value = encode(&semaphore, &[], &History::default());
        prop_assert_eq!(value.semaphore.iter().find(|byte| byte.is_ascii_control()), None);
        prop_assert_eq!(decode(&value).unwrap().semaphore, semaphore);
    }
}

proptest! {
    // Each case encodes some thousand holders.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_documents_of_several_chunks_follow_each_change(
        holders in prop::collection::btree_map(0_u16..600, prop::option::of(any::<u32>()), 0..=400),
        changes in prop::collection::vec(
            prop::collection::vec((0_u16..600, prop::option::of(prop::option::of(any::<u32>()))), 1..6),
            1..10,
        ),
    ) {
        let id = |number| Arc::from(format!("<{number}>"));
        let since = |second: u32| Timestamp::from_second(second.into()).unwrap();
        let holders = holders.into_iter().map(|(number, second)| (id(number), second.map(since).into()));
        let mut semaphore = Semaphore { holders: holders.collect(), ..Semaphore::new(1) };
        let first = (semaphore.clone(), encode(&semaphore, &[], &History::default()));
        prop_assert_eq!(&first.1, &json_of_types(&semaphore, &[]));
        for changes in changes {
            for (number, change) in changes {
                match change {
                    Some(second) => semaphore.holders.insert(id(number), second.map(since).into()),
                    None => {
                        semaphore.holders.remove(&id(number));
                    }
                }
            }
            let value = encode(&semaphore, &[], &History::default());
            prop_assert_eq!(&value, &json_of_types(&semaphore, &[]));
            prop_assert_eq!(&decode(&value).unwrap().semaphore, &semaphore);
        }
        prop_assert_eq!(encode(&first.0, &[], &History::default()), first.1);
    }
}

/// Returns a semaphore with one holder of which everything is known, and a history.
fn detailed() -> (Semaphore, History) {
    let client = Client {
        peer: Some([192, 0, 2, 1].into()),
        name: Some("db-1".into()),
    };
    let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
    let mut semaphore = Semaphore::new(2);
    for id in ["a", "b"] {
        semaphore.apply(
            &Command::Lock {
                id: id.parse().unwrap(),
                at: at(0),
                client: client.clone(),
                terms: Terms::default(),
            },
            &Conditions::default(),
        );
    }
    let released = semaphore.release(&"b".into(), at(4)).unwrap();
    (semaphore, History::default().append(&[released]))
}

#[test]
fn golden_addresses_names_and_completed_holds_are_stored_beside_the_lock_times() {
    let (semaphore, history) = detailed();
    let value = encode(&semaphore, &[], &history);
    assert_eq!(
        text(&value).1,
        concat!(
            r#"{"holders":{"a":{"since":"1970-01-01T00:00:00Z","peer":"192.0.2.1","name":"db-1"}},"#,
            r#""history":[{"id":"b","name":"db-1","peer":"192.0.2.1","from":"1970-01-01T00:00:00Z","#,
            r#""until":"1970-01-01T00:04:00Z"}]}"#
        )
    );
    let decoded = decode(&value).unwrap();
    assert_eq!((decoded.semaphore, decoded.history), (semaphore, history));
}

#[test]
fn history_and_audit_log_outlive_a_write_by_another_program_and_the_history_has_a_gap() {
    let (semaphore, history) = detailed();
    let entry = AuditEntry {
        at: Timestamp::UNIX_EPOCH,
        by: "root@ops".into(),
        action: crate::lock::audit::Action::Pause,
    };
    let mut value = encode(&semaphore, std::slice::from_ref(&entry), &history);
    if let LockTimes::Current(bytes) = value.lock_times {
        value.lock_times = LockTimes::Outdated(bytes);
    }
    let decoded = decode(&value).unwrap();
    assert_eq!(decoded.semaphore.holders["a"], Hold::default());
    assert_eq!(*decoded.audit_log, [entry]);
    assert_eq!(decoded.history, history.with_gap());
    // The gap is kept until the next hold.
    let written = encode(&decoded.semaphore, &[], &decoded.history);
    assert!(text(&written).1.ends_with(r#","gap":true}"#));
    assert_eq!(decode(&written).unwrap().history, decoded.history);
}

#[test]
fn addresses_and_names_are_not_stored_where_many_holders_fill_a_request() {
    let client = Client {
        peer: Some([192, 0, 2, 1].into()),
        name: None,
    };
    for (slots, expected) in [(1000, client.clone()), (1001, Client::default())] {
        let mut semaphore = Semaphore::new(slots);
        semaphore.apply(
            &Command::Lock {
                id: "a".parse().unwrap(),
                at: Timestamp::UNIX_EPOCH,
                client: client.clone(),
                terms: Terms::default(),
            },
            &Conditions::default(),
        );
        assert_eq!(semaphore.holders["a"].client, expected);
    }
}
