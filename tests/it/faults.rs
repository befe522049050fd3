//! What nodes get while something is broken, and how soon it is over.
//!
//! Bounds are those of the promise plus [`SLACK`]: the machine that runs this may be busy with other
//! things, and a test that fails for that proves nothing. What is broken is far outside of them.

use std::thread;
use std::time::{Duration, Instant};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::eventually;
use airlock_test_support::proxy::{Network, Proxy};

/// What a busy machine may add to any wait.
const SLACK: Duration = Duration::from_millis(1500);

/// Every request is answered within `transaction_timeout_ms`, 3 s by default, and half a second.
const ANSWER: Duration = Duration::from_millis(3500);

/// How soon there is service again.
const BACK: Duration = Duration::from_secs(5);

/// Three members, each behind a proxy, and a server that knows them by their proxies.
struct Cluster {
    etcd: Etcd,
    proxies: Vec<Proxy>,
    airlock: Airlock,
}

/// Which member is hit. It is the one that the server prefers, so that the server must leave it.
#[derive(Clone, Copy)]
enum Hit {
    Leader,
    Follower,
}

// === impl Cluster ===

impl Cluster {
    /// A cluster in which the server prefers the member to be hit; its index.
    fn preferring(hit: Hit) -> (Self, usize) {
        let etcd = Etcd::cluster(3);
        let leader = etcd.leader();
        let hit = match hit {
            Hit::Leader => leader,
            Hit::Follower => (leader + 1) % 3,
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

    /// Requests of one node, one after the other, until `enough`. Each has to be answered in time.
    fn ask_until(&self, mut enough: impl FnMut(&Response) -> bool) -> Vec<Duration> {
        let client = self.airlock.client();
        let mut took = Vec::new();
        for endpoint in ["v1/pre-reboot", "v1/steady-state"].into_iter().cycle() {
            let (answer, time) = timed(|| client.try_post(endpoint, "default", "a").unwrap());
            assert!(time < ANSWER + SLACK, "{time:?} for {answer:?}");
            took.push(time);
            if enough(&answer) {
                return took;
            }
        }
        unreachable!("a cycle has no end")
    }

    /// Waits for service, then demands that it stays: 300 requests without a failure.
    fn service_is_back_and_stays(&self) {
        let broken = Instant::now();
        self.ask_until(Response::granted);
        let back = broken.elapsed();
        assert!(back < BACK + SLACK, "back only after {back:?}");
        let mut left = 300;
        let mut took = self.ask_until(|answer| {
            assert!(answer.granted(), "after service was back: {answer:?}");
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
    let (mut cluster, hit) = Cluster::preferring(Hit::Leader);
    cluster.etcd.members[hit].kill();
    cluster.service_is_back_and_stays();
    cluster.etcd.members[hit].spawn();
    cluster.service_is_back_and_stays();
}

#[test]
fn a_dead_follower_costs_one_failover() {
    let (mut cluster, hit) = Cluster::preferring(Hit::Follower);
    cluster.etcd.members[hit].kill();
    cluster.service_is_back_and_stays();
}

#[test]
fn a_frozen_leader_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Hit::Leader);
    cluster.etcd.members[hit].freeze();
    cluster.service_is_back_and_stays();
    cluster.etcd.members[hit].thaw();
    cluster.service_is_back_and_stays();
}

#[test]
fn a_frozen_follower_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Hit::Follower);
    cluster.etcd.members[hit].freeze();
    cluster.service_is_back_and_stays();
}

#[test]
fn an_unreachable_member_costs_one_failover() {
    let (cluster, hit) = Cluster::preferring(Hit::Follower);
    for network in [Network::Frozen, Network::Cut] {
        cluster.proxies[hit].set(network);
        cluster.service_is_back_and_stays();
        // The others fail in turn, so that every endpoint is left and found again.
        cluster.proxies[hit].set(Network::Works);
        let next = (hit + 1) % 3;
        cluster.proxies[next].set(network);
        cluster.service_is_back_and_stays();
        cluster.proxies[next].set(Network::Works);
        let last = (hit + 2) % 3;
        cluster.proxies[last].set(network);
        cluster.service_is_back_and_stays();
        cluster.proxies[last].set(Network::Works);
    }
}

#[test]
fn the_gauges_leave_a_member_that_has_gone_silent() {
    let (cluster, hit) = Cluster::preferring(Hit::Follower);
    let holders = || {
        let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        cluster.airlock.metric(name)
    };
    let other = Airlock::on_etcd(&cluster.etcd.endpoints(), "");
    assert!(other.client().lock("default", "x").granted());
    eventually("the gauge", || (holders() == Some(1.0)).then_some(()));
    // The watch has no answer to wait for; it ends when pings are not answered, after 8 s at most. Then
    // there are a pause and a failover.
    cluster.proxies[hit].set(Network::Frozen);
    assert!(other.client().unlock("default", "x").granted());
    let (_, time) = timed(|| {
        eventually("the gauge", || (holders() == Some(0.0)).then_some(()));
    });
    assert!(time < Duration::from_secs(15), "{time:?}");
}

#[test]
fn slow_members_make_answers_slow_and_nothing_else() {
    let (cluster, _) = Cluster::preferring(Hit::Follower);
    for proxy in &cluster.proxies {
        proxy.set(Network::Slow(Duration::from_millis(100)));
    }
    let mut left = 10;
    cluster.ask_until(|answer| {
        assert!(answer.granted(), "{answer:?}");
        left -= 1;
        left == 0
    });
}

#[test]
fn without_a_quorum_the_answer_names_every_endpoint_and_what_it_said() {
    let (mut cluster, hit) = Cluster::preferring(Hit::Leader);
    let (frozen, dead) = (hit, (hit + 1) % 3);
    cluster.etcd.members[frozen].freeze();
    cluster.etcd.members[dead].kill();
    for endpoint in ["v1/pre-reboot", "v1/steady-state", "v1/pre-reboot"] {
        let (answer, time) = timed(|| {
            let client = cluster.airlock.client();
            client.try_post(endpoint, "default", "b").unwrap()
        });
        assert!(time < ANSWER + SLACK, "{time:?} for {answer:?}");
        assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
        for proxy in &cluster.proxies {
            let named = format!("{}: ", proxy.endpoint());
            assert!(answer.value().contains(&named), "{}", answer.value());
        }
        let frozen = format!("{}: no answer within", cluster.proxies[frozen].endpoint());
        assert!(answer.value().contains(&frozen), "{}", answer.value());
    }
    let (status, reason) = cluster.airlock.status("/readyz");
    assert_eq!(status, 503, "{reason}");

    cluster.etcd.members[frozen].thaw();
    cluster.etcd.members[dead].spawn();
    cluster.service_is_back_and_stays();
}

#[test]
fn a_thousand_failures_leak_nothing() {
    let etcd = Etcd::start();
    let proxy = Proxy::to(&etcd.endpoints()[0]);
    let airlock = Airlock::on_etcd(&[proxy.endpoint()], "transaction_timeout_ms = 300");
    assert!(airlock.client().lock("default", "a").granted());
    let alive = |airlock: &Airlock| {
        ["process_open_fds", "airlock_tasks"].map(|metric| airlock.metric(metric).unwrap())
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

/// How many of `count` requests of a node failed for the store.
fn fail(client: &Client, node: usize, count: usize) -> usize {
    let ask = |_: &usize| client.lock("default", &format!("n{node}")).kind() == "failed_sem_init";
    (0..count).filter(ask).count()
}

#[test]
fn an_etcd_out_of_space_is_named_as_that() {
    let etcd = Etcd::with(Version::V3_4, 1, &["--quota-backend-bytes", "4194304"]);
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 2");
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    let filled = (0..64).any(|n| {
        let put = ["put", &format!("fill/{n}"), &"x".repeat(100_000)];
        etcd.try_ctl(&put).is_err()
    });
    assert!(filled, "etcd has taken more than its quota");

    let answer = client.lock("default", "b");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    let expected = format!(
        "{}: etcdserver: mvcc: database space exceeded (etcd is out of space: ",
        etcd.endpoints()[0]
    );
    assert!(answer.value().contains(&expected), "{}", answer.value());
    // What needs no write goes on: holders, and invariant 9.
    assert!(client.lock("default", "a").granted());
    assert!(client.unlock("default", "never-held").granted());

    // The remedy that the answer names.
    etcd.ctl(&["del", "--prefix", "fill/"]);
    let status = etcd.ctl(&["endpoint", "status", "--write-out", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    etcd.ctl(&["compact", &revision]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    eventually("the lock", || {
        client.lock("default", "b").granted().then_some(())
    });
}

#[test]
fn an_etcd_that_demands_a_user_is_named_as_that() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    assert!(airlock.client().lock("default", "a").granted());
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    let answer = airlock.client().lock("default", "a");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    let expected = format!(
        "{}: etcdserver: user name is empty (etcd demands a user: ",
        etcd.endpoints()[0]
    );
    assert!(answer.value().contains(&expected), "{}", answer.value());
}
