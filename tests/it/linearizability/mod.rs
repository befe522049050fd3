//! Linearizability of real histories: many clients, three servers, three etcd members, and faults.
//!
//! `make test` causes each fault once, in an order that depends on AIRLOCK_SEED. `make stress` repeats this for
//! AIRLOCK_STRESS_SECONDS. A seed does not reproduce the timing of threads and networks, so a failing test also
//! prints the history.

mod check;
mod cluster;
mod record;

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::{Operation, Reply, Violation, check};
use cluster::{Cluster, FAULTS, Fault, GROUPS};
use record::{Recorder, send_random_requests};

/// The nodes of a group. There are fewer nodes than clients, so that some clients share a node.
const NODES: usize = 8;
const CLIENTS: usize = 10;
/// The number of the client that stands for the test itself.
const BY_HAND: usize = CLIENTS;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

#[test]
fn histories_are_linearizable_under_faults() {
    let stress = number("AIRLOCK_STRESS_SECONDS").map(Duration::from_secs);
    let seed = number("AIRLOCK_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut random = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let mut cluster = Cluster::start();
    let mut operations = 0;
    for pass in 0_u32.. {
        if pass > 0 && stress.is_none_or(|stress| began.elapsed() >= stress) {
            break;
        }
        let mut faults = FAULTS;
        random.shuffle(&mut faults);
        for fault in faults {
            let (operations_of_round, answered) = round(&mut cluster, fault, seed, &mut random);
            println!(
                "{fault:?}: {operations_of_round} operations, {answered} with a known outcome"
            );
            operations += operations_of_round;
            if stress.is_some_and(|stress| began.elapsed() >= stress) {
                break;
            }
        }
    }
    println!(
        "seed {seed}: {operations} operations in {:?}",
        began.elapsed()
    );
}

/// Causes one fault under load and checks the histories. Returns the number of operations and the number of those
/// with a known outcome.
fn round(
    cluster: &mut Cluster,
    fault: Fault,
    seed: u64,
    random: &mut fastrand::Rng,
) -> (usize, usize) {
    let recorders: Arc<Vec<Recorder>> = Arc::new(
        GROUPS
            .iter()
            .map(|(group, _)| Recorder::new(group))
            .collect(),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for group in 0..GROUPS.len() {
        for client in 0..CLIENTS {
            let (recorders, stop) = (Arc::clone(&recorders), Arc::clone(&stop));
            let (servers, random) = (Arc::clone(&cluster.servers), random.fork());
            clients.push(thread::spawn(move || {
                send_random_requests(&recorders[group], client, NODES, &servers, random, &stop);
            }));
        }
    }
    cluster.cause(fault, &recorders, random);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }

    let (mut operations, mut answered) = (0, 0);
    for (recorder, (group, slots)) in recorders.iter().zip(GROUPS) {
        cluster.barrier(recorder, NODES);
        let history = recorder.history();
        if let Err(violation) = check(slots, &history) {
            let history = print(&history, &violation);
            panic!("AIRLOCK_SEED={seed}, {fault:?}, group {group} with {slots} slots:\n{history}");
        }
        let expected = format!(r#"{{"total_slots":{slots},"holders":[]}}"#);
        assert_eq!(
            cluster.stored(group),
            expected,
            "AIRLOCK_SEED={seed}, {fault:?}"
        );
        operations += history.len();
        answered += history.iter().filter(|o| o.reply != Reply::Unknown).count();
    }
    (operations, answered)
}

fn print(history: &[Operation], violation: &Violation) -> String {
    let mut text = String::new();
    for (index, operation) in history.iter().enumerate() {
        let mark = if index == violation.operation {
            "  <-- violates linearizability"
        } else {
            ""
        };
        let Operation {
            client,
            request,
            reply,
            invoked,
            returned,
        } = operation;
        writeln!(
            text,
            "{invoked:>12.3?} {returned:>12.3?} client {client:2} {request:?} {reply:?}{mark}"
        )
        .unwrap();
    }
    writeln!(
        text,
        "possible states before it returned: {:?}",
        violation.possible
    )
    .unwrap();
    text
}
