//! The files of the store before SQLite opens them: their folder, their filesystem, and their modes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode};

use super::error::OpenProblem;
use super::filesystem::network_filesystem;
use super::identity::{FilePaths, with_suffix};
use crate::file;

/// "airl": marks a file as one of Airlock (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i32 = 0x6169_726c;

/// The bits of a mode that let users other than the owner access a file.
const SHARED: u32 = 0o077;

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The application id of a [`placeholder`].
const PLACEHOLDER_ID: i32 = 0x6169_7252;

/// Verifies that the folder of the file exists on a local filesystem, which responds, that both can be written, and that
/// the file can be protected from other users, and has not lost all but its write-ahead log. Does not open the file, see
/// [`check_header`].
pub(super) fn check_access(path: &Path) -> Result<(), OpenProblem> {
    check_place(path)?;
    check_log(path)
}

/// Does the same as [`check_access`] for a file that is to be replaced, whatever has become of it.
pub(super) fn check_place(path: &Path) -> Result<(), OpenProblem> {
    // No later call has a timeout.
    file::call(path, |path| drop(path.metadata())).map_err(OpenProblem::NoResponse)?;
    let folder = folder_of(path);
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(OpenProblem::NotAFolder(folder.to_owned())),
        Err(source) => {
            let folder = folder.to_owned();
            return Err(OpenProblem::Folder { folder, source });
        }
    }
    match path.symlink_metadata() {
        Ok(_) if path.is_file() => {}
        Ok(_) if path.is_dir() => return Err(OpenProblem::IsFolder),
        // Among others a FIFO, in which a read would wait forever, and a link to nothing.
        Ok(_) => return Err(OpenProblem::NotAFile),
        Err(_) => {}
    }
    let place = if path.exists() { path } else { folder };
    if let Some(filesystem) = network_filesystem(place) {
        return Err(OpenProblem::Network { filesystem });
    }
    // SQLite creates files beside the database.
    let check = |path, access| {
        rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).map_err(io::Error::from)
    };
    check(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|source| {
        let folder = folder.to_owned();
        OpenProblem::FolderNotWritable { folder, source }
    })?;
    if path.exists() {
        check(path, Access::READ_OK | Access::WRITE_OK).map_err(OpenProblem::NotWritable)?;
        let file = path.metadata().map_err(OpenProblem::NotWritable)?;
        check_owner(path, file.mode(), file.uid())?;
    }
    Ok(())
}

/// Returns the folder that contains a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Verifies that the write-ahead log is not the only file that is left. It may contain locks, which SQLite would delete
/// with it.
pub(super) fn check_log(path: &Path) -> Result<(), OpenProblem> {
    if path.metadata().is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let wal = with_suffix(&real, "-wal");
    if wal.metadata().is_ok_and(|file| file.len() > 0) {
        return Err(OpenProblem::OnlyLog { wal });
    }
    Ok(())
}

/// Creates an empty file that only its owner can access, if there is none. Does not open it, see [`check_header`].
pub(super) fn create(path: &Path) -> Result<(), OpenProblem> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(CWD, path, FileType::RegularFile, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(OpenProblem::Create(error.into())),
    }
}

/// Removes the access of other users to the files. A user who can read one of them could lock it, and so stop the
/// server.
pub(super) fn protect(paths: &FilePaths) -> Result<(), OpenProblem> {
    for path in [&paths.database, &paths.wal, &paths.shm] {
        let Ok(file) = path.metadata() else {
            continue;
        };
        let (mode, owner) = (file.mode(), file.uid());
        if mode & SHARED == 0 {
            continue;
        }
        // Only the owner and root can. For others, the group of the file may have been chosen to share it.
        if rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o700)).is_err() {
            check_owner(path, mode, owner)?;
        }
    }
    Ok(())
}

/// Verifies that a file of another user is not accessible to all users, which [`protect`] could not change.
fn check_owner(path: &Path, mode: u32, owner: u32) -> Result<(), OpenProblem> {
    let user = rustix::process::geteuid();
    if mode & 0o007 == 0 || user.is_root() || user.as_raw() == owner {
        return Ok(());
    }
    Err(OpenProblem::Exposed {
        path: path.to_owned(),
        mode: mode & 0o7777,
        owner,
    })
}

/// Verifies that the header of a database does not name another program. Such a file is not opened, which could change
/// it. A file without a header passes: SQLite explains it.
///
/// SUBTLE: closing a file drops all POSIX locks of this process on it, also those of SQLite. Another process would then
/// take itself for the last one and delete the write-ahead log, with the locks of nodes in it. Therefore this must not be
/// called while the store is open.
pub(super) fn check_header(path: &Path) -> Result<(), OpenProblem> {
    match application_id(path) {
        Some(PLACEHOLDER_ID) => Err(OpenProblem::InRestore),
        // A file that Airlock has just created may have its id in the write-ahead log only.
        None | Some(0 | APPLICATION_ID) => Ok(()),
        Some(_) => Err(OpenProblem::Foreign),
    }
}

/// Reads the application id in the header of a database; `None` if the file has no such header.
///
/// Source: https://www.sqlite.org/fileformat.html, "The Database Header".
fn application_id(path: &Path) -> Option<i32> {
    let mut header = [0; 72];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let id = [header[68], header[69], header[70], header[71]];
    header.starts_with(MAGIC).then(|| i32::from_be_bytes(id))
}

/// Returns the contents of the file that stands in the place of the database during a restore. It has the header of a
/// database of another program, which no version of Airlock opens: SQLite would apply a write-ahead log to it.
pub(super) fn placeholder() -> Vec<u8> {
    let mut contents = MAGIC.to_vec();
    contents.resize(68, 0);
    contents.extend(PLACEHOLDER_ID.to_be_bytes());
    contents.resize(100, 0);
    contents.extend(
        b"A restore of this database has not been completed. Run `airlock restore` again.\n",
    );
    contents
}

#[cfg(test)]
pub(super) mod tests;
