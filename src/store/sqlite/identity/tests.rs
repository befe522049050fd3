//! The first difference of the files, which explains to an operator why they are not used.

use std::fs;

use super::*;

/// Returns the difference after `change` of the files in a folder; `-wal` and `-shm` exist before.
fn after(change: impl FnOnce(&FilePaths)) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("airlock.db");
    fs::write(&database, "database").unwrap();
    let paths = FilePaths::of(&database).unwrap();
    fs::write(&paths.wal, "log").unwrap();
    fs::write(&paths.shm, "memory").unwrap();
    let identity = FileIdentity::read(&paths).unwrap();
    change(&paths);
    let text = identity.check(&paths, 3).err()?.to_string();
    let folder = format!("{}/", folder.path().canonicalize().unwrap().display());
    Some(text.replace(&folder, ""))
}

fn replace(path: &Path) {
    let new = with_suffix(path, ".new");
    fs::write(&new, "database").unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_change_names_the_file() {
    type Change = fn(&FilePaths);
    for (change, expected) in [
        ((|_| {}) as Change, None),
        // SQLite writes both all the time.
        (
            |paths| {
                fs::write(&paths.wal, "a longer log").unwrap();
                fs::write(&paths.shm, "other memory").unwrap();
            },
            None,
        ),
        (
            |paths| fs::remove_file(&paths.database).unwrap(),
            Some("airlock.db was moved or deleted"),
        ),
        (
            |paths| replace(&paths.database),
            Some("airlock.db was replaced by another file"),
        ),
        (
            |paths| fs::write(&paths.database, "data").unwrap(),
            Some("airlock.db was truncated"),
        ),
        (
            |paths| fs::write(&paths.database, "a longer database").unwrap(),
            Some("airlock.db was overwritten"),
        ),
        (
            |paths| fs::remove_file(&paths.wal).unwrap(),
            Some("airlock.db-wal was deleted"),
        ),
        (
            |paths| fs::write(&paths.wal, "lo").unwrap(),
            Some("airlock.db-wal was truncated"),
        ),
        (
            |paths| replace(&paths.wal),
            Some("airlock.db-wal was replaced by another file"),
        ),
        (
            |paths| fs::remove_file(&paths.shm).unwrap(),
            Some("airlock.db-shm was deleted"),
        ),
        (
            |paths| replace(&paths.shm),
            Some("airlock.db-shm was replaced by another file"),
        ),
    ] {
        assert_eq!(after(change).as_deref(), expected);
    }
}

/// Another program can write without a change of the size.
#[test]
fn a_change_of_the_time_alone_is_noticed() {
    let change = after(|paths| {
        let file = fs::File::options().write(true).open(&paths.database);
        file.unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    });
    assert_eq!(change.as_deref(), Some("airlock.db was overwritten"));
}

/// Such a database is still there.
#[test]
fn a_file_that_cannot_be_examined_is_not_missing() {
    let change = after(|paths| {
        fs::remove_file(&paths.database).unwrap();
        std::os::unix::fs::symlink("airlock.db", &paths.database).unwrap();
    });
    let text = change.unwrap();
    assert!(
        text.starts_with("airlock.db cannot be examined: "),
        "{text}"
    );
}

/// ext4 gives a new file the number of the last deleted one.
#[test]
fn a_file_with_the_number_of_a_deleted_one_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let create = || {
        fs::write(&path, "").unwrap();
        let file = path.metadata().unwrap();
        fs::remove_file(&path).unwrap();
        Inode::of(&file)
    };
    let first = create();
    // The clock of the filesystem advances in steps.
    let other = (0..1000).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        create()
    });
    assert!(other.into_iter().any(|other| other != first));
}
