//! The files are moved, deleted, replaced or overwritten while they are open.

use super::*;

/// What a connection is set up with.
const SETTINGS: [&str; 4] = [
    "synchronous",
    "journal_mode",
    "wal_autocheckpoint",
    "journal_size_limit",
];

pub(super) const OLDER: &str = "it is older than the store that this server has used";

impl Store {
    /// Asserts that reads, writes and polls are refused with all of `problem`, again and again.
    pub(super) fn refuses(&mut self, problem: &[&str]) {
        for _ in 0..2 {
            let expected = Stored::absent(Revision::ABSENT);
            let results = [
                self.call("g", Then::Nothing).map(drop),
                self.call("g", commit(expected, "refused")).map(drop),
                self.worker.poll(None, &[name("g")]).map(drop),
            ];
            for result in results {
                let error = result.unwrap_err();
                assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
                let text = error.to_string();
                let file = self.path.display().to_string();
                for expected in problem.iter().copied().chain([&*file]) {
                    assert!(text.contains(expected), "{expected:?} in {text}");
                }
            }
        }
    }

    /// Asserts that the group has the value `text` and that the store accepts writes.
    pub(super) fn continues_with(&mut self, text: &str) {
        assert_eq!(self.text("g"), text);
        self.write("h", "another group");
        assert_eq!(self.text("h"), "another group");
    }

    /// Returns the settings of both connections.
    fn settings(&mut self) -> [[rusqlite::types::Value; SETTINGS.len()]; 2] {
        let (open, _) = self.worker.database.connections().unwrap();
        [&open.writer, &open.watcher].map(|connection| {
            SETTINGS.map(|name| {
                let read = |row: &rusqlite::Row<'_>| row.get(0);
                connection.pragma_query_value(None, name, read).unwrap()
            })
        })
    }

    /// Returns a store with the value `second`, a copy with the value `first`, and one with the value `second`.
    pub(super) fn with_copies() -> (Self, PathBuf, PathBuf) {
        let mut store = Store::new();
        let older = store.copy(".older");
        store.write("g", "second");
        let latest = store.copy(".latest");
        (store, older, latest)
    }

    /// Returns a store whose database was overwritten by an older copy, and the copy. The log lacks the pages that differ.
    pub(super) fn overwritten() -> (Self, PathBuf) {
        let mut store = Store::new();
        // On pages of its own.
        store.write("g", &"1".repeat(20_000));
        let older = store.copy(".older");
        store.write("g", &"2".repeat(20_000));
        store.copy(".latest");
        store.write("h", "in the log");
        cp(&older, &store.path);
        (store, older)
    }
}

pub(super) fn mv(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// Overwrites a file that stays the same file.
pub(super) fn cp(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

/// Makes writes that are more than the file keeps tokens for.
pub(super) fn write_many(path: &Path) {
    let mut other = Connection::open(path).unwrap();
    let transaction = other.transaction().unwrap();
    for _ in 0..300 {
        schema::write(&transaction, &name("other"), &value("theirs")).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_renamed_database_is_refused_and_not_created_until_it_is_renamed_back() {
    let mut store = Store::new();
    let (path, moved) = (store.path.clone(), store.file(".moved"));
    mv(&path, &moved);
    store.refuses(&["was moved or deleted", "until it is back in place"]);
    assert!(!path.exists());
    mv(&moved, &path);
    store.continues_with("first");
}

#[test]
fn a_database_that_was_replaced_is_refused_until_the_latest_one_is_in_place() {
    let (mut store, older, latest) = Store::with_copies();
    let path = store.path.clone();
    mv(&older, &path);
    store.refuses(&["was replaced by another file", OLDER]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    store.refuses(&["it is empty"]);
    fs::remove_dir(&path).unwrap();
    mv(&latest, &path);
    store.continues_with("second");
}

#[test]
fn a_database_that_was_overwritten_is_refused_until_the_latest_contents_are_back() {
    let (mut store, older, latest) = Store::with_copies();
    let path = store.path.clone();
    cp(&older, &path);
    store.refuses(&["was overwritten", OLDER]);
    cp(&latest, &path);
    store.continues_with("second");
}

#[test]
fn a_file_that_is_not_the_store_is_refused_and_not_changed() {
    let (mut store, _, latest) = Store::with_copies();
    let path = store.path.clone();
    let theirs = store.file(".theirs");
    execute(&theirs, "CREATE TABLE theirs (x)");
    for (contents, problem) in [
        (b"not a database\n".repeat(100), "not a SQLite database"),
        (fs::read(theirs).unwrap(), "database of another program"),
    ] {
        fs::write(store.file(".new"), &contents).unwrap();
        mv(&store.file(".new"), &path);
        store.refuses(&[
            "was replaced by another file",
            "the file in its place",
            problem,
        ]);
        assert!(fs::read(&path).unwrap() == contents);
    }
    mv(&latest, &path);
    store.continues_with("second");
}

#[test]
fn a_truncated_database_is_refused_and_its_log_is_kept_until_the_contents_are_back() {
    let mut store = Store::new();
    let first = store.copy(".first");
    store.write("g", "second");
    let (path, wal) = (store.path.clone(), store.file("-wal"));
    let log = fs::read(&wal).unwrap();
    fs::write(&path, "").unwrap();
    store.refuses(&["was truncated", "it is empty"]);
    assert!(fs::read(&wal).unwrap() == log);
    cp(&first, &path);
    store.continues_with("second");
}

#[test]
fn a_database_that_is_cut_off_is_refused_as_damaged() {
    let (mut store, _, latest) = Store::with_copies();
    let path = store.path.clone();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    store.refuses(&["was truncated", "damaged"]);
    cp(&latest, &path);
    store.continues_with("second");
}

#[test]
fn a_copy_is_refused_if_it_was_written_to_apart_from_the_store() {
    let (mut store, older, latest) = Store::with_copies();
    let path = store.path.clone();
    // Also if it lacks the proof because of the number of writes, or because an earlier version has written it.
    write_many(&older);
    mv(&older, &path);
    store.refuses(&["was replaced", "written to apart from the store"]);
    let without = store.file(".without");
    cp(&latest, &without);
    let statements = "DROP TRIGGER clock_history; ALTER TABLE clock DROP COLUMN tokens";
    execute(&without, statements);
    mv(&without, &path);
    store.refuses(&["was replaced", "written to apart from the store"]);
    mv(&latest, &path);
    store.continues_with("second");
}

#[test]
fn a_file_that_stayed_in_place_may_have_any_number_of_writes_by_other_processes() {
    let mut store = Store::new();
    let opened = store.worker.database.opened;
    write_many(&store.path);
    execute(&store.path, "PRAGMA wal_checkpoint = TRUNCATE");
    store.continues_with("first");
    assert_eq!(store.worker.database.opened, opened + 1);
}

#[test]
fn a_copy_whose_group_lacks_the_value_that_was_written_here_is_refused() {
    let (mut store, _, latest) = Store::with_copies();
    let path = store.path.clone();
    let other_value = store.file(".value");
    cp(&latest, &other_value);
    execute(&other_value, "UPDATE semaphores SET semaphore = 'theirs'");
    mv(&other_value, &path);
    store.refuses(&["was replaced", "its value of group g is not the one"]);
    mv(&latest, &path);
    store.continues_with("second");
}

/// The same with a value that no poll has read.
#[test]
fn a_copy_that_lacks_the_value_of_the_last_commit_is_refused() {
    let mut store = Store::new();
    store.copy(".first");
    store.write("h", "new");
    let copy = store.file(".copy");
    execute(&store.path, &format!("VACUUM INTO '{}'", copy.display()));
    execute(&copy, "DELETE FROM semaphores WHERE group_name = 'h'");
    // Without the log, which no file in its place may have.
    let (path, moved) = (store.path.clone(), store.file(".moved"));
    mv(&path, &moved);
    mv(&store.file("-wal"), &store.file(".moved-wal"));
    mv(&copy, &path);
    store.refuses(&["was replaced", "its value of group h is not the one"]);
}

#[test]
fn a_log_is_never_applied_to_a_file_that_replaced_the_database() {
    let (mut store, _, latest) = Store::with_copies();
    store.write("g", "third");
    let (path, moved) = (store.path.clone(), store.file(".moved"));
    let log = fs::read(store.file("-wal")).unwrap();
    mv(&path, &moved);
    cp(&latest, &path);
    store.refuses(&["was replaced", "-wal contains writes to the previous file"]);
    assert!(fs::read(&path).unwrap() == fs::read(&latest).unwrap());
    assert!(fs::read(store.file("-wal")).unwrap() == log);
    mv(&moved, &path);
    store.continues_with("third");
}

#[test]
fn a_deleted_log_loses_no_write() {
    for files in [&["-wal"][..], &["-wal", "-shm"]] {
        let mut store = Store::new();
        store.copy(".first");
        store.write("g", "second");
        for file in files {
            fs::remove_file(store.file(file)).unwrap();
        }
        store.continues_with("second");
    }
}

#[test]
fn a_log_that_was_replaced_loses_no_write_that_is_in_the_database() {
    let (mut store, _, _) = Store::with_copies();
    fs::write(store.file(".new"), "").unwrap();
    mv(&store.file(".new"), &store.file("-wal"));
    store.continues_with("second");
    assert_eq!(store.worker.database.opened, 2);
}

/// Such a file would be a mixture of two states.
#[test]
fn a_log_is_not_copied_into_a_database_that_was_overwritten() {
    for deleted in [&[][..], &["-wal"], &["-wal", "-shm"]] {
        let (mut store, older) = Store::overwritten();
        for suffix in deleted {
            fs::remove_file(store.file(suffix)).unwrap();
        }
        let path = store.path.clone();
        store.refuses(&[]);
        assert!(fs::read(&path).unwrap() == fs::read(&older).unwrap());
    }
}

#[test]
fn the_file_is_opened_again_with_the_same_settings() {
    let mut store = Store::new();
    let same = store.copy(".same");
    let before = store.settings();
    mv(&same, &store.path);
    assert_eq!(store.settings(), before);
    assert_eq!(store.worker.database.opened, 2);
}

#[test]
fn a_file_that_is_locked_when_it_is_opened_again_is_refused_for_that_reason() {
    let mut store = Store::new();
    let same = store.copy(".same");
    let lock = lock_exclusively(&same);
    mv(&same, &store.path);
    let error = store.call("g", Then::Nothing).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    let file = format!("{}: ", store.path.display());
    assert!(text.starts_with(&file), "{text}");
    assert!(
        text.contains("another process keeps the file locked"),
        "{text}"
    );
    drop(lock);
    store.continues_with("first");
}

/// SQLite copies the log into the database when it closes a file, and deletes whatever has the name of the log.
#[test]
fn the_end_of_the_store_changes_no_file_in_place_of_its_own() {
    let (mut store, older, _) = Store::with_copies();
    store.write("g", "third");
    cp(&older, &store.path);
    let (path, folder) = (store.path, store.folder);
    drop(store.worker);
    assert!(fs::read(path).unwrap() == fs::read(older).unwrap());
    drop(folder);

    let mut store = Store::new();
    store.write("g", "second");
    let (wal, folder) = (store.file("-wal"), store.folder);
    let before = fs::read(&store.path).unwrap();
    fs::remove_file(&wal).unwrap();
    fs::write(&wal, "theirs").unwrap();
    drop(store.worker);
    assert_eq!(fs::read(wal).unwrap(), b"theirs");
    assert!(fs::read(&store.path).unwrap() == before);
    drop(folder);
}

#[test]
fn a_commit_is_confirmed_only_by_files_that_contain_it() {
    for contains_it in [true, false] {
        let mut store = Store::new();
        let older = store.copy(".older");
        let database = &mut store.worker.database;
        let (open, _) = database.connections().unwrap();
        let transaction = open.writer.transaction().unwrap();
        schema::write(&transaction, &name("g"), &value("second")).unwrap();
        let clock = schema::clock(&transaction).unwrap();
        transaction.commit().unwrap();
        assert!(database.confirm(&clock).unwrap());
        database.copy_log();
        database.empty_log();
        let latest = with_suffix(&store.path, ".latest");
        cp(&store.path, &latest);
        // Both contain what this process has seen before.
        mv(if contains_it { &latest } else { &older }, &store.path);
        match database.confirm(&clock) {
            Ok(is_latest) => assert!(contains_it && is_latest),
            Err(Unusable::Changed(error)) => {
                assert!(!contains_it && error.to_string().contains(OLDER), "{error}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
