//! A restore while no server uses the store.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use rusqlite::Connection;
use rustix::process::geteuid;

use super::*;
use crate::lock::codec::LockTimes;
use crate::store::sqlite::access::tests::unprivileged;
use crate::store::sqlite::copy::{CopyError, Present};

fn value(text: &str) -> Value {
    Value {
        semaphore: text.into(),
        lock_times: LockTimes::Absent,
    }
}

fn prepare(store: &Path, backup: &Path) -> Result<Restore, CopyError> {
    Restore::prepare(store, backup, TIMEOUT)
}

/// Returns the names of the files that a restore leaves only if it is killed.
fn left_behind(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .collect()
}

#[test]
fn a_restore_shows_both_values_and_writes_into_its_copy_only() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    let group = GroupName::new("g").unwrap();
    let mut restore = prepare(&store, &backup).unwrap();
    assert_eq!(restore.values()[&group], value("old"));
    match restore.present() {
        Present::Values(values) => assert_eq!(values[&group], value("new")),
        present => panic!("{present:?}"),
    }
    restore.write(&group, &value("paused")).unwrap();
    drop(restore);
    assert_eq!(left_behind(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(read(&store), "new");

    let mut restore = prepare(&store, &backup).unwrap();
    restore.write(&group, &value("paused")).unwrap();
    let kept = restore.finish().unwrap().unwrap();
    assert_eq!((&*read(&store), &*read(&kept)), ("paused", "new"));
    assert_eq!(left_behind(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_backup_by_other_means_is_restored_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (_, store) = files(folder.path());
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        fs::copy(with_suffix(&store, suffix), with_suffix(&copy, suffix)).unwrap();
    }
    write(&store, "newest");
    prepare(&store, &copy).unwrap().finish().unwrap();
    assert_eq!(read(&store), "new");
}

#[test]
fn a_file_that_is_not_a_backup_is_refused_and_leaves_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    let (backup, store) = files(folder.path());
    fs::create_dir(in_folder("folder")).unwrap();
    fs::write(in_folder("empty"), "").unwrap();
    fs::write(in_folder("text"), "text".repeat(100)).unwrap();
    let foreign = Connection::open(in_folder("foreign")).unwrap();
    foreign
        .execute_batch("PRAGMA application_id = 7; CREATE TABLE x (x)")
        .unwrap();
    let mut cut_off = fs::read(&backup).unwrap();
    cut_off.truncate(8192);
    fs::write(in_folder("cut-off"), cut_off).unwrap();
    for (name, expected) in [
        ("missing", "Read"),
        ("airlock.db", "IsStore"),
        ("airlock.db-wal", "IsStore"),
        ("folder", "Unusable(OpenError { path: "),
        ("empty", "Unusable"),
        ("foreign", "Unusable"),
        ("text", "Damaged"),
        ("cut-off", "Damaged"),
    ] {
        let error = format!("{:?}", prepare(&store, &in_folder(name)).unwrap_err());
        assert!(error.starts_with(expected), "{name}: {error}");
        assert_eq!(left_behind(folder.path()), Vec::<PathBuf>::new());
    }
    assert_eq!(read(&store), "new");
}

#[test]
fn a_store_in_use_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    let server = open(&FilePaths::of(&store).unwrap(), TIMEOUT).unwrap();
    schema::values(&server).unwrap();
    let error = prepare(&store, &backup).unwrap_err();
    assert!(matches!(error, CopyError::InUse(_)), "{error:?}");
}

#[test]
fn a_file_without_contents_is_replaced_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    for is_database in [false, true] {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(with_suffix(&store, suffix));
        }
        fs::write(&store, "").unwrap();
        if is_database {
            let empty = Connection::open(&store).unwrap();
            empty
                .execute_batch("CREATE TABLE x (x); DROP TABLE x")
                .unwrap();
        }
        let restore = prepare(&store, &backup).unwrap();
        let present = restore.present();
        assert!(matches!(present, Present::Missing), "{present:?}");
        let kept = restore.finish().unwrap();
        assert_eq!(kept.is_some(), is_database);
        assert_eq!(read(&store), "old");
    }
}

#[test]
fn a_damaged_store_that_changes_during_a_restore_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    fs::write(&store, [0xff; 4096]).unwrap();
    let restore = prepare(&store, &backup).unwrap();
    let present = restore.present();
    assert!(matches!(present, Present::Unreadable(_)), "{present:?}");
    fs::write(&store, [0xfe; 8192]).unwrap();
    let error = restore.finish().unwrap_err();
    assert!(matches!(error, CopyError::Changed(_)), "{error:?}");
    assert!(fs::read(&store).unwrap() == [0xfe; 8192]);
    assert_eq!(left_behind(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_restore_that_fails_says_whether_it_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    // A damaged file, beside which SQLite reads no other one.
    fs::write(&store, [0xff; 4096]).unwrap();
    let exchange = prepare(&store, &backup).unwrap().into_exchange().unwrap();
    for file in left_behind(folder.path()) {
        if file.to_str().unwrap().contains("placeholder") {
            fs::remove_file(file).unwrap();
        }
    }
    let error = exchange.run().unwrap_err();
    assert!(matches!(error, CopyError::Write { .. }), "{error:?}");
    assert!(fs::read(&store).unwrap() == [0xff; 4096]);

    let shm = with_suffix(&store, "-shm");
    let _ = fs::remove_file(&shm);
    fs::create_dir(&shm).unwrap();
    let error = prepare(&store, &backup).unwrap().finish().unwrap_err();
    assert!(error.is_interrupted(), "{error:?}");
    is_refused(&store);
    fs::remove_dir(&shm).unwrap();
    prepare(&store, &backup).unwrap().finish().unwrap();
    assert_eq!(read(&store), "old");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn owner(path: &Path) -> (u32, u32) {
    let file = path.metadata().unwrap();
    (file.uid(), file.gid())
}

/// Only root can give a file to another user.
#[test]
fn a_restored_file_has_the_owner_of_the_previous_one_or_of_the_folder() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    chown(&store, Some(1001), Some(1002)).unwrap();
    prepare(&store, &backup).unwrap().finish().unwrap();
    assert_eq!(owner(&store), (1001, 1002));
    chown(folder.path(), Some(1003), Some(1004)).unwrap();
    fs::remove_file(&store).unwrap();
    prepare(&store, &backup).unwrap().finish().unwrap();
    assert_eq!(owner(&store), (1003, 1004));
    assert_eq!(store.metadata().unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_user_who_cannot_keep_the_owner_does_not_replace_the_file() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (backup, store) = files(folder.path());
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(with_suffix(&store, suffix)).unwrap();
    }
    set_mode(folder.path(), 0o777);
    // Of the group that the other user has, too.
    set_mode(&store, 0o660);
    set_mode(&backup, 0o444);
    unprivileged(|| {
        let error = prepare(&store, &backup).unwrap().finish().unwrap_err();
        assert!(
            matches!(error, CopyError::Owner { owner: 0, .. }),
            "{error:?}"
        );
    });
    assert_eq!(owner(&store), (0, 0));
    // Without a file, there is no owner to keep. A backup that cannot be locked is not in use.
    fs::remove_file(&store).unwrap();
    unprivileged(|| assert_eq!(prepare(&store, &backup).unwrap().finish().unwrap(), None));
    let own = owner(&store).0;
    assert_ne!(own, 0);
    // The group alone does not matter.
    chown(&store, Some(own), Some(1002)).unwrap();
    unprivileged(|| drop(prepare(&store, &backup).unwrap().finish().unwrap()));
    assert_eq!(owner(&store).0, own);
}
