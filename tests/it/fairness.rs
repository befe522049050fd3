//! Two servers at different distances from etcd, both with nodes that lock and unlock all the time.

use std::env;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::Client;
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::proxy::{Network, Proxy};
use airlock_test_support::{SetOnDrop, eventually_ok};

/// The number of nodes of each server.
const NODES: usize = 8;

/// The grants of each server that are not counted: until a distant server has announced contention, the other one
/// grants as fast as the machine allows.
const UNCOUNTED_GRANTS: usize = 2 * NODES;

/// The time for which the requests of the nodes are counted, in `make test`. `make stress` takes longer.
const DURATION: Duration = Duration::from_secs(10);
const STRESS_DURATION: Duration = Duration::from_secs(30);

/// The nodes of one server: what became of their requests.
#[derive(Default)]
struct Observed {
    grants: usize,
    /// The requests to which there was no slot.
    refusals: usize,
    /// The bodies of all other replies.
    failures: Vec<String>,
    latencies: Vec<Duration>,
}

/// The phase of a run.
#[derive(Default)]
struct Run {
    /// Whether requests are counted.
    is_counted: AtomicBool,
    /// Whether the nodes are to end.
    stop: AtomicBool,
}

/// A server that reaches etcd in this time, and back.
struct Distant {
    airlock: Airlock,
    _proxy: Proxy,
}

// === impl Distant ===

impl Distant {
    fn start(etcd: &Etcd, round_trip: Duration, slots: usize) -> Self {
        let proxy = Proxy::to(&etcd.endpoints()[0]);
        proxy.set(Network::Slow(round_trip / 2));
        let more = format!("[lock]\ndefault_slots = {slots}");
        let airlock = Airlock::on_etcd(&[proxy.endpoint()], &more);
        Distant {
            airlock,
            _proxy: proxy,
        }
    }
}

// === impl Observed ===

impl Observed {
    fn add(&mut self, other: Observed) {
        self.grants += other.grants;
        self.refusals += other.refusals;
        self.failures.extend(other.failures);
        self.latencies.extend(other.latencies);
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Observed {
            grants,
            refusals,
            failures,
            ..
        } = self;
        let [median, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        let failures = failures.len();
        write!(
            f,
            "{grants} grants, {refusals} refusals, {failures} failures, p50 {median:.1?}, p99 {p99:.1?}, max {max:.1?}"
        )
    }
}

/// Locks and unlocks a node again and again until the run stops. Returns what it observed while requests were counted,
/// and the failures of the whole run.
fn reboot(client: &Client, id: &str, run: &Run, granted: &AtomicUsize) -> Observed {
    let mut observed = Observed::default();
    let mut endpoint = "v1/pre-reboot";
    while !run.stop.load(Ordering::Relaxed) {
        let is_counted = run.is_counted.load(Ordering::Relaxed);
        let began = Instant::now();
        let reply = client.try_post(endpoint, "default", id).unwrap();
        if is_counted {
            observed.latencies.push(began.elapsed());
        }
        match endpoint {
            "v1/pre-reboot" if reply.granted() => {
                observed.grants += usize::from(is_counted);
                granted.fetch_add(1, Ordering::Relaxed);
                endpoint = "v1/steady-state";
            }
            _ if reply.granted() => endpoint = "v1/pre-reboot",
            _ if reply.body.contains("semaphore slots currently locked") => {
                observed.refusals += usize::from(is_counted);
            }
            _ => observed.failures.push(reply.body),
        }
    }
    observed
}

/// Lets the nodes of all servers reboot at the same time.
fn observe(servers: &[&Distant]) -> Vec<Observed> {
    let stress = env::var("AIRLOCK_STRESS_SECONDS").is_ok_and(|seconds| !seconds.is_empty());
    let duration = if stress { STRESS_DURATION } else { DURATION };
    let run = Run::default();
    let granted: Vec<AtomicUsize> = servers.iter().map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        let all: Vec<Vec<_>> = servers
            .iter()
            .zip(&granted)
            .enumerate()
            .map(|(server, (distant, granted))| {
                let client = distant.airlock.client();
                let node = |node: usize| {
                    let (client, run) = (client.clone(), &run);
                    let id = format!("node-{server}-{node}");
                    scope.spawn(move || reboot(&client, &id, run, granted))
                };
                (0..NODES).map(node).collect()
            })
            .collect();
        let stop = SetOnDrop(&run.stop);
        eventually_ok("every server to grant locks", || {
            let is_enough =
                |grants: &AtomicUsize| grants.load(Ordering::Relaxed) >= UNCOUNTED_GRANTS;
            let all_have = granted.iter().all(is_enough);
            all_have.then_some(()).ok_or(format!("{granted:?}"))
        });
        run.is_counted.store(true, Ordering::Relaxed);
        thread::sleep(duration);
        drop(stop);
        let sum = |nodes: Vec<thread::ScopedJoinHandle<'_, Observed>>| {
            let mut sum = Observed::default();
            nodes
                .into_iter()
                .for_each(|node| sum.add(node.join().unwrap()));
            sum
        };
        all.into_iter().map(sum).collect()
    })
}

/// Returns what the nodes of both servers observed.
fn is_fair(version: Version, slots: usize) -> String {
    let etcd = Etcd::with(version, 1, &[]);
    let near = Distant::start(&etcd, Duration::from_millis(1), slots);
    let far = Distant::start(&etcd, Duration::from_millis(40), slots);
    let observed = observe(&[&near, &far]);
    let [near, far] = observed.as_slice() else {
        unreachable!("one for each server")
    };
    let observed = format!("{version:?}, {slots} slots\n  near: {near}\n  far:  {far}");
    for server in [near, far] {
        assert_eq!(server.failures, Vec::<String>::new(), "{observed}");
    }
    assert!(far.grants >= NODES, "{observed}");
    assert!(far.grants * 4 >= near.grants, "{observed}");
    assert!(near.grants * 10 >= far.grants, "{observed}");
    observed
}

#[test]
fn a_distant_server_gets_a_fifth_of_the_grants_while_every_node_finds_a_slot() {
    for version in [Version::V3_4, Version::V3_5] {
        println!("{}", is_fair(version, 2 * NODES));
    }
}

#[test]
fn a_distant_server_gets_a_fifth_of_the_grants_of_two_slots() {
    for version in [Version::V3_4, Version::V3_5] {
        println!("{}", is_fair(version, 2));
    }
}
