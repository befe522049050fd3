//! Several servers with one group and many nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::history::most_holders;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";
const NODES: usize = 200;
const SLOTS: u64 = 3;
/// The number of reboots of each node.
const REBOOTS: usize = 3;

/// Reboots a node several times. `away` counts the nodes between a grant and their steady-state request.
fn reboot(servers: &[Mutex<Option<Client>>; 3], node: usize, away: &AtomicU64) {
    let id = format!("node-{node:03}");
    for turn in 0..REBOOTS {
        let mut server = node + turn;
        loop {
            match send(servers, &mut server, |client| {
                client.try_post("v1/pre-reboot", "default", &id)
            }) {
                answer if answer.granted() => break,
                answer => assert_eq!(answer.value(), "all 3 semaphore slots currently locked"),
            }
        }
        // As observed by the nodes. The values in etcd show every moment.
        assert!(away.fetch_add(1, Ordering::SeqCst) < SLOTS, "over-granted");
        away.fetch_sub(1, Ordering::SeqCst);
        let back = send(servers, &mut server, |client| {
            client.try_post("v1/steady-state", "default", &id)
        });
        assert!(back.granted(), "{back:?}");
    }
}

/// Sends a request to a running server, the next one each time. A server that is shutting down may close the
/// connection; then the request is sent to another one, as a node would do.
fn send(
    servers: &[Mutex<Option<Client>>; 3],
    next: &mut usize,
    request: impl Fn(&Client) -> reqwest::Result<Response>,
) -> Response {
    loop {
        *next += 1;
        let client = servers[*next % servers.len()].lock().unwrap().clone();
        if let Some(Ok(answer)) = client.as_ref().map(&request) {
            return answer;
        }
    }
}

#[test]
fn invariant_2_three_servers_with_a_restart_never_over_grant_and_every_node_gets_a_slot() {
    let etcd = Etcd::cluster(3);
    let mut airlocks: Vec<Airlock> = (0..3)
        .map(|_| Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 3"))
        .collect();
    let servers =
        Arc::new([0, 1, 2].map(|index: usize| Mutex::new(Some(airlocks[index].client()))));
    let away = Arc::new(AtomicU64::new(0));
    let nodes: Vec<_> = (0..NODES)
        .map(|node| {
            let (servers, away) = (Arc::clone(&servers), Arc::clone(&away));
            thread::spawn(move || reboot(&servers, node, &away))
        })
        .collect();

    // After half of the grants one server shuts down, without a failed request, and is started again.
    let granted = || {
        let name =
            "airlock_responses_total{endpoint=\"pre_reboot\",group=\"default\",outcome=\"locked\"}";
        airlocks
            .iter()
            .filter_map(|airlock| airlock.metric(name))
            .sum::<f64>()
    };
    airlock_test_support::eventually("half of the grants", || {
        (granted() >= (NODES * REBOOTS / 2) as f64).then_some(())
    });
    *servers[1].lock().unwrap() = None;
    airlocks[1].terminate();
    assert_eq!(airlocks[1].process().wait().code(), Some(0));
    airlocks[1].restart();
    *servers[1].lock().unwrap() = Some(airlocks[1].client());

    for node in nodes {
        node.join().unwrap();
    }
    assert_eq!(etcd.get(KEY), r#"{"total_slots":3,"holders":[]}"#);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let most = runtime.block_on(most_holders(&etcd.endpoints(), KEY));
    assert_eq!(most as u64, SLOTS);
}

#[test]
fn one_dead_or_silent_endpoint_lets_no_request_miss_its_deadline() {
    let mut etcd = Etcd::cluster(3);
    // Not the leader: the test is about the connection to the cluster, not about an election.
    let follower = (etcd.leader() + 1) % 3;
    let mut endpoints = etcd.endpoints();
    endpoints.swap(0, follower);
    for fault in ["silent", "dead"] {
        let airlock = Airlock::on_etcd(&endpoints, "");
        assert!(airlock.client().lock("default", fault).granted());
        match fault {
            "silent" => etcd.members[follower].freeze(),
            _ => etcd.members[follower].kill(),
        }
        let answer = airlock.client().unlock("default", fault);
        assert!(answer.granted(), "{fault}: {answer:?}");
        // From now on the server prefers another endpoint.
        for _ in 0..20 {
            assert!(airlock.client().lock("default", fault).granted());
        }
        assert!(airlock.client().unlock("default", fault).granted());
        if fault == "silent" {
            etcd.members[follower].thaw();
        }
    }
}
