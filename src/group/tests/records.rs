//! The audit log beside a value that another program wrote.

use super::*;
use crate::lock::audit::{Action, AuditEntry, AuditLog};
use crate::store::Update;

/// Returns an administrator's command of this second.
fn entry(second: i64) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_second(second).unwrap(),
        by: "root@ops".into(),
        action: Action::Pause,
    }
}

/// Returns a value with an audit log.
fn audited(audit_log: &[AuditEntry]) -> Value {
    codec::encode(&Semaphore::new(1), audit_log, &History::default())
}

/// Returns lock times with an audit log, as a write by another program leaves them.
fn outdated(audit_log: &[AuditEntry]) -> LockTimes {
    let lock_times = audited(audit_log).lock_times;
    LockTimes::Outdated(lock_times.current().unwrap().to_vec())
}

/// Creates a group of which the server knows the first entry.
async fn fixture() -> Fixture {
    let fixture = Fixture::new(1);
    let name = fixture.group.name();
    let value = audited(&[entry(1)]);
    fixture.store.memory.overwrite(name, Some(value));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    fixture
}

/// Writes as another program does. The watch reports the semaphore alone.
async fn write_semaphore(fixture: &Fixture, left_alone: LockTimes) {
    let name = fixture.group.name();
    let written = Value {
        lock_times: left_alone,
        ..audited(&[])
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
    let fixture = fixture().await;
    write_semaphore(&fixture, LockTimes::Absent).await;
    // It is shown until the store is read.
    assert_eq!(*fixture.group.known().unwrap().audit_log, [entry(1)]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert!(stored_audit_log(&fixture).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn entries_that_the_server_has_not_seen_survive_a_foreign_write() {
    let fixture = fixture().await;
    write_semaphore(&fixture, outdated(&[entry(1), entry(2)])).await;
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(*stored_audit_log(&fixture).await, [entry(1), entry(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_write_while_a_batch_is_gathered_is_read_again() {
    let fixture = fixture().await;
    write_semaphore(&fixture, outdated(&[entry(1)])).await;
    fixture.store.hold();
    let locking = fixture.send(lock("a")).await;
    fixture.store.release();
    // The task has read, and waits for more requests.
    tokio::task::yield_now().await;
    write_semaphore(&fixture, outdated(&[entry(1), entry(2)])).await;
    assert_eq!(locking.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["a"]);
    assert_eq!(*stored_audit_log(&fixture).await, [entry(1), entry(2)]);
}

#[tokio::test(start_paused = true)]
async fn the_times_of_policies_are_shown_until_a_foreign_write_is_read() {
    let fixture = fixture().await;
    let name = fixture.group.name();
    let time = |second| Some(Timestamp::from_second(second).unwrap());
    let times = Semaphore {
        released_at: time(1),
        override_until: time(2),
        ..Semaphore::new(1)
    };
    let value = codec::encode(&times, &[], &History::default());
    fixture.store.memory.overwrite(name, Some(value));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    write_semaphore(&fixture, LockTimes::Absent).await;
    let known = fixture.group.known().unwrap().semaphore.unwrap();
    assert_eq!(
        (known.released_at, known.override_until),
        (time(1), time(2))
    );
}
