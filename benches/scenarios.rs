//! The scenarios.

use std::net::SocketAddr;
use std::time::Duration;

use airlock_test_support::etcd::Etcd;
use clap::ValueEnum;

use crate::baseline::{self, Shape};
use crate::connection_per_request::connection_per_request;
use crate::harness::{Bench, Case, lock, locks, nodes, row, unlock};
use crate::load::{self, Connection, Load, Until};
use crate::policies::policies;
use crate::presence::presence;
use crate::server::{Server, Usage};
use crate::startup::{memory, startup};

/// A scenario. The scenarios run in this order.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The etcd transactions of the server, without a server
    Baseline,
    /// The maximum rate that the load generator can measure
    Ceiling,
    /// One server and one group with 1 to 1,000 clients
    Clients,
    /// 10,000 nodes that report steady-state at the same time
    Burst,
    /// 1 to 1,000 groups
    Groups,
    /// A group with 2 to 10,000 holders
    Slots,
    /// A group that refuses 64 and 100,000 nodes
    Waiting,
    /// 20 servers on one etcd cluster and one group
    Servers,
    /// What 100 servers tell each other
    Presence,
    /// What policies cost
    Policies,
    /// The embedded store
    Embedded,
    /// A new connection for each request
    ConnectionPerRequest,
    /// Resident memory
    Memory,
    /// The time to the first response, and the CPU use of an idle server
    Startup,
}

// === impl Scenario ===

impl Scenario {
    /// Returns the name in the arguments and in the report.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().unwrap().get_name().to_owned()
    }

    /// Measures the scenario and adds the results to the report.
    pub(crate) fn run(self, bench: &mut Bench) {
        match self {
            Scenario::Baseline => baseline(bench),
            Scenario::Ceiling => ceiling(bench),
            Scenario::Clients => clients(bench),
            Scenario::Burst => burst(bench),
            Scenario::Groups => groups(bench),
            Scenario::Slots => slots(bench),
            Scenario::Waiting => waiting(bench),
            Scenario::Servers => servers(bench),
            Scenario::Presence => presence(bench),
            Scenario::Policies => policies(bench),
            Scenario::Embedded => embedded(bench),
            Scenario::ConnectionPerRequest => connection_per_request(bench),
            Scenario::Memory => memory(bench),
            Scenario::Startup => startup(bench),
        }
    }
}

const CLIENTS: [usize; 4] = [1, 8, 64, 512];

/// Measures both transactions of the server.
fn baseline(bench: &mut Bench) {
    let etcd = Etcd::start();
    let endpoint = &etcd.endpoints()[0];
    for (shape, writes, name) in [
        (Shape::Confirm, false, "compare"),
        (Shape::Write, true, "write"),
    ] {
        for clients in CLIENTS {
            let measured = baseline::measure(endpoint, shape, clients, bench.seconds);
            let measured = bench.runtime.block_on(measured);
            let case = Case {
                scenario: "baseline",
                case: format!("etcd transaction, {name}"),
                writes,
                until: bench.until(),
            };
            let mut row = row(&case, clients, &Load::default(), Usage::default(), None);
            row.requests_per_second = measured.per_second.round();
            row.p50_us = measured.p50;
            row.p99_us = measured.p99;
            row.store_calls_per_request = 1.0;
            bench.report.row(row);
        }
    }
}

/// Measures the load generator with a server that does nothing.
fn ceiling(bench: &mut Bench) {
    let echo = load::echo();
    for clients in [1, 64, 512] {
        let case = Case {
            scenario: "ceiling",
            case: "a server that does nothing".into(),
            writes: false,
            until: bench.until(),
        };
        let connections = nodes(&[echo], clients, |id| vec![lock("default", id)]);
        bench.measure(case, connections, &[], None);
    }
}

const GROUPS: &str = r#"
[lock]
default_slots = 1
[[lock.groups]]
name = "relock"
slots = 512
[[lock.groups]]
name = "change"
slots = 512
[[lock.groups]]
name = "mixed"
slots = 2
"#;

fn clients(bench: &mut Bench) {
    let etcd = Etcd::start();
    let server = [Server::on_etcd(&etcd, GROUPS)];
    steps(bench, "clients", &CLIENTS, &server, Some(&etcd));
    fair(bench, &server, &etcd);
}

fn embedded(bench: &mut Bench) {
    let server = [Server::embedded(GROUPS)];
    steps(bench, "embedded", &[1, 64], &server, None);
}

/// Measures one kind of request after the other in one group.
fn steps(
    bench: &mut Bench,
    scenario: &str,
    clients: &[usize],
    server: &[Server; 1],
    etcd: Option<&Etcd>,
) {
    let address = [server[0].address()];
    bench.send(address[0], vec![lock("default", "the-holder")]);
    for count in clients {
        bench.send(address[0], locks("relock", *count));
        type Requests = fn(&str) -> Vec<Vec<u8>>;
        let kinds: [(&str, bool, Requests); 5] = [
            ("relock by a holder", false, |id| vec![lock("relock", id)]),
            ("refusal", false, |id| vec![lock("default", id)]),
            ("unlock by a non-holder", false, |id| {
                vec![unlock("default", id)]
            }),
            ("mixed, 2 slots", true, |id| {
                vec![lock("mixed", id), unlock("mixed", id)]
            }),
            ("every one a change", true, |id| {
                vec![lock("change", id), unlock("change", id)]
            }),
        ];
        for (name, writes, requests) in kinds {
            let case = Case {
                scenario,
                case: name.into(),
                writes,
                until: bench.until(),
            };
            let connections = nodes(&address, *count, requests);
            bench.measure(case, connections, server, etcd);
        }
    }
}

/// Measures 1,000 nodes that lock, hold for 10 ms, and unlock.
fn fair(bench: &mut Bench, server: &[Server; 1], etcd: &Etcd) {
    let address = [server[0].address()];
    let mut connections = nodes(&address, 1000, |id| {
        vec![lock("mixed", id), unlock("mixed", id)]
    });
    for connection in &mut connections {
        connection.hold = Duration::from_millis(10);
    }
    let case = Case {
        scenario: "clients",
        case: "lock, hold, unlock, 2 slots".into(),
        writes: true,
        until: bench.until(),
    };
    bench.measure(case, connections, server, Some(etcd));
}

/// Measures 10,000 nodes that report steady-state at the same time, on open connections.
fn burst(bench: &mut Bench) {
    const NODES: usize = 10_000;
    let etcd = Etcd::start();
    let server = [Server::on_etcd(
        &etcd,
        &format!("[lock]\ndefault_slots = {NODES}\n"),
    )];
    let address = [server[0].address()];
    for (case, holders) in [
        ("steady-state of non-holders", 0),
        ("steady-state of holders", NODES),
    ] {
        bench.send(address[0], locks("default", 1));
        let holding = nodes(&address, holders, |id| vec![lock("default", id)]);
        bench
            .runtime
            .block_on(load::run(holding, Until::Responses(1)));
        let case = Case {
            scenario: "burst",
            case: case.into(),
            writes: false,
            until: Until::Responses(1),
        };
        let connections = nodes(&address, NODES, |id| vec![unlock("default", id)]);
        bench.measure(case, connections, &server, Some(&etcd));
    }
}

fn groups(bench: &mut Bench) {
    for count in [1_usize, 10, 500, 1000] {
        let mut config = String::from("[lock]\ndefault_slots = 64\n");
        for group in 0..count {
            config.push_str(&format!("[[lock.groups]]\nname = \"g{group}\"\n"));
        }
        let etcd = Etcd::start();
        let server = [Server::on_etcd(&etcd, &config)];
        let address = [server[0].address()];
        // Each connection iterates over its share of the groups.
        let spread = |step: fn(&str, &str) -> Vec<u8>| {
            let groups = move |number: usize| {
                (0..count.div_ceil(64)).map(move |n| (number + 64 * n) % count)
            };
            let connection = move |number: usize| Connection {
                server: address[0],
                requests: groups(number)
                    .map(|group| step(&format!("g{group}"), &format!("node-{number:05}")))
                    .collect(),
                hold: Duration::ZERO,
            };
            (0..64).map(connection).collect::<Vec<_>>()
        };
        let held = spread(lock)
            .into_iter()
            .flat_map(|connection| connection.requests);
        bench.send(address[0], held.collect());
        for (kind, step) in [
            ("relock", lock as fn(&str, &str) -> Vec<u8>),
            ("unlock by a non-holder", |group, id| {
                unlock(group, &format!("not-{id}"))
            }),
        ] {
            let case = Case {
                scenario: "groups",
                case: format!("{kind}, {count} groups"),
                writes: false,
                until: bench.until(),
            };
            bench.measure(case, spread(step), &server, Some(&etcd));
        }
        // The cost of the groups that receive no requests.
        let case = Case {
            scenario: "groups",
            case: format!("refusal in one of {count} groups"),
            writes: false,
            until: bench.until(),
        };
        bench.send(address[0], locks("default", 64));
        let connections = nodes(&address, 64, |id| {
            vec![lock("default", &format!("not-{id}"))]
        });
        bench.measure(case, connections, &server, Some(&etcd));
    }
}

/// Measures a group without free slots.
fn slots(bench: &mut Bench) {
    for count in [2, 10, 100, 1000, 10_000] {
        let etcd = Etcd::start();
        let server = [Server::on_etcd(
            &etcd,
            &format!("[lock]\ndefault_slots = {count}\n"),
        )];
        let address = [server[0].address()];
        // Many connections are combined into few transactions.
        let filling = nodes(&address, count, |id| vec![lock("default", id)]);
        let filled = bench
            .runtime
            .block_on(load::run(filling, Until::Responses(1)));
        assert_eq!(filled.granted, count as u64, "{:?}", filled.first_failure);
        let some = 64.min(count);
        for (kind, clients, writes) in [
            ("relock", some, false),
            ("refusal", 64, false),
            ("unlock by a non-holder", 64, false),
            ("unlock and lock", 1, true),
            ("unlock and lock", some, true),
        ] {
            let case = Case {
                scenario: "slots",
                case: format!("{kind}, {count} holders"),
                writes,
                until: bench.until(),
            };
            let connections = nodes(&address, clients, |id| match kind {
                "relock" => vec![lock("default", id)],
                "refusal" => vec![lock("default", &format!("not-{id}"))],
                "unlock and lock" => vec![unlock("default", id), lock("default", id)],
                _ => vec![unlock("default", &format!("not-{id}"))],
            });
            bench.measure(case, connections, &server, Some(&etcd));
        }
    }
}

/// Measures what a refusal costs with few and with many waiting nodes, next to a relock.
fn waiting(bench: &mut Bench) {
    let etcd = Etcd::start();
    let server = [Server::on_etcd(&etcd, "[lock]\ndefault_slots = 64\n")];
    let address = [server[0].address()];
    bench.send(address[0], locks("default", 64));
    for (case, nodes_per_connection) in [
        ("relock", 0),
        ("refusal, 64 nodes", 1),
        ("refusal, 100,000 nodes", 1563),
    ] {
        let connections = || {
            nodes(&address, 64, |id| match nodes_per_connection {
                0 => vec![lock("default", id)],
                count => (0..count)
                    .map(|number| lock("default", &format!("{number}-{id}")))
                    .collect(),
            })
        };
        // Every node waits before the measurement.
        let asked = load::run(connections(), Until::Responses(nodes_per_connection));
        bench.runtime.block_on(asked);
        let case = Case {
            scenario: "waiting",
            case: case.into(),
            writes: false,
            until: bench.until(),
        };
        bench.measure(case, connections(), &server, Some(&etcd));
    }
}

/// Measures 20 servers on one etcd and one group.
fn servers(bench: &mut Bench) {
    let etcd = Etcd::start();
    let lock_section = "[lock]\ndefault_slots = 64\n[[lock.groups]]\nname = \"mixed\"\nslots = 2\n";
    let servers: Vec<Server> = (0..20)
        .map(|_| Server::on_etcd(&etcd, lock_section))
        .collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    bench.send(addresses[0], locks("default", 64));
    type Requests = fn(&str) -> Vec<Vec<u8>>;
    let kinds: [(&str, bool, Requests); 3] = [
        ("relock, 20 servers", false, |id| vec![lock("default", id)]),
        ("mixed, 2 slots, 20 servers", true, |id| {
            vec![lock("mixed", id), unlock("mixed", id)]
        }),
        ("every one a change, 20 servers", true, |id| {
            vec![unlock("default", id), lock("default", id)]
        }),
    ];
    for (case, writes, requests) in kinds {
        let case = Case {
            scenario: "servers",
            case: case.into(),
            writes,
            until: bench.until(),
        };
        let connections = nodes(&addresses, 64, requests);
        bench.measure(case, connections, &servers, Some(&etcd));
    }
}
