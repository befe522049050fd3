//! The cost of presence: the documents that many servers publish about themselves, and about the nodes that wait.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Bench, Case, lock, locks, nodes};
use crate::load::{self, Connection, Until};
use crate::server::{Server, usage};
use airlock_test_support::etcd::{Etcd, Status};

const SERVERS: usize = 100;
const GROUPS: usize = 500;

/// The number of nodes that start to wait at each server in each second of the measurement, each in another group.
const NEW_NODES: usize = 3;

/// Measures 100 servers with 500 groups on one etcd: first without waiting nodes, then while more and more nodes wait at
/// each of them. The relocks of one client show what presence costs a request.
pub(crate) fn presence(bench: &mut Bench) {
    let mut config = String::from("[lock]\ndefault_slots = 1\n");
    for group in 0..GROUPS {
        config.push_str(&format!("[[lock.groups]]\nname = \"g{group:03}\"\n"));
    }
    let etcd = Etcd::start();
    let mut servers = vec![Server::on_etcd(&etcd, &config)];
    let first = servers[0].address();
    // Every group is full, so that the other nodes wait.
    let holders = (0..GROUPS).flat_map(|group| locks(&format!("g{group:03}"), 1));
    bench.send(first, holders.collect());
    bench.send(first, locks("default", 1));
    relock(bench, &etcd, &servers, "1 server");
    servers.extend((1..SERVERS).map(|_| Server::on_etcd(&etcd, &config)));
    // Each has published its document and knows those of the others.
    let others = || {
        servers
            .iter()
            .map(|server| server.airlock.metric("airlock_servers"))
    };
    while !others().all(|known| known == Some(SERVERS as f64)) {
        thread::sleep(Duration::from_millis(200));
    }
    observe(bench, &etcd, &servers, "no nodes wait", |bench| {
        thread::sleep(bench.idle);
    });
    relock(bench, &etcd, &servers, "100 servers");
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    observe(
        bench,
        &etcd,
        &servers,
        "more and more nodes wait",
        |bench| {
            let (began, mut round) = (Instant::now(), 0);
            while began.elapsed() < bench.idle {
                let next = Instant::now() + Duration::from_secs(1);
                wait_at(bench, &addresses, round);
                round += 1;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        },
    );
    relock(bench, &etcd, &servers, "100 servers, waiting nodes");
}

/// Measures the relocks of one client.
fn relock(bench: &mut Bench, etcd: &Etcd, servers: &[Server], name: &str) {
    let case = Case {
        scenario: "presence",
        case: format!("relock, {name}"),
        writes: false,
        until: bench.until(),
    };
    let connections = nodes(&[servers[0].address()], 1, |id| vec![lock("default", id)]);
    bench.measure(case, connections, &servers[..1], Some(etcd));
}

/// Lets nodes ask each server that have not asked before.
fn wait_at(bench: &Bench, servers: &[SocketAddr], round: usize) {
    let connection = |(number, server): (usize, &SocketAddr)| Connection {
        server: *server,
        requests: (0..NEW_NODES)
            .map(|node| {
                let group = (NEW_NODES * round + node) % GROUPS;
                let id = format!("{round:04}{number:04}{node:024}");
                lock(&format!("g{group:03}"), &id)
            })
            .collect(),
        hold: Duration::ZERO,
    };
    let connections = servers.iter().enumerate().map(connection).collect();
    let asked = load::run(connections, Until::Responses(NEW_NODES as u64));
    let load = bench.runtime.block_on(asked);
    assert_eq!(load.failed, 0, "{:?}", load.first_failure);
}

/// Measures what etcd and the servers do in the meantime.
fn observe(
    bench: &mut Bench,
    etcd: &Etcd,
    servers: &[Server],
    case: &str,
    meantime: impl FnOnce(&mut Bench),
) {
    let status = || -> Status { etcd.members[0].status().unwrap() };
    let (status_before, used_before, began) =
        (status(), usage(servers, Some(etcd)), Instant::now());
    meantime(bench);
    let elapsed = began.elapsed().as_secs_f64();
    let (after, used) = (status(), usage(servers, Some(etcd)).since(used_before));
    let writes = (after.revision - status_before.revision) as f64 / elapsed;
    let size = after.size.saturating_sub(status_before.size) as f64;
    for (what, value, unit) in [
        ("writes of etcd", writes, "per second"),
        ("growth of etcd", size / elapsed / 1e3, "kB per second"),
        (
            "CPU of etcd",
            used.etcd_cpu / elapsed * 100.0,
            "% of a core",
        ),
        (
            "CPU of each server",
            used.server_cpu / elapsed / SERVERS as f64 * 100.0,
            "% of a core",
        ),
    ] {
        bench
            .report
            .fact("presence", &format!("{what}, {case}"), value, unit);
    }
}
