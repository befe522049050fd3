//! The store with its thread.

use rusqlite::Connection;

use super::*;

/// A longer wait for the lock would end as a timeout, after which the outcome of a write is unknown.
#[tokio::test]
async fn a_store_that_another_process_keeps_locked_is_known_not_to_be_writable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    std::fs::write(&path, "").unwrap();
    let store = SqliteStore::open(&path, Duration::from_secs(2)).unwrap();
    let group = GroupName::new("g").unwrap();
    store.check_writable(&group).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.check_writable(&group).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    other.execute_batch("COMMIT").unwrap();
    store.check_writable(&group).await.unwrap();
}
