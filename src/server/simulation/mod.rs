//! A deterministic simulation of several servers, their nodes, administrators and coreos/airlock on one store that
//! loses, delays and duplicates messages, refuses calls, is emptied, and is restored from an older state.
//!
//! In more than half of the seeds, the groups have policies: caps, a settle time, or a maximum duration of a hold.
//!
//! The servers are the real group tasks, followers and admin loop; only the store is simulated. All decisions come
//! from a seed, and the clock is tokio's paused one, so a seed replays exactly:
//!
//!     AIRLOCK_SEED=7 AIRLOCK_SIM_SEEDS=1 cargo test --lib simulation
//!
//! `make stress` runs 10,000 seeds, and `make stress SEED=7` those from 70,000 on.

mod actors;
mod check;
mod fleet;
mod history;
mod link;
mod plan;
mod trace;
mod world;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time;

use actors::Actor;
use fleet::{Fleet, REQUEST_TIMEOUT};
use history::{Kind, Reply};
use plan::Plan;
use trace::Violation;

/// The number of seeds without AIRLOCK_SIM_SEEDS.
const SEEDS: u64 = 300;

/// The time after which no message is on its way any more.
const DRAINED: Duration = Duration::from_secs(15);

/// The time after which every follower watches again: its longest pause, twice.
const FOLLOWED: Duration = Duration::from_secs(150);

/// The result of a run.
struct Run {
    events: Vec<String>,
    violation: Option<Violation>,
    plan: Plan,
}

#[test]
fn no_seed_violates_an_invariant() {
    let number = |name: &str| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some(value.parse::<u64>().expect("a number"))
    };
    let first = number("AIRLOCK_SEED").unwrap_or(0);
    let seeds = number("AIRLOCK_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let end = first.saturating_add(seeds);
    let search = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < end
        {
            let run = run(seed);
            if run.violation.is_some() {
                next.store(end, Ordering::Relaxed);
                return Some((seed, run));
            }
        }
        None
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let failed: Vec<(u64, Run)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let threads = threads.into_iter();
        threads
            .filter_map(|thread| thread.join().expect("a search"))
            .collect()
    });
    if let Some((seed, run)) = failed.into_iter().min_by_key(|(seed, _)| *seed)
        && let Some(Violation { at, problem }) = run.violation
    {
        let (events, plan) = (trace::around(&run.events, at), run.plan);
        panic!(
            "{events}\n{plan:?}\nseed {seed}, event {at}: {problem}\n\
             replay: AIRLOCK_SEED={seed} AIRLOCK_SIM_SEEDS=1 cargo test --lib simulation"
        );
    }
}

#[test]
fn invariant_13_fails_if_a_commit_compares_only_its_own_group() {
    let exceeds_a_cap = |seed: &u64| {
        let plan = Plan {
            compares_members: false,
            ..Plan::new(*seed)
        };
        let violation = run_plan(plan).violation;
        violation.is_some_and(|violation| violation.problem.contains("invariant 13"))
    };
    assert_ne!((0..SEEDS).find(exceeds_a_cap), None);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let (first, second) = (run(seed), run(seed));
        let events = first.events.iter().zip(&second.events);
        for (first, second) in events {
            assert_eq!(first, second, "seed {seed}");
        }
        assert_eq!(first.events.len(), second.events.len(), "seed {seed}");
    }
}

#[test]
fn the_seeds_meet_every_kind_of_fault_and_reply() {
    let events: Vec<String> = (0..60).flat_map(|seed| run(seed).events).collect();
    for expected in [
        "meets RequestLost",
        "meets ReplyLost",
        "meets Late",
        "meets Duplicate",
        "meets Unreachable",
        "meets Rejected",
        "meets NoSpace",
        "meets NoSpaceApplied",
        "conflict of a write",
        "conflict of a confirmation",
        "watch ends",
        "deleted",
        "restored",
        "crashes",
        "a reload configures",
        "coreos/airlock writes",
        "Ok(Ok(Locked",
        "Ok(Ok(AlreadyHeld",
        "Ok(Ok(Unlocked",
        "Ok(Ok(NotHeld",
        "Ok(Ok(Refused(Full",
        "Ok(Ok(Refused(CapReached",
        "limit: Held(",
        "limit: Groups(",
        "Ok(Ok(Refused(Settling",
        "Ok(Ok(Refused(Stalled",
        "Ok(Err(Ambiguous",
        "Ok(Err(Rejected",
        "Ok(Err(Timeout",
        "Some(Ok(Change",
        "Some(Err(Refused",
        "Some(Err(Refused(NotGranted(CapReached",
        "Some(Err(Unknown",
    ] {
        let found = events.iter().filter(|event| event.contains(expected));
        assert!(found.count() >= 3, "{expected}");
    }
}

/// Runs a seed from its beginning to its end.
fn run(seed: u64) -> Run {
    run_plan(Plan::new(seed))
}

fn run_plan(plan: Plan) -> Run {
    // The backoff of the groups uses the random numbers of its thread.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let fleet = Fleet::new(plan.clone());
        simulate(&fleet).await;
        let violation = fleet.violation().or_else(|| check::check(&fleet).err());
        Run {
            events: fleet.world.trace.events(),
            violation,
            plan,
        }
    })
}

async fn simulate(fleet: &Arc<Fleet>) {
    let plan = &fleet.plan;
    for server in 0..plan.servers {
        fleet.start(server);
    }
    let mut actors = JoinSet::new();
    for node in 0..plan.polite {
        actors.spawn(Actor::new(fleet, &format!("polite-{node}")).polite_node());
    }
    for node in 0..plan.impolite {
        actors.spawn(Actor::new(fleet, &format!("impolite-{node}")).impolite_node());
    }
    for administrator in 0..plan.administrators {
        actors.spawn(Actor::new(fleet, &format!("admin-{administrator}")).administrator());
    }
    if plan.coreos_airlock {
        actors.spawn(Actor::new(fleet, "foreign").foreign_node());
    }
    actors.spawn(Actor::new(fleet, "operator").operator());
    while let Some(ended) = actors.join_next().await {
        ended.expect("an actor that does not panic");
    }
    fleet.record("no faults from now on");
    fleet.world.calm_down();
    time::sleep(DRAINED).await;
    check_progress(fleet).await;
    time::sleep(FOLLOWED).await;
    fleet.check_known_states();
}

/// Checks that every server answers a new request once there are no faults any more.
async fn check_progress(fleet: &Fleet) {
    for server in 0..fleet.plan.servers {
        for group in &fleet.groups {
            for kind in [Kind::Lock, Kind::Unlock] {
                let patience = REQUEST_TIMEOUT * 2;
                let reply = fleet.ask(server, group, "fresh", kind, patience).await;
                if !matches!(reply, Reply::Outcome(_)) {
                    let now = fleet.record("the run has failed");
                    fleet.violated(
                        now,
                        format!("without faults, {kind:?} has the reply {reply:?}"),
                    );
                }
            }
        }
    }
}
