//! Linearizability of real histories: many clients, three servers, three etcd members, and combined faults.
//!
//! `make test` causes each fault at least once, on the tested versions of etcd, in combinations that depend on
//! AIRLOCK_SEED. `make stress` goes on with random combinations for AIRLOCK_STRESS_SECONDS. A seed does not reproduce
//! the timing of threads and networks, so a failing test prints the seed, the faults so far, and the history.

mod check;
mod cluster;
mod faults;
mod gauges;
mod record;
mod round;
mod schedule;

use std::env;
use std::time::{Duration, Instant};

use airlock_test_support::etcd::Version;

use cluster::Cluster;
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

#[test]
fn histories_are_linearizable_under_faults() {
    let stress = number("AIRLOCK_STRESS_SECONDS").map(Duration::from_secs);
    let seed = number("AIRLOCK_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut schedule = Schedule::new(seed, &Version::ALL);
    let mut tally = Tally::new(seed);
    let began = Instant::now();
    // Each fault at least once.
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
    tally.assert_minimums();
    // Random combinations.
    let goes_on = || stress.is_some_and(|stress| began.elapsed() < stress);
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
    println!("{tally} in {:?}", began.elapsed());
}
