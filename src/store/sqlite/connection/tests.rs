//! The check of a file before a server uses it.

use std::fs;

use super::*;
use crate::logging;
use crate::store::sqlite::access::placeholder;

const TIMEOUT: Duration = Duration::from_millis(20);

#[test]
fn a_file_that_does_not_exist_passes_and_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    check(&path, TIMEOUT).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_new_store_is_logged_as_its_locks_may_be_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    let warnings = || {
        logging::warnings(|| {
            prepare_file(&path).unwrap();
            let paths = FilePaths::of(&path).unwrap();
            open(&paths, TIMEOUT).unwrap();
        })
    };
    assert_eq!(warnings(), 1);
    assert_eq!(warnings(), 0);
    fs::write(&path, "").unwrap();
    assert_eq!(warnings(), 1);
}

#[test]
fn a_file_that_cannot_be_the_store_is_an_error_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    let theirs = Connection::open(folder.path().join("theirs")).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let foreign = fs::read(folder.path().join("theirs")).unwrap();
    for (contents, expected) in [
        (b"not a database\n".repeat(100), "Database(DatabaseError"),
        (foreign, "Foreign"),
        (placeholder(), "InRestore"),
    ] {
        fs::write(&path, &contents).unwrap();
        let error = check(&path, TIMEOUT).unwrap_err();
        let problem = format!("{:?}", error.problem());
        assert!(problem.starts_with(expected), "{problem}");
        assert!(fs::read(&path).unwrap() == contents);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = check(&path, TIMEOUT).unwrap_err();
    assert!(
        matches!(error.problem(), OpenProblem::IsFolder),
        "{error:?}"
    );
}

#[test]
fn a_file_that_another_process_keeps_locked_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE x (x); BEGIN EXCLUSIVE")
        .unwrap();
    let result = check(&path, TIMEOUT);
    assert!(result.is_ok(), "{result:?}");
    other.execute_batch("COMMIT").unwrap();
    let error = check(&path, TIMEOUT).unwrap_err();
    assert!(matches!(error.problem(), OpenProblem::Foreign), "{error:?}");
}

#[test]
fn an_empty_file_is_prepared_and_has_the_settings_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    prepare_file(&path).unwrap();
    let paths = FilePaths::of(&path).unwrap();
    let mut untrusted = open(&paths, TIMEOUT).unwrap();
    let setting = |connection: &Connection, name: &str| {
        let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        connection.pragma_query_value(None, name, read).unwrap()
    };
    assert_eq!(setting(&untrusted, "synchronous"), 2);
    assert_eq!(setting(&untrusted, "wal_autocheckpoint"), 0);
    drop(untrusted);
    assert!(!paths.wal.exists());

    // A connection changes no file until it is trusted.
    untrusted = open_untrusted(&path, TIMEOUT).unwrap();
    trust(&mut untrusted).unwrap();
    assert_eq!(setting(&untrusted, "synchronous"), 2);
    assert_eq!(setting(&untrusted, "wal_autocheckpoint"), 0);
    schema::create(&mut untrusted).unwrap();
    assert!(paths.wal.exists());
    drop(untrusted);
    assert!(!paths.wal.exists());
}

#[test]
fn a_file_without_contents_is_never_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    fs::write(&path, "").unwrap();
    let result = open_untrusted(&path, TIMEOUT);
    let is_refused = matches!(result, Err(Unsuitable::Problem(OpenProblem::Empty)));
    assert!(is_refused, "{result:?}");
    assert_eq!(path.metadata().unwrap().len(), 0);
}
