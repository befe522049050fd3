//! The identity of the files of the store: whether the database and the files that SQLite keeps beside it are still
//! those that SQLite has open.
//!
//! SUBTLE: the files are examined with `stat` only. To open and close one of them would drop the POSIX locks that SQLite
//! holds on it in this process.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The paths of the files.
#[derive(Clone, Debug)]
pub(super) struct FilePaths {
    /// The database, as it is configured.
    pub(super) database: PathBuf,
    /// The write-ahead log. SQLite follows a symbolic link before it adds the suffix.
    pub(super) wal: PathBuf,
    /// The shared memory of all processes that use the database.
    pub(super) shm: PathBuf,
}

/// The files as they were when they were last known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    database: DatabaseFile,
    wal: Option<Inode>,
    shm: Option<Inode>,
}

/// The database file. SQLite writes it only in a checkpoint, so between two checkpoints nothing of this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DatabaseFile {
    inode: Inode,
    bytes: u64,
    /// The times of the last change of the content and of the file, in seconds and nanoseconds.
    times: [(i64, i64); 2],
}

/// The device and the number of a file, and the time of its creation where the filesystem keeps it: a number is used
/// again once a file is deleted and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64, Option<SystemTime>);

/// What happened to a file of the store while it was in use. The message names the file.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FileChange {
    #[error("{} was moved or deleted", .0.display())]
    Missing(PathBuf),
    #[error("{} cannot be examined: {}", .0.display(), .1)]
    Unreadable(PathBuf, Arc<io::Error>),
    #[error("{} was replaced by another file", .0.display())]
    Replaced(PathBuf),
    #[error("{} was truncated", .0.display())]
    Truncated(PathBuf),
    #[error("{} was overwritten", .0.display())]
    Overwritten(PathBuf),
    #[error("{} was deleted", .0.display())]
    SidecarDeleted(PathBuf),
    #[error("the contents of {} were replaced", .0.display())]
    Contents(PathBuf),
}

// === impl FilePaths ===

impl FilePaths {
    /// Returns the paths for an existing database.
    ///
    /// # Errors
    /// If the database does not exist.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let real = database.canonicalize()?;
        Ok(FilePaths {
            database: database.to_owned(),
            wal: with_suffix(&real, "-wal"),
            shm: with_suffix(&real, "-shm"),
        })
    }

    /// Returns the size of the write-ahead log; 0 if there is none.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal.metadata().map_or(0, |file| file.len())
    }
}

/// Appends `suffix` to the name of a file.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

// === impl FileIdentity ===

impl FileIdentity {
    /// Returns the present identity.
    ///
    /// # Errors
    /// If the database does not exist.
    pub(super) fn read(paths: &FilePaths) -> io::Result<Self> {
        Ok(FileIdentity {
            database: DatabaseFile::read(&paths.database)?,
            wal: Inode::read(&paths.wal),
            shm: Inode::read(&paths.shm),
        })
    }

    /// Compares the present files with these. Returns the size of the write-ahead log, which was at least `wal_bytes`.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn check(&self, paths: &FilePaths, wal_bytes: u64) -> Result<u64, FileChange> {
        self.check_database(paths)?;
        let sidecar = |path: &PathBuf, before| {
            let file = path.metadata().ok();
            match file.as_ref().map(Inode::of) {
                now if now == before => Ok(file.map_or(0, |file| file.len())),
                Some(_) => Err(FileChange::Replaced(path.clone())),
                None => Err(FileChange::SidecarDeleted(path.clone())),
            }
        };
        // The log has the locks, so it is the one to name if both were deleted.
        let bytes = sidecar(&paths.wal, self.wal)?;
        sidecar(&paths.shm, self.shm)?;
        if bytes < wal_bytes {
            return Err(FileChange::Truncated(paths.wal.clone()));
        }
        Ok(bytes)
    }

    /// Does the same for the database alone.
    pub(super) fn check_database(&self, paths: &FilePaths) -> Result<(), FileChange> {
        let path = &paths.database;
        let change = match DatabaseFile::read(path) {
            Ok(now) if now == self.database => return Ok(()),
            Ok(now) if now.inode != self.database.inode => FileChange::Replaced,
            Ok(now) if now.bytes < self.database.bytes => FileChange::Truncated,
            Ok(_) => FileChange::Overwritten,
            Err(error) if is_missing(&error) => FileChange::Missing,
            Err(error) => return Err(FileChange::Unreadable(path.clone(), error.into())),
        };
        Err(change(path.clone()))
    }

    /// Reports whether only the write-ahead log, or also the shared memory, was deleted, and no new file was created in
    /// place of either. Then no other process can have used the database since.
    pub(super) fn has_lost_only_deleted_sidecars(&self, paths: &FilePaths) -> bool {
        FileIdentity::read(paths).is_ok_and(|now| {
            now.database == self.database
                && now.wal.is_none()
                && (now.shm.is_none() || now.shm == self.shm)
        })
    }

    /// Accepts the present size and times of the database, which a checkpoint of this process has just changed.
    pub(super) fn accept_checkpoint(&mut self, paths: &FilePaths) {
        if let Ok(now) = DatabaseFile::read(&paths.database)
            && now.inode == self.database.inode
        {
            self.database = now;
        }
    }

    /// Reports whether the database is the same file, whatever its contents.
    pub(super) fn is_same_database(&self, other: &Self) -> bool {
        self.database.inode == other.database.inode
    }
}

/// Reports whether there is no such file, and nothing else is wrong.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl DatabaseFile {
    fn read(path: &Path) -> io::Result<Self> {
        let file = path.metadata()?;
        Ok(DatabaseFile {
            inode: Inode::of(&file),
            bytes: file.len(),
            times: [
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            ],
        })
    }
}

impl Inode {
    pub(super) fn of(file: &Metadata) -> Self {
        Inode(file.dev(), file.ino(), file.created().ok())
    }

    fn read(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Inode::of(&file))
    }
}

#[cfg(test)]
mod tests;
