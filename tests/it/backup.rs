//! `airlock backup` and `airlock restore`: the copy of the embedded store, beside a running server and after a loss.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::client::Client;
use airlock_test_support::{SetOnDrop, eventually};

/// A server with two slots, and a folder for backups.
struct Fleet {
    airlock: Airlock,
    client: Client,
}

impl Fleet {
    fn new() -> Self {
        let airlock = Airlock::embedded("[lock]\ndefault_slots = 2");
        let client = airlock.client();
        Fleet { airlock, client }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.airlock.folder().join(name)
    }

    fn run(&self, command: &str, file: &Path, more: &[&str]) -> Output {
        let file = file.to_str().unwrap();
        self.airlock.command(&[&[command, file], more].concat())
    }

    fn backup(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        succeeds(&self.run("backup", &file, &[]));
        file
    }

    /// Stops the server as a crash does, and restores a backup.
    fn restore(&mut self, file: &Path, more: &[&str]) -> String {
        self.airlock.process().kill();
        succeeds(&self.run("restore", file, &[more, &["--yes"]].concat()))
    }

    fn restart(&mut self) {
        self.airlock.restart();
        self.client = self.airlock.client();
    }

    /// Overwrites the database, and deletes its write-ahead log, from which SQLite could recover it.
    fn damage(&self) {
        fs::write(self.file("airlock.db"), [0xff; 8192]).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.file(&format!("airlock.db{suffix}")));
        }
    }

    fn lock(&self, id: &str) -> bool {
        self.client.lock("default", id).granted()
    }

    fn unlock(&self, id: &str) {
        assert!(self.client.unlock("default", id).granted(), "{id}");
    }

    /// Asserts that these nodes hold the two slots, and no other node is granted one.
    fn is_held_by(&self, ids: [&str; 2]) {
        assert!(!self.lock("another"));
        for id in ids {
            assert!(self.lock(id), "{id}");
        }
    }

    /// Returns the files whose name contains `text`.
    fn files(&self, text: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.airlock.folder()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files
            .filter(|file| file.file_name().unwrap().to_str().unwrap().contains(text))
            .collect()
    }
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn fails(output: &Output, code: i32, expected: &[&str]) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    for text in expected {
        assert!(errors.contains(text), "{text:?} in {errors}");
    }
}

fn holders(file: &Path) -> BTreeSet<String> {
    let file = Connection::open(file).unwrap();
    let check: String = file
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let sql = "SELECT value FROM semaphores, json_each(semaphore, '$.holders')";
    let mut holders = file.prepare(sql).unwrap();
    let ids = holders.query_map((), |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_backup_on_stdout_is_restored_like_a_file_and_leaves_none() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let before = fleet.files("airlock.db");
    let output = fleet.run("backup", Path::new("-"), &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(fleet.files("airlock.db"), before);

    let file = fleet.file("backup");
    fs::write(&file, output.stdout).unwrap();
    fleet.unlock("a");
    fleet.restore(&file, &[]);
    fleet.restart();
    assert!(fleet.lock("b"));
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn a_backup_whose_reader_or_disk_fails_is_an_error() {
    let fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(writer), Stdio::from(full)] {
        let output = fleet.airlock.command_to(stdout, &["backup", "-"]);
        fails(&output, 1, &["the backup is incomplete"]);
    }
}

/// Four nodes lock and unlock all the time. A fifth one is granted its slot right before each backup.
#[test]
fn a_backup_beside_busy_clients_contains_every_lock_that_was_granted_before() {
    let airlock = Airlock::embedded("[lock]\ndefault_slots = 8");
    let client = airlock.client();
    let fleet = Fleet { airlock, client };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for node in 0..4 {
            let (client, stop) = (fleet.client.clone(), &stop);
            scope.spawn(move || {
                let id = format!("node-{node}");
                while !stop.load(Ordering::Relaxed) {
                    assert!(client.lock("default", &id).granted());
                    assert!(client.unlock("default", &id).granted());
                }
            });
        }
        for round in 0..10 {
            assert!(fleet.lock("fifth"));
            let file = fleet.backup(&format!("{round}.db"));
            assert!(holders(&file).contains("fifth"), "round {round}");
            fleet.unlock("fifth");
            let later = fleet.backup(&format!("{round}-later.db"));
            assert!(!holders(&later).contains("fifth"), "round {round}");
        }
    });
}

#[test]
fn a_backup_is_one_file_that_only_its_owner_can_access() {
    let fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let names = [":memory:", "file:backup.db?mode=memory", "a b.db"];
    for name in names {
        let file = fleet.backup(name);
        assert_eq!(mode(&file), 0o600);
        // The header tells that no write-ahead log belongs to it.
        assert_eq!(fs::read(&file).unwrap()[18..20], [1, 1], "{name}");
        assert_eq!(fleet.files(name), [file]);
    }
    let output = succeeds(&fleet.run("backup", &fleet.file("last.db"), &[]));
    assert!(
        output.contains("saved 1 group with 1 holder to "),
        "{output}"
    );
    assert!(fleet.files("backup-").is_empty());
}

#[test]
fn a_backup_replaces_no_file_and_is_never_the_store_itself() {
    let fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let existing = fleet.file("existing");
    fs::write(&existing, "precious").unwrap();
    let dangling = fleet.file("dangling");
    std::os::unix::fs::symlink(fleet.file("nothing"), &dangling).unwrap();
    for file in [&existing, &dangling] {
        let exists = ["exists already", "hint: name another file"];
        fails(&fleet.run("backup", file, &[]), 1, &exists);
    }
    assert_eq!(fs::read(&existing).unwrap(), b"precious");
    assert!(!fleet.file("nothing").exists());
    let link = fleet.file("link.db");
    fs::hard_link(fleet.file("airlock.db"), &link).unwrap();
    let symlink = fleet.file("symlink.db");
    std::os::unix::fs::symlink(fleet.file("airlock.db"), &symlink).unwrap();
    for own in ["airlock.db", "airlock.db-wal", "airlock.db-journal"] {
        let own = fleet.file(own);
        fails(&fleet.run("backup", &own, &[]), 1, &["of the store itself"]);
    }
    for own in [link, symlink] {
        fails(&fleet.run("backup", &own, &[]), 1, &["of the store itself"]);
    }
    let missing = fleet.file("missing/backup.db");
    fails(
        &fleet.run("backup", &missing, &[]),
        1,
        &["cannot be written"],
    );
    assert!(fleet.lock("b"));
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn a_restore_is_refused_while_a_server_or_another_program_uses_the_store() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    assert!(fleet.lock("b"));
    let in_use = ["uses this store", "hint: stop the server"];
    fails(&fleet.run("restore", &file, &["--yes"]), 69, &in_use);
    fleet.is_held_by(["a", "b"]);
    fleet.airlock.process().kill();
    let reader = Connection::open(fleet.file("airlock.db")).unwrap();
    let count = "SELECT count(*) FROM semaphores";
    let _: i64 = reader.query_row(count, (), |row| row.get(0)).unwrap();
    fails(&fleet.run("restore", &file, &["--yes"]), 69, &in_use);
    drop(reader);
    fleet.restart();
    fleet.is_held_by(["a", "b"]);
    assert!(fleet.files(".restore-").is_empty());
}

#[test]
fn a_restore_refuses_a_backup_that_is_not_one() {
    let mut fleet = Fleet::new();
    for id in ["a", "b"] {
        assert!(fleet.lock(id));
    }
    let good = fleet.backup("good.db");
    let changed = |name: &str, sql: &str| {
        let file = fleet.file(name);
        fs::copy(&good, &file).unwrap();
        Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        file
    };
    let damaged = fleet.file("damaged.db");
    let mut bytes = fs::read(&good).unwrap();
    let page = bytes.len() - 4096;
    bytes[page..page + 64].fill(0xff);
    fs::write(&damaged, bytes).unwrap();
    let text = fleet.file("text.db");
    fs::write(&text, "no database".repeat(100)).unwrap();
    let cut_off = fleet.file("cut-off.db");
    fs::write(&cut_off, &fs::read(&good).unwrap()[..5000]).unwrap();
    let empty = fleet.file("empty.db");
    fs::write(&empty, "").unwrap();
    let foreign = changed("foreign.db", "PRAGMA application_id = 1");
    let newer = changed("newer.db", "PRAGMA user_version = 2");
    let store = fleet.file("airlock.db");
    fleet.airlock.process().kill();
    for (file, expected) in [
        (&damaged, "use another backup"),
        (&text, "use another backup"),
        (&cut_off, "use another backup"),
        (&empty, "the file has no contents"),
        (&foreign, "a SQLite database of another program"),
        (&newer, "a newer version of Airlock wrote this file"),
        (&store, "a file of the store itself"),
        (&fleet.file("missing.db"), "cannot be read"),
    ] {
        let name = file.to_str().unwrap();
        let output = fleet.run("restore", file, &["--yes"]);
        fails(&output, 1, &[expected, name]);
    }
    assert!(fleet.files(".restore-").is_empty());
    fleet.restart();
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn a_store_that_is_lost_or_damaged_is_restored() {
    for loss in ["everything", "database", "contents"] {
        let mut fleet = Fleet::new();
        for id in ["a", "b"] {
            assert!(fleet.lock(id));
        }
        let file = fleet.backup("backup.db");
        fleet.airlock.process().kill();
        let store = fleet.file("airlock.db");
        match loss {
            "everything" => {
                for file in fleet.files("airlock.db") {
                    fs::remove_file(file).unwrap();
                }
            }
            "database" => fs::remove_file(&store).unwrap(),
            _ => fleet.damage(),
        }
        let output = fleet.restore(&file, &[]);
        assert!(
            output.contains("done: restored 1 group with 2 holders"),
            "{output}"
        );
        assert_eq!(mode(&store), 0o600);
        assert!(!fleet.file("airlock.db-wal").exists());
        fleet.restart();
        fleet.is_held_by(["a", "b"]);
    }
}

/// The log of the previous file, which a crash has left, contains the lock of `b`.
#[test]
fn a_write_ahead_log_is_never_applied_to_the_restored_file_and_the_previous_file_is_complete() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    loop {
        assert!(fleet.lock("b"));
        fleet.airlock.process().kill();
        if !fs::read(fleet.file("airlock.db-wal")).unwrap().is_empty() {
            break;
        }
        fleet.restart();
        fleet.unlock("b");
    }
    let output = fleet.restore(&file, &[]);
    assert!(
        output.contains("b loses its slot: the backup lacks its lock"),
        "{output}"
    );
    assert_eq!(fleet.files("airlock.db-"), [] as [PathBuf; 0]);
    let previous = fleet.files("before-restore");
    assert_eq!(previous.len(), 1, "{previous:?}");
    assert!(output.contains(previous[0].to_str().unwrap()), "{output}");
    assert_eq!(holders(&previous[0]), ["a", "b"].map(str::to_owned).into());
    fleet.restart();
    assert!(fleet.lock("c"));
    fleet.is_held_by(["a", "c"]);
}

#[test]
fn a_server_does_not_start_with_a_damaged_file_and_names_the_restore() {
    let mut fleet = Fleet::new();
    fleet.airlock.process().kill();
    fleet.damage();
    let mut server = fleet.airlock.spawn(&["serve"]);
    assert_eq!(server.wait().code(), Some(78), "{}", server.log());
    let log = server.log();
    assert!(log.contains("restore a backup"), "{log}");
    assert!(log.contains("all its slots are free"), "{log}");
}

#[test]
fn a_damaged_file_is_kept_with_its_log() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    fleet.airlock.process().kill();
    fleet.damage();
    fs::write(fleet.file("airlock.db-wal"), "a log").unwrap();
    fleet.restore(&file, &[]);
    let mut kept = fleet.files("before-restore");
    kept.sort();
    let contents: Vec<Vec<u8>> = kept.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(
        contents == [vec![0xff; 8192], b"a log".to_vec()],
        "{kept:?}"
    );
    fleet.restart();
    assert!(fleet.lock("b"));
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn with_pause_no_node_is_granted_a_slot_before_the_groups_are_resumed() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    let without = fleet.run("restore", &file, &["--dry-run"]);
    fails(&without, 69, &["uses this store"]);
    assert!(fleet.lock("b"));
    fleet.airlock.process().kill();
    let without = fleet.run("restore", &file, &["--dry-run"]);
    assert!(String::from_utf8_lossy(&without.stderr).contains("add --pause"));
    let output = fleet.restore(&file, &["--pause"]);
    assert!(
        output.contains(&fleet.airlock.suggested("resume default")),
        "{output}"
    );
    fleet.restart();
    let answer = fleet.client.lock("default", "c");
    assert!(answer.value().contains("paused"), "{answer:?}");
    assert!(fleet.lock("a"));
    fleet.unlock("b");
    succeeds(&fleet.airlock.command(&["resume", "default", "--yes"]));
    eventually("a free slot", || fleet.lock("c").then_some(()));
}

/// The first backup has no value of the group, which a server then creates with the configured slots.
#[test]
fn a_restore_warns_of_slots_that_were_lowered_after_the_backup() {
    let mut fleet = Fleet::new();
    let without = fleet.backup("without.db");
    assert!(fleet.lock("a"));
    let with = fleet.backup("with.db");
    succeeds(
        &fleet
            .airlock
            .command(&["set", "slots", "default", "1", "--yes"]),
    );
    fleet.airlock.process().kill();
    for file in [without, with] {
        let output = fleet.run("restore", &file, &["--dry-run"]);
        let warning = String::from_utf8_lossy(&output.stderr);
        assert!(warning.contains("add --pause"), "{output:?}");
        let preview = succeeds(&output);
        let line = "the group has more slots after the restore: 2 instead of 1";
        assert!(preview.contains(line), "{preview}");
    }
}

#[test]
fn a_dry_run_and_a_missing_confirmation_change_nothing() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    assert!(fleet.lock("b"));
    fleet.airlock.process().kill();
    let output = succeeds(&fleet.run("restore", &file, &["--pause", "--dry-run"]));
    assert!(output.contains("dry run: nothing was changed"), "{output}");
    fails(&fleet.run("restore", &file, &[]), 1, &["add --yes"]);
    assert_eq!(fleet.files("restore"), [] as [PathBuf; 0]);
    fleet.restart();
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn a_restore_of_a_file_in_place_of_a_symbolic_link_keeps_the_link() {
    let mut fleet = Fleet::new();
    assert!(fleet.lock("a"));
    let file = fleet.backup("backup.db");
    fleet.airlock.process().kill();
    let (store, real) = (fleet.file("airlock.db"), fleet.file("real.db"));
    for suffix in ["", "-wal", "-shm"] {
        let name = |base: &str| fleet.file(&format!("{base}{suffix}"));
        let _ = fs::rename(name("airlock.db"), name("real.db"));
    }
    std::os::unix::fs::symlink(&real, &store).unwrap();
    fleet.restore(&file, &[]);
    assert!(store.is_symlink());
    fleet.restart();
    assert!(fleet.lock("b"));
    fleet.is_held_by(["a", "b"]);
}

#[test]
fn with_etcd_both_commands_name_its_own_programs() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let etcd = "[service]\ntls = false\n[etcd3]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    fs::write(&config, etcd).unwrap();
    for command in ["backup", "restore"] {
        let mut airlock = airlock();
        airlock
            .args([command, "backup.db", "--config"])
            .arg(&config);
        let output = airlock.output().unwrap();
        let programs = ["etcdctl snapshot save", "etcdutl snapshot restore"];
        fails(&output, 69, &programs);
        fails(&output, 69, &["\"Restore etcd\" in docs/operations.md"]);
    }
}
