//! The clauses of the contract.

use std::collections::BTreeSet;

use airlock::lock::GroupName;
use airlock::lock::codec::{Revision, Stored, Value};
use airlock::store::{CommitOutcome, Update};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backend::Backend;
use super::{group, value, write};
use airlock_test_support::MAX_WAIT;

/// Checks all clauses. Each clause uses its own group.
pub(crate) fn fulfils_the_contract(backend: &dyn Backend) {
    Runtime::new().unwrap().block_on(async {
        a_written_value_is_read(backend).await;
        groups_are_independent(backend).await;
        a_conflict_returns_the_current_value_and_writes_nothing(backend).await;
        a_confirmation_writes_nothing(backend).await;
        a_recreated_value_has_a_new_revision(backend).await;
        lock_times_do_not_outlive_a_write_by_another_program(backend).await;
        any_text_is_stored_unchanged(backend).await;
        concurrent_increments_lose_no_update(backend).await;
        a_watch_reports_the_current_values_and_the_last_change(backend).await;
    });
}

async fn a_written_value_is_read(backend: &dyn Backend) {
    let (store, other, group) = (backend.store(), backend.store(), group("read"));
    let absent = store.read(&group).await.unwrap();
    assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
    let mut revision = Revision::ABSENT;
    for text in ["one", "two"] {
        let new = write(&*store, &group, revision, &value(text)).await;
        assert!(new > revision);
        revision = new;
        for store in [&store, &other] {
            let stored = store.read(&group).await.unwrap();
            assert_eq!(
                (stored.revision, stored.value),
                (revision, Some(value(text)))
            );
            assert!(stored.as_of >= revision);
        }
    }
}

async fn groups_are_independent(backend: &dyn Backend) {
    let store = backend.store();
    // One name is a prefix of another, and the third needs escaping.
    let groups = ["a", "a/v1", "a b"].map(group);
    for group in &groups {
        write(&*store, group, Revision::ABSENT, &value(group.as_str())).await;
    }
    for group in &groups {
        let stored = store.read(group).await.unwrap();
        assert_eq!(stored.value, Some(value(group.as_str())));
    }
}

async fn a_conflict_returns_the_current_value_and_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("lost"));
    let stale = write(&*store, &group, Revision::ABSENT, &value("one")).await;
    write(&*backend.store(), &group, stale, &value("two")).await;
    let current = store.read(&group).await.unwrap();
    for expected in [Revision::ABSENT, stale, Revision(i64::MAX)] {
        for new in [None, Some(&value("three"))] {
            let lost = store.commit(&group, expected, new).await.unwrap();
            let CommitOutcome::Conflict(Stored {
                revision, value, ..
            }) = lost
            else {
                panic!("{expected:?} {new:?}: {lost:?}");
            };
            assert_eq!((revision, &value), (current.revision, &current.value));
        }
    }
    let after = store.read(&group).await.unwrap();
    assert_eq!(
        (after.revision, after.value),
        (current.revision, current.value)
    );
}

async fn a_confirmation_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("confirmed"));
    let confirmed = store.commit(&group, Revision::ABSENT, None).await.unwrap();
    assert_eq!(confirmed, CommitOutcome::Committed(Revision::ABSENT));
    assert_eq!(store.read(&group).await.unwrap().value, None);
    let revision = write(&*store, &group, Revision::ABSENT, &value("one")).await;
    let before = store.read(&group).await.unwrap();
    let confirmed = store.commit(&group, revision, None).await.unwrap();
    assert_eq!(confirmed, CommitOutcome::Committed(revision));
    // The revision of the store does not change either.
    assert_eq!(store.read(&group).await.unwrap(), before);
}

async fn a_recreated_value_has_a_new_revision(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("again"));
    let mut revisions = BTreeSet::new();
    for _ in 0..3 {
        let revision = write(&*store, &group, Revision::ABSENT, &value("one")).await;
        assert!(revisions.insert(revision), "{revision:?} in {revisions:?}");
        backend.overwrite(&group, None);
        let absent = store.read(&group).await.unwrap();
        assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
        let lost = store.commit(&group, revision, None).await.unwrap();
        assert!(matches!(lost, CommitOutcome::Conflict(_)), "{lost:?}");
    }
}

async fn lock_times_do_not_outlive_a_write_by_another_program(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("times"));
    write(&*store, &group, Revision::ABSENT, &value("one")).await;
    backend.overwrite(&group, Some("two"));
    let stored = store.read(&group).await.unwrap();
    let others = Value {
        semaphore: b"two".into(),
        lock_times: None,
    };
    assert_eq!(stored.value, Some(others.clone()));
    let lost = store.commit(&group, Revision::ABSENT, None).await.unwrap();
    let CommitOutcome::Conflict(current) = lost else {
        panic!("{lost:?}");
    };
    assert_eq!(current.value, Some(others));
    write(&*store, &group, stored.revision, &value("three")).await;
    assert_eq!(
        store.read(&group).await.unwrap().value,
        Some(value("three"))
    );
}

async fn any_text_is_stored_unchanged(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("text"));
    let mut revision = Revision::ABSENT;
    let long = "x".repeat(600_000);
    for text in ["", " \"'\\\n\t\u{1}é\u{2028}😀 ", &long] {
        revision = write(&*store, &group, revision, &value(text)).await;
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
                    let count = known.value.map_or(0, |value| {
                        String::from_utf8(value.semaphore).unwrap().parse().unwrap()
                    });
                    let next = value(&(count + 1_usize).to_string());
                    let commit = store.commit(&group, known.revision, Some(&next));
                    known = match commit.await.unwrap() {
                        CommitOutcome::Committed(revision) => {
                            counted.push(count + 1);
                            Stored {
                                revision,
                                value: Some(next),
                                as_of: revision,
                            }
                        }
                        CommitOutcome::Conflict(current) => current,
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
    let first = write(&*store, &groups[0], Revision::ABSENT, &value("first")).await;

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
                let (Update::Current(stored) | Update::Change(stored)) = update;
                if found == *group && stored.revision == revision {
                    return stored;
                }
            }
        };
        timeout(MAX_WAIT, search)
            .await
            .unwrap_or_else(|_| panic!("{revision:?} of {group} was not reported"))
    };
    assert_eq!(until(&groups[0], first).await.value, Some(value("first")));
    until(&groups[1], Revision::ABSENT).await;

    // A write by Airlock with lock times, a write by another program, and a deletion.
    let second = write(&*store, &groups[0], first, &value("second")).await;
    assert_eq!(until(&groups[0], second).await.value, Some(value("second")));
    let created = write(&*store, &groups[1], Revision::ABSENT, &value("created")).await;
    assert_eq!(
        until(&groups[1], created).await.value,
        Some(value("created"))
    );
    backend.overwrite(&groups[0], Some("by another"));
    let third = store.read(&groups[0]).await.unwrap();
    assert_eq!(until(&groups[0], third.revision).await.value, third.value);
    backend.overwrite(&groups[0], None);
    assert_eq!(until(&groups[0], Revision::ABSENT).await.value, None);

    following.abort();
}
