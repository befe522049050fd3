//! The classes and the remedies of the errors.

use std::io;

use rusqlite::ffi;

use crate::store::sqlite::copy::CopyError;
use crate::store::sqlite::copy::error::is_damage;
use crate::text::explain::Remedy as _;

use super::*;

fn sqlite(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

fn path() -> PathBuf {
    "/backups/airlock.db".into()
}

fn interrupted() -> CopyError {
    CopyError::Interrupted {
        path: path(),
        source: io::ErrorKind::Other.into(),
    }
}

#[test]
fn only_damaged_contents_are_damage() {
    for (code, expected) in [
        (ffi::SQLITE_NOTADB, true),
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_BUSY, false),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_IOERR, false),
    ] {
        assert_eq!(is_damage(&sqlite(code)), expected);
        let error = CopyError::backup(&path(), sqlite(code));
        let is_damaged = matches!(error, CopyError::Damaged { .. });
        assert_eq!(is_damaged, expected, "{error:?}");
    }
}

#[test]
fn a_store_that_cannot_be_used_at_the_moment_and_a_restore_that_has_begun_have_classes() {
    for (error, is_unavailable) in [
        (CopyError::store(&path(), sqlite(ffi::SQLITE_BUSY)), true),
        (CopyError::InUse(path()), true),
        (CopyError::Changed(path()), true),
        (CopyError::backup(&path(), OpenProblem::Foreign), false),
        (CopyError::Exists(path()), false),
    ] {
        assert_eq!(error.is_unavailable(), is_unavailable, "{error:?}");
        assert!(!error.is_interrupted(), "{error:?}");
    }
    assert!(interrupted().is_interrupted() && !interrupted().is_unavailable());
}

#[test]
fn an_error_has_the_remedy_for_the_file_that_it_is_about() {
    let newer = || OpenProblem::Newer {
        found: 2,
        supported: 1,
    };
    let damaged = CopyError::Damaged {
        path: path(),
        problem: "page 2 is never used".into(),
    };
    let owner = CopyError::Owner {
        path: path(),
        owner: 7,
    };
    for (error, remedy) in [
        (
            CopyError::store(&path(), OpenProblem::Foreign),
            "name another file",
        ),
        (CopyError::store(&path(), newer()), "run that version"),
        (
            CopyError::backup(&path(), OpenProblem::Foreign),
            "that `airlock backup` has written",
        ),
        (
            CopyError::backup(&path(), newer()),
            "restore it with that version",
        ),
        (
            CopyError::backup(&path(), OpenProblem::NotAFile),
            "name another file",
        ),
        (damaged, "use another backup"),
        (CopyError::Exists(path()), "move this one away"),
        (
            CopyError::IsStore(path()),
            "name another file, on another disk",
        ),
        (CopyError::InUse(path()), "stop the server"),
        (
            CopyError::Changed(path()),
            "make sure that the server is stopped",
        ),
        (owner, "run the command as root, or as the user with uid 7"),
        (
            interrupted(),
            "until then, no server starts with this store",
        ),
    ] {
        let found = error.remedy().unwrap();
        assert!(found.contains(remedy), "{remedy:?} in {found}");
    }
    let other = || io::ErrorKind::Other.into();
    for error in [
        CopyError::read(&path(), other()),
        CopyError::write(&path(), other()),
    ] {
        assert_eq!(error.remedy(), None);
    }
}
