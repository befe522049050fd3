//! The requests, and what the responses mean.

use super::super::fake::{
    FakeEtcd, Message, Reply, Request, alternative, bytes, inner, key_value, number,
};
use super::*;
use crate::store::MAX_MEMBERS;

const SEMAPHORE: &str = "com.coreos.airlock/groups/g/v1/semaphore";
const LOCK_TIMES: &str = "com.coreos.airlock/groups/g/v1/lock-times";

fn name(group: &str) -> GroupName {
    GroupName::new(group).unwrap()
}

fn group() -> GroupName {
    name("g")
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

/// Encodes the comparisons of an absent and of a present member.
fn members_are(semaphore: &str) -> Message {
    revision_is(&keys::semaphore(&name("none")), 0)
        .and(revision_is(&keys::semaphore(&name("m")), 5))
        .and(value_is(&keys::semaphore(&name("m")), semaphore))
}

/// Encodes the requests for both keys of the group and of these two members.
fn get_all_three() -> Message {
    ["g", "none", "m"]
        .map(name)
        .iter()
        .fold(nothing(), |gets, group| {
            gets.and(get(3, &keys::semaphore(group)))
                .and(get(3, &keys::lock_times(group)))
        })
}

#[tokio::test]
async fn the_semaphores_of_members_are_compared_and_all_keys_are_read_otherwise() {
    let groups = ["none", "m"].map(name);
    let unreported = Value {
        lock_times: LockTimes::Unreported,
        ..value("held", None)
    };
    let known = [Stored::absent(Revision(8)), stored(5, unreported, 8)];
    let also = [0, 1].map(|index| Member {
        group: &groups[index],
        stored: &known[index],
    });
    let expected = stored(7, value("old", Some("old times")), 8);
    let own = revision_is(SEMAPHORE, 7).and(value_is(SEMAPHORE, "old"));
    let new = value("new", None);
    for (new, message, committed) in [
        (
            Some(&new),
            own.clone()
                .and(value_is(LOCK_TIMES, "old times"))
                .and(members_are("held"))
                .and(put(2, SEMAPHORE, bytes(2, "new"))),
            Revision(9),
        ),
        (None, own.and(members_are("held")), Revision(7)),
    ] {
        let found = |pair| inner(3, &inner(1, &pair));
        let current = found(pair(SEMAPHORE, 7, "old"))
            .and(found(nothing()))
            .and(found(pair("any", 8, "created")))
            .and(found(pair("any", 8, "times")))
            .and(found(nothing()))
            .and(found(nothing()));
        let succeeded = Reply::Messages(vec![(9, number(2, 1))]);
        let etcd = FakeEtcd::start([succeeded, Reply::Messages(vec![(9, current)])]).await;
        let cluster = etcd.cluster();
        let outcome = commit(&cluster, &group(), &expected, new, &also).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::Committed(committed));
        let outcome = commit(&cluster, &group(), &expected, new, &also).await;
        let conflict = Conflict {
            current: stored(7, value("old", None), 9),
            members: vec![
                stored(8, value("created", Some("times")), 9),
                Stored::absent(Revision(9)),
            ],
        };
        assert_eq!(outcome.unwrap(), CommitOutcome::Conflict(conflict));
        let request = transaction(message.and(get_all_three()));
        assert_eq!(etcd.requests(), [request.clone(), request]);
    }
}

#[tokio::test]
async fn the_maximum_number_of_members_is_the_largest_that_etcd_allows() {
    const MAX_TXN_OPS: usize = 128;
    for (members, is_allowed) in [(MAX_MEMBERS, true), (MAX_MEMBERS + 1, false)] {
        let groups: Vec<_> = (0..members).map(|index| name(&index.to_string())).collect();
        let held = stored(7, value("held", Some("times")), 8);
        let also: Vec<_> = groups
            .iter()
            .map(|group| Member {
                group,
                stored: &held,
            })
            .collect();
        let (own, new) = (
            stored(7, value("old", Some("old times")), 8),
            value("new", Some("new times")),
        );
        let succeeded = Reply::Messages(vec![(9, number(2, 1))]);
        let etcd = FakeEtcd::start([succeeded]).await;
        let outcome = commit(&etcd.cluster(), &group(), &own, Some(&new), &also).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::Committed(Revision(9)));
        // The comparisons, the writes, and the reads otherwise; etcd limits each of them.
        let lists = [1, 2, 3].map(|list| etcd.requests()[0].message.count(list));
        assert_eq!(lists, [3 + 2 * members, 2, 2 + 2 * members]);
        let fits = lists.iter().all(|operations| *operations <= MAX_TXN_OPS);
        assert_eq!(fits, is_allowed, "{lists:?}");
    }
}

#[tokio::test]
async fn without_space_all_groups_are_confirmed_as_of_one_revision() {
    let no_space = || Reply::Status("etcdserver: mvcc: database space exceeded");
    let member = name("m");
    let (own_key, member_key) = (SEMAPHORE, keys::semaphore(&member));
    let (own, known) = (
        stored(7, value("old", None), 7),
        stored(5, value("held", None), 5),
    );
    let also = [Member {
        group: &member,
        stored: &known,
    }];
    for semaphore in ["held", "restored"] {
        let etcd = FakeEtcd::start([
            no_space(),
            found(9, pair(own_key, 7, "old")),
            found(9, nothing()),
            found(11, pair(&member_key, 5, semaphore)),
            found(11, nothing()),
        ]);
        let etcd = etcd.await;
        let outcome = commit(&etcd.cluster(), &group(), &own, None, &also).await;
        let current = CommitOutcome::Conflict(Conflict {
            current: stored(7, value("old", None), 9),
            members: vec![stored(5, value(semaphore, None), 9)],
        });
        let expected = match semaphore {
            "held" => CommitOutcome::Committed(Revision(7)),
            _ => current,
        };
        assert_eq!(outcome.unwrap(), expected);
        let at_that_time = |key: &str| range(bytes(1, key).and(number(4, 9)));
        assert_eq!(
            etcd.requests()[1..],
            [
                range(bytes(1, own_key)),
                at_that_time(LOCK_TIMES),
                at_that_time(&member_key),
                at_that_time(&keys::lock_times(&member)),
            ]
        );
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
