//! Faults of etcd and the network: the responses to nodes and the time until recovery.
//!
//! The bounds are the documented ones plus [`SLACK`], since the machine may be busy. A defect exceeds them by far.

use std::thread;
use std::time::{Duration, Instant};

use airlock::lock::history::History;
use airlock::lock::semaphore::Semaphore;
use airlock::lock::{GroupName, codec};
use airlock::store::{Store as _, StoreError};

use crate::conformance::etcd_store;
use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::proxy::{Network, Proxy};

/// The time that a busy machine may add.
const SLACK: Duration = Duration::from_millis(1500);

/// The maximal response time: `transaction_timeout_ms`, 3 s by default, plus half a second.
const RESPONSE: Duration = Duration::from_millis(3500);

/// The maximal time until recovery.
const RECOVERY: Duration = Duration::from_secs(5);

/// Three members, each behind a proxy, and a server that connects through the proxies.
struct Cluster {
    etcd: Etcd,
    proxies: Vec<Proxy>,
    airlock: Airlock,
}

/// The member with the fault. The server prefers this member, so it has to switch to another one.
#[derive(Clone, Copy)]
enum Target {
    Leader,
    Follower,
}

// === impl Cluster ===

impl Cluster {
    /// Starts a cluster in which the server prefers the given member. Returns the index of the member.
    fn preferring(hit: Target) -> (Self, usize) {
        let etcd = Etcd::cluster(3);
        let leader = etcd.leader();
        let hit = match hit {
            Target::Leader => leader,
            Target::Follower => (leader + 1) % 3,
        };
        let proxies: Vec<Proxy> = etcd.endpoints().iter().map(|e| Proxy::to(e)).collect();
        let mut endpoints: Vec<String> = proxies.iter().map(Proxy::endpoint).collect();
        endpoints.rotate_left(hit);
        let airlock = Airlock::on_etcd(&endpoints, "");
        let cluster = Cluster {
            etcd,
            proxies,
            airlock,
        };
        assert!(cluster.airlock.client().unlock("default", "a").granted());
        (cluster, hit)
    }

    /// Sends requests of one node until `enough` returns true. Each response has to arrive in time.
    fn send_until(&self, mut enough: impl FnMut(&Response) -> bool) -> Vec<Duration> {
        let client = self.airlock.client();
        let mut took = Vec::new();
        for endpoint in ["v1/pre-reboot", "v1/steady-state"].into_iter().cycle() {
            let (answer, time) = timed(|| client.try_post(endpoint, "default", "a").unwrap());
            assert!(time < RESPONSE + SLACK, "{time:?} for {answer:?}");
            took.push(time);
            if enough(&answer) {
                return took;
            }
        }
        unreachable!("a cycle has no end")
    }

    /// Waits for a grant, then expects 300 requests without a failure.
    fn recovers_and_stays_up(&self) {
        let broken = Instant::now();
        self.send_until(Response::granted);
        let back = broken.elapsed();
        assert!(back < RECOVERY + SLACK, "recovered only after {back:?}");
        let mut left = 300;
        let mut took = self.send_until(|answer| {
            assert!(answer.granted(), "after recovery: {answer:?}");
            left -= 1;
            left == 0
        });
        took.sort();
        let p99 = took[took.len() * 99 / 100];
        assert!(p99 < Duration::from_millis(100) + SLACK, "p99 {p99:?}");
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    (run(), started.elapsed())
}

#[test]
fn a_dead_leader_costs_one_failover() {
    let (mut cluster, hit) = Cluster::preferring(Target::Leader);
    cluster.etcd.members[hit].kill();
    cluster.recovers_and_stays_up();
    cluster.etcd.members[hit].spawn();
    cluster.recovers_and_stays_up();
}

#[test]
fn a_dead_follower_costs_one_failover() {
    let (mut cluster, hit) = Cluster::preferring(Target::Follower);
    cluster.etcd.members[hit].kill();
    cluster.recovers_and_stays_up();
}

#[test]
fn a_frozen_leader_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Target::Leader);
    cluster.etcd.members[hit].freeze();
    cluster.recovers_and_stays_up();
    cluster.etcd.members[hit].thaw();
    cluster.recovers_and_stays_up();
}

#[test]
fn a_frozen_follower_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Target::Follower);
    cluster.etcd.members[hit].freeze();
    cluster.recovers_and_stays_up();
}

#[test]
fn an_unreachable_member_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Target::Follower);
    for network in [Network::Frozen, Network::Cut] {
        cluster.proxies[hit].set(network);
        cluster.recovers_and_stays_up();
        // The others fail in turn, so that the server leaves and reuses every endpoint.
        cluster.proxies[hit].set(Network::Works);
        let next = (hit + 1) % 3;
        cluster.proxies[next].set(network);
        cluster.recovers_and_stays_up();
        cluster.proxies[next].set(Network::Works);
        let last = (hit + 2) % 3;
        cluster.proxies[last].set(network);
        cluster.recovers_and_stays_up();
        cluster.proxies[last].set(Network::Works);
    }
}

#[test]
fn the_gauges_switch_away_from_a_silent_member() {
    let (cluster, hit) = Cluster::preferring(Target::Follower);
    let holders = || {
        let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        cluster.airlock.metric(name)
    };
    let other = Airlock::on_etcd(&cluster.etcd.endpoints(), "");
    assert!(other.client().lock("default", "x").granted());
    eventually("the gauge", || (holders() == Some(1.0)).then_some(()));
    // The watch expects no response. It ends after at most 8 s without a reply to its pings; a pause and a
    // failover follow.
    cluster.proxies[hit].set(Network::Frozen);
    assert!(other.client().unlock("default", "x").granted());
    let (_, time) = timed(|| {
        eventually("the gauge", || (holders() == Some(0.0)).then_some(()));
    });
    assert!(time < Duration::from_secs(15), "{time:?}");
}

#[test]
fn slow_members_only_slow_responses_down() {
    let (cluster, _) = Cluster::preferring(Target::Follower);
    for proxy in &cluster.proxies {
        proxy.set(Network::Slow(Duration::from_millis(100)));
    }
    let mut left = 10;
    cluster.send_until(|answer| {
        assert!(answer.granted(), "{answer:?}");
        left -= 1;
        left == 0
    });
}

#[test]
fn without_a_quorum_the_error_names_every_endpoint_and_its_error() {
    let (mut cluster, hit) = Cluster::preferring(Target::Leader);
    let (frozen, dead) = (hit, (hit + 1) % 3);
    cluster.etcd.members[frozen].freeze();
    cluster.etcd.members[dead].kill();
    for endpoint in ["v1/pre-reboot", "v1/steady-state", "v1/pre-reboot"] {
        let (answer, time) = timed(|| {
            let client = cluster.airlock.client();
            client.try_post(endpoint, "default", "b").unwrap()
        });
        assert!(time < RESPONSE + SLACK, "{time:?} for {answer:?}");
        assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
        for proxy in &cluster.proxies {
            let named = format!("{}: ", proxy.endpoint());
            assert!(answer.value().contains(&named), "{}", answer.value());
        }
        let frozen = format!("{}: no reply within", cluster.proxies[frozen].endpoint());
        assert!(answer.value().contains(&frozen), "{}", answer.value());
    }
    let (status, reason) = cluster.airlock.status("/readyz");
    assert_eq!(status, 503, "{reason}");

    cluster.etcd.members[frozen].thaw();
    cluster.etcd.members[dead].spawn();
    cluster.recovers_and_stays_up();
}

/// Invariant 6 depends on the class of the error: only an unknown outcome is fenced.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_6_a_write_that_may_still_arrive_is_unknown_and_one_that_was_not_sent_is_not() {
    let etcd = Etcd::start();
    let proxy = Proxy::to(&etcd.endpoints()[0]);
    let store = etcd_store(vec![proxy.endpoint()], Duration::from_secs(1));
    let group = GroupName::new("g").unwrap();
    let absent = store.read(&group).await.unwrap();
    let value = codec::encode(&Semaphore::new(1), &[], &History::default());
    proxy.set(Network::Frozen);
    let error = store.commit(&group, &absent, Some(&value), &[]).await;
    assert!(matches!(error, Err(StoreError::Unknown(_))), "{error:?}");
    drop(proxy);
    // The first call notices the closed connection; the second one cannot connect, so that nothing was sent.
    let _ = store.read(&group).await;
    let error = store.commit(&group, &absent, Some(&value), &[]).await;
    assert!(
        matches!(error, Err(StoreError::Unreachable(_))),
        "{error:?}"
    );
}

#[test]
fn a_thousand_failures_leak_no_resources() {
    let etcd = Etcd::start();
    let proxy = Proxy::to(&etcd.endpoints()[0]);
    let airlock = Airlock::on_etcd(&[proxy.endpoint()], "transaction_timeout_ms = 300");
    assert!(airlock.client().lock("default", "a").granted());
    let alive = |airlock: &Airlock| {
        ["process_open_fds", "airlock_tokio_tasks"].map(|metric| airlock.metric(metric).unwrap())
    };
    let before = alive(&airlock);
    for network in [Network::Cut, Network::Frozen, Network::Cut, Network::Frozen] {
        proxy.set(network);
        let failed: usize = thread::scope(|scope| {
            let nodes: Vec<_> = (0..25)
                .map(|node| (node, airlock.client()))
                .map(|(node, client)| scope.spawn(move || fail(&client, node, 10)))
                .collect();
            nodes.into_iter().map(|node| node.join().unwrap()).sum()
        });
        assert_eq!(failed, 250, "{network:?}");
    }
    proxy.set(Network::Works);
    eventually("service", || {
        airlock
            .client()
            .lock("default", "a")
            .granted()
            .then_some(())
    });
    eventually("descriptors to be closed and tasks to end", || {
        let [files, tasks] = alive(&airlock);
        (files <= before[0] && tasks <= before[1]).then_some(())
    });
    let connections = airlock.metric("airlock_connections{listener=\"service\"}");
    assert_eq!(connections, Some(0.0));
}

/// Returns how many of `count` requests failed because of the store.
fn fail(client: &Client, node: usize, count: usize) -> usize {
    let ask = |_: &usize| client.lock("default", &format!("n{node}")).kind() == "failed_sem_init";
    (0..count).filter(ask).count()
}

#[test]
fn an_etcd_that_requires_a_user_is_reported_as_such() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    assert!(airlock.client().lock("default", "a").granted());
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let answer = airlock.client().lock("default", "a");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    let expected = format!(
        "{}: etcdserver: user name is empty; etcd requires a user: ",
        etcd.endpoints()[0]
    );
    assert!(answer.value().contains(&expected), "{}", answer.value());
}
