//! What is measured.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bare::{self, Shape};
use crate::bench::{Bench, Case, lock, locks, nodes, row, unlock};
use crate::life::{life, memory};
use crate::load::{self, Connection, Load, Until};
use crate::server::{Server, Usage};
use crate::visits::visits;
use airlock_test_support::etcd::Etcd;

/// Measures, and puts what it finds into the report.
type Scenario = fn(&mut Bench);

/// All scenarios, in the order in which they run.
pub const SCENARIOS: [(&str, Scenario); 11] = [
    ("bare", bare_etcd),
    ("ceiling", ceiling),
    ("clients", clients),
    ("burst", burst),
    ("groups", groups),
    ("slots", slots),
    ("servers", servers),
    ("embedded", embedded),
    ("visits", visits),
    ("memory", memory),
    ("life", life),
];

const CLIENTS: [usize; 4] = [1, 8, 64, 512];

fn bare_etcd(bench: &mut Bench) {
    let etcd = Etcd::start();
    let endpoint = &etcd.endpoints()[0];
    for (shape, writes, name) in [
        (Shape::Confirm, false, "compare"),
        (Shape::Write, true, "write"),
    ] {
        for clients in CLIENTS {
            let measured = bare::measure(endpoint, shape, clients, bench.seconds);
            let measured = bench.runtime.block_on(measured);
            let case = Case {
                scenario: "bare",
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

/// How much the generator could measure: the same load on a server that does nothing.
fn ceiling(bench: &mut Bench) {
    let echo = load::echo();
    for clients in [64, 512] {
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

/// One group, one kind of request at a time.
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

/// 1,000 nodes that lock, hold for 10 ms, and unlock.
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

/// 10,000 nodes come back at once, on connections that are open.
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
            .block_on(load::run(holding, Until::Answers(1)));
        let case = Case {
            scenario: "burst",
            case: case.into(),
            writes: false,
            until: Until::Answers(1),
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
        // Each connection goes through its share of the groups.
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
        // What the other groups cost that nobody asks for.
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

/// A group whose list of holders is full.
fn slots(bench: &mut Bench) {
    for count in [2, 10, 100, 1000, 10_000] {
        let etcd = Etcd::start();
        let server = [Server::on_etcd(
            &etcd,
            &format!("[lock]\ndefault_slots = {count}\n"),
        )];
        let address = [server[0].address()];
        // Many connections make few transactions of it.
        let filling = nodes(&address, count, |id| vec![lock("default", id)]);
        let filled = bench
            .runtime
            .block_on(load::run(filling, Until::Answers(1)));
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

/// 20 servers on one etcd and one group.
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
