//! The restore of a backup while no server uses the store.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::error::CopyError;
use super::exchange::Exchange;
use super::file::{FileLock, NewFile, SIDECARS, complete};
use super::present::{Claim, Present};
use crate::lock::GroupName;
use crate::lock::codec::Value;
use crate::store::sqlite::access::{check_header, check_place, folder_of};
use crate::store::sqlite::connection::connect;
use crate::store::sqlite::error::OpenProblem;
use crate::store::sqlite::identity::{Inode, with_suffix};
use crate::store::sqlite::schema::{self, Values};

/// A backup that is ready to replace the present file of the store, which no other process uses.
#[derive(Debug)]
pub(crate) struct Restore {
    /// The path of the database, behind symbolic links.
    place: PathBuf,
    claim: Claim,
    /// Closed before the copy is moved or removed.
    connection: Connection,
    /// The copy of the backup.
    new: NewFile,
    values: Values,
}

// === impl Restore ===

impl Restore {
    /// Copies the backup `file` into the folder of the store, verifies the copy, and claims the present file. Nothing has
    /// changed until [`Restore::finish`].
    ///
    /// It must not be called while this process has the store open, see [`check_header`].
    ///
    /// # Errors
    /// If the backup is not intact or not one of a store, or a process uses the store.
    pub(crate) fn prepare(
        store: &Path,
        file: &Path,
        busy_timeout: Duration,
    ) -> Result<Self, CopyError> {
        check_place(store).map_err(|problem| CopyError::store(store, problem))?;
        let place = real_place(store).map_err(|error| CopyError::read(store, error))?;
        check_backup(&place, file)?;
        let new = NewFile::create(&place, "restore");
        let new = new.map_err(|error| CopyError::write(&place, error))?;
        copy_files(file, &new.path)?;
        let failed = |error| CopyError::backup(file, error);
        let connection = connect(&new.path, busy_timeout).map_err(failed)?;
        let values = complete(&connection, file)?;
        let claim = Claim::new(&place)?;
        Ok(Restore {
            place,
            claim,
            connection,
            new,
            values,
        })
    }

    /// Returns the values in the backup.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Returns the contents of the present file.
    pub(crate) fn present(&self) -> &Present {
        &self.claim.present
    }

    /// Changes the value of a group in the copy.
    ///
    /// # Errors
    /// If the copy cannot be written.
    pub(crate) fn write(&mut self, group: &GroupName, value: &Value) -> Result<(), CopyError> {
        let write = |connection: &mut Connection| {
            let immediate = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(immediate)?;
            schema::write(&transaction, group, value)?;
            transaction.commit()
        };
        write(&mut self.connection).map_err(|error| CopyError::store(&self.place, error))
    }

    /// Puts the copy in place of the present file, and returns the name under which that is kept; `None`: there is none.
    ///
    /// # Errors
    /// If a process has used the store in the meantime, or a file cannot be written.
    pub(crate) fn finish(self) -> Result<Option<PathBuf>, CopyError> {
        let previous = self.into_exchange()?.run()?;
        Ok(previous.filter(|path| path.exists()))
    }

    /// Returns the exchange of the files, of which no step has been performed.
    pub(super) fn into_exchange(self) -> Result<Exchange, CopyError> {
        drop(self.connection);
        let is_interrupted = matches!(self.claim.present, Present::Interrupted);
        let lock = self.claim.into_lock()?;
        let previous = (!is_interrupted).then(|| previous_name(&self.place));
        Exchange::new(&self.place, self.new, lock, previous)
    }
}

/// Returns the path of the database behind symbolic links, also if it does not exist.
fn real_place(store: &Path) -> io::Result<PathBuf> {
    match store.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = store.file_name().ok_or(error)?;
            Ok(folder_of(store).canonicalize()?.join(name))
        }
        result => result,
    }
}

/// Verifies that the backup is a file of its own that could be one.
fn check_backup(place: &Path, file: &Path) -> Result<(), CopyError> {
    let read = |error| CopyError::read(file, error);
    let metadata = file.metadata().map_err(read)?;
    let is_own = |suffix: &str| {
        let own = with_suffix(place, suffix).metadata();
        own.is_ok_and(|own| Inode::of(&own) == Inode::of(&metadata))
    };
    if ["", "-wal", "-journal", "-shm"].into_iter().any(is_own) {
        return Err(CopyError::IsStore(file.to_owned()));
    }
    if !metadata.is_file() {
        return Err(CopyError::backup(file, OpenProblem::NotAFile));
    }
    File::open(file).map_err(read)?;
    check_header(file).map_err(|problem| CopyError::backup(file, problem))
}

/// Copies the backup, with the log and the journal that a copy by other means may need.
fn copy_files(file: &Path, to: &Path) -> Result<(), CopyError> {
    // The store of another server could change while it is copied. A file that cannot be locked, because it is read-only,
    // is none.
    if FileLock::take(file).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        return Err(CopyError::InUse(file.to_owned()));
    }
    let sidecars = SIDECARS.iter().filter(|suffix| **suffix != "-shm");
    for suffix in [""].iter().chain(sidecars) {
        let (from, to) = (with_suffix(file, suffix), with_suffix(to, suffix));
        if !suffix.is_empty() && !from.exists() {
            continue;
        }
        let mut source = File::open(&from).map_err(|error| CopyError::read(&from, error))?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let copied = options
            .open(&to)
            .and_then(|mut target| io::copy(&mut source, &mut target));
        copied.map_err(|error| CopyError::write(&to, error))?;
    }
    Ok(())
}

/// Returns a free name for the present file, which contains the time.
fn previous_name(place: &Path) -> PathBuf {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let name = |number: u32| match number {
        0 => with_suffix(place, &format!(".before-restore-{time}")),
        number => with_suffix(place, &format!(".before-restore-{time}-{number}")),
    };
    let is_free = |path: &PathBuf| {
        let files = ["", "-wal", "-journal"].map(|suffix| with_suffix(path, suffix));
        files.iter().all(|file| fs::symlink_metadata(file).is_err())
    };
    (0..1000)
        .map(name)
        .find(is_free)
        .unwrap_or_else(|| name(1000))
}
