//! The thread of the store, step by step: its calls, its polls, and its transactions.

mod files;
mod in_place;
mod log;
mod members;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::lock::codec::LockTimes;
use crate::store::sqlite::identity::with_suffix;

/// A store with a group `g` that has a value.
struct Store {
    folder: TempDir,
    path: PathBuf,
    worker: Worker,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airlock.db");
        // The first database of a process creates the file, and other tests have theirs open.
        fs::write(&path, "").unwrap();
        Store::at(folder, path)
    }

    /// Opens an empty file in the folder.
    fn at(folder: TempDir, path: PathBuf) -> Self {
        let database = Database::open(&path, Duration::from_millis(20)).unwrap();
        let mut store = Store {
            worker: Worker::new(path.clone(), database),
            folder,
            path,
        };
        store.write("g", "first");
        store
    }

    fn file(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.path, suffix)
    }

    fn call(&mut self, group: &str, then: Then) -> Result<Done, StoreError> {
        self.worker.call_all(&[call(group, then)]).remove(0)
    }

    fn read(&mut self, group: &str) -> Stored {
        self.call(group, Then::Nothing).unwrap().current
    }

    fn text(&mut self, group: &str) -> String {
        let value = self.read(group).value;
        String::from_utf8(value.unwrap().semaphore).unwrap()
    }

    fn write(&mut self, group: &str, text: &str) -> Revision {
        let expected = self.read(group);
        let done = self.call(group, commit(expected, text));
        done.unwrap().committed.unwrap()
    }

    fn poll(&mut self, known: Option<Version>) -> Polled {
        self.worker.poll(known, &[name("g")]).unwrap()
    }

    /// Polls until the write-ahead log is empty, so that the database alone is complete, and returns a copy of it.
    fn copy(&mut self, suffix: &str) -> PathBuf {
        let known = self.poll(None).version;
        self.poll(Some(known));
        assert_eq!(bytes(&self.file("-wal")), 0);
        let copy = self.file(suffix);
        fs::copy(&self.path, &copy).unwrap();
        copy
    }

    /// Opens the file as another process does.
    fn other(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }
}

fn name(group: &str) -> GroupName {
    GroupName::new(group).unwrap()
}

fn call(group: &str, then: Then) -> Call {
    Call {
        group: name(group),
        then,
        reply: oneshot::channel().0,
    }
}

fn commit(expected: Stored, text: &str) -> Then {
    let new = Some(value(text));
    Then::Commit(Commit {
        expected,
        new,
        also: Vec::new(),
    })
}

fn value(text: &str) -> Value {
    Value {
        semaphore: text.into(),
        lock_times: LockTimes::Absent,
    }
}

/// Executes SQL statements on a file as another process does.
fn execute(path: &Path, statements: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(statements).unwrap();
}

/// Keeps a file locked for every other process until the connection is closed.
fn lock_exclusively(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE")
        .unwrap();
    connection
}

fn bytes(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

#[test]
fn a_rejected_call_does_not_affect_the_calls_in_the_same_batch() {
    let mut store = Store::new();
    let (open, _) = store.worker.database.connections().unwrap();
    open.writer
        .pragma_update(None, "max_page_count", 1)
        .unwrap();
    let confirm = || {
        Then::Commit(Commit {
            expected: Stored::absent(Revision::ABSENT),
            new: None,
            also: Vec::new(),
        })
    };
    let large = commit(Stored::absent(Revision::ABSENT), &" ".repeat(1 << 20));
    let calls = [call("a", confirm()), call("b", large), call("c", confirm())];
    let results = store.worker.call_all(&calls);
    let absent = Some(Revision::ABSENT);
    assert!(
        matches!(
            &results[..],
            [Ok(first), Err(StoreError::NoSpace(_)), Ok(last)]
                if first.committed == absent && last.committed == absent
        ),
        "{results:?}"
    );
}

#[test]
fn a_commit_with_another_expectation_writes_nothing() {
    let mut store = Store::new();
    let old = store.read("g");
    store.write("g", "second");
    let done = store.call("g", commit(old, "third")).unwrap();
    assert_eq!(done.committed, None);
    assert_eq!(done.current, store.read("g"));
    assert_eq!(store.text("g"), "second");
}

#[test]
fn the_jobs_that_wait_are_all_run_before_the_thread_ends() {
    let store = Store::new();
    let (jobs, pending) = mpsc::channel(MAX_JOBS);
    let (reply, read) = oneshot::channel();
    let then = Then::Nothing;
    let group = name("g");
    let read_job = Job::Call(Call { group, then, reply });
    let (reply, polled) = oneshot::channel();
    let groups = vec![name("g")];
    let poll = Poll {
        known: None,
        groups,
        reply,
    };
    for job in [read_job, Job::Poll(poll)] {
        assert!(jobs.try_send(job).is_ok());
    }
    drop(jobs);
    store.worker.run(pending);
    let read = read.blocking_recv().unwrap().unwrap().current;
    assert_eq!(read.value, Some(value("first")));
    let polled = polled.blocking_recv().unwrap().unwrap();
    assert_eq!(polled.values, [(name("g"), read)]);
}

#[test]
fn a_read_does_not_wait_for_another_writer_and_a_write_fails_without_an_effect() {
    let mut store = Store::new();
    let other = store.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let expected = store.read("g");
    for then in [commit(expected.clone(), "second"), Then::Touch] {
        let error = store.call("g", then).unwrap_err();
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("another process keeps the file locked"),
            "{text}"
        );
    }
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.read("g"), expected);
}

#[test]
fn a_poll_returns_values_only_if_another_process_has_written() {
    let mut store = Store::new();
    let first = store.poll(None);
    let current = store.read("g");
    assert_eq!(first.values, [(name("g"), current)]);
    let same = store.poll(Some(first.version));
    assert_eq!(same.version, first.version);
    assert_eq!(same.values, []);
    let write = "BEGIN IMMEDIATE; UPDATE clock SET revision = revision + 1; \
                 UPDATE semaphores SET semaphore = 'theirs', revision = (SELECT revision FROM clock); COMMIT";
    execute(&store.path, write);
    let changed = store.poll(Some(first.version));
    assert_ne!(changed.version, first.version);
    assert_eq!(changed.values.len(), 1);
    assert_eq!(changed.values[0].1.value, Some(value("theirs")));
}

/// Each connection counts its own versions, so that of another one may have the same number.
#[test]
fn a_poll_returns_the_values_after_every_time_that_the_file_was_opened_again() {
    let mut store = Store::new();
    for _ in 0..3 {
        let known = store.poll(None).version;
        let same = store.copy(".same");
        fs::rename(&same, &store.path).unwrap();
        let polled = store.poll(Some(known));
        assert_ne!(polled.version, known);
        assert_eq!(polled.values.len(), 1);
    }
}

#[test]
fn a_store_that_was_set_back_is_refused_although_the_file_is_the_same() {
    let mut store = Store::new();
    let set_back = "UPDATE clock SET revision = revision - 1";
    execute(&store.path, set_back);
    let error = store.call("g", Then::Nothing).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let text = error.to_string();
    let expected = "the contents of ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("older than the store"), "{text}");
}

thread_local! {
    /// Runs while the worker of this thread waits for the lock of another writer.
    static WHILE_WAITING: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Lets `change` happen between the check of the files before a write and the transaction, and returns the error.
fn write_during(store: &mut Store, change: impl FnOnce() + 'static) -> StoreError {
    let other = store.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    WHILE_WAITING.set(Some(Box::new(move || {
        change();
        other.execute_batch("ROLLBACK").unwrap();
    })));
    let (open, _) = store.worker.database.connections().unwrap();
    let handler = |_| WHILE_WAITING.take().map(|change| change()).is_some();
    open.writer.busy_handler(Some(handler)).unwrap();
    let expected = Stored::absent(Revision::ABSENT);
    store.call("h", commit(expected, "late")).unwrap_err()
}

#[test]
fn a_commit_to_files_that_are_no_longer_in_place_has_an_unknown_outcome() {
    let mut store = Store::new();
    let (path, moved) = (store.path.clone(), store.file(".moved"));
    let rename = move || fs::rename(&path, &moved).unwrap();
    let error = write_during(&mut store, rename);
    assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
    assert!(
        error.to_string().contains("was moved or deleted"),
        "{error}"
    );
    // It did take effect.
    fs::rename(store.file(".moved"), &store.path).unwrap();
    assert_eq!(store.text("h"), "late");
}

#[test]
fn a_commit_that_cannot_be_verified_has_an_unknown_outcome() {
    let mut store = Store::new();
    let copy = store.copy(".copy");
    let lock = lock_exclusively(&copy);
    let path = store.path.clone();
    let replace = move || {
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(with_suffix(&path, suffix)).unwrap();
        }
        fs::rename(&copy, &path).unwrap();
    };
    let error = write_during(&mut store, replace);
    assert!(matches!(error, StoreError::Unknown(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("another process keeps the file locked"),
        "{text}"
    );
    drop(lock);
}
