//! The clauses of the contract.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Revision, Stored, Value};
use airlock::store::presence::{Liveness, Published};
use airlock::store::{CommitOutcome, Conflict, Store, Update};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backend::{Backend, etcd_store};
use super::{NONE, group, members, value, write};
use airlock_test_support::MAX_WAIT;
use airlock_test_support::etcd::Etcd;

/// Checks all clauses. Each clause uses its own group.
pub(crate) fn fulfils_the_contract(backend: &dyn Backend) {
    Runtime::new().unwrap().block_on(async {
        a_written_value_is_read(backend).await;
        groups_are_independent(backend).await;
        a_conflict_returns_the_current_value_and_writes_nothing(backend).await;
        invariant_11_the_bytes_are_compared_as_well_as_the_revision(backend).await;
        a_confirmation_writes_nothing(backend).await;
        a_check_for_writes_writes_nothing(backend).await;
        a_recreated_value_has_a_new_revision(backend).await;
        lock_times_do_not_outlive_a_write_by_another_program(backend).await;
        any_text_is_stored_unchanged(backend).await;
        concurrent_increments_lose_no_update(backend).await;
        members::are_compared(backend).await;
        a_watch_reports_the_current_values_and_the_last_change(backend).await;
        documents_of_servers_are_shown_to_all_until_they_are_withdrawn(backend).await;
        the_groups_with_a_value_are_listed(backend).await;
    });
}

async fn a_written_value_is_read(backend: &dyn Backend) {
    let (store, other, group) = (backend.store(), backend.store(), group("read"));
    let absent = store.read(&group).await.unwrap();
    assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
    let mut known = NONE;
    for text in ["one", "two"] {
        let new = write(&*store, &group, &known, &value(text)).await;
        assert!(new.revision > known.revision);
        known = new;
        for store in [&store, &other] {
            let stored = store.read(&group).await.unwrap();
            assert!(stored.is_still(&known), "{stored:?}");
            assert!(stored.as_of >= known.revision);
        }
    }
}

async fn groups_are_independent(backend: &dyn Backend) {
    let store = backend.store();
    // One name is a prefix of another, and the third needs escaping.
    let groups = ["a", "a/v1", "a b"].map(group);
    for group in &groups {
        write(&*store, group, &NONE, &value(group.as_str())).await;
    }
    for group in &groups {
        let stored = store.read(group).await.unwrap();
        assert_eq!(stored.value, Some(value(group.as_str())));
    }
}

async fn a_conflict_returns_the_current_value_and_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("lost"));
    let stale = write(&*store, &group, &NONE, &value("one")).await;
    write(&*backend.store(), &group, &stale, &value("two")).await;
    let current = store.read(&group).await.unwrap();
    let later = Stored::written(value("two"), Revision(i64::MAX));
    for expected in [NONE, stale, later] {
        for new in [None, Some(&value("three"))] {
            conflicts(&*store, &group, &expected, new, &current).await;
        }
    }
}

/// A store that was restored from a backup uses the revisions after the backup again.
async fn invariant_11_the_bytes_are_compared_as_well_as_the_revision(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("bytes"));
    let current = write(&*store, &group, &NONE, &value("one")).await;
    let other_semaphore = Value {
        semaphore: b"two".into(),
        ..value("one")
    };
    let other = Stored::written(other_semaphore, current.revision);
    for new in [None, Some(&value("three"))] {
        conflicts(&*store, &group, &other, new, &current).await;
    }
    let other_times = Value {
        lock_times: LockTimes::Current(b"two".into()),
        ..value("one")
    };
    let other = Stored::written(other_times, current.revision);
    conflicts(&*store, &group, &other, Some(&value("three")), &current).await;
}

/// Checks that a commit is a conflict, which returns `current` and writes nothing.
async fn conflicts(
    store: &dyn Store,
    group: &GroupName,
    expected: &Stored,
    new: Option<&Value>,
    current: &Stored,
) {
    let lost = store.commit(group, expected, new, &[]).await.unwrap();
    let CommitOutcome::Conflict(Conflict { current: found, .. }) = lost else {
        panic!("{expected:?} {new:?}: {lost:?}");
    };
    assert!(found.is_still(current), "{found:?}");
    let after = store.read(group).await.unwrap();
    assert!(after.is_still(current), "{after:?}");
}

async fn a_check_for_writes_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("checked"));
    let unused = store.read(&group).await.unwrap();
    store.check_writable(&group).await.unwrap();
    assert_eq!(store.read(&group).await.unwrap(), unused);
    write(&*store, &group, &NONE, &value("one")).await;
    let before = store.read(&group).await.unwrap();
    store.check_writable(&group).await.unwrap();
    assert_eq!(store.read(&group).await.unwrap(), before);
}

async fn a_confirmation_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("confirmed"));
    let confirmed = store.commit(&group, &NONE, None, &[]).await.unwrap();
    assert_eq!(confirmed, CommitOutcome::Committed(Revision::ABSENT));
    assert_eq!(store.read(&group).await.unwrap().value, None);
    write(&*store, &group, &NONE, &value("one")).await;
    let before = store.read(&group).await.unwrap();
    let confirmed = store.commit(&group, &before, None, &[]).await.unwrap();
    assert_eq!(confirmed, CommitOutcome::Committed(before.revision));
    // The revision of the store does not change either.
    assert_eq!(store.read(&group).await.unwrap(), before);
}

async fn a_recreated_value_has_a_new_revision(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("again"));
    let mut revisions = BTreeSet::new();
    for _ in 0..3 {
        let known = write(&*store, &group, &NONE, &value("one")).await;
        let revision = known.revision;
        assert!(revisions.insert(revision), "{revision:?} in {revisions:?}");
        backend.overwrite(&group, None);
        let absent = store.read(&group).await.unwrap();
        assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
        let lost = store.commit(&group, &known, None, &[]).await.unwrap();
        assert!(matches!(lost, CommitOutcome::Conflict(_)), "{lost:?}");
    }
}

async fn lock_times_do_not_outlive_a_write_by_another_program(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("times"));
    write(&*store, &group, &NONE, &value("one")).await;
    backend.overwrite(&group, Some("two"));
    let stored = store.read(&group).await.unwrap();
    let others = stored.value.clone().unwrap();
    assert_eq!(others.semaphore, b"two");
    assert_eq!(others.lock_times.current(), None);
    if let LockTimes::Outdated(bytes) = &others.lock_times {
        assert_eq!(Some(bytes.as_slice()), value("one").lock_times.current());
    }
    let lost = store.commit(&group, &NONE, None, &[]).await.unwrap();
    let CommitOutcome::Conflict(Conflict { current, .. }) = lost else {
        panic!("{lost:?}");
    };
    assert_eq!(current.value, Some(others));
    write(&*store, &group, &stored, &value("three")).await;
    assert_eq!(
        store.read(&group).await.unwrap().value,
        Some(value("three"))
    );
}

async fn any_text_is_stored_unchanged(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("text"));
    let mut known = NONE;
    let long = "x".repeat(600_000);
    for text in ["", " \"'\\\n\t\u{1}é\u{2028}😀 ", &long] {
        known = write(&*store, &group, &known, &value(text)).await;
        assert_eq!(store.read(&group).await.unwrap().value, Some(value(text)));
    }
}

/// Several servers together count to 200, each from the value that it knows.
async fn concurrent_increments_lose_no_update(backend: &dyn Backend) {
    const SERVERS: usize = 8;
    const EACH: usize = 25;
    let servers: Vec<_> = (0..SERVERS)
        .map(|_| {
            let store = backend.store();
            tokio::spawn(async move {
                let group = group("race");
                let mut known = store.read(&group).await.unwrap();
                let mut counted = Vec::new();
                while counted.len() < EACH {
                    let count = known.value.as_ref().map_or(0, |value| {
                        std::str::from_utf8(&value.semaphore)
                            .unwrap()
                            .parse()
                            .unwrap()
                    });
                    let next = value(&(count + 1_usize).to_string());
                    let commit = store.commit(&group, &known, Some(&next), &[]);
                    known = match commit.await.unwrap() {
                        CommitOutcome::Committed(revision) => {
                            counted.push(count + 1);
                            Stored::written(next, revision)
                        }
                        CommitOutcome::Conflict(conflict) => conflict.current,
                    };
                }
                counted
            })
        })
        .collect();
    let mut counted = Vec::new();
    for server in servers {
        counted.extend(server.await.unwrap());
    }
    counted.sort_unstable();
    // Exactly one server wrote each number.
    assert_eq!(counted, (1..=SERVERS * EACH).collect::<Vec<_>>());
    let stored = backend.store().read(&group("race")).await.unwrap();
    let last = value(&(SERVERS * EACH).to_string());
    assert_eq!(stored.value, Some(last));
}

async fn a_watch_reports_the_current_values_and_the_last_change(backend: &dyn Backend) {
    let (store, groups) = (backend.store(), [group("followed"), group("later")]);
    let first = write(&*store, &groups[0], &NONE, &value("first")).await;

    let (sender, mut seen) = mpsc::unbounded_channel();
    let following = {
        let (store, groups) = (backend.store(), groups.clone());
        tokio::spawn(async move {
            store
                .watch(&groups, &mut |group, update| {
                    // The receiver is dropped at the end of the test.
                    let _ = sender.send((group.clone(), update));
                })
                .await
        })
    };
    let mut until = async |group: &GroupName, revision: Revision| -> Stored {
        let search = async {
            loop {
                let (found, update) = seen.recv().await.unwrap();
                let (Update::Current(stored) | Update::Change(stored)) = update else {
                    panic!("no server has announced contention: {update:?}");
                };
                if found == *group && stored.revision == revision {
                    return stored;
                }
            }
        };
        timeout(MAX_WAIT, search)
            .await
            .unwrap_or_else(|_| panic!("{revision:?} of {group} was not reported"))
    };
    assert_eq!(
        until(&groups[0], first.revision).await.value,
        Some(value("first"))
    );
    until(&groups[1], Revision::ABSENT).await;

    // A write by Airlock with lock times, a write by another program, and a deletion.
    let second = write(&*store, &groups[0], &first, &value("second")).await;
    assert_eq!(until(&groups[0], second.revision).await.value, second.value);
    let created = write(&*store, &groups[1], &NONE, &value("created")).await;
    assert_eq!(
        until(&groups[1], created.revision).await.value,
        created.value
    );
    backend.overwrite(&groups[0], Some("by another"));
    let third = store.read(&groups[0]).await.unwrap();
    // A watch may not know what is stored beside it, and says so.
    let reported = until(&groups[0], third.revision).await.value.unwrap();
    assert_eq!(reported.semaphore, b"by another");
    let found = third.value.unwrap().lock_times;
    assert!(
        [found, LockTimes::Unreported].contains(&reported.lock_times),
        "{reported:?}"
    );
    backend.overwrite(&groups[0], None);
    assert_eq!(until(&groups[0], Revision::ABSENT).await.value, None);

    following.abort();
}

async fn documents_of_servers_are_shown_to_all_until_they_are_withdrawn(backend: &dyn Backend) {
    let [first, second] = [(), ()].map(|()| backend.store());
    let group = group("beside servers");
    let before = write(&*first, &group, &NONE, &value("one")).await;
    // The names need escaping.
    let names = ["host a:3333", "höst/b:3333"];
    let documents = [r#"{"host":"a"}"#, r#"{"host":"b"}"#];
    first.publish(names[0], documents[0]).await.unwrap();
    second.publish(names[1], documents[1]).await.unwrap();
    let published = |server: &str, document: &str| Published {
        server: server.into(),
        document: document.into(),
        liveness: Liveness::Alive,
    };
    let both = [
        published(names[0], documents[0]),
        published(names[1], documents[1]),
    ];
    for store in [&first, &second] {
        assert_eq!(store.published().await.unwrap(), both);
    }
    // Again, and with another document.
    first.publish(names[0], documents[0]).await.unwrap();
    first.publish(names[0], "changed").await.unwrap();
    let found = second.published().await.unwrap();
    assert_eq!(found[0], published(names[0], "changed"));
    first.withdraw(names[0]).await.unwrap();
    assert_eq!(second.published().await.unwrap(), both[1..]);
    first.publish(names[0], "changed").await.unwrap();
    assert_eq!(second.published().await.unwrap().len(), 2);
    // No lock is affected.
    let after = first.read(&group).await.unwrap();
    assert!(after.is_still(&before), "{after:?}");
    first.withdraw(names[0]).await.unwrap();
    second.withdraw(names[1]).await.unwrap();
}

async fn the_groups_with_a_value_are_listed(backend: &dyn Backend) {
    let store = backend.store();
    let listed = group("listed + escaped");
    let before = store.groups().await.unwrap();
    assert!(!before.contains(&listed), "{before:?}");
    write(&*store, &listed, &NONE, &value("one")).await;
    let after = store.groups().await.unwrap();
    assert!(after.contains(&listed), "{after:?}");
    assert_eq!(after.len(), before.len() + 1);
}

/// Every server reports the announcements of other servers, bounded, and neither its own nor anything else that the key
/// contains.
pub(super) async fn announcements_reach_other_servers(etcd: &Etcd) {
    const KEY: &str = "com.coreos.airlock/groups/g/v1/contention";
    let timeout_of_calls = Duration::from_secs(3);
    let [own, other] = [(), ()].map(|()| Arc::new(etcd_store(etcd.endpoints(), timeout_of_calls)));
    let group = group("g");
    // What is there at the start is not new.
    etcd.put(KEY, r#"{"server":"before","round_trip_ms":7}"#);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let following = {
        let (own, groups) = (Arc::clone(&own), [group.clone()]);
        tokio::spawn(async move {
            own.watch(&groups, &mut |_, update| drop(sender.send(update)))
                .await
        })
    };
    let mut next = async || timeout(MAX_WAIT, seen.recv()).await.unwrap().unwrap();
    assert!(matches!(next().await, Update::Current(_)));
    own.announce_contention(&group, Duration::from_millis(20))
        .await;
    for ignored in ["", "7", r#"{"server":"another"}"#] {
        etcd.put(KEY, ignored);
    }
    etcd.ctl(&["del", KEY]);
    other
        .announce_contention(&group, Duration::from_millis(40))
        .await;
    let contention = |ms| Update::Contention {
        round_trip: Duration::from_millis(ms),
    };
    assert_eq!(next().await, contention(40));
    // A twenty-fourth of the time for one call.
    etcd.put(KEY, r#"{"server":"another","round_trip_ms":60000}"#);
    assert_eq!(next().await, contention(125));
    let written = write(&*own, &group, &NONE, &value("one")).await;
    let Update::Change(change) = next().await else {
        panic!("the change was not reported");
    };
    assert_eq!(change.revision, written.revision);
    following.abort();
}
