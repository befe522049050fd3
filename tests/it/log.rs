//! The log on a standard error that is a pipe, with a reader that may stop reading.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use airlock_test_support::airlock::{LISTEN, airlock, port_in};
use airlock_test_support::client::Client;
use airlock_test_support::eventually;
use airlock_test_support::pki::Ca;
use airlock_test_support::process::{Process, resident_bytes};

/// Starts a server with these arguments, ends it once it has started, and returns its log.
fn log_of_start(folder: &TempDir, arguments: &[&str]) -> String {
    let mut serve = airlock();
    serve
        .args(["serve", "-c"])
        .arg(folder.path().join("config.toml"));
    serve.args(arguments);
    let log = folder.path().join("log");
    let _ = fs::remove_file(&log);
    let mut server = Process::start(serve, &log);
    eventually("the server to start", || {
        server.log().contains("airlock started").then_some(())
    });
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    server.log()
}

#[test]
fn a_start_writes_one_line_unless_more_is_asked_for_or_something_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["localhost"]);
    let (cert, key, path) = (pair.cert, pair.key, folder.path().join("airlock.db"));
    let tls = format!("tls = true\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}");
    let listen = LISTEN.replacen("tls = false", &tls, 1);
    let groups: String = (0..7)
        .map(|number| format!("[[lock.groups]]\nname = \"g{number}\"\n"))
        .collect();
    let config = format!("{listen}[embedded]\npath = {path:?}\n{groups}");
    fs::write(folder.path().join("config.toml"), &config).unwrap();
    // A new store is a warning.
    assert_eq!(log_of_start(&folder, &[]).lines().count(), 2);
    let log = log_of_start(&folder, &[]);
    let (_, line) = log.split_once(" level=info ").unwrap();
    let port = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"127.0.0.1:")).unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    let expected = format!(
        "msg=\"airlock started\" version={} store=\"file {}\" service=\"127.0.0.1:{} (TLS)\" \
         status=\"127.0.0.1:{} (plain HTTP)\" groups=\"8 (default:1 g0:1 g1:1 g2:1 g3:1 g4:1 g5:1 g6:1)\"\n",
        env!("CARGO_PKG_VERSION"),
        path.display(),
        port("service"),
        port("status"),
    );
    assert_eq!(line, expected);

    let without_status = config.replace("enabled = true", "enabled = false");
    let more = format!("{without_status}[[lock.groups]]\nname = \"g7\"\n");
    fs::write(folder.path().join("config.toml"), more).unwrap();
    let log = log_of_start(&folder, &["--log-format", "json"]);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0]["msg"], "status service disabled");
    assert_eq!(
        (&lines[1]["status"], &lines[1]["groups"]),
        (&"disabled".into(), &"9".into())
    );
}

/// Returns the port of a service that listens, from a log of either format.
fn port(log: &str, service: &str) -> Option<u16> {
    let quoted = format!("\"msg\":\"{service}\"");
    let line = log.lines().find(|line| line.contains(&quoted));
    let port = |line| {
        serde_json::from_str::<Value>(line).unwrap()["port"]
            .as_u64()
            .unwrap() as u16
    };
    line.map(port).or_else(|| port_in(log, service))
}

/// A server that logs everything into a pipe. It is killed when the value is dropped.
struct Logging {
    server: Child,
    log: Option<BufReader<ChildStderr>>,
    /// The log up to the time at which the server listened.
    start: String,
    _folder: TempDir,
}

// === impl Logging ===

impl Logging {
    /// Starts a server and reads its log until it listens, and no further.
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let path = folder.path().join("airlock.db");
        let store = format!("[embedded]\npath = {path:?}\n");
        fs::write(&config, format!("{LISTEN}{store}")).unwrap();
        let mut server = airlock()
            .args(["serve", "-vvv", "--config"])
            .arg(&config)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap());
        let mut start = String::new();
        let is_listening = |log: &str| {
            ["main service", "status service"].map(|service| port(log, service).is_some())
        };
        while is_listening(&start) != [true; 2] {
            assert_ne!(log.read_line(&mut start).unwrap(), 0, "{start}");
        }
        Logging {
            server,
            log: Some(log),
            start,
            _folder: folder,
        }
    }

    fn url(&self, service: &str) -> String {
        format!("http://127.0.0.1:{}", port(&self.start, service).unwrap())
    }

    fn client(&self) -> Client {
        Client::new(self.url("main service"))
    }

    /// Returns the resident memory in KiB.
    fn memory(&self) -> u64 {
        resident_bytes(self.server.id()) >> 10
    }

    fn dropped_lines(&self) -> u64 {
        let url = format!("{}/metrics", self.url("status service"));
        let text = blocking::get(url).unwrap().text().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("airlock_log_lines_dropped_total "));
        line.unwrap().parse().unwrap()
    }

    fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.server.id() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        eventually("the server to end", || self.server.try_wait().unwrap())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Sends requests with groups as long as a body, and as a name may be. In the log, each character of the latter is
/// escaped: two requests log some KiB.
fn flood(client: &Client, requests: usize) {
    let groups = [15_000, 253].map(|length| "\u{7f}".repeat(length));
    for group in groups.iter().cycle().take(requests) {
        assert_eq!(client.lock(group, "n").status, 400);
    }
}

/// Returns the numbers in the reports of dropped lines.
fn reported(log: &str) -> Vec<u64> {
    let after = log.split("msg=\"dropped ").skip(1);
    after
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn invariant_8_a_log_that_is_not_read_delays_no_request_and_its_memory_is_bounded() {
    let mut server = Logging::start(&[]);
    let client = server.client();
    assert!(client.lock("default", "n").granted());
    let before = server.memory();
    flood(&client, 6_000);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    let dropped = server.dropped_lines();
    assert!(dropped > 100, "{dropped}");

    let mut pipe = server.log.take().unwrap();
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        while pipe.read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = sender.send(std::mem::take(&mut line));
        }
    });
    let mut log = String::new();
    eventually("all dropped lines to be reported", || {
        log.extend(lines.try_iter());
        (reported(&log).iter().sum::<u64>() == server.dropped_lines()).then_some(())
    });
    let report = "level=warning msg=\"dropped ";
    let reason =
        " lines of the log: standard error was not read fast enough, or a write failed\"\n";
    assert!(log.contains(report) && log.contains(reason), "{log}");
    let longest = log.lines().map(str::len).max();
    assert!(longest < Some(5_000), "{longest:?}");
    // There is room again.
    assert!(client.unlock("default", "after-the-report").granted());
    eventually("the line of a later request", || {
        log.extend(lines.try_iter());
        log.contains("id=after-the-report").then_some(())
    });
    assert!(server.terminate().success());
}

#[test]
fn a_log_that_is_not_read_does_not_delay_the_exit() {
    let mut server = Logging::start(&[]);
    // Much more than a pipe holds.
    flood(&server.client(), 500);
    let start = Instant::now();
    assert!(server.terminate().success());
    let delay = start.elapsed();
    assert!(delay < Duration::from_secs(10), "{delay:?}");
    // What the pipe held.
    let mut rest = String::new();
    server
        .log
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert!(!rest.is_empty());
}

#[test]
fn a_json_log_contains_no_character_that_controls_a_terminal() {
    let mut server = Logging::start(&["--log-format", "json"]);
    let group = "\u{9b}31m\u{7f}\u{202e}\u{200b}\u{2028}\u{e0001}\n";
    assert_eq!(server.client().lock(group, "n").status, 400);
    assert!(server.terminate().success());
    let mut log = String::new();
    server.log.take().unwrap().read_to_string(&mut log).unwrap();
    let mut found = 0;
    for line in log.lines() {
        assert!(
            line.chars().all(|c| c.is_ascii_graphic() || c == ' '),
            "{line:?}"
        );
        let event: Value = serde_json::from_str(line).unwrap();
        found += usize::from(event["group"] == group);
    }
    assert!(found > 0, "{log}");
}
