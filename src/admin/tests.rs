//! Commands on a store that has other writers and does not always reply.

use super::*;
use crate::lock::audit::Action;
use crate::lock::codec::{self, LockTimes, Value};
use crate::lock::history::History;
use crate::store::faulty::{Call, Fault, FaultyStore};
use crate::store::memory::MemoryStore;

fn group() -> GroupName {
    GroupName::new("default").unwrap()
}

fn target(group: &GroupName, slots_if_absent: u64) -> Target<'_> {
    Target {
        group,
        slots_if_absent,
        caps: &[],
    }
}

async fn run(store: &Arc<dyn Store>, command: AdminCommand) -> Result<Change, ExecuteError> {
    execute(store, target(&group(), 2), &command, "root@ops").await
}

async fn known(store: &dyn Store) -> GroupState {
    GroupState::new(store.read(&group()).await.unwrap(), 2)
}

fn shared(store: &Arc<FaultyStore>) -> Arc<dyn Store> {
    Arc::clone(store) as _
}

/// Creates a store that has a value for the group.
fn used() -> Arc<FaultyStore> {
    let store = FaultyStore::new();
    let empty = codec::encode(&Semaphore::new(2), &[], &History::default());
    store.memory.overwrite(&group(), Some(empty));
    store
}

fn lock(id: &str) -> AdminCommand {
    AdminCommand::Lock {
        id: id.parse().unwrap(),
    }
}

/// Executes a command, and writes `value` as another program as soon as the command has unlocked node a.
async fn run_with_writer(
    store: &Arc<FaultyStore>,
    command: AdminCommand,
    value: Value,
) -> Result<Change, ExecuteError> {
    let shared = shared(store);
    let (answer, ()) = tokio::join!(run(&shared, command), async {
        let holds = |known: GroupState| known.semaphore.unwrap().holders.contains_key("a");
        while holds(known(&**store).await) {
            tokio::task::yield_now().await;
        }
        store.memory.overwrite(&group(), Some(value));
    });
    answer
}

#[tokio::test]
async fn a_command_reports_the_change_and_writes_an_audit_entry() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let change = run(&store, lock("a")).await.unwrap();
    assert_eq!(change.before.holders.len(), 0);
    assert_eq!(change.after.holders.len(), 1);
    run(&store, AdminCommand::Pause).await.unwrap();
    let known = known(&*store).await;
    let audit_log: Vec<_> = known
        .audit_log
        .iter()
        .map(|entry| entry.action.clone())
        .collect();
    assert_eq!(audit_log, [Action::Lock { id: "a".into() }, Action::Pause]);
    assert_eq!(&*known.audit_log[0].by, "root@ops");
}

#[tokio::test]
async fn invariant_6_a_command_whose_reply_was_lost_is_applied_once() {
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let store = used();
        store.next(&[fault]);
        let slots = AdminCommand::SetSlots { slots: 5 };
        let change = run(&shared(&store), slots).await.unwrap();
        assert_eq!(
            (change.before.slots, change.after.slots),
            (2, 5),
            "{fault:?}"
        );
        assert_eq!(known(&*store).await.audit_log.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn invariant_6_a_command_that_may_have_been_applied_is_never_reported_as_failed() {
    let unlock = || AdminCommand::Unlock { id: "a".into() };
    let store = used();
    run(&shared(&store), lock("a")).await.unwrap();
    store.next(&[Fault::Rejected]);
    let answer = run(&shared(&store), unlock()).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unavailable(_))),
        "{answer:?}"
    );
    store.next(&[Fault::RequestLost, Fault::Rejected]);
    let answer = run(&shared(&store), unlock()).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unknown(_))),
        "{answer:?}"
    );

    // The change is applied, its reply is lost, and then coreos/airlock writes, which keeps no audit log.
    store.next(&[Fault::AnswerLost]);
    let foreign = Value {
        semaphore: br#"{"total_slots":2,"holders":[]}"#.to_vec(),
        lock_times: LockTimes::Absent,
    };
    let answer = run_with_writer(&store, unlock(), foreign).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unknown(_))),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_ends_at_its_timeout_with_the_reason() {
    for (fault, is_expected) in [
        (
            Fault::Unreachable,
            (|error| matches!(error, ExecuteError::Unavailable(_))) as fn(&ExecuteError) -> bool,
        ),
        (Fault::Raced, |error| {
            matches!(error, ExecuteError::Contended)
        }),
    ] {
        let store = used();
        store.always(fault);
        let started = Instant::now();
        let error = run(&shared(&store), lock("a")).await.unwrap_err();
        assert!(is_expected(&error), "{error:?}");
        let took = started.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT * 2, "{took:?}");
    }
}

#[tokio::test]
async fn without_space_the_audit_entry_tells_whether_a_command_was_applied() {
    let store = used();
    store.next(&[Fault::NoSpaceApplied]);
    let change = run(&shared(&store), lock("a")).await.unwrap();
    assert_eq!(change.after.holders.len(), 1);
    assert_eq!(known(&*store).await.audit_log.len(), 1);
    store.next(&[Fault::NoSpace]);
    let answer = run(&shared(&store), lock("b")).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unavailable(_))),
        "{answer:?}"
    );
    // An earlier attempt may still arrive.
    store.next(&[Fault::Late, Fault::NoSpace]);
    let answer = run(&shared(&store), lock("b")).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unknown(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn without_space_a_command_on_a_group_without_a_value_was_not_sent() {
    for fault in [Fault::NoSpace, Fault::NoSpaceApplied] {
        let store = FaultyStore::new();
        store.next(&[fault]);
        let answer = run(&shared(&store), lock("a")).await;
        assert!(
            matches!(answer, Err(ExecuteError::Unavailable(_))),
            "{answer:?}"
        );
        assert!(known(&*store).await.audit_log.is_empty());
    }
}

#[tokio::test]
async fn invariant_6_a_command_is_not_repeated_after_coreos_airlock_has_dropped_its_audit_entry() {
    let store = used();
    run(&shared(&store), lock("a")).await.unwrap();
    store.next(&[Fault::AnswerLost]);
    // The command is applied, its reply is lost, and coreos/airlock locks the same node again.
    let unlock = AdminCommand::Unlock { id: "a".into() };
    let foreign = Value {
        semaphore: br#"{"total_slots":2,"holders":["a"]}"#.to_vec(),
        lock_times: LockTimes::Absent,
    };
    let answer = run_with_writer(&store, unlock, foreign.clone()).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unknown(_))),
        "{answer:?}"
    );
    let stored = store.read(&group()).await.unwrap();
    assert_eq!(stored.value, Some(foreign));
}

#[tokio::test]
async fn invariant_6_a_lost_command_is_repeated_if_the_audit_log_was_kept() {
    let store = used();
    run(&shared(&store), AdminCommand::SetSlots { slots: 3 })
        .await
        .unwrap();
    let before = store.read(&group()).await.unwrap().value.unwrap();
    store.next(&[Fault::RequestLost]);
    let shared = shared(&store);
    let (change, ()) = tokio::join!(run(&shared, lock("a")), async {
        tokio::task::yield_now().await;
        // Another server writes.
        store.memory.overwrite(&group(), Some(before));
    });
    assert!(change.unwrap().after.holders.contains_key("a"));
    assert_eq!(known(&*store).await.audit_log.len(), 2);
}

#[tokio::test]
async fn a_restored_store_that_reaches_the_same_revision_has_another_value() {
    let store = used();
    run(&shared(&store), AdminCommand::SetSlots { slots: 3 })
        .await
        .unwrap();
    let (backup, empty) = (store.memory.backup(), store.read(&group()).await.unwrap());
    let held_by = |node: &str| Value {
        semaphore: format!(r#"{{"total_slots":3,"holders":[{node:?}]}}"#).into_bytes(),
        ..empty.value.clone().unwrap()
    };
    store.memory.overwrite(&group(), Some(held_by("a")));
    store.next(&[Fault::RequestLost, Fault::NoSpaceApplied]);
    let shared = shared(&store);
    let (change, ()) = tokio::join!(run(&shared, lock("c")), async {
        tokio::task::yield_now().await;
        store.memory.restore(backup);
        store.memory.overwrite(&group(), Some(held_by("b")));
    });
    let change = change.unwrap();
    let before: Vec<&str> = change.before.holders.keys().map(|id| &**id).collect();
    assert_eq!(before, ["b"]);
    assert_eq!(*known(&*store).await.semaphore.unwrap(), *change.after);
}

#[tokio::test]
async fn invariant_6_a_command_without_space_whose_effect_cannot_be_read_is_not_reported_as_failed()
{
    let store = used();
    run(&shared(&store), lock("a")).await.unwrap();
    store.next(&[Fault::NoSpaceApplied]);
    let unlock = AdminCommand::Unlock { id: "a".into() };
    let damaged = Value {
        semaphore: b"{".to_vec(),
        lock_times: LockTimes::Absent,
    };
    let answer = run_with_writer(&store, unlock, damaged).await;
    assert!(
        matches!(answer, Err(ExecuteError::Unknown(_))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_refusal_by_a_cap_is_true_of_all_its_groups_at_one_moment() {
    let store = used();
    let other = GroupName::new("other").unwrap();
    let mut held = Semaphore::new(1);
    held.holders.insert("x".into(), None.into());
    let held = codec::encode(&held, &[], &History::default());
    store.memory.overwrite(&other, Some(held));
    let caps = [Cap {
        name: "cap".into(),
        max_held: Some(1),
        max_groups: None,
        others: vec![other.clone()],
    }];
    let group = group();
    let target = Target {
        caps: &caps,
        ..target(&group, 2)
    };
    let shared = shared(&store);
    let answer = execute(&shared, target, &lock("a"), "root@ops").await;
    assert!(
        matches!(answer, Err(ExecuteError::Refused(_))),
        "{answer:?}"
    );
    assert_eq!(store.calls(), [Call::Read, Call::Read, Call::Confirm]);
    // The holder is released before the groups are compared.
    store.next(&[Fault::Unreachable]);
    let release = async {
        let mut calls = 0;
        while calls < 3 {
            tokio::task::yield_now().await;
            calls += store.calls().len();
        }
        store.memory.overwrite(&other, None);
    };
    let command = lock("a");
    let (answer, ()) = tokio::join!(execute(&shared, target, &command, "root@ops"), release);
    assert!(answer.unwrap().after.holders.contains_key("a"));
}

#[tokio::test]
async fn many_concurrent_commands_are_all_applied() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let commands = (0..20).map(|node| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let lock = lock(&node.to_string());
            execute(&store, target(&group(), 20), &lock, "root@ops")
                .await
                .unwrap();
        })
    });
    for command in commands.collect::<Vec<_>>() {
        command.await.unwrap();
    }
    assert_eq!(known(&*store).await.semaphore.unwrap().holders.len(), 20);
}

#[tokio::test]
async fn a_damaged_value_is_not_changed() {
    for (semaphore, command) in [
        ("{", AdminCommand::Pause),
        (
            r#"{"total_slots":0,"holder":["a"]}"#,
            AdminCommand::Resume { slots: 2 },
        ),
    ] {
        let memory = Arc::new(MemoryStore::default());
        let store: Arc<dyn Store> = Arc::clone(&memory) as _;
        let damaged = Value {
            semaphore: semaphore.into(),
            lock_times: LockTimes::Absent,
        };
        memory.overwrite(&group(), Some(damaged.clone()));
        let result = run(&store, command).await;
        assert!(
            matches!(result, Err(ExecuteError::Damaged(_))),
            "{result:?}"
        );
        assert_eq!(store.read(&group()).await.unwrap().value, Some(damaged));
    }
}

#[tokio::test]
async fn a_resume_keeps_the_holders_of_a_value_in_another_spelling() {
    let memory = Arc::new(MemoryStore::default());
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let value = Value {
        semaphore: br#"{"Total_Slots":0,"Holders":["a"]}"#.to_vec(),
        lock_times: LockTimes::Absent,
    };
    memory.overwrite(&group(), Some(value));
    let resume = AdminCommand::Resume { slots: 2 };
    let change = run(&store, resume).await.unwrap();
    assert!(change.after.holders.contains_key("a"));
}
