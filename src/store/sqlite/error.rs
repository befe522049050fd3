//! The errors of the SQLite file: the cause, and the remedy where there is one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

use super::continuity::Discontinuity;
use super::identity::FileChange;
use crate::file::FileError;
use crate::store::StoreError;
use crate::text::explain::Remedy;
use crate::text::permission::{command_path, current_user, permission_remedy};

/// The reason why a file cannot be the store (`embedded.path`). The message names the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be used", path.display())]
pub struct OpenError {
    path: PathBuf,
    #[source]
    problem: OpenProblem,
}

/// The cause of an [`OpenError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenProblem {
    #[error("{}", .0.problem)]
    NoResponse(FileError),
    #[error("cannot open its folder {}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("this is a folder")]
    IsFolder,
    #[error("this is not a regular file")]
    NotAFile,
    #[error("the file is not writable")]
    NotWritable(#[source] io::Error),
    #[error("its folder {} is not writable", folder.display())]
    FolderNotWritable { folder: PathBuf, source: io::Error },
    #[error("this is a SQLite database of another program")]
    Foreign,
    #[error(
        "a newer version of Airlock wrote this file (schema {found}, this version supports {supported})"
    )]
    Newer { found: i32, supported: i32 },
    #[error(transparent)]
    Database(DatabaseError),
    #[error("cannot start the thread of the store")]
    Thread(#[source] io::Error),
    #[error("cannot create the file")]
    Create(#[source] io::Error),
    #[error("cannot examine the file")]
    NotReadable(#[source] io::Error),
    #[error("the file was replaced while it was opened")]
    Moved,
    #[error("the file has no contents")]
    Empty,
    #[error(
        "it is on a network filesystem ({filesystem}), where locks of other processes are not reliable"
    )]
    Network { filesystem: String },
    #[error("{} belongs to uid {owner} and all users can access it (mode {mode:04o})", .path.display())]
    Exposed {
        path: PathBuf,
        mode: u32,
        owner: u32,
    },
    #[error("a restore of this file was interrupted")]
    InRestore,
    #[error("the database is missing or empty, but its write-ahead log {} is not", wal.display())]
    OnlyLog { wal: PathBuf },
}

/// The reason why a file cannot be the store; an error of SQLite does not name the file yet.
#[derive(Debug)]
pub(super) enum Unsuitable {
    Problem(OpenProblem),
    Sqlite(rusqlite::Error),
}

/// The reason why the files that are in place after a change are not used. The message contains the remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "no lock is granted until it is back in place; if it is lost, see \"Restore the embedded store\" in \
         docs/operations.md"
    )]
    Missing,
    #[error(
        "it cannot be examined ({0}); no lock is granted until this server may read and write it again"
    )]
    Unreadable(io::Error),
    #[error("it is empty; {RESTORE}")]
    Empty,
    #[error(
        "{} contains writes to the previous file, which SQLite would apply to the one in its place; put the previous file \
         back, or stop the server, delete the write-ahead log, and follow \"Restore the embedded store\" in \
         docs/operations.md", .0.display()
    )]
    OrphanedLog(PathBuf),
    #[error("{0}; {RESTORE}")]
    Discontinuity(Discontinuity),
    #[error("the database in its place is damaged ({0}); {RESTORE}")]
    Damaged(String),
    #[error("the file in its place cannot be used: {0}")]
    Problem(OpenProblem),
    #[error("the file in its place cannot be used: {0}")]
    Database(DatabaseError),
}

const RESTORE: &str = "put the latest file back, or pause the groups while nodes may be down, and restart the server to use \
     this one (docs/operations.md, \"Restore the embedded store\")";

/// An error of the store while it is in use. The message names the file once.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqliteError {
    #[error("{}: {error}", path.display())]
    Database { path: PathBuf, error: DatabaseError },
    #[error("{change}: {refusal}")]
    Changed {
        change: FileChange,
        refusal: Refusal,
    },
    #[error("{}: no reply from the disk within {} ms", path.display(), timeout.as_millis())]
    Timeout { path: PathBuf, timeout: Duration },
    #[error("{}: the thread of the store has ended", path.display())]
    ThreadEnded { path: PathBuf },
}

const DISK_FULL: &str = "the disk is full; free some space";

/// An error of SQLite, with the remedy. The message does not name the file.
#[derive(Debug)]
pub(super) struct DatabaseError {
    error: rusqlite::Error,
    /// The path as SQLite appends it to some messages.
    path_suffix: String,
    /// Whether no user may write the file.
    read_only: bool,
}

// === impl OpenError ===

impl OpenError {
    pub(super) fn new(path: &Path, problem: OpenProblem) -> Self {
        OpenError {
            path: path.to_owned(),
            problem,
        }
    }

    pub(super) fn problem(&self) -> &OpenProblem {
        &self.problem
    }

    /// Reports whether the user of this process may not write the file or its folder.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(
            &self.problem,
            OpenProblem::NotWritable(source)
                | OpenProblem::FolderNotWritable { source, .. }
                | OpenProblem::Folder { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
        )
    }
}

impl Remedy for OpenError {
    fn remedy(&self) -> Option<String> {
        Some(match &self.problem {
            OpenProblem::NoResponse(error) => return error.remedy(),
            OpenProblem::Folder { folder, source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                permission_remedy(folder)
            }
            OpenProblem::Folder { folder, .. } if folder.is_relative() => format!(
                "create the folder, or name another file; a relative path is relative to the working directory {}",
                std::env::current_dir().unwrap_or_default().display()
            ),
            OpenProblem::Folder { .. } => "create the folder, or name another file".into(),
            OpenProblem::NotAFolder(_) => "name a file in a folder".into(),
            OpenProblem::IsFolder => "name a file in it".into(),
            OpenProblem::NotAFile => "name another file".into(),
            OpenProblem::NotWritable(source) | OpenProblem::FolderNotWritable { source, .. }
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                "name a file in a folder that the service may write, such as /var/lib/airlock"
                    .into()
            }
            OpenProblem::NotWritable(_) | OpenProblem::FolderNotWritable { .. } => format!(
                "{} needs write permission on the file and on its folder",
                current_user()
            ),
            OpenProblem::Foreign => "name another file".into(),
            OpenProblem::Newer { .. } => "run that version, or name another file".into(),
            OpenProblem::Network { .. } => {
                "name a file on a local disk, or use etcd for servers on several machines".into()
            }
            OpenProblem::Exposed { path, .. } => format!(
                "run this command as its owner or as root: chmod go= {}",
                command_path(path)
            ),
            OpenProblem::OnlyLog { .. } => {
                "move the database back to its place; if it is lost, see \"Restore the embedded store\" in \
                 docs/operations.md"
                    .into()
            }
            OpenProblem::InRestore => {
                "run `airlock restore` again with a backup; the previous file is beside it, with .before-restore- and the \
                 time in its name"
                    .into()
            }
            OpenProblem::Moved => "try again".into(),
            OpenProblem::Create(source) if source.kind() == io::ErrorKind::StorageFull => {
                DISK_FULL.into()
            }
            // The message of a database error contains it.
            OpenProblem::Database(_)
            | OpenProblem::Thread(_)
            | OpenProblem::Create(_)
            | OpenProblem::NotReadable(_)
            | OpenProblem::Empty => return None,
        })
    }
}

// === impl Unsuitable ===

impl Unsuitable {
    pub(super) fn into_error(self, path: &Path) -> OpenError {
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

// === impl Refusal ===

impl Refusal {
    pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        Refusal::Database(DatabaseError::new(path, error))
    }
}

// === impl SqliteError ===

impl SqliteError {
    /// Adds the path and the remedy to an error of a store in use.
    pub(super) fn database(path: &Path, error: rusqlite::Error) -> Self {
        SqliteError::Database {
            path: path.to_owned(),
            error: DatabaseError::new(path, error),
        }
    }

    /// Classifies an error of a store in use.
    pub(super) fn classify(path: &Path, error: rusqlite::Error) -> StoreError {
        let code = error.sqlite_error_code();
        let cause = SqliteError::database(path, error);
        match code {
            // The transaction never began.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::unreachable(cause)
            }
            Some(ErrorCode::DiskFull) => StoreError::no_space(cause),
            // SQLite rolls the transaction back before it reports one of these.
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::TooBig,
            ) => StoreError::rejected(cause),
            _ => StoreError::unknown(cause),
        }
    }
}

// === impl DatabaseError ===

impl DatabaseError {
    pub(super) fn new(path: &Path, error: rusqlite::Error) -> Self {
        DatabaseError {
            error,
            path_suffix: format!(": {}", path.display()),
            read_only: path
                .metadata()
                .is_ok_and(|file| file.permissions().readonly()),
        }
    }

    /// Returns the error without the remedy.
    pub(super) fn reason(&self) -> String {
        self.error.to_string().replace(&self.path_suffix, "")
    }

    fn remedy(&self) -> Option<String> {
        Some(match self.error.sqlite_error_code()? {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                "another process keeps the file locked; end that process".into()
            }
            ErrorCode::DiskFull => DISK_FULL.into(),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => format!(
                "{} needs write permission on the file and on its folder",
                current_user()
            ),
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
                "the file is damaged or not a SQLite database; if it was the store, restore a backup (docs/operations.md, \
                 \"Restore the embedded store\"), and do not start a server with an empty file: all its slots are free, \
                 also those of nodes that are down"
                    .into()
            }
            ErrorCode::SystemIoFailure => "the disk reported an error; see the log of the system".into(),
            _ => return None,
        })
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())?;
        let Some(remedy) = self.remedy() else {
            return Ok(());
        };
        if self.read_only {
            f.write_str(" (the file is read-only)")?;
        }
        write!(f, ": {remedy}")
    }
}

impl std::error::Error for DatabaseError {}

#[cfg(test)]
mod tests;
