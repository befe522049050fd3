//! A restore that is killed after any of its steps.

mod backup;
mod error;
mod restore;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exchange::Step;
use super::restore::Restore;
use crate::lock::GroupName;
use crate::lock::codec::{LockTimes, Value};
use crate::store::sqlite::connection::{check, leave_files_on_close, open};
use crate::store::sqlite::error::OpenProblem;
use crate::store::sqlite::identity::{FilePaths, with_suffix};
use crate::store::sqlite::schema;

const TIMEOUT: Duration = Duration::from_secs(1);

/// Writes the value of a group, as a server does that is killed afterwards: the write is in the write-ahead log only.
fn write(path: &Path, holders: &str) {
    let file = fs::File::options().append(true).create(true).open(path);
    drop(file.unwrap());
    let mut connection = open(&FilePaths::of(path).unwrap(), TIMEOUT).unwrap();
    connection
        .execute_batch("PRAGMA wal_checkpoint = TRUNCATE")
        .unwrap();
    leave_files_on_close(&connection).unwrap();
    let transaction = connection.transaction().unwrap();
    let value = Value {
        semaphore: holders.into(),
        lock_times: LockTimes::Absent,
    };
    schema::write(&transaction, &GroupName::new("g").unwrap(), &value).unwrap();
    transaction.commit().unwrap();
}

/// Returns the value of the group in the store that a server opens. The write-ahead log stays as it is.
fn read(path: &Path) -> String {
    let connection = open(&FilePaths::of(path).unwrap(), TIMEOUT).unwrap();
    leave_files_on_close(&connection).unwrap();
    let values = schema::values(&connection).unwrap();
    let value = values.into_values().next().unwrap();
    String::from_utf8(value.semaphore).unwrap()
}

/// Returns the backup, with the value `old`, and the store, with the value `new` in its write-ahead log.
fn files(folder: &Path) -> (PathBuf, PathBuf) {
    let (backup, store) = (folder.join("backup.db"), folder.join("airlock.db"));
    write(&store, "old");
    super::backup(&store, &backup, TIMEOUT).unwrap();
    write(&store, "new");
    (backup, store)
}

/// Performs the first `steps` of a restore, and leaves everything behind, as a kill does.
fn killed_after(steps: usize, backup: &Path, store: &Path) {
    let restore = Restore::prepare(store, backup, TIMEOUT).unwrap();
    let mut exchange = restore.into_exchange().unwrap();
    for step in &Step::ALL[..steps] {
        exchange.step(*step).unwrap();
    }
    std::mem::forget(exchange);
    // The rest of this process stands for another one.
    for file in fs::read_dir(store.parent().unwrap()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
            fs::rename(&path, with_suffix(&path, ".left")).unwrap();
        }
    }
}

/// Asserts that no server starts with the file, and so neither uses it nor creates another one.
fn is_refused(store: &Path) {
    let error = check(store, TIMEOUT).unwrap_err();
    assert!(
        matches!(error.problem(), OpenProblem::InRestore),
        "{error:?}"
    );
}

/// Returns the kept file.
fn previous(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("before-restore"))
        .collect();
    files.sort();
    files.swap_remove(0)
}

#[test]
fn after_a_kill_at_any_step_the_store_is_the_previous_one_or_refused_or_the_backup() {
    for steps in 0..=Step::ALL.len() {
        let folder = tempfile::tempdir().unwrap();
        let (backup, store) = files(folder.path());
        killed_after(steps, &backup, &store);
        match steps {
            0 | 1 => assert_eq!(read(&store), "new", "after {steps} steps"),
            2 | 3 => is_refused(&store),
            _ => assert_eq!(read(&store), "old", "after {steps} steps"),
        }
        let again = Restore::prepare(&store, &backup, TIMEOUT).unwrap();
        again.finish().unwrap();
        assert_eq!(read(&store), "old", "after {steps} steps");
        let kept = previous(folder.path());
        assert_eq!(read(&kept), "new", "after {steps} steps");
    }
}

/// SQLite can neither lock such a file nor copy its log into it.
#[test]
fn after_a_kill_at_any_step_a_damaged_store_is_never_used_without_its_log() {
    for steps in 0..Step::ALL.len() {
        let folder = tempfile::tempdir().unwrap();
        let (backup, store) = files(folder.path());
        let wal = with_suffix(&store, "-wal");
        let log = fs::read(&wal).unwrap();
        assert!(!log.is_empty());
        let page = fs::metadata(&store).unwrap().len() as usize;
        fs::write(&store, vec![0xff; page]).unwrap();
        killed_after(steps, &backup, &store);
        if steps < 2 {
            assert!(fs::read(&wal).unwrap() == log, "after {steps} steps");
        } else {
            is_refused(&store);
        }
        Restore::prepare(&store, &backup, TIMEOUT)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(read(&store), "old", "after {steps} steps");
        let kept = with_suffix(&previous(folder.path()), "-wal");
        assert!(fs::read(kept).unwrap() == log, "after {steps} steps");
    }
}

#[test]
fn a_store_that_a_server_creates_during_a_restore_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    for file in ["", "-wal", "-shm"] {
        fs::remove_file(with_suffix(&store, file)).unwrap();
    }
    let restore = Restore::prepare(&store, &backup, TIMEOUT).unwrap();
    write(&store, "created");
    let error = restore.finish().unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(read(&store), "created");
}
