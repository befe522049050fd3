//! What systemd is told over its notify socket, and that it agrees with contrib's units.

use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::{MAX_WAIT, eventually};

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(MAX_WAIT)).unwrap();
        Manager { socket, folder }
    }

    /// Starts a server as a unit with this `WatchdogSec=` would.
    fn start(&self, config: &str, watchdog_usec: &str) -> Airlock {
        let socket = self.folder.path().join("notify");
        Airlock::start_with_environment(
            &format!("{LISTEN}{config}"),
            &["-vv"],
            &[
                ("NOTIFY_SOCKET", socket.to_str().unwrap()),
                ("WATCHDOG_USEC", watchdog_usec),
            ],
        )
    }

    /// The next message; what was said before `expected` is skipped.
    fn hear(&self, expected: &str) -> String {
        eventually(expected, || {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            message.contains(expected).then_some(message)
        })
    }
}

#[test]
fn systemd_hears_that_the_server_is_ready_alive_and_ending() {
    let manager = Manager::listen();
    let mut airlock = manager.start("[embedded]\npath = \"{folder}/airlock.db\"\n", "300000");
    manager.hear("READY=1");
    assert_eq!(
        airlock.client().lock("default", "a").status,
        200,
        "ready means that nodes are answered"
    );
    manager.hear("STATUS=1 group; the store answers");
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    airlock.terminate();
    manager.hear("STOPPING=1");
    assert!(airlock.process().wait().success());
}

#[test]
fn a_lost_store_is_told_and_does_not_silence_the_watchdog() {
    let manager = Manager::listen();
    let etcd = Etcd::start();
    let config = format!(
        "[etcd3]\nendpoints = {:?}\ntransaction_timeout_ms = 500\n",
        etcd.endpoints()
    );
    let airlock = manager.start(&config, "3000000");
    manager.hear("STATUS=1 group; the store answers");
    etcd.members[0].freeze();
    let status = manager.hear("the store does not answer, nodes are refused: ");
    assert!(status.contains(&etcd.endpoints()[0]), "{status}");
    // While nodes ask for what cannot be had.
    assert_eq!(airlock.client().lock("default", "a").status, 500);
    manager.hear("WATCHDOG=1");
    assert_eq!(airlock.client().lock("default", "a").status, 500);
    manager.hear("WATCHDOG=1");
    etcd.members[0].thaw();
    manager.hear("STATUS=1 group; the store answers");
}

#[test]
fn without_a_socket_nothing_is_told() {
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
fn a_reload_is_over_for_systemd_whether_the_file_is_good_or_bad() {
    let manager = Manager::listen();
    let store = "[embedded]\npath = \"{folder}/airlock.db\"\n";
    let airlock = manager.start(store, "0");
    manager.hear("READY=1");
    for more in ["[lock]\ndefault_slots = 2\n", "[lock\n"] {
        airlock.reload(&format!("{store}{more}"));
        let reloading = manager.hear("RELOADING=1");
        assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
        manager.hear("READY=1");
    }
    assert_eq!(airlock.client().lock("default", "a").status, 200);
}
