//! Real histories: many clients, three servers, three members of etcd, and faults; each history is
//! checked for linearizability.
//!
//! `make test` has every fault once, in an order that AIRLOCK_SEED decides. With AIRLOCK_STRESS_SECONDS
//! it goes on for so long (`make stress`). What threads and networks do is not repeated by a seed, so the
//! history is printed, too, when it is wrong.

mod check;
mod cluster;
mod record;

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::{Operation, Told, Violation, check};
use cluster::{Cluster, FAULTS, Fault, GROUPS};
use record::{Recorder, ask_at_random};

/// Nodes of a group. Fewer than clients, so that some ask for the same one.
const NODES: usize = 8;
const CLIENTS: usize = 10;
/// The client that is the test itself.
const BY_HAND: usize = CLIENTS;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[test]
fn histories_are_linearizable_whatever_breaks() {
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
            let (asked, answered) = round(&mut cluster, fault, seed, &mut random);
            println!("{fault:?}: {asked} operations, {answered} of them answered");
            operations += asked;
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

/// One fault under load, and the check of what came of it. How many operations that were, and how many
/// were answered.
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
                ask_at_random(&recorders[group], client, NODES, &servers, random, &stop);
            }));
        }
    }
    cluster.suffer(fault, &recorders, random);
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
        answered += history.iter().filter(|o| o.told != Told::Nothing).count();
    }
    (operations, answered)
}

fn print(history: &[Operation], violation: &Violation) -> String {
    let mut text = String::new();
    for (index, operation) in history.iter().enumerate() {
        let mark = if index == violation.operation {
            "  <-- nothing explains this"
        } else {
            ""
        };
        let Operation {
            client,
            request,
            told,
            invoked,
            returned,
        } = operation;
        writeln!(
            text,
            "{invoked:>12.3?} {returned:>12.3?} client {client:2} {request:?} {told:?}{mark}"
        )
        .unwrap();
    }
    writeln!(
        text,
        "before it returned, possible: {:?}",
        violation.possible
    )
    .unwrap();
    text
}
