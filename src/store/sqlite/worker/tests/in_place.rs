//! Changes that leave the database in its place: its contents, its log, or where a link leads to.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::files::{OLDER, cp, mv, write_many};
use super::*;

/// More writes than a file keeps tokens for prove nothing about the store that they were made in.
#[test]
fn another_store_that_overwrites_the_database_is_refused_however_many_writes_it_has() {
    let (mut store, mut other) = (Store::new(), Store::new());
    let latest = store.copy(".latest");
    for _ in 0..300 {
        other.write("g", "theirs");
    }
    let theirs = other.copy(".theirs");
    cp(&theirs, &store.path);
    store.refuses(&["was overwritten", "it is another store"]);
    let path = store.path.clone();
    cp(&latest, &path);
    store.continues_with("first");
}

#[test]
fn a_value_that_another_process_has_changed_in_the_meantime_is_read_again() {
    let mut store = Store::new();
    let copy = store.copy(".copy");
    let mut other = Connection::open(&copy).unwrap();
    let transaction = other.transaction().unwrap();
    schema::write(&transaction, &name("g"), &value("theirs")).unwrap();
    transaction.commit().unwrap();
    // SQLite does not look at the log as long as its shared memory stays the same.
    mv(&with_suffix(&copy, "-wal"), &store.file("-wal"));
    assert_eq!(store.text("g"), "theirs");
}

#[test]
fn a_link_that_leads_to_another_copy_is_followed_to_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, link] =
        ["first.db", "second.db", "airlock.db"].map(|n| folder.path().join(n));
    fs::write(&first, "").unwrap();
    symlink(&first, &link).unwrap();
    let mut store = Store::at(folder, link.clone());
    let known = store.poll(None).version;
    store.poll(Some(known));
    cp(&first, &second);
    fs::remove_file(&link).unwrap();
    symlink(&second, &link).unwrap();
    store.write("g", "second");
    assert_eq!(store.worker.database.opened, 2);
    fs::remove_file(with_suffix(&second, "-wal")).unwrap();
    store.continues_with("second");
    assert_eq!(store.worker.database.opened, 3);
}

#[test]
fn a_database_that_was_overwritten_before_a_copy_of_the_log_stays_as_it_is() {
    let (mut store, older) = Store::overwritten();
    store.worker.database.copy_log();
    assert!(fs::read(&store.path).unwrap() == fs::read(&older).unwrap());
    store.refuses(&["was overwritten"]);
}

#[test]
fn a_log_that_was_truncated_is_noticed() {
    let mut store = Store::new();
    store.copy(".first");
    store.write("g", "second");
    let wal = fs::File::options().write(true).open(store.file("-wal"));
    wal.unwrap().set_len(0).unwrap();
    store.refuses(&["-wal was truncated", OLDER]);
}

#[test]
fn a_log_that_another_process_empties_is_no_problem() {
    let mut store = Store::new();
    write_many(&store.path);
    store.write("g", "second");
    execute(&store.path, "PRAGMA wal_checkpoint = TRUNCATE");
    store.continues_with("second");
}

#[test]
fn a_text_that_is_not_utf_8_is_a_value_of_one_group() {
    let mut store = Store::new();
    store.write("h", "another group");
    let sql = "UPDATE semaphores SET semaphore = CAST(x'61ff' AS TEXT) WHERE group_name = 'g'";
    execute(&store.path, sql);
    let polled = store.poll(None).values;
    for stored in [store.read("g"), polled[0].1.clone()] {
        assert_eq!(stored.value.unwrap().semaphore, b"a\xff");
    }
    assert_eq!(store.text("h"), "another group");
}

#[test]
fn a_file_that_was_put_back_is_protected_again() {
    let mut store = Store::new();
    let copy = store.copy(".copy");
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(&copy, mode(0o644)).unwrap();
    mv(&copy, &store.path);
    store.write("g", "second");
    for suffix in ["", "-wal", "-shm"] {
        let file = store.file(suffix).metadata().unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn a_file_that_cannot_be_examined_is_refused_for_that_reason() {
    let mut store = Store::new();
    let (path, moved) = (store.path.clone(), store.file(".moved"));
    mv(&path, &moved);
    // Permissions do not stop root.
    symlink(&path, &path).unwrap();
    store.refuses(&["cannot be examined", "may read and write it again"]);
    mv(&moved, &path);
    store.continues_with("first");
}
