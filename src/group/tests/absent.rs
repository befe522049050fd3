//! A group without a value, and one that was deleted or restored behind the server.

use super::*;
use crate::lock::audit::{Action, AuditEntry, AuditLog};
use crate::store::Update;

#[tokio::test(start_paused = true)]
async fn a_group_starts_with_the_configured_slots_after_its_value_was_deleted() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.memory.overwrite(fixture.group.name(), None);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.lock("c").await, Ok(Outcome::Locked));
    assert_eq!(fixture.lock("d").await, Ok(Outcome::Full { slots: 2 }));
}

#[tokio::test(start_paused = true)]
async fn invariant_9_a_release_by_a_non_holder_writes_nothing_even_without_a_value() {
    let fixture = Fixture::unused(1);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Confirm]);
    let stored = fixture.store.memory.read(fixture.group.name()).await;
    assert_eq!(stored.unwrap().value, None);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_the_first_lock_of_a_group_follows_the_creation_of_an_empty_value() {
    let fixture = Fixture::unused(1);
    // The creation arrives after the group was created again, used and deleted.
    fixture.store.next(&[Fault::Late]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
    fixture.store.memory.overwrite(fixture.group.name(), None);
    fixture.store.deliver().await;
    assert!(fixture.holders().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn invariant_11_a_holder_is_not_confirmed_by_a_store_that_was_restored() {
    let fixture = Fixture::new(1);
    let backup = fixture.store.memory.backup();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.memory.restore(backup);
    // Another server locks the slot: its value has the revision of the value that this server knows.
    fixture.overwrite(r#"{"total_slots":1,"holders":["b"]}"#);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Full { slots: 1 }));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.holders().await, ["b"]);
}

/// Returns an administrator's command of this second.
fn entry(second: i64) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_second(second).unwrap(),
        by: "root@ops".into(),
        action: Action::Pause,
    }
}

/// Returns the records of a group as they are stored.
fn records(audit_log: &[AuditEntry]) -> Vec<u8> {
    let value = codec::encode(&Semaphore::new(1), audit_log, &History::default());
    value.lock_times.current().unwrap().to_vec()
}

/// Creates a group of which the server knows the first entry.
async fn audited() -> Fixture {
    let fixture = Fixture::new(1);
    let audited = Value {
        lock_times: LockTimes::Current(records(&[entry(1)])),
        ..codec::encode(&Semaphore::new(1), &[], &History::default())
    };
    let name = fixture.group.name();
    fixture.store.memory.overwrite(name, Some(audited));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    fixture
}

/// Writes as another program does. The watch reports the semaphore alone.
async fn write_semaphore(fixture: &Fixture, left_alone: LockTimes) {
    let name = fixture.group.name();
    let written = Value {
        semaphore: br#"{"total_slots":1,"holders":[]}"#.to_vec(),
        lock_times: left_alone,
    };
    fixture.store.memory.overwrite(name, Some(written));
    let mut reported = fixture.store.memory.read(name).await.unwrap();
    reported.value.as_mut().unwrap().lock_times = LockTimes::Unreported;
    fixture.group.observe(Update::Change(reported));
}

async fn stored_audit_log(fixture: &Fixture) -> AuditLog {
    let name = fixture.group.name();
    let stored = fixture.store.memory.read(name).await.unwrap();
    codec::decode(&stored.value.unwrap()).unwrap().audit_log
}

/// Otherwise the command of a missing entry would look as if it had not been executed.
#[tokio::test(start_paused = true)]
async fn the_audit_log_of_a_deleted_value_is_not_stored_again() {
    let fixture = audited().await;
    write_semaphore(&fixture, LockTimes::Absent).await;
    // It is shown until the store is read.
    assert_eq!(*fixture.group.known().unwrap().audit_log, [entry(1)]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert!(stored_audit_log(&fixture).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn entries_that_the_server_has_not_seen_survive_a_foreign_write() {
    let fixture = audited().await;
    let left_alone = LockTimes::Outdated(records(&[entry(1), entry(2)]));
    write_semaphore(&fixture, left_alone).await;
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(*stored_audit_log(&fixture).await, [entry(1), entry(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_write_while_a_batch_is_gathered_is_read_again() {
    let fixture = audited().await;
    let left_alone = LockTimes::Outdated(records(&[entry(1)]));
    write_semaphore(&fixture, left_alone).await;
    fixture.store.hold();
    let locking = fixture.send(lock("a")).await;
    fixture.store.release();
    // The task has read, and waits for more requests.
    tokio::task::yield_now().await;
    let left_alone = LockTimes::Outdated(records(&[entry(1), entry(2)]));
    write_semaphore(&fixture, left_alone).await;
    assert_eq!(locking.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(*stored_audit_log(&fixture).await, [entry(1), entry(2)]);
}
