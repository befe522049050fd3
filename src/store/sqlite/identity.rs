//! The identity of the files of the store: whether the database and the files that SQLite keeps beside it are still
//! those that SQLite has open.
//!
//! SUBTLE: the files are examined with `stat` only. To open and close one of them would drop the POSIX locks that SQLite
//! holds on it in this process.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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

/// The device and the number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode(u64, u64);

/// What happened to a file of the store while it was in use. The message names the file.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum FileChange {
    #[error("{} was moved or deleted", .0.display())]
    Missing(PathBuf),
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

    /// Returns the first difference between the present files and these.
    pub(super) fn change(&self, paths: &FilePaths) -> Option<FileChange> {
        self.database_change(paths).or_else(|| {
            let sidecars = [(&paths.wal, self.wal), (&paths.shm, self.shm)];
            sidecars
                .into_iter()
                .find_map(|(path, before)| match Inode::read(path) {
                    now if now == before => None,
                    Some(_) => Some(FileChange::Replaced(path.clone())),
                    None => Some(FileChange::SidecarDeleted(path.clone())),
                })
        })
    }

    /// The same for the database alone.
    pub(super) fn database_change(&self, paths: &FilePaths) -> Option<FileChange> {
        let change = match DatabaseFile::read(&paths.database) {
            Ok(now) if now == self.database => return None,
            Ok(now) if now.inode != self.database.inode => FileChange::Replaced,
            Ok(now) if now.bytes < self.database.bytes => FileChange::Truncated,
            Ok(_) => FileChange::Overwritten,
            Err(_) => FileChange::Missing,
        };
        Some(change(paths.database.clone()))
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

    /// Accepts the present size and times of the database, which a checkpoint of this process has changed.
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
        Inode(file.dev(), file.ino())
    }

    fn read(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|file| Inode::of(&file))
    }
}

#[cfg(test)]
mod tests;
