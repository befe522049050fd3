//! Several servers, one group, many nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::etcd::Etcd;

const NODES: usize = 200;
const SLOTS: u64 = 3;
/// How often each node reboots.
const TURNS: usize = 3;

/// A node that reboots: `away` counts those who were told yes and have not said that they are back.
fn reboot(servers: &[Mutex<Option<Client>>; 3], node: usize, away: &AtomicU64) {
    let id = format!("node-{node:03}");
    for turn in 0..TURNS {
        let mut server = node + turn;
        loop {
            match ask(servers, &mut server, |client| {
                client.try_post("v1/pre-reboot", "default", &id)
            }) {
                answer if answer.granted() => break,
                answer => assert_eq!(answer.value(), "all 3 semaphore slots currently locked"),
            }
        }
        // Invariant 2, as the nodes see it.
        assert!(away.fetch_add(1, Ordering::SeqCst) < SLOTS, "over-granted");
        away.fetch_sub(1, Ordering::SeqCst);
        let back = ask(servers, &mut server, |client| {
            client.try_post("v1/steady-state", "default", &id)
        });
        assert!(back.granted(), "{back:?}");
    }
}

/// Asks a server that is up, the next one each time. One that is just ending may close a connection as it is
/// used; as a node would, another is asked then.
fn ask(
    servers: &[Mutex<Option<Client>>; 3],
    next: &mut usize,
    ask: impl Fn(&Client) -> reqwest::Result<Response>,
) -> Response {
    loop {
        *next += 1;
        let client = servers[*next % servers.len()].lock().unwrap().clone();
        if let Some(Ok(answer)) = client.as_ref().map(&ask) {
            return answer;
        }
    }
}

#[test]
fn invariant_2_three_servers_one_of_them_restarted_never_grant_too_much_and_every_node_gets_its_turn()
 {
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

    // Half-way, one server ends in order (its clients are told nothing wrong) and another run begins.
    let granted = || {
        let name =
            "airlock_responses_total{endpoint=\"pre_reboot\",group=\"default\",outcome=\"locked\"}";
        airlocks
            .iter()
            .filter_map(|airlock| airlock.metric(name))
            .sum::<f64>()
    };
    airlock_test_support::eventually("half of the grants", || {
        (granted() >= (NODES * TURNS / 2) as f64).then_some(())
    });
    *servers[1].lock().unwrap() = None;
    airlocks[1].terminate();
    assert_eq!(airlocks[1].process().wait().code(), Some(0));
    airlocks[1].restart();
    *servers[1].lock().unwrap() = Some(airlocks[1].client());

    for node in nodes {
        node.join().unwrap();
    }
    assert_eq!(
        etcd.get("com.coreos.airlock/groups/default/v1/semaphore"),
        r#"{"total_slots":3,"holders":[]}"#
    );
}

#[test]
fn one_dead_or_silent_endpoint_costs_no_request_its_deadline() {
    let mut etcd = Etcd::cluster(3);
    // Not the leader: what is tested is the way to the cluster, not an election.
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
        // From now on another endpoint is preferred.
        for _ in 0..20 {
            assert!(airlock.client().lock("default", fault).granted());
        }
        assert!(airlock.client().unlock("default", fault).granted());
        if fault == "silent" {
            etcd.members[follower].thaw();
        }
    }
}
