//! The write-ahead log is copied into the database and emptied.

use super::*;

impl Store {
    /// Returns the value of group `g` in the database without its log; `None`: there is none.
    fn in_database(&self) -> Option<String> {
        let copy = self.folder.path().join("copy.db");
        fs::copy(&self.path, &copy).unwrap();
        let copy = Connection::open(copy).unwrap();
        let sql = "SELECT semaphore FROM semaphores WHERE group_name = 'g'";
        copy.query_row(sql, (), |row| row.get(0)).ok()
    }
}

#[test]
fn a_poll_after_writes_copies_the_log_and_a_quiet_one_empties_it() {
    let mut store = Store::new();
    assert_eq!(store.in_database(), None);
    let wal = store.file("-wal");
    let known = store.poll(None).version;
    assert_eq!(store.in_database().as_deref(), Some("first"));
    assert!(bytes(&wal) > 0);
    store.poll(Some(known));
    assert_eq!(bytes(&wal), 0);
    assert_eq!(store.in_database().as_deref(), Some("first"));
    // The store's own change of the database is none by another program.
    assert_eq!(store.text("g"), "first");
    assert_eq!(store.worker.database.opened, 1);
}

#[test]
fn a_log_is_copied_without_a_poll_once_it_is_large() {
    let mut store = Store::new();
    store.worker.database.limit_log();
    assert_eq!(store.in_database(), None);
    let large = "x".repeat(5 << 20);
    store.write("g", &large);
    store.worker.database.limit_log();
    assert!(store.in_database().as_ref() == Some(&large));
    assert!(store.text("g") == large);
    assert_eq!(store.worker.database.opened, 1);
}

#[test]
fn a_log_that_was_large_is_not_copied_after_every_write() {
    let mut store = Store::new();
    for text in ["x".repeat(5 << 20).as_str(), "second", "third"] {
        store.write("g", text);
        store.worker.database.limit_log();
    }
    assert_ne!(store.in_database().as_deref(), Some("third"));
    assert_eq!(store.worker.database.opened, 1);
    assert_eq!(store.text("g"), "third");
}

#[test]
fn a_log_that_another_process_reads_is_copied_later() {
    let mut store = Store::new();
    let other = store.other();
    other.execute_batch("BEGIN; SELECT * FROM clock").unwrap();
    let known = store.poll(None).version;
    store.write("g", "second");
    store.poll(Some(known));
    assert!(bytes(&store.file("-wal")) > 0);
    drop(other);
    let known = store.poll(None).version;
    store.poll(Some(known));
    assert_eq!(store.in_database().as_deref(), Some("second"));
}

#[test]
fn the_writer_waits_for_other_processes_also_after_a_copy() {
    let mut store = Store::new();
    store.poll(None);
    let (open, _) = store.worker.database.connections().unwrap();
    let timeout = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let timeout = open
        .writer
        .pragma_query_value(None, "busy_timeout", timeout);
    assert_eq!(timeout.unwrap(), 20);
}

#[test]
fn a_write_that_changes_nothing_is_in_the_log_but_not_in_the_clock() {
    let mut store = Store::new();
    store.copy(".copy");
    let before = store.read("g");
    store.call("g", Then::Touch).unwrap();
    assert!(bytes(&store.file("-wal")) > 0);
    assert_eq!(store.read("g"), before);
}
