//! Two servers on the same etcd, one after the other: the one under test, and another one, such as coreos/airlock. The
//! configuration has only keys that coreos/airlock knows.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Bench, Case, lock, locks, nodes, row, unlock};
use crate::load;
use crate::server::Usage;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::process::{Process, cpu_seconds};
use airlock_test_support::{eventually, free_port};

const CLIENTS: usize = 64;
/// The number of clients that lock and unlock in a loop.
const LOOPING: usize = 1000;
/// Each case is measured this often, with each server in turn.
const ROUNDS: usize = 3;

/// The name of a case, the number of clients, how long they hold a lock, and the requests of one of them.
type Comparison = (&'static str, usize, Duration, fn(&str) -> Vec<Vec<u8>>);

/// One of the servers, while it is measured.
struct Peer {
    address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

// === impl Peer ===

impl Peer {
    fn start(binary: &Path, etcd: &Etcd) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = folder.path().join("config.toml");
        let text = format!(
            "[service]\naddress = \"127.0.0.1\"\nport = {port}\ntls = false\n\
             [etcd3]\nendpoints = {:?}\n\
             [lock]\ndefault_slots = 1\n\
             [[lock.groups]]\nname = \"relock\"\nslots = {CLIENTS}\n\
             [[lock.groups]]\nname = \"loop\"\nslots = 2\n",
            etcd.endpoints()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(binary);
        command.arg("serve").arg("-v").arg("-c").arg(&config);
        let process = Process::start(command, &folder.path().join("log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the server to listen", || TcpStream::connect(address).ok());
        Peer {
            address,
            process,
            _folder: folder,
        }
    }
}

/// Measures both servers, and prints the results.
pub(crate) fn compare(bench: &mut Bench, other: &Path) {
    let etcd = Etcd::start();
    let this = airlock_test_support::airlock::binary();
    let filling = Peer::start(&this, &etcd);
    bench.send(filling.address, vec![lock("default", "the-holder")]);
    bench.send(filling.address, locks("relock", CLIENTS));
    drop(filling);
    let none = Duration::ZERO;
    let hold = Duration::from_millis(10);
    let cases: [Comparison; 4] = [
        ("relock by a holder", CLIENTS, none, |id| {
            vec![lock("relock", id)]
        }),
        ("refusal", CLIENTS, none, |id| vec![lock("default", id)]),
        ("unlock by a non-holder", CLIENTS, none, |id| {
            vec![unlock("default", id)]
        }),
        ("lock, hold, unlock, 2 slots", LOOPING, hold, |id| {
            vec![lock("loop", id), unlock("loop", id)]
        }),
    ];
    for case in cases {
        for _ in 0..ROUNDS {
            measure(bench, case, "this", &Peer::start(&this, &etcd));
            measure(bench, case, "other", &Peer::start(other, &etcd));
        }
    }
}

fn measure(
    bench: &mut Bench,
    (case, clients, hold, requests): Comparison,
    name: &str,
    peer: &Peer,
) {
    let mut connections = nodes(&[peer.address], clients, requests);
    for connection in &mut connections {
        connection.hold = hold;
    }
    let case = Case {
        scenario: name,
        case: case.into(),
        writes: false,
        until: bench.until(),
    };
    let id = peer.process.id();
    let before = cpu_seconds(id);
    let load = bench.runtime.block_on(load::run(connections, case.until));
    let used = Usage {
        server_cpu: cpu_seconds(id) - before,
        ..Usage::default()
    };
    if let Some(failure) = &load.first_failure {
        println!("first failure: {failure}");
    }
    bench.report.row(row(&case, clients, &load, used, None));
}
