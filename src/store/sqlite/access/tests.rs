//! The files before SQLite opens them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;

use rustix::process::{Uid, geteuid};
use tempfile::TempDir;

use super::*;

const UNPRIVILEGED_USER: u32 = 65534;

/// Runs `test` as a user to whom permissions apply. Linux lets each thread have its own user.
pub(in crate::store::sqlite) fn unprivileged(test: impl FnOnce() + Send) {
    let run = || {
        if geteuid().is_root() {
            rustix::thread::set_thread_uid(Uid::from_raw(UNPRIVILEGED_USER)).unwrap();
        }
        test();
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap());
}

/// Returns the path of a file that does not exist, in a folder that all users can enter.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o777);
    let path = folder.path().join("airlock.db");
    (folder, path)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_is_accessible_to_its_owner_only_and_an_existing_one_is_kept() {
    let (folder, path) = place();
    create(&path).unwrap();
    assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, vec![]));
    fs::write(&path, "contents").unwrap();
    create(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"contents");
    let error = create(&folder.path().join("missing/airlock.db"));
    assert!(matches!(error, Err(OpenProblem::Create(_))), "{error:?}");
}

#[test]
fn other_users_lose_their_access_to_all_files_of_the_store() {
    let (_folder, path) = place();
    fs::write(&path, "").unwrap();
    let paths = FilePaths::of(&path).unwrap();
    for file in [&paths.wal, &paths.shm] {
        fs::write(file, "").unwrap();
    }
    set_mode(&paths.database, 0o644);
    set_mode(&paths.wal, 0o660);
    set_mode(&paths.shm, 0o600);
    protect(&paths).unwrap();
    for file in [&paths.database, &paths.wal, &paths.shm] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    fs::remove_file(&paths.wal).unwrap();
    protect(&paths).unwrap();
}

/// A change of the mode would look like one by another program.
#[test]
fn a_file_that_is_protected_already_is_not_changed() {
    let (folder, path) = place();
    create(&path).unwrap();
    let changed = |path: &Path| {
        let file = path.metadata().unwrap();
        (file.ctime(), file.ctime_nsec())
    };
    let before = changed(&path);
    // The clock of the filesystem has advanced once another file has a later time.
    let other = folder.path().join("other");
    while !other.exists() || changed(&other) == before {
        fs::write(&other, "").unwrap();
    }
    protect(&FilePaths::of(&path).unwrap()).unwrap();
    assert_eq!(changed(&path), before);
}

#[test]
fn a_file_of_another_user_is_refused_if_all_users_can_access_it() {
    unprivileged(|| {
        let own = geteuid().as_raw();
        let path = Path::new("/var/lib/airlock/airlock.db");
        for (mode, owner, is_refused) in [
            (0o100_644, own + 1, true),
            (0o100_602, own + 1, true),
            (0o100_660, own + 1, false),
            (0o100_644, own, false),
        ] {
            match check_owner(path, mode, owner) {
                Ok(()) => assert!(!is_refused, "{mode:o}"),
                Err(OpenProblem::Exposed { mode: shown, .. }) => {
                    assert!(is_refused, "{mode:o}");
                    assert_eq!(shown, mode - 0o100_000);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    });
}

#[test]
fn a_folder_or_a_file_that_cannot_be_written_is_refused() {
    let (folder, path) = place();
    fs::write(&path, "").unwrap();
    set_mode(&path, 0o444);
    unprivileged(|| {
        let result = check_place(&path);
        assert!(
            matches!(result, Err(OpenProblem::NotWritable(_))),
            "{result:?}"
        );
    });
    set_mode(folder.path(), 0o555);
    unprivileged(|| {
        let result = check_place(&path);
        let expected = matches!(result, Err(OpenProblem::FolderNotWritable { .. }));
        assert!(expected, "{result:?}");
    });
    set_mode(folder.path(), 0o777);
}

#[test]
fn only_a_regular_file_in_a_folder_can_be_the_store() {
    let (folder, path) = place();
    assert!(check_place(&path).is_ok());
    let in_folder = |name: &str| folder.path().join(name);
    let (file, fifo) = (in_folder("file"), in_folder("fifo"));
    fs::write(&file, "").unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("nothing", in_folder("link")).unwrap();
    assert!(check_place(&file).is_ok());
    let problem = |path: &Path| check_place(path).unwrap_err();
    assert!(matches!(problem(&fifo), OpenProblem::NotAFile));
    assert!(matches!(problem(&in_folder("link")), OpenProblem::NotAFile));
    assert!(matches!(problem(folder.path()), OpenProblem::IsFolder));
    let in_a_file = problem(&file.join("airlock.db"));
    assert!(matches!(in_a_file, OpenProblem::NotAFolder(it) if it == file));
    let in_nothing = problem(&in_folder("missing/airlock.db"));
    assert!(matches!(in_nothing, OpenProblem::Folder { .. }));
}

#[test]
fn the_folder_of_a_name_alone_is_the_working_directory() {
    assert_eq!(folder_of(Path::new("airlock.db")), Path::new("."));
    assert_eq!(folder_of(Path::new("data/airlock.db")), Path::new("data"));
}

#[test]
fn a_log_without_a_database_is_refused() {
    let (_folder, path) = place();
    let wal = with_suffix(&path, "-wal");
    fs::write(&wal, "").unwrap();
    assert!(check_access(&path).is_ok());
    fs::write(&wal, "writes").unwrap();
    for contents in [None, Some("")] {
        if let Some(contents) = contents {
            fs::write(&path, contents).unwrap();
        }
        match check_access(&path) {
            Err(OpenProblem::OnlyLog { wal: found }) => assert_eq!(found, wal),
            result => panic!("{result:?}"),
        }
    }
    fs::write(&path, "a database").unwrap();
    assert!(check_access(&path).is_ok());
}

#[test]
fn a_database_of_another_program_is_known_by_its_header() {
    let (_folder, path) = place();
    let header = |id: i32| {
        let mut header = MAGIC.to_vec();
        header.resize(68, 1);
        header.extend(id.to_be_bytes());
        header
    };
    assert!(check_header(&path).is_ok());
    for (contents, is_foreign) in [
        (Vec::new(), false),
        (vec![b'x'; 100], false),
        (header(0), false),
        (header(APPLICATION_ID), false),
        (header(7), true),
    ] {
        fs::write(&path, &contents).unwrap();
        match check_header(&path) {
            Ok(()) => assert!(!is_foreign, "{contents:?}"),
            Err(OpenProblem::Foreign) => assert!(is_foreign, "{contents:?}"),
            Err(problem) => panic!("{problem:?}"),
        }
    }
}

#[test]
fn a_placeholder_is_a_restore_for_this_program_and_foreign_for_every_other_version() {
    let (_folder, path) = place();
    fs::write(&path, placeholder()).unwrap();
    let result = check_header(&path);
    assert!(matches!(result, Err(OpenProblem::InRestore)), "{result:?}");
    let text = String::from_utf8_lossy(&placeholder()).into_owned();
    assert!(text.starts_with("SQLite format 3\0"));
    assert!(text.contains("Run `airlock restore` again"), "{text}");
}
