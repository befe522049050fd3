//! The requests, and what the responses mean.

use super::super::fake::{
    FakeEtcd, Message, Reply, Request, alternative, bytes, inner, key_value, number,
};
use super::*;

const SEMAPHORE: &str = "com.coreos.airlock/groups/g/v1/semaphore";
const LOCK_TIMES: &str = "com.coreos.airlock/groups/g/v1/lock-times";

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

fn value(semaphore: &str, lock_times: Option<&str>) -> Value {
    Value {
        semaphore: semaphore.into(),
        lock_times: lock_times.map(|text| text.as_bytes().to_vec()).into(),
    }
}

fn stored(revision: u64, value: Value, as_of: u64) -> Stored {
    Stored {
        revision: Revision(revision.cast_signed()),
        value: Some(value),
        as_of: Revision(as_of.cast_signed()),
    }
}

fn without_members(current: Stored) -> CommitOutcome {
    CommitOutcome::Conflict(Conflict {
        current,
        members: Vec::new(),
    })
}

/// Encodes the comparison of a key's revision.
fn revision_is(key: &str, revision: i64) -> Message {
    let target = number(2, 2).and(bytes(3, key));
    inner(1, &target.and(alternative(6, revision.cast_unsigned())))
}

/// Encodes the comparison of a key's value.
fn value_is(key: &str, value: &str) -> Message {
    inner(1, &number(2, 3).and(bytes(3, key)).and(bytes(7, value)))
}

/// Encodes a put in the list `field` of a transaction.
fn put(field: u64, key: &str, value: Message) -> Message {
    inner(field, &inner(2, &bytes(1, key).and(value)))
}

/// Encodes a get in the list `field` of a transaction.
fn get(field: u64, key: &str) -> Message {
    inner(field, &inner(1, &bytes(1, key)))
}

fn transaction(message: Message) -> Request {
    let call = "Txn".into();
    Request { call, message }
}

fn range(message: Message) -> Request {
    let call = "Range".into();
    Request { call, message }
}

/// Replies to a transaction whose comparison failed, with the found key-value pairs.
fn not_equal(revision: u64, semaphore: Message, lock_times: Message) -> Reply {
    let found = |pair| inner(3, &inner(1, &pair));
    let message = found(semaphore).and(found(lock_times));
    Reply::Messages(vec![(revision, message)])
}

/// Encodes the only pair of a response to a Range request.
fn pair(key: &str, mod_revision: u64, value: &str) -> Message {
    inner(2, &key_value(key, mod_revision, value))
}

fn nothing() -> Message {
    Message::default()
}

/// Replies to a Range request.
fn found(revision: u64, pairs: Message) -> Reply {
    Reply::Messages(vec![(revision, pairs)])
}

#[tokio::test]
async fn a_write_compares_revision_and_bytes_and_reads_both_keys_otherwise() {
    let gets = get(3, SEMAPHORE).and(get(3, LOCK_TIMES));
    let put = |key, value| put(2, key, bytes(2, value));
    for (expected, new, message) in [
        (
            stored(7, value("old", Some("old times")), 8),
            value("new", Some("new times")),
            revision_is(SEMAPHORE, 7)
                .and(value_is(SEMAPHORE, "old"))
                .and(value_is(LOCK_TIMES, "old times"))
                .and(put(SEMAPHORE, "new"))
                .and(put(LOCK_TIMES, "new times")),
        ),
        (
            stored(7, value("old", None), 8),
            value("new", None),
            revision_is(SEMAPHORE, 7)
                .and(value_is(SEMAPHORE, "old"))
                .and(put(SEMAPHORE, "new")),
        ),
        // Only a key that does not exist has the revision 0.
        (
            Stored::absent(Revision(8)),
            value("new", None),
            revision_is(SEMAPHORE, 0).and(put(SEMAPHORE, "new")),
        ),
    ] {
        let succeeded = Reply::Messages(vec![(9, number(2, 1))]);
        let etcd = FakeEtcd::start([succeeded]).await;
        let outcome = commit(&etcd.cluster(), &group(), &expected, Some(&new), &[]).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::Committed(Revision(9)));
        let expected = transaction(message.and(gets.clone()));
        assert_eq!(etcd.requests(), [expected]);
    }
}

/// A value with lock times of an earlier write.
fn outdated(semaphore: &str, lock_times: &str) -> Value {
    Value {
        semaphore: semaphore.into(),
        lock_times: LockTimes::Outdated(lock_times.into()),
    }
}

#[tokio::test]
async fn a_conflict_contains_the_value_and_the_lock_times_of_the_same_write() {
    for (semaphore, lock_times, current) in [
        (
            pair(SEMAPHORE, 7, "new"),
            pair(LOCK_TIMES, 7, "times"),
            stored(7, value("new", Some("times")), 9),
        ),
        (
            pair(SEMAPHORE, 7, "new"),
            pair(LOCK_TIMES, 6, "times"),
            stored(7, outdated("new", "times"), 9),
        ),
        (
            pair(SEMAPHORE, 7, "new"),
            nothing(),
            stored(7, value("new", None), 9),
        ),
        (
            nothing(),
            pair(LOCK_TIMES, 7, "times"),
            Stored::absent(Revision(9)),
        ),
    ] {
        let etcd = FakeEtcd::start([not_equal(9, semaphore, lock_times)]).await;
        let (expected, new) = (stored(5, value("old", None), 5), value("mine", None));
        let outcome = commit(&etcd.cluster(), &group(), &expected, Some(&new), &[]).await;
        assert_eq!(outcome.unwrap(), without_members(current));
    }
}

#[tokio::test]
async fn the_outcome_of_a_transaction_with_a_malformed_response_is_unknown() {
    let etcd = FakeEtcd::start([found(9, nothing())]).await;
    let (expected, new) = (stored(5, value("old", None), 5), value("mine", None));
    let outcome = commit(&etcd.cluster(), &group(), &expected, Some(&new), &[]).await;
    assert!(
        matches!(outcome, Err(StoreError::Unknown(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_value_is_confirmed_only_if_revision_and_bytes_are_those_expected() {
    let old = || stored(7, value("old", None), 7);
    for (expected, current, is_confirmed) in [
        (old(), Some((7, "old")), true),
        (old(), Some((8, "old")), false),
        (old(), Some((7, "restored")), false),
        (old(), None, false),
        (Stored::absent(Revision(7)), None, true),
        (Stored::absent(Revision(7)), Some((8, "old")), false),
    ] {
        let pairs = current.map_or_else(nothing, |(revision, value)| {
            pair(SEMAPHORE, revision, value)
        });
        let etcd = FakeEtcd::start([found(9, pairs), found(9, nothing())]).await;
        let outcome = commit(&etcd.cluster(), &group(), &expected, None, &[]).await;
        let conflict = match current {
            Some((revision, found)) => stored(revision, value(found, None), 9),
            None => Stored::absent(Revision(9)),
        };
        let outcome_of = match is_confirmed {
            true => CommitOutcome::Committed(expected.revision),
            false => without_members(conflict),
        };
        assert_eq!(outcome.unwrap(), outcome_of, "{expected:?} {current:?}");
    }
}

#[tokio::test]
async fn the_lock_times_are_read_as_of_the_revision_of_the_semaphore() {
    let replies = [
        found(9, pair(SEMAPHORE, 7, "old")),
        found(11, pair(LOCK_TIMES, 7, "times")),
    ];
    let etcd = FakeEtcd::start(replies).await;
    let found = read(&etcd.cluster(), &group()).await;
    assert_eq!(found.unwrap(), stored(7, value("old", Some("times")), 9));
    assert_eq!(
        etcd.requests(),
        [
            range(bytes(1, SEMAPHORE)),
            range(bytes(1, LOCK_TIMES).and(number(4, 9))),
        ]
    );
}

#[tokio::test]
async fn the_check_asks_for_a_write_that_cannot_happen() {
    let denied = Reply::Status("etcdserver: permission denied");
    let etcd = FakeEtcd::start([found(9, nothing()), denied]).await;
    let cluster = etcd.cluster();
    check_writable(&cluster, &group()).await.unwrap();
    let refused = check_writable(&cluster, &group()).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    let never = revision_is(SEMAPHORE, -1)
        .and(put(2, SEMAPHORE, nothing()))
        .and(put(2, LOCK_TIMES, nothing()));
    let request = transaction(never);
    assert_eq!(etcd.requests(), [request.clone(), request]);
}

#[test]
fn lock_times_are_compared_up_to_the_limit() {
    for (length, compares) in [(MAX_COMPARED_TIMES, 3), (MAX_COMPARED_TIMES + 1, 2)] {
        let times = "t".repeat(length);
        let expected = stored(7, value("old", Some(&times)), 7);
        assert_eq!(compare_both(&group(), &expected).len(), compares);
    }
}
