//! Faults of the embedded store: a killed server, a full disk, and an unusable file. Every error names the file
//! and the remedy.

mod disk;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rusqlite::Connection;
use tempfile::TempDir;

use airlock_test_support::airlock::{Airlock, LISTEN, airlock};
use airlock_test_support::client::Client;
use airlock_test_support::eventually;
use airlock_test_support::process::Process;

/// The last reply to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Held,
    Released,
}

/// Locks nodes of its own and unlocks every other one until the server is killed. Returns the known replies.
fn load(client: &Client, name: &str, answers: &AtomicUsize) -> Vec<(String, Reply)> {
    let mut replies = Vec::new();
    for node in 0.. {
        let id = format!("{name}-{node}");
        match client.try_post("v1/pre-reboot", "default", &id) {
            Ok(answer) => assert!(answer.granted(), "{answer:?}"),
            Err(_) => return replies,
        }
        answers.fetch_add(1, Ordering::Relaxed);
        if node % 2 == 0 {
            replies.push((id, Reply::Held));
            continue;
        }
        match client.try_post("v1/steady-state", "default", &id) {
            Ok(answer) => assert!(answer.granted(), "{answer:?}"),
            Err(_) => return replies,
        }
        answers.fetch_add(1, Ordering::Relaxed);
        replies.push((id, Reply::Released));
    }
    replies
}

#[test]
fn kill_9_under_load_loses_no_lock_and_resurrects_none() {
    const ROUNDS: usize = 10;
    let mut airlock = Airlock::embedded("[lock]\ndefault_slots = 100000");
    let mut replies = Vec::new();
    for round in 0..ROUNDS {
        let answers = AtomicUsize::new(0);
        let client = airlock.client();
        let of_round = thread::scope(|scope| {
            let (client, answers) = (&client, &answers);
            let clients: Vec<_> = (0..4)
                .map(|name| scope.spawn(move || load(client, &format!("{round}-{name}"), answers)))
                .collect();
            eventually("some answers", || {
                (answers.load(Ordering::Relaxed) > 20 + 7 * round).then_some(())
            });
            airlock.process().kill();
            let replies = clients.into_iter().map(|client| client.join().unwrap());
            replies.flatten().collect::<Vec<_>>()
        });
        replies.extend(of_round);
        airlock.restart();
        let output = airlock.command(&["ex", "get", "slots"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let holders: Vec<_> = text.lines().filter_map(|l| l.strip_prefix(" - ")).collect();
        for (id, reply) in &replies {
            let held = holders.contains(&id.as_str());
            assert_eq!(
                held,
                *reply == Reply::Held,
                "{id}, replied {reply:?}, in {text}"
            );
        }
    }
    assert!(replies.len() > 10 * ROUNDS, "{} nodes", replies.len());
}

#[test]
fn a_process_that_opens_and_closes_the_file_does_not_take_the_server_for_ended() {
    let mut airlock = Airlock::embedded("");
    let client = airlock.client();
    assert!(client.lock("default", "a").granted() && client.unlock("default", "a").granted());
    // The last process that closes the file deletes the write-ahead log. The server keeps a lock to show that it is not
    // the last one.
    let read = Command::new("sqlite3")
        .arg(airlock.folder().join("airlock.db"))
        .arg("SELECT count(*) FROM semaphores")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap(), "1\n");
    assert!(airlock.command(&["check-config"]).status.success());
    assert!(airlock.folder().join("airlock.db-wal").exists());
    assert!(client.lock("default", "b").granted());
    airlock.process().kill();
    airlock.restart();
    assert_eq!(airlock.client().lock("default", "c").kind(), "failed_lock");
}

/// A folder for the configuration and the store of a server.
struct Place {
    folder: TempDir,
    file: PathBuf,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let file = data.join("airlock.db");
        let config = format!(
            "{LISTEN}[embedded]\npath = \"{}\"\ntransaction_timeout_ms = 1000\n\
             [lock]\ndefault_slots = 100000\n",
            file.display()
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Place { folder, file, data }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    /// Creates the file, with one holder in it.
    fn with_file() -> Self {
        let place = Place::new();
        let server = place.start(place.serve());
        assert!(server.client().lock("default", "a").granted());
        drop(server);
        Connection::open(&place.file)
            .unwrap()
            .pragma_update(None, "wal_checkpoint", "TRUNCATE")
            .unwrap();
        place
    }

    fn serve(&self) -> Command {
        let mut command = airlock();
        command
            .args(["serve", "-vv", "--config"])
            .arg(self.config());
        command
    }

    fn start(&self, command: Command) -> Server {
        let log = self.folder.path().join("log");
        // The log of an earlier start contains another port.
        let _ = fs::remove_file(&log);
        let process = Process::start(command, &log);
        let mut server = Server(process);
        eventually("the server to listen", || {
            let ended = server.0.exit_status();
            let log = server.0.log();
            assert!(ended.is_none(), "{log}");
            log.contains("msg=\"main service\"").then_some(())
        });
        server
    }

    /// Returns the error of a server that does not start.
    fn refusal(&self, mut command: Command) -> String {
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        let last = log.lines().last().unwrap().to_owned();
        assert!(last.contains("level=error"), "{log}");
        last
    }

    /// Asserts that the server does not start and that its error contains the file and all of `remedy`.
    fn refuses(&self, remedy: &[&str]) {
        self.check(&self.refusal(self.serve()), remedy);
    }

    fn check(&self, text: &str, remedy: &[&str]) {
        let file = self.file.display().to_string();
        for expected in remedy.iter().copied().chain([file.as_str()]) {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
        assert_eq!(text.matches(&file).count(), 1, "the file once in {text}");
    }
}

/// A running server.
struct Server(Process);

impl Server {
    fn client(&self) -> Client {
        Client::new(self.url("main service"))
    }

    fn holders(&self) -> f64 {
        self.metric("airlock_database_semaphore_lock_holders{group=\"default\"}")
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.status("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    /// Requests a path of the status listener and returns the status code and the body.
    fn status(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url("status service"));
        let response = reqwest::blocking::get(url).unwrap();
        (response.status().as_u16(), response.text().unwrap())
    }

    fn url(&self, service: &str) -> String {
        let log = self.0.log();
        let message = format!("msg=\"{service}\"");
        let line = log.lines().find(|line| line.contains(&message)).unwrap();
        let port = line.split("port=").nth(1).unwrap().trim();
        format!("http://127.0.0.1:{port}")
    }
}

const DAMAGED: &[&str] = &[
    "the file is damaged or not a SQLite database",
    "restore a backup",
];
const READ_ONLY: &[&str] = &["needs write permission on the file and on its folder"];

#[test]
fn a_file_that_is_not_a_database_is_reported_at_startup() {
    let place = Place::new();
    fs::write(&place.file, "not a database\n".repeat(100)).unwrap();
    place.refuses(DAMAGED);
}

#[test]
fn a_damaged_page_is_reported_when_it_is_read() {
    let place = Place::with_file();
    let mut bytes = fs::read(&place.file).unwrap();
    // The first page contains the schema, the others the data.
    bytes[4096..].fill(0xff);
    fs::write(&place.file, bytes).unwrap();
    let server = place.start(place.serve());
    for answer in [
        server.client().lock("default", "a"),
        server.client().unlock("default", "b"),
    ] {
        assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
        place.check(&answer.value(), DAMAGED);
    }
}

#[test]
fn a_file_of_a_newer_version_is_reported_at_startup() {
    let place = Place::with_file();
    let file = Connection::open(&place.file).unwrap();
    file.pragma_update(None, "user_version", 7).unwrap();
    drop(file);
    place.refuses(&[
        "a newer version of Airlock wrote this file",
        "run that version",
    ]);
}

#[test]
fn a_database_of_another_program_is_reported_at_startup_and_not_changed() {
    let place = Place::new();
    let file = Connection::open(&place.file).unwrap();
    file.execute("CREATE TABLE theirs (x)", ()).unwrap();
    drop(file);
    let before = fs::read(&place.file).unwrap();
    place.refuses(&[
        "a SQLite database of another program",
        "name another file (",
    ]);
    assert_eq!(fs::read(&place.file).unwrap(), before);
}

#[test]
fn a_file_that_another_process_keeps_locked_is_reported_at_startup_and_later() {
    let remedy = &["another process keeps the file locked"];
    let place = Place::with_file();
    let other = Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    place.refuses(remedy);
    other.execute_batch("COMMIT").unwrap();

    let server = place.start(place.serve());
    let client = server.client();
    assert!(client.lock("default", "b").granted());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = client.lock("default", "c");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    place.check(&answer.value(), remedy);
    // A request that writes nothing does not need the lock.
    assert!(client.lock("default", "b").granted());
    other.execute_batch("COMMIT").unwrap();
    assert!(client.lock("default", "c").granted());
}

#[test]
fn a_missing_folder_and_a_folder_in_place_of_the_file_are_reported_at_startup() {
    let place = Place::new();
    fs::create_dir(&place.file).unwrap();
    place.refuses(&["this is a folder", "name a file in it ("]);
    fs::remove_dir_all(&place.data).unwrap();
    let text = place.refusal(place.serve());
    let data = place.data.display().to_string();
    for expected in [
        &data,
        "No such file or directory",
        "create the folder, or name another file",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}

/// Permissions do not apply to root, so root starts the server as another user.
#[test]
fn a_read_only_folder_or_file_is_reported_at_startup() {
    const UNPRIVILEGED_USER: u32 = 65534;
    let place = Place::with_file();
    let command = || {
        let mut command = place.serve();
        if rustix::process::getuid().is_root() {
            command.uid(UNPRIVILEGED_USER).gid(UNPRIVILEGED_USER);
        }
        command
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(place.folder.path(), 0o755);
    mode(&place.config(), 0o644);
    mode(&place.data, 0o555);
    mode(&place.file, 0o444);
    place.check(&place.refusal(command()), READ_ONLY);
    fs::remove_file(&place.file).unwrap();
    place.check(&place.refusal(command()), READ_ONLY);
    mode(&place.data, 0o755);
}
