//! Files of a copy: one that is not in its place yet, and the lock of one that is replaced.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::error::CopyError;
use crate::store::sqlite::access::folder_of;
use crate::store::sqlite::error::OpenProblem;
use crate::store::sqlite::identity::{Inode, with_suffix};
use crate::store::sqlite::schema::{self, Contents, Values, contents};

/// The files that SQLite may keep beside a database, by their suffixes. Each would change a database that is put in place
/// of the one that it belongs to.
pub(super) const SIDECARS: [&str; 3] = ["-wal", "-journal", "-shm"];

/// A file beside its later place. It is removed unless it is put there.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    is_in_place: bool,
}

/// The exclusive lock of a database. SQLite takes locks of the same kind on a part of the file, and keeps one for as long
/// as a database in WAL mode is open. So this lock is refused while any process uses the database, and no process can
/// open it afterwards, also if its contents are damaged.
///
/// SUBTLE: it is lost as soon as this process closes the file, also if it was opened a second time.
#[derive(Debug)]
pub(super) struct FileLock(File);

// === impl NewFile ===

impl NewFile {
    /// Creates an empty file in the folder of `place`, which only its owner can access.
    pub(super) fn create(place: &Path, purpose: &str) -> io::Result<Self> {
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{purpose}-{}", std::process::id()));
        let path = folder_of(place).join(hidden);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(NewFile {
            path,
            is_in_place: false,
        })
    }

    /// Writes the whole contents.
    pub(super) fn write(&self, contents: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(&self.path)?;
        file.write_all(contents)?;
        file.sync_all()
    }

    /// Writes the contents to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Moves the file to its place, in which there must be none.
    pub(super) fn put(&mut self, place: &Path) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, &self.path, CWD, place, flags) {
            // Not every filesystem knows the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::hard_link(&self.path, place)?;
                fs::remove_file(&self.path)?;
            }
            result => result?,
        }
        self.is_in_place = true;
        sync_folder(place)
    }

    /// Moves the file to its place, instead of the one that is there.
    pub(super) fn replace(&mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.is_in_place = true;
        sync_folder(place)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            let sidecars = SIDECARS.map(|suffix| with_suffix(&self.path, suffix));
            for path in sidecars.iter().chain([&self.path]) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Makes changes of names in the folder of a file permanent.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

// === impl FileLock ===

impl FileLock {
    /// Locks the file that is at `path`.
    ///
    /// # Errors
    /// If it is in use ([`io::ErrorKind::WouldBlock`]), or cannot be opened for writing.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN | Errno::ACCESS) => Err(io::ErrorKind::WouldBlock.into()),
            result => Ok(result.map(|()| FileLock(file))?),
        }
    }

    /// Reports whether the file is still at `path`.
    pub(super) fn is_of(&self, path: &Path) -> io::Result<bool> {
        Ok(Inode::of(&self.0.metadata()?) == Inode::of(&path.metadata()?))
    }
}

/// Makes a copy complete without other files beside it, verifies it, and returns its values. `named` is its later name.
pub(super) fn complete(connection: &Connection, named: &Path) -> Result<Values, CopyError> {
    let failed = |error| CopyError::backup(named, error);
    match contents(connection) {
        Ok(Contents::Airlock) => {}
        Ok(Contents::Empty) => return Err(CopyError::backup(named, OpenProblem::Empty)),
        Err(error) => return Err(CopyError::backup(named, error)),
    }
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .map_err(failed)?;
    if let Some(damage) = schema::damage(connection, "integrity_check").map_err(failed)? {
        return Err(CopyError::Damaged {
            path: named.to_owned(),
            problem: damage.lines().last().unwrap_or_default().to_owned(),
        });
    }
    schema::revision(connection).map_err(failed)?;
    schema::values(connection).map_err(failed)
}
