//! The exchange of the database for another one, in steps after each of which the process may be killed.
//!
//! SQLite would apply the write-ahead log of the previous file to the one in its place, and a server would create an empty
//! store, in which all slots are free, if it found no file. Therefore a placeholder stands in the place of the database
//! while the files beside it are removed: no server starts with it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use super::error::CopyError;
use super::file::{FileLock, NewFile, SIDECARS, sync_folder};
use crate::store::sqlite::access::{self, folder_of};
use crate::store::sqlite::identity::with_suffix;

/// The files of an exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The path of the database, behind symbolic links.
    place: PathBuf,
    new: NewFile,
    placeholder: NewFile,
    /// The name under which the previous file is kept; `None`: there is no file, or an interrupted restore has kept it.
    previous: Option<PathBuf>,
    /// Whether there is a file to replace. A server that creates one in the meantime is not overruled.
    is_present: bool,
    /// The locks of the file to replace and of the placeholder.
    locks: Vec<FileLock>,
}

/// A step of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Gives the previous file, its log and its journal second names. Nothing has changed so far.
    Keep,
    /// Puts the placeholder in place of the previous file. From here on, no server starts.
    Block,
    /// Removes the log, the journal and the shared memory of the previous file.
    RemoveSidecars,
    /// Puts the new file in place of the placeholder.
    Replace,
}

// === impl Step ===

impl Step {
    pub(super) const ALL: [Step; 4] =
        [Step::Keep, Step::Block, Step::RemoveSidecars, Step::Replace];
}

// === impl Exchange ===

impl Exchange {
    /// Prepares the exchange. `lock` is that of the present file; `None`: there is none.
    ///
    /// # Errors
    /// If the files cannot be created with the owner that they need.
    pub(super) fn new(
        place: &Path,
        new: NewFile,
        lock: Option<FileLock>,
        previous: Option<PathBuf>,
    ) -> Result<Self, CopyError> {
        let failed = |error| CopyError::write(place, error);
        let placeholder = NewFile::create(place, "placeholder").map_err(failed)?;
        placeholder.write(&access::placeholder()).map_err(failed)?;
        for file in [&new, &placeholder] {
            set_owner(&file.path, place)?;
        }
        new.sync().map_err(failed)?;
        Ok(Exchange {
            place: place.to_owned(),
            new,
            placeholder,
            previous,
            is_present: lock.is_some(),
            locks: lock.into_iter().collect(),
        })
    }

    /// Performs all steps, and returns the name of the previous file.
    ///
    /// # Errors
    /// If a step fails. Before [`Step::Block`], nothing has changed; after it, the restore has to be repeated.
    pub(super) fn run(mut self) -> Result<Option<PathBuf>, CopyError> {
        for step in Step::ALL {
            self.step(step).map_err(|source| {
                let path = self.place.clone();
                match step {
                    Step::Keep => CopyError::Write { path, source },
                    Step::Block if source.kind() == io::ErrorKind::AlreadyExists => {
                        CopyError::Changed(path)
                    }
                    Step::Block => CopyError::Write { path, source },
                    Step::RemoveSidecars | Step::Replace => CopyError::Interrupted { path, source },
                }
            })?;
        }
        Ok(self.previous.take())
    }

    /// Performs one step. Its effect is on the disk when it returns.
    pub(super) fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Keep => self.keep(),
            Step::Block => {
                // A second restore is refused, as by the lock of any other file.
                self.locks.push(FileLock::take(&self.placeholder.path)?);
                if self.is_present {
                    self.placeholder.replace(&self.place)
                } else {
                    self.placeholder.put(&self.place)
                }
            }
            Step::RemoveSidecars => {
                for suffix in SIDECARS {
                    match fs::remove_file(with_suffix(&self.place, suffix)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                sync_folder(&self.place)
            }
            Step::Replace => self.new.replace(&self.place),
        }
    }

    /// The files keep their names until the placeholder is in place: a database without its log lacks the latest locks.
    fn keep(&self) -> io::Result<()> {
        let Some(previous) = &self.previous else {
            return Ok(());
        };
        for suffix in ["", "-wal", "-journal"] {
            let file = with_suffix(&self.place, suffix);
            let has_contents = file.metadata().is_ok_and(|file| file.len() > 0);
            if has_contents {
                fs::hard_link(&file, with_suffix(previous, suffix))?;
            }
        }
        sync_folder(&self.place)
    }
}

/// Gives a new file the owner of the present one, or of the folder if there is none. Only root can.
fn set_owner(file: &Path, place: &Path) -> Result<(), CopyError> {
    let failed = |error| CopyError::write(file, error);
    let present = place.metadata();
    let is_present = present.is_ok();
    let model = present
        .or_else(|_| folder_of(place).metadata())
        .map_err(failed)?;
    let own = file.metadata().map_err(failed)?;
    if (own.uid(), own.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    match chown(file, Some(model.uid()), Some(model.gid())) {
        Err(_) if is_present && own.uid() != model.uid() => Err(CopyError::Owner {
            path: place.to_owned(),
            owner: model.uid(),
        }),
        _ => Ok(()),
    }
}
