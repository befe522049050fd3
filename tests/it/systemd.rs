//! The notifications to systemd, and their consistency with the units of contrib/.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tempfile::TempDir;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::{MAX_WAIT, eventually};

use crate::check_config::EMBEDDED;

/// The service manager's end of the notify socket.
pub(crate) struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    pub(crate) fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
        Manager { socket, folder }
    }

    /// Returns the path of the socket, the value of NOTIFY_SOCKET.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Fills the queue of the socket.
    fn fill(&self) {
        // A client of its own for each message: otherwise its send buffer can be full before the queue is.
        let send = || {
            let client = UnixDatagram::unbound()?;
            client.set_nonblocking(true)?;
            client.connect(self.path())?;
            client.send(b"FILLED=1")
        };
        let error = loop {
            if let Err(error) = send() {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    }

    /// Starts a server with the environment of a unit with this `WatchdogSec=`.
    fn start(&self, config: &str, watchdog_usec: &str) -> Airlock {
        self.start_with_environment(config, &[("WATCHDOG_USEC", watchdog_usec)])
    }

    /// Starts a server, and fills the queue of the socket before. The server has a single thread that a notification
    /// could block.
    fn start_unread(&self) -> Airlock {
        self.fill();
        let environment = [("WATCHDOG_USEC", "300000"), ("TOKIO_WORKER_THREADS", "1")];
        self.start_with_environment(EMBEDDED, &environment)
    }

    fn start_with_environment(&self, config: &str, more: &[(&str, &str)]) -> Airlock {
        let socket = self.path();
        let environment = [&[("NOTIFY_SOCKET", socket.to_str().unwrap())], more].concat();
        Airlock::start_with_environment(&format!("{LISTEN}{config}"), &["-vv"], &environment)
    }

    /// Returns the next message that contains `expected` and skips all others.
    pub(crate) fn receive(&self, expected: &str) -> String {
        eventually(expected, || {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            message.contains(expected).then_some(message)
        })
    }
}

#[test]
fn systemd_is_notified_of_readiness_watchdog_and_stopping() {
    let manager = Manager::listen();
    let mut airlock = manager.start(EMBEDDED, "300000");
    manager.receive("READY=1");
    assert_eq!(
        airlock.client().lock("default", "a").status,
        200,
        "ready means that nodes are answered"
    );
    manager.receive("STATUS=1 group; the store is available");
    manager.receive("WATCHDOG=1");
    manager.receive("WATCHDOG=1");
    airlock.terminate();
    manager.receive("STOPPING=1");
    assert!(airlock.process().wait().success());
}

#[test]
fn an_unreachable_store_is_reported_and_does_not_stop_the_watchdog() {
    let manager = Manager::listen();
    let etcd = Etcd::start();
    let config = format!(
        "[etcd3]\nendpoints = {:?}\ntransaction_timeout_ms = 500\n",
        etcd.endpoints()
    );
    let airlock = manager.start(&config, "3000000");
    manager.receive("STATUS=1 group; the store is available");
    etcd.members[0].freeze();
    let status = manager.receive("the store is unavailable, requests are denied: ");
    assert!(status.contains(&etcd.endpoints()[0]), "{status}");
    // Meanwhile nodes send requests that fail.
    assert_eq!(airlock.client().lock("default", "a").status, 500);
    manager.receive("WATCHDOG=1");
    assert_eq!(airlock.client().lock("default", "a").status, 500);
    manager.receive("WATCHDOG=1");
    etcd.members[0].thaw();
    manager.receive("STATUS=1 group; the store is available");
}

#[test]
fn without_a_socket_nothing_is_notified() {
    let airlock = Airlock::embedded("");
    airlock.terminate();
    eventually("the end", || {
        airlock.log().contains("shutting down").then_some(())
    });
    assert!(
        !airlock.log().contains("service manager"),
        "{}",
        airlock.log()
    );
}

#[test]
fn a_reload_is_completed_for_systemd_with_a_good_and_a_bad_file() {
    let manager = Manager::listen();
    let airlock = manager.start(EMBEDDED, "0");
    manager.receive("READY=1");
    let reload = |more: &str| {
        airlock.reload(&format!("{EMBEDDED}{more}"));
        let reloading = manager.receive("RELOADING=1");
        assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
        manager.receive("READY=1");
    };
    reload("[lock]\ndefault_slots = 2\n");
    reload("[lock]\ndefault_slots = -1\ndefault_group_name = \"\"\n");
    let status = manager.receive("STATUS=configuration not reloaded: ");
    assert!(status.contains("config.toml:"), "{status}");
    let end = " (and 1 more); running with the previous one; 1 group; the store is available\n";
    assert!(status.ends_with(end), "{status}");
    assert_eq!(airlock.client().lock("default", "a").status, 200);
    reload("");
    manager.receive("STATUS=1 group; the store is available");
}

#[test]
fn a_service_manager_that_reads_nothing_delays_no_node() {
    let manager = Manager::listen();
    let airlock = manager.start_unread();
    assert_eq!(airlock.client().lock("default", "a").status, 200);
    manager.receive("READY=1");
    manager.receive("WATCHDOG=1");
}

#[test]
fn a_service_manager_that_reads_nothing_prevents_no_shutdown() {
    let manager = Manager::listen();
    let mut airlock = manager.start_unread();
    airlock.terminate();
    assert!(airlock.process().wait().success());
}
