//! The SQLite file: its schema and its statements.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior,
    params,
};
use rustix::fs::{Access, AtFlags};

use super::error::{DatabaseError, OpenError, OpenProblem};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};
use crate::store::Location;
use crate::text::escape::shell_word;

/// "airl": marks a file as one of Airlock (`PRAGMA application_id`).
const APPLICATION_ID: i32 = 0x6169_726c;

/// The version of the schema (`PRAGMA user_version`).
pub(super) const SCHEMA_VERSION: i32 = 1;

/// `clock` has one row: the revision of the last write to any group. It never decreases, so that a value that is deleted
/// and created again gets a revision that it never had.
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

/// Opens or creates the file, and verifies that it belongs to Airlock.
pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    let open = || {
        check_access(path)?;
        let mut connection = Connection::open(path)?;
        prepare(&mut connection, busy_timeout)?;
        Ok(connection)
    };
    open().map_err(|error: Unsuitable| error.into_error(path))
}

/// Checks whether the file, or a new one if it does not exist, could be the store. Creates no database. Beside a server,
/// nothing changes; else SQLite recovers the file if its last user crashed, as it does whenever a file is opened.
///
/// It must not be called while this process has the store open.
///
/// # Errors
/// If it could not. A file that another process keeps locked is not an error: that process may be the server.
pub(crate) fn check(path: &Path, busy_timeout: Duration) -> Result<(), OpenError> {
    let check = || {
        check_access(path)?;
        if is_foreign(path) {
            return Err(OpenProblem::Foreign.into());
        }
        if path.exists() {
            // Not read-only: SQLite would then leave the files behind that it creates beside one in WAL mode.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(busy_timeout)?;
            contents(&connection)?;
        }
        Ok(())
    };
    match check() {
        Err(Unsuitable::Sqlite(error)) if is_busy(&error) => Ok(()),
        result => result.map_err(|error| error.into_error(path)),
    }
}

/// Reports whether another process keeps the file locked.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Reports whether the header of a database names another program. Such a file is not opened, which could change it.
///
/// SUBTLE: closing a file drops all POSIX locks of this process on it, also those of SQLite. Another process would then
/// take itself for the last one and delete the write-ahead log, with the locks of nodes in it. Therefore this must not be
/// called while the store is open.
///
/// Source: https://www.sqlite.org/fileformat.html, "The Database Header".
fn is_foreign(path: &Path) -> bool {
    let mut header = [0; 72];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let application = [header[68], header[69], header[70], header[71]];
    // A file that Airlock has just created may have its id in the write-ahead log only.
    read.is_ok()
        && header.starts_with(b"SQLite format 3\0")
        && ![0, APPLICATION_ID].contains(&i32::from_be_bytes(application))
}

/// Verifies that the folder of the file exists, and that both can be written. Does not open the file, see [`is_foreign`].
fn check_access(path: &Path) -> Result<(), OpenProblem> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(OpenProblem::NotAFolder(folder.to_owned())),
        Err(source) => {
            let folder = folder.to_owned();
            return Err(OpenProblem::Folder { folder, source });
        }
    }
    match path.symlink_metadata() {
        Ok(_) if path.is_file() => {}
        Ok(_) if path.is_dir() => return Err(OpenProblem::IsFolder),
        // Among others a FIFO, in which a read would wait forever, and a link to nothing.
        Ok(_) => return Err(OpenProblem::NotAFile),
        Err(_) => {}
    }
    // SQLite creates files beside the database.
    let check = |path, access| {
        rustix::fs::accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS)
            .map_err(io::Error::from)
    };
    check(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|source| {
        let folder = folder.to_owned();
        OpenProblem::FolderNotWritable { folder, source }
    })?;
    if path.exists() {
        check(path, Access::READ_OK | Access::WRITE_OK).map_err(OpenProblem::NotWritable)?;
    }
    Ok(())
}

/// The reason why a file cannot be the store; an error of SQLite does not name the file yet.
enum Unsuitable {
    Problem(OpenProblem),
    Sqlite(rusqlite::Error),
}

// === impl Unsuitable ===

impl Unsuitable {
    fn into_error(self, path: &Path) -> OpenError {
        let problem = match self {
            Unsuitable::Problem(problem) => problem,
            Unsuitable::Sqlite(error) => OpenProblem::Database(DatabaseError::new(path, error)),
        };
        OpenError::new(path, problem)
    }
}

impl From<OpenProblem> for Unsuitable {
    fn from(problem: OpenProblem) -> Self {
        Unsuitable::Problem(problem)
    }
}

impl From<rusqlite::Error> for Unsuitable {
    fn from(error: rusqlite::Error) -> Self {
        Unsuitable::Sqlite(error)
    }
}

/// Sets a connection up, and creates the schema in an empty file.
fn prepare(connection: &mut Connection, busy_timeout: Duration) -> Result<(), Unsuitable> {
    connection.busy_timeout(busy_timeout)?;
    // A file of another program must be rejected before WAL mode is written into it.
    contents(connection)?;
    // FULL: a commit is on the disk when it returns, also in WAL mode.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Checked again, because another process may have created the schema in the meantime.
    if let Contents::Empty = contents(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The contents of a file that can be the store.
enum Contents {
    Empty,
    Airlock,
}

fn contents(connection: &Connection) -> Result<Contents, Unsuitable> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(Contents::Empty),
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Contents::Airlock),
        (APPLICATION_ID, found) => Err(OpenProblem::Newer {
            found,
            supported: SCHEMA_VERSION,
        }
        .into()),
        _ => Err(OpenProblem::Foreign.into()),
    }
}

/// Reads the current value of a group.
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

/// Writes a value with a new revision, and returns the revision.
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

/// Writes a page without changing its content.
pub(super) fn touch(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("UPDATE clock SET revision = revision", ())?;
    Ok(())
}

/// Returns the location of the value of a group.
pub(super) fn location(path: &Path, group: &GroupName) -> Location {
    Location {
        description: format!("group {group} in {}", path.display()),
        repair_command: repair_command(path, group),
    }
}

/// Returns the command that overwrites the value of a group.
///
/// The immediate transaction keeps another writer from using the same revision, and the timeout waits for one that is
/// writing now.
fn repair_command(path: &Path, group: &GroupName) -> String {
    // The command must not depend on the directory in which it is run.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = shell_word(&path.display().to_string());
    let group = group.as_str().replace('\'', "''");
    let sql = format!(
        "BEGIN IMMEDIATE; UPDATE clock SET revision = revision + 1; \
         UPDATE semaphores SET revision = (SELECT revision FROM clock), lock_times = NULL, \
         semaphore = json_object('total_slots', SLOTS, 'holders', json_array('ID')) WHERE group_name = '{group}'; COMMIT"
    );
    format!(
        "sqlite3 -cmd '.timeout 5000' {file} {}",
        quoted_statement(&sql)
    )
}

/// Quotes a SQL statement for a POSIX shell: with double quotes if possible, because the single quotes of SQL stay
/// readable in them.
fn quoted_statement(sql: &str) -> String {
    if sql.contains(['"', '$', '`', '\\', '!']) {
        shell_word(sql)
    } else {
        format!("\"{sql}\"")
    }
}
