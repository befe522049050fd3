//! The clauses about commits that compare other groups as well.

use std::slice;

use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Revision, Stored, Value};
use airlock::store::{CommitOutcome, Conflict, MAX_MEMBERS, Member, Store, StoreError};
use tokio::runtime::Runtime;

use super::backend::{Backend, etcd_store};
use super::{NONE, group, value, write};
use airlock_test_support::MAX_WAIT;
use airlock_test_support::etcd::{Etcd, Version};

/// Checks all of these clauses.
pub(super) async fn are_compared(backend: &dyn Backend) {
    a_commit_succeeds_only_if_all_members_are_current(backend).await;
    only_the_semaphore_of_a_member_is_compared(backend).await;
    two_commits_that_compare_the_group_of_the_other_do_not_both_succeed(backend).await;
    the_maximum_number_of_members_is_compared(backend).await;
}

/// Pairs groups with their expected contents.
fn members<'a>(groups: &'a [GroupName], expected: &'a [Stored]) -> Vec<Member<'a>> {
    let pairs = groups.iter().zip(expected);
    pairs
        .map(|(group, stored)| Member { group, stored })
        .collect()
}

async fn read_all(store: &dyn Store, groups: &[GroupName]) -> Vec<Stored> {
    let mut found = Vec::new();
    for group in groups {
        found.push(store.read(group).await.unwrap());
    }
    found
}

/// Checks that `found` are the contents of `current`, in this order.
fn assert_contents(found: &[Stored], current: &[Stored]) {
    let contents = |all: &[Stored]| -> Vec<(Revision, Option<Value>)> {
        let contents = all.iter();
        contents
            .map(|stored| (stored.revision, stored.value.clone()))
            .collect()
    };
    assert_eq!(contents(found), contents(current));
}

/// Checks that a commit is a conflict, which returns the current contents and writes nothing.
async fn conflicts(
    store: &dyn Store,
    (own, expected): (&GroupName, &Stored),
    (groups, also): (&[GroupName], &[Stored]),
) {
    let current = store.read(own).await.unwrap();
    let current_members = read_all(store, groups).await;
    for new in [None, Some(&value("refused"))] {
        let also = members(groups, also);
        let outcome = store.commit(own, expected, new, &also).await.unwrap();
        let CommitOutcome::Conflict(Conflict {
            current: of,
            members,
        }) = outcome
        else {
            panic!("{expected:?} {also:?} {new:?}: {outcome:?}");
        };
        assert_contents(&[of], slice::from_ref(&current));
        assert_contents(&members, &current_members);
    }
    assert_contents(&[store.read(own).await.unwrap()], &[current]);
    assert_contents(&read_all(store, groups).await, &current_members);
}

async fn a_commit_succeeds_only_if_all_members_are_current(backend: &dyn Backend) {
    let (store, own) = (backend.store(), group("with members"));
    let groups = ["changed", "deleted", "created", "rewritten", "other-bytes"]
        .map(|name| group(&format!("member-{name}")));
    let [changed, deleted, created, rewritten, other_bytes] = &groups;
    // What a server knows, and then what happens.
    let mut outdated = Vec::new();
    for group in [changed, deleted] {
        outdated.push(write(&*store, group, &NONE, &value("one")).await);
    }
    write(&*store, changed, &outdated[0], &value("two")).await;
    backend.overwrite(deleted, None);
    outdated.push(store.read(created).await.unwrap());
    write(&*store, created, &NONE, &value("one")).await;
    backend.overwrite(rewritten, Some("the same"));
    outdated.push(store.read(rewritten).await.unwrap());
    backend.overwrite(rewritten, Some("the same"));
    // A store that was restored from a backup uses revisions again (invariant 11).
    let restored = write(&*store, other_bytes, &NONE, &value("one")).await;
    outdated.push(Stored::written(value("lost"), restored.revision));

    let current = read_all(&*store, &groups).await;
    for existing in [false, true] {
        let known = store.read(&own).await.unwrap();
        assert_eq!(known.value.is_some(), existing);
        for index in 0..groups.len() {
            let mut expected = current.clone();
            expected[index] = outdated[index].clone();
            conflicts(&*store, (&own, &known), (&groups, &expected)).await;
        }
        let of_another = Stored::written(value("another"), Revision(i64::MAX));
        conflicts(&*store, (&own, &of_another), (&groups, &current)).await;

        let also = members(&groups, &current);
        let confirmed = store.commit(&own, &known, None, &also).await.unwrap();
        assert_eq!(confirmed, CommitOutcome::Committed(known.revision));
        assert_contents(&[store.read(&own).await.unwrap()], slice::from_ref(&known));
        let new = value(if existing { "two" } else { "one" });
        let written = store.commit(&own, &known, Some(&new), &also).await.unwrap();
        let CommitOutcome::Committed(revision) = written else {
            panic!("{written:?}");
        };
        assert!(revision > known.revision);
        let written = Stored::written(new, revision);
        assert_contents(&[store.read(&own).await.unwrap()], &[written]);
        assert_contents(&read_all(&*store, &groups).await, &current);
    }
}

/// A watch may not report the lock times.
async fn only_the_semaphore_of_a_member_is_compared(backend: &dyn Backend) {
    let (store, own, member) = (backend.store(), group("own"), [group("of a watch")]);
    let stored = write(&*store, &member[0], &NONE, &value("one")).await;
    let mut known = NONE;
    for lock_times in [
        LockTimes::Unreported,
        LockTimes::Absent,
        LockTimes::Current(b"others".into()),
    ] {
        let value_of_watch = Value {
            lock_times,
            ..value("one")
        };
        let reported = [Stored::written(value_of_watch, stored.revision)];
        let also = members(&member, &reported);
        for new in [None, Some(&value("new"))] {
            let outcome = store.commit(&own, &known, new, &also).await.unwrap();
            let CommitOutcome::Committed(_) = outcome else {
                panic!("{reported:?}: {outcome:?}");
            };
        }
        known = store.read(&own).await.unwrap();
    }
}

/// If both succeeded, each would rely on a content that the other has replaced.
async fn two_commits_that_compare_the_group_of_the_other_do_not_both_succeed(
    backend: &dyn Backend,
) {
    let groups = ["left", "right"].map(group);
    let stores = [(); 2].map(|()| backend.store());
    for round in 0..20 {
        let known = read_all(&*stores[0], &groups).await;
        let new = value(&round.to_string());
        let commits = [0, 1].map(|own| {
            let other = 1 - own;
            let (store, groups) = (stores[own].clone(), groups.clone());
            let (known, new) = (known.clone(), new.clone());
            tokio::spawn(async move {
                let also = members(&groups[other..=other], &known[other..=other]);
                store
                    .commit(&groups[own], &known[own], Some(&new), &also)
                    .await
            })
        });
        let mut committed = 0;
        for commit in commits {
            if let CommitOutcome::Committed(_) = commit.await.unwrap().unwrap() {
                committed += 1;
            }
        }
        assert_eq!(committed, 1, "round {round}");
    }
}

async fn the_maximum_number_of_members_is_compared(backend: &dyn Backend) {
    let (store, own) = (backend.store(), group("with many"));
    let groups: Vec<GroupName> = (0..MAX_MEMBERS)
        .map(|index| group(&format!("one of many {index}")))
        .collect();
    let mut known = Vec::new();
    for group in &groups {
        known.push(write(&*store, group, &NONE, &value("one")).await);
    }
    let expected = write(&*store, &own, &NONE, &value("one")).await;
    let also = members(&groups, &known);
    for new in [None, Some(&value("two"))] {
        let outcome = store.commit(&own, &expected, new, &also).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }
    let last = groups.len() - 1;
    write(&*store, &groups[last], &known[last], &value("two")).await;
    let expected = store.read(&own).await.unwrap();
    conflicts(&*store, (&own, &expected), (&groups, &known)).await;
}

/// An etcd with a smaller limit for operations in a transaction than usual still serves commits without members.
#[test]
fn an_etcd_that_allows_fewer_operations_rejects_a_commit_with_more_and_the_error_names_the_remedy()
{
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &["--max-txn-ops", "5"]);
        let store = etcd_store(etcd.endpoints(), MAX_WAIT);
        let (own, groups) = (group("g"), ["a", "b"].map(group));
        Runtime::new().unwrap().block_on(async {
            let first = write(&store, &own, &NONE, &value("one")).await;
            let known = write(&store, &own, &first, &value("two")).await;
            let also = groups.each_ref().map(|group| Member {
                group,
                stored: &NONE,
            });
            let confirmed = store.commit(&own, &known, None, &also[..1]).await;
            let expected = CommitOutcome::Committed(known.revision);
            assert_eq!(confirmed.unwrap(), expected, "{version:?}");
            for new in [None, Some(&value("three"))] {
                let error = store.commit(&own, &known, new, &also).await;
                let error = error.unwrap_err();
                assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
                let text = error.to_string();
                assert!(
                    text.contains("start etcd with `--max-txn-ops 128`"),
                    "{text}"
                );
            }
        });
    }
}

#[test]
fn an_etcd_out_of_space_confirms_several_groups() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &["--quota-backend-bytes", "1000000"]);
        let store = etcd_store(etcd.endpoints(), MAX_WAIT);
        let (own, groups) = (group("g"), ["m", "none"].map(group));
        let runtime = Runtime::new().unwrap();
        let (known, member) = runtime.block_on(async {
            let known = write(&store, &own, &NONE, &value("one")).await;
            (known, write(&store, &groups[0], &NONE, &value("one")).await)
        });
        // With large values the file exceeds its quota. Then some versions answer no transaction.
        let large = "x".repeat(120_000);
        while etcd.try_ctl(&["put", "large", &large]).is_ok() {}
        etcd.exhaust_space();
        runtime.block_on(async {
            let also = |stored| {
                let members = [stored, &NONE];
                [0, 1].map(|index| Member {
                    group: &groups[index],
                    stored: members[index],
                })
            };
            let confirmed = store.commit(&own, &known, None, &also(&member)).await;
            let expected = CommitOutcome::Committed(known.revision);
            assert_eq!(confirmed.unwrap(), expected, "{version:?}");
            let outcome = store.commit(&own, &known, None, &also(&NONE)).await;
            let CommitOutcome::Conflict(found) = outcome.unwrap() else {
                panic!("{version:?}: an outdated member was confirmed");
            };
            assert!(found.current.is_still(&known), "{found:?}");
            assert!(found.members[0].is_still(&member), "{found:?}");
            assert!(found.members[1].is_still(&NONE), "{found:?}");
        });
    }
}
