//! Two groups that share a cap, each with a task of its own on the same store.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::group::Policies;
use crate::lock::policy::{Cap, CapLimit, CapReached};
use crate::store::CommitOutcome;

/// A server with the groups `a` and `b`, of which together only one node may hold a slot.
struct Server {
    a: Group,
    b: Group,
}

impl Server {
    fn new(store: &Arc<FaultyStore>) -> Self {
        let group = |name: &str| {
            let name = GroupName::new(name).unwrap();
            let metrics = metrics(&name);
            let (group, task) = Group::new(name, 5, 100, Arc::clone(store) as _, metrics);
            tokio::spawn(task.run());
            group
        };
        let server = Server {
            a: group("a"),
            b: group("b"),
        };
        server.a.set_policies(capped_with(&server.b));
        server.b.set_policies(capped_with(&server.a));
        server
    }
}

/// Returns the policies of a group that shares the cap with `other`.
fn capped_with(other: &Group) -> Policies {
    let name = other.name().clone();
    Policies {
        caps: vec![Cap {
            name: "cap".into(),
            max_held: Some(1),
            max_groups: None,
            others: vec![name.clone()],
        }],
        others: BTreeMap::from([(name, other.as_other())]),
        ..Policies::default()
    }
}

async fn execute(group: &Group, command: Command) -> Answer {
    Ok(group.execute(command, DEADLINE).await?)
}

fn store() -> Arc<FaultyStore> {
    let store = FaultyStore::new();
    for name in ["a", "b"] {
        let empty = codec::encode(&Semaphore::new(5), &[], &History::default());
        let name = GroupName::new(name).unwrap();
        store.memory.overwrite(&name, Some(empty));
    }
    store
}

fn reached() -> Answer {
    Ok(Outcome::Refused(Refusal::CapReached(CapReached {
        cap: "cap".into(),
        limit: CapLimit::Held(1),
    })))
}

#[tokio::test(start_paused = true)]
async fn invariant_13_a_cap_refuses_what_would_exceed_it_until_a_release() {
    let Server { a, b } = Server::new(&store());
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&a, lock("2")).await, reached());
    assert_eq!(execute(&b, lock("3")).await, reached());
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::AlreadyHeld));
    assert_eq!(execute(&a, unlock("1")).await, Ok(Outcome::Unlocked));
    assert_eq!(execute(&b, lock("3")).await, Ok(Outcome::Locked));
}

/// Without the comparison of the other group, the second server would grant a lock on top of what it knows.
#[tokio::test(start_paused = true)]
async fn invariant_13_a_grant_of_another_server_in_another_group_is_a_conflict() {
    let store = store();
    let (first, second) = (Server::new(&store), Server::new(&store));
    for group in [&first.a, &first.b, &second.a, &second.b] {
        assert_eq!(execute(group, lock("1")).await, Ok(Outcome::Locked));
        assert_eq!(execute(group, unlock("1")).await, Ok(Outcome::Unlocked));
    }
    assert_eq!(execute(&first.b, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&second.a, lock("2")).await, reached());
    assert_eq!(execute(&first.b, unlock("1")).await, Ok(Outcome::Unlocked));
    // What the second server knows is outdated in the other direction now.
    assert_eq!(execute(&second.a, lock("2")).await, Ok(Outcome::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_late_grant_does_not_exceed_a_cap_that_was_reached_meanwhile() {
    let store = store();
    let (first, second) = (Server::new(&store), Server::new(&store));
    assert_eq!(execute(&first.a, unlock("1")).await, Ok(Outcome::NotHeld));
    // The node no longer waits, so that no other write to its group precedes the late one.
    store.next(&[Fault::Late]);
    let asked = first.a.execute(lock("1"), Duration::from_millis(1)).await;
    assert!(
        matches!(asked, Err(GroupError::Timeout { .. })),
        "{asked:?}"
    );
    assert_eq!(execute(&second.b, lock("2")).await, Ok(Outcome::Locked));
    let late = store.deliver().await;
    assert!(matches!(late[..], [CommitOutcome::Conflict(_)]), "{late:?}");
    let held = async |group: &Group| {
        let stored = store.memory.read(group.name()).await.unwrap();
        codec::decode(&stored.value.unwrap())
            .unwrap()
            .semaphore
            .holders
            .len()
    };
    assert_eq!(held(&first.a).await + held(&first.b).await, 1);
}

#[tokio::test(start_paused = true)]
async fn releases_and_renewals_compare_only_their_own_group() {
    let store = store();
    let Server { a, b } = Server::new(&store);
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::Locked));
    // No member is read again, and none is compared: this value could not be used.
    let damaged = Value {
        semaphore: b"damaged".to_vec(),
        lock_times: LockTimes::Absent,
    };
    store.memory.overwrite(b.name(), Some(damaged));
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::AlreadyHeld));
    assert_eq!(execute(&a, unlock("1")).await, Ok(Outcome::Unlocked));
    let refused = execute(&a, lock("1")).await;
    let group = b.name().clone();
    let cap = "cap".into();
    assert_eq!(
        refused,
        Ok(Outcome::Refused(Refusal::CapUnusable { cap, group }))
    );
}

/// What the store says about the other groups of a cap concerns new grants only.
#[tokio::test(start_paused = true)]
async fn invariant_12_a_comparison_that_the_store_refuses_refuses_no_release() {
    let store = store();
    let Server { a, b } = Server::new(&store);
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&b, unlock("1")).await, Ok(Outcome::NotHeld));
    store.next(&[Fault::Rejected]);
    let (refused, released) = tokio::join!(execute(&a, lock("2")), execute(&a, unlock("1")));
    assert!(matches!(refused, Err(Failed::Refused(_))), "{refused:?}");
    assert_eq!(released, Ok(Outcome::Unlocked));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_another_group_lets_releases_go_first() {
    let store = store();
    let (first, second) = (Server::new(&store), Server::new(&store));
    assert_eq!(execute(&first.a, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&second.b, lock("2")).await, reached());
    store.calls();
    // The second server does not know that group b has changed.
    assert_eq!(
        execute(&first.b, unlock("none")).await,
        Ok(Outcome::NotHeld)
    );
    let changed = codec::encode(&Semaphore::new(4), &[], &History::default());
    store.memory.overwrite(first.b.name(), Some(changed));
    store.calls();
    let (refused, released) =
        tokio::join!(execute(&first.a, lock("3")), execute(&first.a, unlock("1")));
    assert_eq!(released, Ok(Outcome::Unlocked));
    assert_eq!(refused, Ok(Outcome::Locked));
    // The comparison of both, then the release alone, then the lock.
    assert_eq!(store.calls(), [Call::Write, Call::Write, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_of_unknown_age_counts_from_when_the_server_first_saw_it() {
    let fixture = Fixture::new(2);
    let stall_after = |minutes| Policies {
        stall_after: Some(SignedDuration::from_mins(minutes)),
        ..Policies::default()
    };
    fixture.group.set_policies(stall_after(1));
    fixture.overwrite(r#"{"total_slots":2,"holders":["old"]}"#);
    let before = Timestamp::now();
    let lock_in = |minutes| Command::Lock {
        id: "new".parse().unwrap(),
        at: Timestamp::now() + SignedDuration::from_mins(minutes),
        client: Client::default(),
        terms: Terms::default(),
    };
    let answer = fixture.execute(lock_in(2), DEADLINE).await;
    let Ok(Outcome::Refused(Refusal::Stalled(stalled))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((&*stalled.id, stalled.is_exact), ("old", false));
    assert!(stalled.since >= before);
    // A reload does not make the server forget it.
    fixture.group.set_policies(stall_after(5));
    fixture.overwrite(r#"{"total_slots":3,"holders":["old"]}"#);
    let conditions = fixture.group.conditions();
    assert_eq!(conditions.stall.unwrap().first_seen["old"], stalled.since);
    assert_eq!(
        fixture.execute(lock_in(2), DEADLINE).await,
        Ok(Outcome::Locked)
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_notices_that_another_program_writes_a_group_of_the_cap() {
    let store = store();
    let Server { a, b } = Server::new(&store);
    assert_eq!(execute(&a, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&b, lock("2")).await, reached());
    let foreign = Value {
        lock_times: LockTimes::Absent,
        ..codec::encode(&Semaphore::new(6), &[], &History::default())
    };
    store.memory.overwrite(b.name(), Some(foreign));
    assert_eq!(execute(&b, lock("2")).await, reached());
    let noticed = [&a, &b].map(Group::is_written_by_others);
    assert_eq!(noticed, [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_write_by_another_program_does_not_make_a_holder_younger() {
    let fixture = Fixture::new(2);
    fixture.group.set_policies(Policies {
        stall_after: Some(SignedDuration::from_mins(1)),
        ..Policies::default()
    });
    assert_eq!(fixture.lock("old").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":2,"holders":["old"]}"#);
    let Ok(Outcome::Refused(Refusal::Stalled(stalled))) = fixture
        .execute(
            Command::Lock {
                id: "new".parse().unwrap(),
                at: Timestamp::now(),
                client: Client::default(),
                terms: Terms::default(),
            },
            DEADLINE,
        )
        .await
    else {
        panic!("not stalled");
    };
    assert_eq!(
        (&*stalled.id, stalled.since),
        ("old", Timestamp::UNIX_EPOCH)
    );
}

/// A copy of the first write that the network delivers later would find group b without a value again, if an operator
/// deletes it.
#[tokio::test(start_paused = true)]
async fn after_a_conflict_with_a_group_that_had_no_value_the_next_attempt_writes() {
    let store = store();
    let server = Server::new(&store);
    store.memory.overwrite(server.b.name(), None);
    assert_eq!(execute(&server.a, lock("1")).await, Ok(Outcome::Locked));
    assert_eq!(execute(&server.a, unlock("1")).await, Ok(Outcome::Unlocked));
    let held = codec::encode(
        &Semaphore {
            holders: [("2".into(), None.into())].into_iter().collect(),
            ..Semaphore::new(5)
        },
        &[],
        &History::default(),
    );
    store.memory.overwrite(server.b.name(), Some(held));
    store.calls();
    assert_eq!(execute(&server.a, lock("3")).await, reached());
    assert_eq!(store.calls(), [Call::Write, Call::Write]);
}
