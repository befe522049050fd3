//! The backup of a store beside the servers that use it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::error::{CopyError, is_damage};
use super::file::{NewFile, SIDECARS, complete};
use crate::store::sqlite::access::{check_access, check_header, folder_of};
use crate::store::sqlite::connection::connect;
use crate::store::sqlite::error::{OpenProblem, Unsuitable};
use crate::store::sqlite::identity::{FileIdentity, FilePaths, Inode, with_suffix};
use crate::store::sqlite::schema::{Contents, Values, contents};

/// The pause between two attempts, while another process keeps the store locked.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Copies the store to `file`, which must not exist, and returns the values in the copy. The copy contains every lock that
/// was granted before the call. It has mode 0600, and needs no other file.
///
/// It must not be called while this process has the store open, see [`check_header`].
///
/// # Errors
/// If the store cannot be read, or the copy cannot be written or is not intact. There is no file then.
pub(crate) fn backup(
    store: &Path,
    file: &Path,
    busy_timeout: Duration,
) -> Result<Values, CopyError> {
    let unusable = |error| CopyError::store(store, error);
    let missing = |error| unusable(OpenProblem::NotReadable(error).into());
    check_access(store).map_err(|problem| unusable(problem.into()))?;
    check_free(store, file)?;
    check_header(store).map_err(|problem| unusable(problem.into()))?;
    let paths = FilePaths::of(store).map_err(missing)?;
    let before = FileIdentity::read(&paths).map_err(missing)?;
    let source = open(store, busy_timeout).map_err(unusable)?;

    let mut new = NewFile::create(file, "backup").map_err(|error| CopyError::write(file, error))?;
    let mut target = connect(&new.path, busy_timeout).map_err(|e| CopyError::backup(file, e))?;
    copy(&source, &mut target, busy_timeout).map_err(|error| {
        if is_damage(&error) {
            CopyError::store(store, error)
        } else {
            CopyError::backup(file, error)
        }
    })?;
    let now = FileIdentity::read(&paths).map_err(missing)?;
    if !now.is_same_database(&before) {
        return Err(unusable(OpenProblem::Moved.into()));
    }
    let values = complete(&target, file)?;
    drop(target);
    let placed = new.sync().and_then(|()| new.put(file));
    placed.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CopyError::Exists(file.to_owned()),
        _ => CopyError::write(file, error),
    })?;
    Ok(values)
}

fn open(store: &Path, busy_timeout: Duration) -> Result<Connection, Unsuitable> {
    let connection = connect(store, busy_timeout)?;
    match contents(&connection)? {
        Contents::Airlock => Ok(connection),
        Contents::Empty => Err(OpenProblem::Empty.into()),
    }
}

/// Copies all pages in one read transaction.
fn copy(
    source: &Connection,
    target: &mut Connection,
    busy_timeout: Duration,
) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy_timeout;
    let backup = Backup::new(source, target)?;
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            _ if Instant::now() >= deadline => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
            _ => thread::sleep(RETRY_INTERVAL),
        }
    }
}

/// Verifies that the backup replaces no file, and is none of those that SQLite creates beside the store.
fn check_free(store: &Path, file: &Path) -> Result<(), CopyError> {
    let real = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let own = |suffix: &&str| with_suffix(&real, suffix);
    let mut own_files = [""].iter().chain(&SIDECARS).map(own);
    if let Ok(existing) = file.symlink_metadata() {
        let behind = file.metadata().unwrap_or(existing);
        let is_own = |own: PathBuf| {
            own.metadata()
                .is_ok_and(|own| Inode::of(&own) == Inode::of(&behind))
        };
        return Err(if own_files.any(is_own) {
            CopyError::IsStore(file.to_owned())
        } else {
            CopyError::Exists(file.to_owned())
        });
    }
    let folder = folder_of(file).canonicalize();
    let folder = folder.map_err(|error| CopyError::write(file, error))?;
    let place = file.file_name().map(|name| folder.join(name));
    if own_files.any(|own| Some(own) == place) {
        return Err(CopyError::IsStore(file.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
