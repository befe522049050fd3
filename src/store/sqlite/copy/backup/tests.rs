//! A store that is locked while it is copied.

use std::cell::RefCell;

use super::*;

thread_local! {
    /// Another process that keeps the store of this test locked.
    static LOCK: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// Returns a connection to a store that another process keeps locked, and one to an empty file.
fn locked(folder: &Path) -> (Connection, Connection) {
    let open = |name: &str| Connection::open(folder.join(name)).unwrap();
    let other = open("airlock.db");
    other
        .execute_batch("CREATE TABLE x (x); BEGIN EXCLUSIVE")
        .unwrap();
    LOCK.set(Some(other));
    let source = open("airlock.db");
    source.busy_timeout(Duration::ZERO).unwrap();
    (source, open("backup.db"))
}

#[test]
fn a_copy_waits_until_another_process_unlocks_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (mut source, mut target) = locked(folder.path());
    let unlock = |_| {
        drop(LOCK.take());
        false
    };
    source.busy_handler(Some(unlock)).unwrap();
    copy(&source, &mut target, Duration::from_secs(60)).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = target.query_row(tables, (), |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_copy_of_a_store_that_stays_locked_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (source, mut target) = locked(folder.path());
    let error = copy(&source, &mut target, Duration::from_millis(20)).unwrap_err();
    let code = error.sqlite_error_code();
    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy));
    drop(LOCK.take());
}
