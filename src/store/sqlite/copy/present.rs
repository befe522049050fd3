//! The file that a restore replaces: what is in it, and that no process uses it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::error::CopyError;
use super::file::FileLock;
use crate::store::sqlite::access::check_header;
use crate::store::sqlite::connection::{connect, is_busy, leave_files_on_close};
use crate::store::sqlite::error::{DatabaseError, OpenProblem, Unsuitable};
use crate::store::sqlite::identity::{FileIdentity, FilePaths};
use crate::store::sqlite::schema::{self, Contents, Values, contents};

/// The time for which another process may keep the file locked: a command, unlike a server, soon ends.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// The contents of the present file of the store.
#[derive(Debug)]
pub(crate) enum Present {
    /// There is none, or it is empty.
    Missing,
    /// A restore was interrupted.
    Interrupted,
    /// The values of its groups.
    Values(Values),
    /// It is damaged, or a newer version wrote it.
    Unreadable(String),
}

/// The present file, which no other process uses.
#[derive(Debug)]
pub(super) struct Claim {
    /// The path of the file, behind symbolic links.
    path: PathBuf,
    pub(super) present: Present,
    /// Keeps the file locked. `None`: SQLite cannot lock such a file.
    connection: Option<Connection>,
    /// The files at that time; `None`: there is no database.
    identity: Option<FileIdentity>,
}

// === impl Claim ===

impl Claim {
    /// Claims the file at `path` and reads its values. If it is intact, its write-ahead log is copied into it and removed.
    ///
    /// # Errors
    /// If a process uses the file, or another program has written it.
    pub(super) fn new(path: &Path) -> Result<Self, CopyError> {
        let mut claim = Claim {
            path: path.to_owned(),
            present: Present::Missing,
            connection: None,
            identity: None,
        };
        let Ok(file) = path.metadata() else {
            return Ok(claim);
        };
        drop(claim.lock()?);
        match check_header(path) {
            Ok(()) => {}
            Err(OpenProblem::InRestore) => claim.present = Present::Interrupted,
            Err(problem) => return Err(CopyError::store(path, problem)),
        }
        // SQLite would delete the write-ahead log of an empty database.
        if file.len() > 0 && !matches!(claim.present, Present::Interrupted) {
            (claim.present, claim.connection) = open(path)?;
        }
        claim.identity = claim.identity_now();
        Ok(claim)
    }

    /// Exchanges the lock of SQLite for one that does not depend on the contents of the file; `None`: there is no file.
    ///
    /// SUBTLE: the end of a connection of SQLite drops every lock of this process, so there is a moment without one. The
    /// identity shows whether another process has written in it. One that has only opened the file holds a lock, or has
    /// changed the write-ahead log.
    pub(super) fn into_lock(self) -> Result<Option<FileLock>, CopyError> {
        let changed = || CopyError::Changed(self.path.clone());
        let Some(identity) = &self.identity else {
            return Ok(None);
        };
        let held = match &self.connection {
            Some(_) => self.identity_now().ok_or_else(changed)?,
            None => identity.clone(),
        };
        drop(self.connection);
        let claim = Claim {
            path: self.path.clone(),
            present: Present::Missing,
            connection: None,
            identity: None,
        };
        let lock = claim.lock()?;
        let is_same = lock.is_of(&self.path).unwrap_or(false);
        if !is_same || claim.identity_now() != Some(held) {
            return Err(changed());
        }
        Ok(Some(lock))
    }

    fn lock(&self) -> Result<FileLock, CopyError> {
        FileLock::take(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => CopyError::InUse(self.path.clone()),
            _ => CopyError::read(&self.path, error),
        })
    }

    fn identity_now(&self) -> Option<FileIdentity> {
        let paths = FilePaths::of(&self.path).ok()?;
        FileIdentity::read(&paths).ok()
    }
}

/// Opens and locks a file, and reads its values.
fn open(path: &Path) -> Result<(Present, Option<Connection>), CopyError> {
    match try_open(path) {
        Ok((values, connection)) => Ok((Present::Values(values), Some(connection))),
        Err(Unsuitable::Problem(OpenProblem::Empty)) => Ok((Present::Missing, None)),
        Err(Unsuitable::Problem(problem @ OpenProblem::Newer { .. })) => {
            Ok((Present::Unreadable(problem.to_string()), None))
        }
        Err(Unsuitable::Sqlite(error)) if is_busy(&error) => Err(CopyError::InUse(path.to_owned())),
        Err(Unsuitable::Sqlite(error)) => {
            let reason = DatabaseError::new(path, error).reason();
            Ok((Present::Unreadable(reason), None))
        }
        Err(error) => Err(CopyError::store(path, error)),
    }
}

fn try_open(path: &Path) -> Result<(Values, Connection), Unsuitable> {
    let connection = connect(path, BUSY_TIMEOUT)?;
    // The log of a file that turns out to be damaged is kept.
    leave_files_on_close(&connection)?;
    // Before the first access: SQLite then needs no shared memory, and refuses a file that another process has open.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    if contents(&connection)? == Contents::Empty {
        return Err(OpenProblem::Empty.into());
    }
    let values = schema::values(&connection)?;
    if let Some(damage) = schema::damage(&connection, "quick_check")? {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(corrupt, Some(damage)).into());
    }
    // The file alone is complete from here on.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    Ok((values, connection))
}
