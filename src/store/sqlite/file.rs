//! The SQLite file: its schema, its statements, and what its errors mean to a person.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};

use super::{GroupName, Revision, StoreError, Stored, Value};

/// "airl": marks the file as ours (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x6169_726c;

/// The version of the schema (`PRAGMA user_version`).
const SCHEMA_VERSION: i32 = 1;

/// `clock` has one row: the revision of the last write to any group. It never runs backwards, so that a
/// value deleted and made again gets a revision that it never had.
const SCHEMA: &str = "
    CREATE TABLE clock (revision INTEGER NOT NULL) STRICT;
    INSERT INTO clock VALUES (0);
    CREATE TABLE semaphores (
        group_name TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        semaphore TEXT NOT NULL,
        lock_times TEXT
    ) STRICT;
";

/// Why a file cannot be the store. It names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct OpenError {
    path: PathBuf,
    problem: String,
}

/// Opens or creates the file and sees that it is ours.
pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    let failed = |problem: String| OpenError {
        path: path.to_owned(),
        problem,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match folder.metadata() {
        Ok(folder) if folder.is_dir() => {}
        Ok(_) => return Err(failed(format!("{} is no folder", folder.display()))),
        Err(error) => {
            return Err(failed(format!(
                "the folder {} cannot be used: {error}; create it, or change embedded.path",
                folder.display()
            )));
        }
    }
    if path.is_dir() {
        return Err(failed(
            "it is a folder; embedded.path must name a file".into(),
        ));
    }
    let mut connection = Connection::open(path).map_err(|error| failed(explain(path, &error)))?;
    prepare(&mut connection, busy_timeout).map_err(|error| match error {
        Unsuitable::Sqlite(error) => failed(explain(path, &error)),
        Unsuitable::Foreign => failed(
            "it is a SQLite database, but not one of airlock's; change embedded.path".into(),
        ),
        Unsuitable::Newer(version) => failed(format!(
            "it was written by a newer airlock (schema {version}, this one knows {SCHEMA_VERSION}); \
             run that version, or change embedded.path"
        )),
    })?;
    Ok(connection)
}

enum Unsuitable {
    Sqlite(rusqlite::Error),
    Foreign,
    Newer(i32),
}

impl From<rusqlite::Error> for Unsuitable {
    fn from(error: rusqlite::Error) -> Self {
        Unsuitable::Sqlite(error)
    }
}

fn prepare(connection: &mut Connection, busy_timeout: Duration) -> Result<(), Unsuitable> {
    connection.busy_timeout(busy_timeout)?;
    // What is not ours is left as it is: WAL mode would be written into it.
    contents(connection)?;
    // FULL: a commit is on the disk when it returns, also in WAL mode.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Again, since another process may have begun one in the meantime.
    if let Contents::Nothing = contents(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What a file has in it that can be the store.
enum Contents {
    Nothing,
    Ours,
}

fn contents(connection: &Connection) -> Result<Contents, Unsuitable> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(Contents::Nothing),
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Contents::Ours),
        (APPLICATION_ID, newer) => Err(Unsuitable::Newer(newer)),
        _ => Err(Unsuitable::Foreign),
    }
}

/// The current value of a group.
pub(super) fn select(transaction: &Transaction<'_>, group: &GroupName) -> rusqlite::Result<Stored> {
    let as_of = Revision(
        transaction
            .prepare_cached("SELECT revision FROM clock")?
            .query_row((), |row| row.get(0))?,
    );
    let found = transaction
        .prepare_cached(
            "SELECT revision, semaphore, lock_times FROM semaphores WHERE group_name = ?1",
        )?
        .query_row([group.as_str()], |row| {
            Ok(Stored {
                revision: Revision(row.get(0)?),
                value: Some(Value {
                    semaphore: row.get::<_, String>(1)?.into_bytes(),
                    lock_times: row.get::<_, Option<String>>(2)?.map(String::into_bytes),
                }),
                as_of,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_else(|| Stored::absent(as_of)))
}

/// Writes a value with a new revision.
pub(super) fn write(
    transaction: &Transaction<'_>,
    group: &GroupName,
    value: &Value,
) -> rusqlite::Result<Revision> {
    let revision: i64 = transaction
        .prepare_cached("UPDATE clock SET revision = revision + 1 RETURNING revision")?
        .query_row((), |row| row.get(0))?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO semaphores VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            group.as_str(),
            revision,
            String::from_utf8_lossy(&value.semaphore),
            value.lock_times.as_deref().map(String::from_utf8_lossy),
        ])?;
    Ok(Revision(revision))
}

/// What an error of a running store means: whether it may have happened, and what to do.
pub(super) fn store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let text = format!("{}: {}", path.display(), explain(path, error));
    match error.sqlite_error_code() {
        // The transaction never began.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Unreachable(text),
        // SQLite rolls these back before it reports them.
        Some(
            ErrorCode::DiskFull
            | ErrorCode::ReadOnly
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::TooBig,
        ) => StoreError::Rejected(text),
        _ => StoreError::Unknown(text),
    }
}

/// What went wrong, and what to do about it.
fn explain(path: &Path, error: &rusqlite::Error) -> String {
    // Whoever shows this has named the file already.
    let text = error
        .to_string()
        .replace(&format!(": {}", path.display()), "");
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has kept it locked; end the one that does"
        }
        Some(ErrorCode::DiskFull) => "the disk is full; free some space",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "this user must be able to write the file and the folder that it is in"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "the file is damaged or no SQLite database; move it away and restart: \
             airlock begins with an empty one, in which nobody holds a lock"
        }
        Some(ErrorCode::SystemIoFailure) => "the disk reports an error; see the system's log",
        _ => return text,
    };
    let read_only = path
        .metadata()
        .is_ok_and(|file| file.permissions().readonly());
    let detail = if read_only {
        " (the file is read-only)"
    } else {
        ""
    };
    format!("{text}{detail}: {remedy}")
}

// === impl OpenError ===

impl OpenError {
    pub(super) fn thread(path: &Path, error: &io::Error) -> Self {
        OpenError {
            path: path.to_owned(),
            problem: format!("cannot start a thread for it: {error}"),
        }
    }
}
