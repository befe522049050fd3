//! The findings about a file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::store::sqlite::schema;

const TIMEOUT: Duration = Duration::from_millis(20);

/// A store in a folder that all users can enter.
fn store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o755);
    let path = folder.path().join("airlock.db");
    let mut connection = Connection::open(&path).unwrap();
    schema::create(&mut connection).unwrap();
    set_mode(&path, 0o600);
    (folder, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns the severity and the message of a finding.
fn finding(path: &Path, check: Check) -> Option<(Severity, String)> {
    let report = inspect(path, TIMEOUT);
    let found = report.findings.into_iter().find(|it| it.check == check)?;
    assert_eq!(found.subjects, [path.display().to_string()]);
    Some((found.severity, found.message))
}

fn assert_finding(path: &Path, check: Check, severity: Severity, message: &str) {
    let (found, text) = finding(path, check).unwrap();
    assert_eq!(found, severity, "{text}");
    assert!(text.contains(message), "{message:?} in {text}");
}

#[test]
fn the_facts_of_an_intact_file_are_reported() {
    let (_folder, path) = store();
    let report = inspect(&path, TIMEOUT);
    let checks: Vec<Check> = report.findings.iter().map(|it| it.check).collect();
    for check in [Check::FilePermissions, Check::Schema, Check::Integrity] {
        assert!(checks.contains(&check), "{check:?}");
    }
    // The temporary folder may be in memory, which is a warning.
    let found = report
        .findings
        .iter()
        .filter(|it| it.check != Check::Filesystem);
    assert!(found.clone().all(|it| it.severity == Severity::Ok));
    assert_eq!(found.count(), 3);
    let facts = report.file.unwrap();
    assert_eq!(facts.path, path);
    assert_eq!(facts.bytes, Some(fs::metadata(&path).unwrap().len()));
    assert_eq!(facts.wal_bytes, None);
    assert_eq!(facts.mode.as_deref(), Some("0600"));
    assert_eq!(facts.schema_version, Some(SCHEMA_VERSION));
    fs::write(with_suffix(&path, "-wal"), "").unwrap();
    let facts = inspect(&path, TIMEOUT).file.unwrap();
    assert_eq!(facts.wal_bytes, Some(0));
}

#[test]
fn a_file_that_does_not_exist_is_no_problem_and_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    assert_finding(&path, Check::File, Severity::Ok, "does not exist");
    assert!(!path.exists());
}

#[test]
fn a_filesystem_in_memory_is_a_warning() {
    for (magic, severity, name) in [
        (
            0x0102_1994,
            Severity::Warning,
            "is tmpfs, which is in memory",
        ),
        (
            0x8584_58f6,
            Severity::Warning,
            "is ramfs, which is in memory",
        ),
        (0xef53, Severity::Ok, "is ext2, ext3, or ext4"),
        (0x5846_5342, Severity::Ok, "is XFS"),
        (0x6a65_6a63, Severity::Ok, "is of type 0x6a656a63"),
    ] {
        let found = filesystem_finding(magic, "a.db");
        assert_eq!(found.severity, severity, "{}", found.message);
        assert!(found.message.contains(name), "{}", found.message);
        assert_eq!(found.remedy.is_some(), severity == Severity::Warning);
    }
}

#[test]
fn the_filesystem_is_that_of_the_file_or_else_of_its_folder() {
    let (folder, path) = store();
    let expected = filesystem_of(folder.path(), &path.display().to_string());
    let found = |path: &Path| finding(path, Check::Filesystem).unwrap();
    assert_eq!(found(&path), (expected.severity, expected.message.clone()));
    fs::remove_file(&path).unwrap();
    assert_eq!(found(&path), (expected.severity, expected.message));
    // A filesystem that every Linux has, and that is another one.
    let proc = filesystem_of(Path::new("/proc/self/stat"), "a.db");
    assert_eq!(proc.message, "the filesystem of the file is of type 0x9fa0");
    let missing = filesystem_of(&folder.path().join("missing"), "a.db");
    assert_eq!(missing.severity, Severity::Unknown);
}

#[test]
fn the_version_of_the_schema_is_checked() {
    let (_folder, path) = store();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    let message = "the schema has version 7; this program supports 1";
    assert_finding(&path, Check::Schema, Severity::Error, message);
    connection.pragma_update(None, "user_version", 0).unwrap();
    let message = "without its write-ahead log";
    assert_finding(&path, Check::Schema, Severity::Warning, message);
    drop(connection);
    fs::write(&path, "").unwrap();
    assert_finding(
        &path,
        Check::Schema,
        Severity::Warning,
        "the file is empty; a server starts with it, without any locks",
    );
}

#[test]
fn a_write_ahead_log_without_its_database_is_an_error() {
    let (_folder, path) = store();
    fs::write(with_suffix(&path, "-wal"), "writes").unwrap();
    fs::write(&path, "").unwrap();
    let message = "the database is missing or empty, but its write-ahead log";
    assert_finding(&path, Check::File, Severity::Error, message);
    fs::remove_file(&path).unwrap();
    assert_finding(&path, Check::File, Severity::Error, message);
}

#[test]
fn a_damaged_file_and_one_that_is_no_database_are_errors() {
    let (_folder, path) = store();
    let mut bytes = fs::read(&path).unwrap();
    let last_page = bytes.len() - 4096;
    bytes[last_page..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let message = "the file is damaged: ";
    assert_finding(&path, Check::Integrity, Severity::Error, message);
    let (_, text) = finding(&path, Check::Integrity).unwrap();
    assert!(text.len() > message.len(), "{text}");
    fs::write(&path, "not a database\n".repeat(100)).unwrap();
    let message = "not a SQLite database";
    assert_finding(&path, Check::Integrity, Severity::Error, message);
}

#[test]
fn the_structure_of_a_locked_file_is_not_known() {
    let (_folder, path) = store();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let message = "another process keeps it locked";
    assert_finding(&path, Check::Integrity, Severity::Unknown, message);
}

#[test]
fn a_file_that_every_user_can_open_is_a_warning() {
    let (folder, path) = store();
    let closed = "other users of this machine cannot open the file";
    let permissions = |severity, message: &str| {
        assert_finding(&path, Check::FilePermissions, severity, message);
    };
    permissions(Severity::Ok, closed);
    set_mode(&path, 0o640);
    permissions(Severity::Ok, closed);
    set_mode(&path, 0o644);
    permissions(
        Severity::Warning,
        "which has mode 0644, and block the store",
    );
    let report = inspect(&path, TIMEOUT);
    let remedies: Vec<_> = report
        .findings
        .into_iter()
        .filter(|it| it.check == Check::FilePermissions)
        .filter_map(|it| it.remedy)
        .collect();
    assert_eq!(remedies, [format!("chmod o= {}", path.display())]);
    // A closed folder protects the file.
    set_mode(folder.path(), 0o700);
    permissions(Severity::Ok, closed);
}
