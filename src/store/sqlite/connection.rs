//! Connections to the SQLite file.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::access::{check_access, check_header, create, protect};
use super::error::{OpenError, OpenProblem, Unsuitable};
use super::identity::FilePaths;
use super::schema::{self, Contents, contents};

/// The size of the write-ahead log above which it is copied into the database without waiting for a poll.
pub(super) const MAX_WAL_BYTES: u32 = 4 << 20;

/// Prepares the file for the first connection of this process: creates it if it does not exist.
///
/// It must not be called while this process has the store open, see [`check_header`].
pub(super) fn prepare_file(path: &Path) -> Result<(), Unsuitable> {
    check_access(path)?;
    check_header(path)?;
    Ok(create(path)?)
}

/// Opens an existing file, creates the schema if it is empty, and protects the files from other users.
pub(super) fn open(paths: &FilePaths, busy_timeout: Duration) -> Result<Connection, Unsuitable> {
    // SQLite gives the files that it creates the mode of this one.
    protect(paths)?;
    let mut connection = connect(&paths.database, busy_timeout)?;
    // A file of another program must be rejected before WAL mode is written into it.
    contents(&connection)?;
    set_up(&connection)?;
    schema::create(&mut connection)?;
    protect(paths)?;
    Ok(connection)
}

/// Opens an existing file that is to be verified, and changes nothing in it, also when the connection is closed.
pub(super) fn open_untrusted(
    path: &Path,
    busy_timeout: Duration,
) -> Result<Connection, Unsuitable> {
    let connection = connect(path, busy_timeout)?;
    leave_files_on_close(&connection)?;
    match contents(&connection)? {
        Contents::Airlock => Ok(connection),
        Contents::Empty => Err(OpenProblem::Empty.into()),
    }
}

/// Sets up a connection from [`open_untrusted`] to a file that was verified.
pub(super) fn trust(connection: &mut Connection) -> rusqlite::Result<()> {
    set_up(connection)?;
    // Opens the write-ahead log and the shared memory.
    let immediate = rusqlite::TransactionBehavior::Immediate;
    connection.transaction_with_behavior(immediate)?.commit()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Makes the end of the connection change no file. By default, the last connection copies the write-ahead log into the
/// database, and deletes it by its name, which may be that of another file by now.
pub(super) fn leave_files_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Opens an existing file, and reads nothing yet.
pub(super) fn connect(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    // SQLite takes an absolute path for a file name, and neither for a URI nor for a name with a special meaning. Not
    // read-only: SQLite would then leave the files behind that it creates beside one in WAL mode.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy_timeout)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // FULL: a commit is on the disk when it returns, also in WAL mode.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The store decides when the database file is written, so that it knows any other change of it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // SQLite keeps the file of a log that begins again. Without this limit, one that has been large would be copied after
    // every write.
    connection.pragma_update(None, "journal_size_limit", MAX_WAL_BYTES)
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
        check_header(path)?;
        if path.exists() {
            contents(&connect(path, busy_timeout)?)?;
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

#[cfg(test)]
mod tests;
