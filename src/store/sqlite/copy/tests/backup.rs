//! A backup beside a server.

use super::*;
use crate::store::sqlite::copy::{CopyError, backup};

/// Returns the names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_contains_the_writes_in_the_log_and_needs_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("airlock.db"), folder.path().join("copy"));
    // More pages than could be copied one by one in the time.
    let text = "x".repeat(1 << 20);
    write(&store, &text);
    let values = backup(&store, &file, Duration::from_millis(20)).unwrap();
    assert!(values.values().next().unwrap().semaphore == text.as_bytes());
    assert!(
        names(folder.path())
            .iter()
            .all(|name| !name.starts_with("copy-"))
    );
    assert!(read(&file) == text);
}

#[test]
fn a_backup_replaces_no_file_and_is_no_file_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    let store = in_folder("airlock.db");
    write(&store, "value");
    fs::write(in_folder("other"), "contents").unwrap();
    fs::hard_link(&store, in_folder("second-name")).unwrap();
    for (link, to) in [("link", "airlock.db"), ("dangling", "nothing")] {
        std::os::unix::fs::symlink(to, in_folder(link)).unwrap();
    }
    let before = names(folder.path());
    for (name, is_store) in [
        ("airlock.db", true),
        ("airlock.db-wal", true),
        ("airlock.db-shm", true),
        // It does not exist yet.
        ("airlock.db-journal", true),
        ("second-name", true),
        ("link", true),
        ("other", false),
        ("dangling", false),
    ] {
        match backup(&store, &in_folder(name), TIMEOUT) {
            Err(CopyError::IsStore(_)) => assert!(is_store, "{name}"),
            Err(CopyError::Exists(_)) => assert!(!is_store, "{name}"),
            result => panic!("{name}: {result:?}"),
        }
    }
    assert_eq!(fs::read(in_folder("other")).unwrap(), b"contents");
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_store_that_cannot_be_used_leaves_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("airlock.db"), folder.path().join("copy"));
    let fails = || {
        let error = backup(&store, &file, TIMEOUT).unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(
            names(folder.path())
                .iter()
                .all(|name| !name.contains("copy"))
        );
    };
    fails();
    fs::write(&store, "").unwrap();
    fails();
    fs::remove_file(&store).unwrap();
    write(&store, "value");
    let mut bytes = fs::read(&store).unwrap();
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(with_suffix(&store, suffix)).unwrap();
    }
    bytes[..4096].fill(0xff);
    fs::write(&store, bytes).unwrap();
    fails();
}

#[test]
fn a_backup_that_is_not_intact_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("airlock.db"), folder.path().join("copy"));
    write(&store, "value");
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(with_suffix(&store, suffix)).unwrap();
    }
    let mut bytes = fs::read(&store).unwrap();
    let last_page = bytes.len() - 4096;
    bytes[last_page..].fill(0xff);
    fs::write(&store, bytes).unwrap();
    let error = backup(&store, &file, TIMEOUT).unwrap_err();
    assert!(matches!(error, CopyError::Damaged { .. }), "{error:?}");
    assert!(
        names(folder.path())
            .iter()
            .all(|name| !name.contains("copy"))
    );
}
