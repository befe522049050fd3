//! The files of the embedded store are moved, deleted, replaced or overwritten while the server runs. The server notices
//! it, grants nothing on a file that is not in place or lacks locks, and continues once the right file is back.

mod idle;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::{SetOnDrop, eventually};

/// A server with two slots, which nodes `a` and `b` hold.
struct Fleet {
    airlock: Airlock,
    client: Client,
    database: PathBuf,
    /// A copy from the time when only `a` held a slot.
    older: PathBuf,
    /// A copy of the present contents.
    latest: PathBuf,
}

impl Fleet {
    fn new() -> Self {
        let airlock = Airlock::embedded("transaction_timeout_ms = 1000\n[lock]\ndefault_slots = 2");
        let folder = airlock.folder().to_owned();
        let client = airlock.client();
        let fleet = Fleet {
            client,
            database: folder.join("airlock.db"),
            older: folder.join("older.db"),
            latest: folder.join("latest.db"),
            airlock,
        };
        assert!(fleet.client.lock("default", "a").granted());
        fleet.copy_to(&fleet.older);
        assert!(fleet.client.lock("default", "b").granted());
        fleet.copy_to(&fleet.latest);
        eventually("the server to be ready", || fleet.is_ready().then_some(()));
        fleet.wait_for_checkpoint();
        fleet
    }

    /// Copies the database as SQLite sees it.
    fn copy_to(&self, path: &Path) {
        let statement = format!("VACUUM INTO '{}'", path.display());
        sqlite3(&self.database, &statement);
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.airlock.folder().join(format!("airlock.db{suffix}"))
    }

    fn is_ready(&self) -> bool {
        self.airlock.status("/readyz").0 == 200
    }

    /// Waits until the database alone contains all locks.
    fn wait_for_checkpoint(&self) {
        eventually("an empty write-ahead log", || {
            (self.file("-wal").metadata().unwrap().len() == 0).then_some(())
        });
    }

    /// Asserts that every request is refused with all of `problem`, and that the server is not ready.
    fn refuses(&self, problem: &[&str]) {
        for answer in [
            self.client.lock("default", "c"),
            self.client.lock("default", "a"),
            self.client.unlock("default", "b"),
        ] {
            self.assert_problem(&answer, problem);
        }
        let (code, text) = eventually("the server to be unready", || {
            Some(self.airlock.status("/readyz")).filter(|(code, _)| *code != 200)
        });
        assert_eq!(code, 503, "{text}");
        assert!(text.contains("airlock.db"), "{text}");
    }

    fn assert_problem(&self, answer: &Response, problem: &[&str]) {
        assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
        let text = answer.value();
        let file = self.database.display().to_string();
        for expected in problem.iter().copied().chain([&*file]) {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
    }

    /// Asserts that the server continues, and that `a` and `b` hold the two slots.
    fn continues(&self) {
        eventually("the server to be ready again", || {
            self.is_ready().then_some(())
        });
        let answer = self.client.lock("default", "c");
        assert_eq!(&*answer.kind(), "failed_lock", "{answer:?}");
        for holder in ["a", "b"] {
            assert!(self.client.lock("default", holder).granted(), "{holder}");
        }
    }

    /// Asserts that a restarted server has the same locks.
    fn survives_restart(&mut self) {
        self.airlock.restart();
        self.client = self.airlock.client();
        self.continues();
    }
}

fn sqlite3(database: &Path, statement: &str) {
    let output = Command::new("sqlite3")
        .args(["-cmd", ".timeout 5000"])
        .arg(database)
        .arg(statement)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Moves a file with its name only, as `mv` does.
fn mv(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// Overwrites a file that stays the same file, as `cp` does.
fn cp(from: &Path, to: &Path) {
    let before = to.metadata().unwrap().ino();
    fs::copy(from, to).unwrap();
    assert_eq!(to.metadata().unwrap().ino(), before);
}

const OLDER: &[&str] = &[
    "it is older than the store that this server has used",
    "restart the server to use this one",
];

#[test]
fn a_renamed_database_is_refused_until_it_is_renamed_back() {
    let mut fleet = Fleet::new();
    let moved = fleet.file(".moved");
    mv(&fleet.database, &moved);
    fleet.refuses(&["was moved or deleted", "until it is back in place"]);
    assert!(
        !fleet.database.exists(),
        "the server has created a new file"
    );
    mv(&moved, &fleet.database);
    fleet.continues();
    fleet.survives_restart();
}

#[test]
fn a_deleted_database_is_refused_until_a_copy_of_it_is_in_place() {
    let mut fleet = Fleet::new();
    fs::remove_file(&fleet.database).unwrap();
    fleet.refuses(&["was moved or deleted", "Restore the embedded store"]);
    assert!(
        !fleet.database.exists(),
        "the server has created a new file"
    );
    mv(&fleet.latest, &fleet.database);
    fleet.continues();
    fleet.survives_restart();
}

#[test]
fn a_database_that_an_older_copy_replaces_is_refused_until_the_latest_one_is_back() {
    let mut fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    let moved = fleet.file(".moved");
    mv(&fleet.database, &moved);
    mv(&fleet.older, &fleet.database);
    fleet.refuses(&["was replaced by another file"]);
    fleet.refuses(OLDER);
    mv(&moved, &fleet.database);
    fleet.continues();
    fleet.survives_restart();
}

/// SQLite applies the write-ahead log to whatever database is in place.
#[test]
fn a_database_that_an_older_copy_overwrites_is_refused_until_the_latest_one_is_back() {
    let mut fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    cp(&fleet.older, &fleet.database);
    fleet.refuses(&["was overwritten"]);
    fleet.refuses(OLDER);
    cp(&fleet.latest, &fleet.database);
    fleet.continues();
    fleet.survives_restart();
}

#[test]
fn a_truncated_database_is_refused_until_its_contents_are_back() {
    let mut fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(&fleet.database)
        .unwrap();
    fleet.refuses(&["was truncated", "it is empty"]);
    cp(&fleet.latest, &fleet.database);
    fleet.continues();
    fleet.survives_restart();
}

#[test]
fn a_database_that_is_cut_off_is_refused_until_its_contents_are_back() {
    let fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    let file = fs::File::options()
        .write(true)
        .open(&fleet.database)
        .unwrap();
    file.set_len(4096).unwrap();
    fleet.refuses(&["was truncated", "damaged"]);
    cp(&fleet.latest, &fleet.database);
    fleet.continues();
}

#[test]
fn a_database_of_another_fleet_is_refused_although_it_has_more_writes() {
    let fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    let other = Fleet::new();
    for _ in 0..3 {
        assert!(other.client.unlock("default", "a").granted());
        assert!(other.client.lock("default", "a").granted());
    }
    let theirs = fleet.file(".theirs");
    other.copy_to(&theirs);
    let moved = fleet.file(".moved");
    mv(&fleet.database, &moved);
    mv(&theirs, &fleet.database);
    fleet.refuses(&[
        "was replaced by another file",
        "it is another store than the one that this server has used",
    ]);
    mv(&moved, &fleet.database);
    fleet.continues();
}

#[test]
fn an_older_copy_is_refused_although_commands_have_written_to_it_since() {
    let fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    mv(&fleet.older, &fleet.database);
    for _ in 0..3 {
        for command in ["pause", "resume"] {
            let output = fleet.airlock.command(&[command, "default", "--yes"]);
            assert!(output.status.success(), "{output:?}");
        }
    }
    // The reason depends on whether the commands have left writes in the write-ahead log.
    fleet.refuses(&["airlock.db was replaced by another file"]);
}

#[test]
fn an_older_copy_that_sqlite_itself_restores_is_refused() {
    let fleet = Fleet::new();
    let restore = format!(".restore '{}'", fleet.older.display());
    sqlite3(&fleet.database, &restore);
    fleet.refuses(OLDER);
    sqlite3(
        &fleet.database,
        &format!(".restore '{}'", fleet.latest.display()),
    );
    fleet.continues();
}

#[test]
fn a_file_of_another_program_in_place_of_the_database_is_refused_and_not_changed() {
    let fleet = Fleet::new();
    let theirs = fleet.file(".theirs");
    sqlite3(&theirs, "CREATE TABLE theirs (x)");
    let before = fs::read(&theirs).unwrap();
    mv(&theirs, &fleet.database);
    fleet.refuses(&["was replaced", "a SQLite database of another program"]);
    assert_eq!(fs::read(&fleet.database).unwrap(), before);
    mv(&fleet.latest, &fleet.database);
    fleet.continues();
}

#[test]
fn a_write_ahead_log_is_never_applied_to_a_file_that_replaced_the_database() {
    let fleet = Fleet::new();
    let previous = fleet.file(".previous");
    assert!(fleet.client.unlock("default", "b").granted());
    fs::rename(&fleet.database, &previous).unwrap();
    mv(&fleet.latest, &fleet.database);
    let before = fs::read(&fleet.database).unwrap();
    fleet.refuses(&[
        "was replaced",
        "airlock.db-wal contains writes to the previous file",
    ]);
    assert_eq!(fs::read(&fleet.database).unwrap(), before);
    mv(&previous, &fleet.database);
    eventually("the previous file to be used again", || {
        fleet.client.lock("default", "c").granted().then_some(())
    });
}

#[test]
fn a_deleted_write_ahead_log_loses_no_lock() {
    for files in [&["-wal"][..], &["-wal", "-shm"]] {
        let mut fleet = Fleet::new();
        assert!(fleet.client.unlock("default", "b").granted());
        assert!(fleet.client.lock("default", "b").granted());
        for file in files {
            fs::remove_file(fleet.file(file)).unwrap();
        }
        fleet.continues();
        fleet.airlock.wait_for_log("airlock.db-wal was deleted");
        fleet.survives_restart();
    }
}

#[test]
fn a_replaced_write_ahead_log_loses_no_lock_that_is_in_the_database() {
    let mut fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    let other = fleet.file(".other");
    fs::write(&other, "not a write-ahead log").unwrap();
    mv(&other, &fleet.file("-wal"));
    fleet
        .airlock
        .wait_for_log("airlock.db-wal was replaced by another file");
    fleet.continues();
    fleet.survives_restart();
}

#[test]
fn a_write_ahead_log_that_an_empty_one_replaces_is_refused_until_it_is_back() {
    let fleet = Fleet::new();
    let (wal, moved) = (fleet.file("-wal"), fleet.file(".moved-wal"));
    let empty = fleet.file(".empty");
    // Until the lock is in the write-ahead log only.
    let older = loop {
        fleet.wait_for_checkpoint();
        fs::write(&empty, "").unwrap();
        let before = fs::read(&fleet.database).unwrap();
        assert!(fleet.client.unlock("default", "b").granted());
        assert!(fleet.client.lock("default", "b").granted());
        fs::hard_link(&wal, &moved).unwrap();
        mv(&empty, &wal);
        if fs::read(&fleet.database).unwrap() == before {
            break before;
        }
        mv(&moved, &wal);
        fleet.continues();
    };
    drop(older);
    fleet.refuses(&["airlock.db-wal was replaced by another file", OLDER[0]]);
    mv(&moved, &wal);
    fleet.continues();
}

#[test]
fn deleted_or_replaced_shared_memory_loses_no_lock() {
    for is_replaced in [false, true] {
        let mut fleet = Fleet::new();
        let shm = fleet.file("-shm");
        if is_replaced {
            let other = fleet.file(".other");
            fs::write(&other, "not shared memory").unwrap();
            mv(&other, &shm);
        } else {
            fs::remove_file(&shm).unwrap();
        }
        let what = if is_replaced {
            "airlock.db-shm was replaced by another file"
        } else {
            "airlock.db-shm was deleted"
        };
        fleet.airlock.wait_for_log(what);
        fleet.continues();
        fleet.survives_restart();
    }
}

#[test]
fn a_copy_of_the_database_without_its_write_ahead_log_is_complete_after_a_quiet_moment() {
    let mut fleet = Fleet::new();
    fleet.wait_for_checkpoint();
    let copy = fleet.file(".copy");
    fs::copy(&fleet.database, &copy).unwrap();
    fleet.airlock.process().kill();
    for file in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(fleet.file(file));
    }
    mv(&copy, &fleet.database);
    fleet.survives_restart();
}

#[test]
fn a_server_does_not_start_with_a_write_ahead_log_whose_database_is_missing() {
    let mut fleet = Fleet::new();
    // Until the write-ahead log is not empty.
    loop {
        assert!(fleet.client.unlock("default", "b").granted());
        assert!(fleet.client.lock("default", "b").granted());
        fleet.airlock.process().kill();
        if !fs::read(fleet.file("-wal")).unwrap().is_empty() {
            break;
        }
        fleet.airlock.restart();
        fleet.client = fleet.airlock.client();
    }
    let moved = fleet.file(".moved");
    mv(&fleet.database, &moved);
    let mut server = fleet.airlock.spawn(&["serve"]);
    assert_eq!(server.wait().code(), Some(78), "{}", server.log());
    let log = server.log();
    for expected in [
        "its write-ahead log",
        "move the database back to its place",
        "embedded.path",
    ] {
        assert!(log.contains(expected), "{expected:?} in {log}");
    }
    assert!(!fleet.database.exists());
    mv(&moved, &fleet.database);
    fleet.survives_restart();
}

/// Nodes lock and unlock all the time, while the files are replaced by older copies, moved away and back, and their
/// write-ahead log is deleted. The server is killed while two nodes rely on their slots: a grant that is not in the files
/// in place is lost then. A node counts until it asks for the release of its slot.
#[test]
fn two_slots_are_never_held_by_three_nodes_whatever_happens_to_the_files() {
    let mut fleet = Fleet::new();
    for node in ["a", "b"] {
        assert!(fleet.client.unlock("default", node).granted());
    }
    let client = Mutex::new(fleet.client.clone());
    let held = Mutex::new(BTreeSet::new());
    let [stop, keep] = [(); 2].map(|()| AtomicBool::new(false));
    let [grants, denials] = [(); 2].map(|()| AtomicUsize::new(0));
    let request = |endpoint: &str, id: &str| {
        let client = client.lock().clone();
        // A request of which the outcome is unknown grants nothing.
        let Ok(answer) = client.try_post(endpoint, "default", id) else {
            return false;
        };
        let count = if answer.granted() { &grants } else { &denials };
        count.fetch_add(1, Ordering::Relaxed);
        answer.granted()
    };
    let node = |id: String| {
        let _stop_if_too_many_hold = SetOnDrop(&stop);
        while !stop.load(Ordering::Relaxed) {
            if !request("v1/pre-reboot", &id) {
                continue;
            }
            {
                let mut held = held.lock();
                held.insert(id.clone());
                assert!(held.len() <= 2, "{held:?} hold 2 slots");
            }
            thread::yield_now();
            while keep.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            held.lock().remove(&id);
            while !request("v1/steady-state", &id) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    };
    let more = |count: &AtomicUsize, what: &str| {
        let before = count.load(Ordering::Relaxed);
        eventually(what, || {
            let is_enough = count.load(Ordering::Relaxed) >= before + 40;
            (is_enough || stop.load(Ordering::Relaxed)).then_some(())
        });
    };
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for number in 0..4 {
            let node = &node;
            scope.spawn(move || node(format!("node-{number}")));
        }
        let moved = fleet.file(".moved");
        for round in 0..12 {
            more(&grants, "more grants");
            match round % 4 {
                0 => {
                    mv(&fleet.database, &moved);
                    fs::copy(&fleet.older, &fleet.database).unwrap();
                    thread::sleep(Duration::from_millis(300));
                    mv(&moved, &fleet.database);
                }
                1 => fs::remove_file(fleet.file("-wal")).unwrap(),
                2 => {
                    mv(&fleet.database, &moved);
                    thread::sleep(Duration::from_millis(100));
                    mv(&moved, &fleet.database);
                }
                _ => fs::remove_file(fleet.file("-shm")).unwrap(),
            }
            more(&grants, "more grants");
            keep.store(true, Ordering::Relaxed);
            eventually("two holders", || {
                let is_held = held.lock().len() >= 2;
                (is_held || stop.load(Ordering::Relaxed)).then_some(())
            });
            fleet.airlock.restart();
            *client.lock() = fleet.airlock.client();
            more(&denials, "more denials");
            keep.store(false, Ordering::Relaxed);
        }
        more(&grants, "more grants");
    });
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_files_are_accessible_to_their_owner_only() {
    let mut fleet = Fleet::new();
    let files = ["", "-wal", "-shm"].map(|suffix| fleet.file(suffix));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // Also those that an earlier version has created with the usual mode.
    fleet.airlock.process().kill();
    for file in &files {
        fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
    fleet.survives_restart();
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_of_the_first_schema_is_completed_and_keeps_its_locks() {
    let mut fleet = Fleet::new();
    fleet.airlock.process().kill();
    let file = Connection::open(&fleet.database).unwrap();
    file.execute_batch("DROP TRIGGER clock_history; ALTER TABLE clock DROP COLUMN tokens")
        .unwrap();
    drop(file);
    fleet.survives_restart();
    let file = Connection::open(&fleet.database).unwrap();
    let tokens = || {
        file.query_row("SELECT length(tokens) FROM clock", (), |row| {
            row.get::<_, i64>(0)
        })
    };
    let before = tokens().unwrap();
    assert!(fleet.client.unlock("default", "b").granted());
    assert_eq!(tokens().unwrap(), before + 8);
    // An earlier version writes without the tokens in mind.
    file.execute("UPDATE clock SET revision = revision + 1", ())
        .unwrap();
    assert_eq!(tokens().unwrap(), before + 16);
    drop(file);
    assert!(fleet.client.lock("default", "b").granted());
    fleet.continues();
}
