//! The updates that follow from the messages of a watch.

use std::time::Duration;

use super::super::fake::{FakeEtcd, Message, Reply, Request, bytes, inner, key_value, number};
use super::*;
use crate::lock::codec::Value;

const A: &str = "com.coreos.airlock/groups/a/v1/semaphore";
const A_TIMES: &str = "com.coreos.airlock/groups/a/v1/lock-times";
const A_CONTENTION: &str = "com.coreos.airlock/groups/a/v1/contention";
const B: &str = "com.coreos.airlock/groups/b/v1/semaphore";
const B_TIMES: &str = "com.coreos.airlock/groups/b/v1/lock-times";
const OTHER: &str = "com.coreos.airlock/groups/other/v1/semaphore";

/// Encodes the event of a put.
fn put(key: &str, revision: u64, value: &str) -> Message {
    inner(11, &inner(2, &key_value(key, revision, value)))
}

/// Encodes the event of a deletion.
fn delete(key: &str, revision: u64) -> Message {
    inner(
        11,
        &number(1, 1).and(inner(2, &key_value(key, revision, ""))),
    )
}

/// Encodes one pair in a response to a Range request.
fn pair(key: &str, revision: u64, value: &str) -> Message {
    inner(2, &key_value(key, revision, value))
}

fn present_at(revision: i64, semaphore: &str, lock_times: Option<&str>, as_of: i64) -> Stored {
    Stored {
        revision: Revision(revision),
        value: Some(Value {
            semaphore: semaphore.into(),
            lock_times: lock_times.map(|text| text.as_bytes().to_vec()).into(),
        }),
        as_of: Revision(as_of),
    }
}

/// Returns the change by a program that wrote the semaphore alone.
fn foreign_at(revision: i64, semaphore: &str) -> Stored {
    let lock_times = LockTimes::Unreported;
    let semaphore = semaphore.into();
    let value = Value {
        semaphore,
        lock_times,
    };
    Stored::written(value, Revision(revision))
}

/// Watches the groups a and b with these replies. Returns the updates, the error and the requests.
async fn watched(replies: Vec<Reply>) -> (Vec<(String, Update)>, StoreError, Vec<Request>) {
    let etcd = FakeEtcd::start(replies).await;
    let groups = ["a", "b"].map(|name| GroupName::new(name).unwrap());
    let announcer = Announcer::new(Duration::from_secs(24));
    let mut updates = Vec::new();
    let mut report = |group: &GroupName, update| updates.push((group.as_str().to_owned(), update));
    let Err(error) = watch(&etcd.cluster(), &announcer, &groups, &mut report).await;
    (updates, error, etcd.requests())
}

/// Returns the updates that follow from the messages of a watch after empty groups were read as of revision 10.
async fn updates_of(messages: Vec<Message>) -> (Vec<(String, Update)>, StoreError) {
    let empty = Reply::Messages(vec![(10, Message::default())]);
    let messages = messages.into_iter().map(|message| (20, message)).collect();
    let (mut updates, error, _) = watched(vec![empty, Reply::Messages(messages)]).await;
    let changes = updates.split_off(2);
    let absent = Update::Current(Stored::absent(Revision(10)));
    assert_eq!(
        updates,
        [("a".into(), absent.clone()), ("b".into(), absent)]
    );
    (changes, error)
}

#[tokio::test]
async fn all_pages_are_read_as_of_one_revision_and_the_watch_begins_after_it() {
    let first = pair(A_TIMES, 8, "times")
        .and(pair(A, 8, "a"))
        .and(number(3, 1));
    let second = pair(B, 7, "b");
    let (updates, error, requests) = watched(vec![
        Reply::Messages(vec![(10, first)]),
        Reply::Messages(vec![(12, second)]),
        Reply::Messages(Vec::new()),
    ])
    .await;
    let a = present_at(8, "a", Some("times"), 10);
    let b = present_at(7, "b", None, 10);
    assert_eq!(
        updates,
        [
            ("a".into(), Update::Current(a)),
            ("b".into(), Update::Current(b))
        ]
    );
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let end = || bytes(2, "com.coreos.airlock/groups0");
    let after_a = format!("{A}\0");
    let prefix = "com.coreos.airlock/groups/%";
    let create = bytes(1, prefix).and(end()).and(number(3, 11));
    for (found, (call, message)) in requests.iter().zip([
        ("Range", bytes(1, prefix).and(end()).and(number(3, 64))),
        (
            "Range",
            bytes(1, after_a)
                .and(end())
                .and(number(3, 64))
                .and(number(4, 10)),
        ),
        ("Watch", inner(1, &create)),
    ]) {
        let call = call.to_owned();
        assert_eq!(found, &Request { call, message });
    }
}

#[tokio::test]
async fn lock_times_belong_to_a_change_only_if_the_same_write_set_them() {
    for (events, group, change) in [
        (
            put(A_TIMES, 11, "times").and(put(A, 11, "a")),
            "a",
            present_at(11, "a", Some("times"), 11),
        ),
        (
            put(A, 11, "a").and(put(A_TIMES, 11, "times")),
            "a",
            present_at(11, "a", Some("times"), 11),
        ),
        (
            put(A_TIMES, 11, "times").and(put(A, 12, "a")),
            "a",
            foreign_at(12, "a"),
        ),
        (
            put(A_TIMES, 11, "times").and(put(B, 11, "b")),
            "b",
            foreign_at(11, "b"),
        ),
        (
            put(A_TIMES, 11, "old")
                .and(put(B_TIMES, 12, "other"))
                .and(put(A_TIMES, 12, "new"))
                .and(put(A, 12, "a")),
            "a",
            present_at(12, "a", Some("new"), 12),
        ),
        (delete(A, 13), "a", Stored::absent(Revision(13))),
    ] {
        let (changes, _) = updates_of(vec![events]).await;
        assert_eq!(changes, [(group.into(), Update::Change(change))]);
    }
}

#[tokio::test]
async fn events_are_reported_in_order_except_those_of_other_keys_and_of_this_server() {
    let announced = r#"{"server":"another","round_trip_ms":20}"#;
    let (changes, _) = updates_of(vec![
        number(3, 1),
        put(OTHER, 11, "other")
            .and(put(A, 12, "first"))
            .and(put(B, 13, "b")),
        put(A_CONTENTION, 14, announced).and(put(A_CONTENTION, 15, "damaged")),
        put(A, 16, "second"),
    ])
    .await;
    let change = |revision, value| Update::Change(foreign_at(revision, value));
    let round_trip = Duration::from_millis(20);
    assert_eq!(
        changes,
        [
            ("a".into(), change(12, "first")),
            ("b".into(), change(13, "b")),
            ("a".into(), Update::Contention { round_trip }),
            ("a".into(), change(16, "second")),
        ]
    );
}

#[tokio::test]
async fn a_canceled_watch_is_rejected_only_if_etcd_denies_permission() {
    let canceled = |reason| number(4, 1).and(bytes(6, reason));
    let (_, error) = updates_of(vec![canceled("rpc error: permission denied")]).await;
    assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
    let (_, error) = updates_of(vec![canceled("etcdserver: no leader")]).await;
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}
