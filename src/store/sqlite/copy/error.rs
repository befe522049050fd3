//! The errors of backup and restore.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::store::sqlite::error::{DatabaseError, OpenError, OpenProblem, Unsuitable};
use crate::text::explain::Remedy;

/// The reason why a store was not saved or restored. Nothing was changed, except by [`CopyError::Interrupted`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(OpenError),
    /// The backup cannot be used.
    #[error(transparent)]
    Unusable(OpenError),
    /// The backup is damaged.
    #[error("{}: this backup is damaged, or not a SQLite database: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// A file with the name of the new backup exists.
    #[error("{} exists already, and a backup replaces no file", .0.display())]
    Exists(PathBuf),
    /// The file of the command is the store, or a file that SQLite keeps beside it.
    #[error("{} is a file of the store itself", .0.display())]
    IsStore(PathBuf),
    /// A server, or another command, uses the store.
    #[error("{}: a server or another command uses this store", .0.display())]
    InUse(PathBuf),
    /// The store was used between two steps of the restore.
    #[error("{}: the store was changed in the meantime", .0.display())]
    Changed(PathBuf),
    /// The restored file would belong to another user than the present one.
    #[error("{} belongs to uid {owner}, which could not open the restored file", path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file cannot be written.
    #[error("{}: cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The restore failed after the present file was moved away. No server starts with the file that stands in its place.
    #[error("{}: the restore was interrupted", path.display())]
    Interrupted { path: PathBuf, source: io::Error },
}

// === impl CopyError ===

impl CopyError {
    /// Reports whether the command failed because the store cannot be used at the moment.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(
            self,
            CopyError::Store(_) | CopyError::InUse(_) | CopyError::Changed(_)
        )
    }

    /// Reports whether the restore has begun, and has to be repeated.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self, CopyError::Interrupted { .. })
    }

    /// Explains why the store at `path` cannot be used.
    pub(super) fn store(path: &Path, error: impl Into<Unsuitable>) -> Self {
        CopyError::Store(error.into().into_error(path))
    }

    /// Explains why the backup at `path` cannot be used.
    pub(super) fn backup(path: &Path, error: impl Into<Unsuitable>) -> Self {
        match error.into() {
            Unsuitable::Sqlite(error) if is_damage(&error) => CopyError::Damaged {
                path: path.to_owned(),
                problem: DatabaseError::new(path, error).reason(),
            },
            error => CopyError::Unusable(error.into_error(path)),
        }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        CopyError::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        CopyError::Read {
            path: path.to_owned(),
            source,
        }
    }
}

impl Remedy for CopyError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            CopyError::Store(error) => return error.remedy(),
            CopyError::Unusable(error) => {
                return match error.problem() {
                    OpenProblem::Foreign => Some("name a file that `airlock backup` has written".into()),
                    OpenProblem::Newer { .. } => {
                        Some("restore it with that version, or use another backup".into())
                    }
                    _ => error.remedy(),
                };
            }
            CopyError::Damaged { .. } => "use another backup".into(),
            CopyError::Exists(_) => {
                "name another file, or move this one away if it is no longer needed".into()
            }
            CopyError::IsStore(_) => "name another file, on another disk if possible".into(),
            CopyError::InUse(_) => {
                "stop the server, for example with: systemctl stop airlock".into()
            }
            CopyError::Changed(_) => {
                "make sure that the server is stopped, and run the command again".into()
            }
            CopyError::Owner { owner, .. } => {
                format!("run the command as root, or as the user with uid {owner}")
            }
            CopyError::Interrupted { .. } => {
                "correct the cause, and run the command again; until then, no server starts with this store".into()
            }
            CopyError::Read { .. } | CopyError::Write { .. } => return None,
        })
    }
}

/// Reports whether an error means that the contents of a file are not those that SQLite has written.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}
