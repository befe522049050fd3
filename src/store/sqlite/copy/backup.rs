//! The backup of a store beside the servers that use it.

use std::fs::File;
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
    check_access(store).map_err(|problem| CopyError::store(store, problem))?;
    check_free(store, file)?;
    let source = Source::open(store, busy_timeout)?;
    let mut new = NewFile::create(file, "backup").map_err(|error| CopyError::write(file, error))?;
    let values = source.copy_to(&new.path, file, busy_timeout)?;
    let placed = new.sync().and_then(|()| new.put(file));
    placed.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CopyError::Exists(file.to_owned()),
        _ => CopyError::write(file, error),
    })?;
    Ok(values)
}

/// Copies the store as [`backup`] does, into a file that has no name any more, and returns that.
///
/// # Errors
/// As for [`backup`].
pub(crate) fn unnamed_backup(store: &Path, busy_timeout: Duration) -> Result<File, CopyError> {
    check_access(store).map_err(|problem| CopyError::store(store, problem))?;
    let source = Source::open(store, busy_timeout)?;
    // The folder of the store can be written, and others need not exist in a container.
    let new = NewFile::create(store, "backup").map_err(|error| CopyError::write(store, error))?;
    source.copy_to(&new.path, &new.path, busy_timeout)?;
    File::open(&new.path).map_err(|error| CopyError::read(&new.path, error))
}

/// The open store, and which file it was.
struct Source<'a> {
    store: &'a Path,
    connection: Connection,
    paths: FilePaths,
    identity: FileIdentity,
}

impl<'a> Source<'a> {
    fn open(store: &'a Path, busy_timeout: Duration) -> Result<Self, CopyError> {
        let unusable = |error| CopyError::store(store, error);
        let missing = |error| unusable(OpenProblem::NotReadable(error).into());
        check_header(store).map_err(|problem| unusable(problem.into()))?;
        let paths = FilePaths::of(store).map_err(missing)?;
        Ok(Source {
            store,
            identity: FileIdentity::read(&paths).map_err(missing)?,
            connection: open(store, busy_timeout).map_err(unusable)?,
            paths,
        })
    }

    /// Copies the store to the empty file `target`, and returns the values in it. Errors call it `name`.
    fn copy_to(
        &self,
        target: &Path,
        name: &Path,
        busy_timeout: Duration,
    ) -> Result<Values, CopyError> {
        let unusable = |problem: OpenProblem| CopyError::store(self.store, problem);
        let mut target =
            connect(target, busy_timeout).map_err(|error| CopyError::backup(name, error))?;
        copy(&self.connection, &mut target, busy_timeout).map_err(|error| {
            if is_damage(&error) {
                CopyError::store(self.store, error)
            } else {
                CopyError::backup(name, error)
            }
        })?;
        let now = FileIdentity::read(&self.paths)
            .map_err(|error| unusable(OpenProblem::NotReadable(error)))?;
        if !now.is_same_database(&self.identity) {
            return Err(unusable(OpenProblem::Moved));
        }
        complete(&target, name)
    }
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
