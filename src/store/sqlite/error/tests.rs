//! The classes, the messages, and the remedies of the errors.

use rusqlite::{Connection, OpenFlags, ffi};

use super::*;
use crate::text::explain::chain;

const PERMISSION: &str = "needs write permission on the file and on its folder";

fn sqlite(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Returns the class of an error of SQLite, and its message.
fn classified(code: i32) -> (&'static str, String) {
    let path = Path::new("/var/lib/airlock/airlock.db");
    let error = SqliteError::classify(path, sqlite(code));
    let class = match &error {
        StoreError::Rejected(_) => "rejected",
        StoreError::NoSpace(_) => "no space",
        StoreError::Unreachable(_) => "unreachable",
        StoreError::Unknown(_) => "unknown",
    };
    (class, error.to_string())
}

#[test]
fn an_error_of_sqlite_has_a_class_and_a_remedy() {
    let locked = "another process keeps the file locked; end that process";
    let damaged =
        "the file is damaged or not a SQLite database; if it was the store, restore a backup";
    for (code, class, remedy) in [
        (ffi::SQLITE_BUSY, "unreachable", locked),
        (ffi::SQLITE_LOCKED, "unreachable", locked),
        (
            ffi::SQLITE_FULL,
            "no space",
            "the disk is full; free some space",
        ),
        (ffi::SQLITE_READONLY, "rejected", PERMISSION),
        (ffi::SQLITE_PERM, "rejected", PERMISSION),
        (ffi::SQLITE_CANTOPEN, "rejected", PERMISSION),
        (ffi::SQLITE_NOTADB, "rejected", damaged),
        (ffi::SQLITE_CORRUPT, "rejected", damaged),
        (ffi::SQLITE_TOOBIG, "rejected", ""),
        // The write may be in the log.
        (
            ffi::SQLITE_IOERR,
            "unknown",
            "the disk reported an error; see the log of the system",
        ),
        (ffi::SQLITE_NOMEM, "unknown", ""),
        (ffi::SQLITE_INTERNAL, "unknown", ""),
    ] {
        let (found, text) = classified(code);
        assert_eq!(found, class, "{text}");
        assert!(text.starts_with("/var/lib/airlock/airlock.db: "), "{text}");
        assert!(text.contains(remedy), "{remedy:?} in {text}");
        assert!(!remedy.is_empty() || !text.contains(';'), "{text}");
    }
}

#[test]
fn a_message_names_the_file_once_and_that_it_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let error = Connection::open_with_flags(&path, flags).unwrap_err();
    let name = path.display().to_string();
    assert!(error.to_string().contains(&name), "{error}");
    let error = DatabaseError::new(&path, error);
    assert_eq!(error.reason(), "unable to open database file");
    let text = error.to_string();
    assert!(text.starts_with("unable to open database file: "), "{text}");
    assert!(text.ends_with(PERMISSION), "{text}");

    std::fs::write(&path, "").unwrap();
    let mut permissions = path.metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let text = DatabaseError::new(&path, sqlite(ffi::SQLITE_READONLY)).to_string();
    assert!(text.contains(" (the file is read-only): "), "{text}");
    assert!(text.ends_with(PERMISSION), "{text}");
}

#[test]
fn an_error_without_a_known_remedy_is_the_reason_alone() {
    let error = DatabaseError::new(Path::new("airlock.db"), sqlite(ffi::SQLITE_NOMEM));
    assert_eq!(error.to_string(), error.reason());
}

fn io(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

#[test]
fn a_file_that_cannot_be_the_store_is_explained_with_a_remedy() {
    use io::ErrorKind::{
        NotFound, Other, PermissionDenied, ReadOnlyFilesystem as ReadOnly, StorageFull,
    };
    let absolute = || PathBuf::from("/missing/folder");
    let folder = |folder: PathBuf, kind| OpenProblem::Folder {
        folder,
        source: io(kind),
    };
    let not_writable = |kind| OpenProblem::FolderNotWritable {
        folder: absolute(),
        source: io(kind),
    };
    let exposed = OpenProblem::Exposed {
        path: "/a folder/airlock.db".into(),
        mode: 0o644,
        owner: 7,
    };
    let newer = OpenProblem::Newer {
        found: 2,
        supported: 1,
    };
    let filesystem = "NFS".into();
    let wal = "airlock.db-wal".into();
    for (problem, remedy) in [
        (
            folder(absolute(), NotFound),
            "create the folder, or name another file",
        ),
        (
            folder("data".into(), NotFound),
            "relative to the working directory /",
        ),
        (
            OpenProblem::NotAFolder(absolute()),
            "name a file in a folder",
        ),
        (OpenProblem::IsFolder, "name a file in it"),
        (OpenProblem::NotAFile, "name another file"),
        (OpenProblem::NotWritable(io(PermissionDenied)), PERMISSION),
        (not_writable(PermissionDenied), PERMISSION),
        (OpenProblem::NotWritable(io(ReadOnly)), "/var/lib/airlock"),
        (not_writable(ReadOnly), "/var/lib/airlock"),
        (OpenProblem::Foreign, "name another file"),
        (newer, "run that version"),
        (OpenProblem::Network { filesystem }, "use etcd"),
        (exposed, "chmod go= '/a folder/airlock.db'"),
        (OpenProblem::OnlyLog { wal }, "move the database back"),
        (OpenProblem::InRestore, "run `airlock restore` again"),
        (OpenProblem::Moved, "try again"),
        (OpenProblem::Create(io(StorageFull)), "the disk is full"),
    ] {
        let error = OpenError::new(Path::new("/data/airlock.db"), problem);
        let found = error.remedy().unwrap();
        assert!(found.contains(remedy), "{remedy:?} in {found}");
        let text = chain(&error);
        assert!(
            text.starts_with("/data/airlock.db: cannot be used: "),
            "{text}"
        );
    }
    for problem in [
        OpenProblem::Create(io(Other)),
        OpenProblem::NotReadable(io(Other)),
        OpenProblem::Thread(io(Other)),
        OpenProblem::Empty,
        OpenProblem::Database(DatabaseError::new(Path::new("x"), sqlite(ffi::SQLITE_BUSY))),
    ] {
        let error = OpenError::new(Path::new("/data/airlock.db"), problem);
        assert_eq!(error.remedy(), None, "{error:?}");
    }
}

#[test]
fn an_absolute_folder_that_does_not_exist_is_not_explained_with_the_working_directory() {
    let problem = OpenProblem::Folder {
        folder: "/missing".into(),
        source: io(io::ErrorKind::NotFound),
    };
    let remedy = OpenError::new(Path::new("/missing/x"), problem).remedy();
    assert_eq!(remedy.unwrap(), "create the folder, or name another file");
}

#[test]
fn a_folder_that_the_user_may_not_enter_is_explained_with_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let problem = OpenProblem::Folder {
        folder: folder.path().to_owned(),
        source: io(io::ErrorKind::PermissionDenied),
    };
    let error = OpenError::new(&folder.path().join("airlock.db"), problem);
    assert_eq!(error.remedy(), Some(permission_remedy(folder.path())));
}

#[test]
fn only_a_lack_of_permission_is_denied() {
    let folder = || PathBuf::from("/data");
    for (kind, is_denied) in [
        (io::ErrorKind::PermissionDenied, true),
        (io::ErrorKind::NotFound, false),
        (io::ErrorKind::ReadOnlyFilesystem, false),
    ] {
        for problem in [
            OpenProblem::NotWritable(io(kind)),
            OpenProblem::FolderNotWritable {
                folder: folder(),
                source: io(kind),
            },
            OpenProblem::Folder {
                folder: folder(),
                source: io(kind),
            },
        ] {
            let error = OpenError::new(Path::new("/data/airlock.db"), problem);
            assert_eq!(error.is_denied(), is_denied, "{error:?}");
        }
    }
    assert!(!OpenError::new(Path::new("/data"), OpenProblem::IsFolder).is_denied());
}
