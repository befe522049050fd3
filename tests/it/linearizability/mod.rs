//! Linearizability of real histories: many clients, three servers, three etcd members, and combined faults.
//!
//! Some groups share a cap, which is checked in every state that etcd ever had.
//!
//! Two more tests check several processes on one SQLite file, and quiet groups whose commits arrive late.
//!
//! `make test` causes a few combinations of faults on one version of etcd. `make stress` causes each fault at least
//! once, on all tested versions, and goes on with random combinations for AIRLOCK_STRESS_SECONDS. AIRLOCK_SEED chooses
//! these combinations. It does not reproduce the timing of threads and networks, so a failing test prints the seed, the
//! faults so far, and the history.

mod check;
mod cluster;
mod committed;
mod faults;
mod gauges;
mod late;
mod record;
mod round;
mod schedule;
mod sqlite;

use std::env;
use std::time::{Duration, Instant};

use airlock_test_support::etcd::Version;

use cluster::Cluster;
use faults::Fault;
use round::Tally;
use schedule::Schedule;

/// The client that stands for the test itself, and those that stand for other writers. The clients of the groups have
/// lower numbers.
const BY_HAND: usize = 32;
const ADMINISTRATOR: usize = 33;
const COREOS_AIRLOCK: usize = 34;

/// The time that a cluster is used before another one of the next version replaces it.
const ERA: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

/// Prints the progress of a run, which the harness shows if it fails.
#[expect(clippy::print_stdout, reason = "the output of a test")]
fn note(text: &str) {
    println!("{text}");
}

/// The version of the short run: every fault is decidable on it.
const SHORT_VERSION: Version = Version::V3_5;

/// The seed of the short run. It is fixed, so that a change of the source decides whether the run passes.
const SHORT_SEED: u64 = 11;

/// The faults of the short run, by round. It has none that waits for etcd: to change its members, or to fill its
/// database.
const SHORT_ROUNDS: [&[Fault]; 4] = [
    &[
        Fault::LeaderKilled,
        Fault::RequestsLate,
        Fault::AdministratorAtWork,
    ],
    &[
        Fault::AuthenticationToggled,
        Fault::ResponsesLost,
        Fault::ServerKilled,
    ],
    &[
        Fault::LeaderPartitioned,
        Fault::Compaction,
        Fault::CoreosAirlockAtWork,
    ],
    &[
        Fault::FollowerKilled,
        Fault::KeyDeleted,
        Fault::ServerFrozen,
    ],
];

#[test]
fn histories_are_linearizable_under_faults() {
    let seed = number("AIRLOCK_SEED");
    let began = Instant::now();
    let tally = match number("AIRLOCK_STRESS_SECONDS").map(Duration::from_secs) {
        Some(stress) => run_long(seed.unwrap_or_else(|| fastrand::u64(..1_000_000)), stress),
        None => run_short(seed.unwrap_or(SHORT_SEED)),
    };
    note(&format!("{tally} in {:?}", began.elapsed()));
}

/// Causes a few combinations of faults. The seed decides when they begin and what they hit.
fn run_short(seed: u64) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::new(seed);
    let mut cluster = Cluster::start(SHORT_VERSION);
    for faults in SHORT_ROUNDS {
        tally.add(round::run(&mut cluster, faults, &mut random));
    }
    tally.assert_short_minimums();
    tally
}

/// Causes each fault at least once, then random combinations until `stress` is over.
fn run_long(seed: u64, stress: Duration) -> Tally {
    let mut schedule = Schedule::new(seed, &Version::ALL);
    let mut tally = Tally::new(seed);
    let began = Instant::now();
    for version in Version::ALL {
        let mut cluster = Cluster::start(version);
        for faults in schedule.all_of(version) {
            tally.add(round::run(&mut cluster, &faults, &mut schedule.random));
        }
        // A fault that had no effect in a combination has one alone.
        for fault in tally.without_effect_on(version) {
            tally.add(round::run(&mut cluster, &[fault], &mut schedule.random));
        }
    }
    let goes_on = || began.elapsed() < stress;
    for version in Version::ALL.into_iter().cycle() {
        if !goes_on() {
            break;
        }
        let mut cluster = Cluster::start(version);
        let era = Instant::now();
        while goes_on() && era.elapsed() < ERA {
            let faults = schedule.some_for(version);
            tally.add(round::run(&mut cluster, &faults, &mut schedule.random));
        }
    }
    tally.assert_minimums();
    tally
}
