//! Histories with requests to etcd that arrive after their timeout, and with lost responses, in quiet groups.
//!
//! A late write is a danger only while the store has the value that it compares with. In a busy group, the next request
//! has replaced that value by then. Here, each group sends a few requests that become one commit. The commit arrives
//! late, and some of the clients have disconnected by then. A server that takes an unknown outcome for a failure
//! replies to the others as if the commit could no longer arrive.

use std::thread;
use std::time::{Duration, Instant};

use super::check::{Reply, Request, check};
use super::cluster::{barrier, contents};
use super::gauges::show_the_store;
use super::record::{Group, Recorder, Server, count};
use super::{BY_HAND, SHORT_SEED, SHORT_VERSION, note, number, round};
use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::proxy::{Direction, Network, Proxy};

const NODES: usize = 3;

const GROUPS: [Group; 12] = [
    Group::new("a", 1, NODES, 0, 0),
    Group::new("b", 1, NODES, 0, 0),
    Group::new("c", 1, NODES, 0, 0),
    Group::new("d", 1, NODES, 0, 0),
    Group::new("e", 1, NODES, 0, 0),
    Group::new("f", 1, NODES, 0, 0),
    Group::new("g", 1, NODES, 0, 0),
    Group::new("h", 1, NODES, 0, 0),
    Group::new("i", 1, NODES, 0, 0),
    Group::new("j", 1, NODES, 0, 0),
    Group::new("k", 1, NODES, 0, 0),
    Group::new("l", 1, NODES, 0, 0),
];

/// The rounds of a short run, and the time that a long run takes.
const SHORT_ROUNDS: usize = 8;
const LONG: Duration = Duration::from_secs(60);

/// The clients of a group beside those that send the requests of [`Plan::burst`].
const NEAR: usize = 8;
const OBSERVER: usize = 9;

/// A server has a request time out after this number of milliseconds, and a call to etcd after two fifths of it.
const TIMEOUT_MS: u64 = 600;

/// The time after which some clients disconnect: before the server attempts the commit again.
const HASTY: Duration = Duration::from_millis(150);

/// The delay of requests to etcd, and of responses, at the beginning of a round.
const ONE_WAY: Duration = Duration::from_millis(50);

/// The delay of a late request: the server has attempted the commit again, and its clients wait for no more replies.
const LATE: Duration = Duration::from_millis(500);

/// The times at which a round goes on, from its beginning. The requests of a burst that follow the first one wait for
/// its commit, then become one commit, which meets the fault.
const BEGINNING: Duration = Duration::from_millis(30);
const FAULT: Duration = Duration::from_millis(40);
const NEAR_REQUESTS: Duration = Duration::from_millis(100);
const OBSERVATION: Duration = Duration::from_millis(650);

/// One etcd with two servers.
struct Scene {
    etcd: Etcd,
    /// The network between etcd and the far server.
    proxy: Proxy,
    far: Server,
    near: Server,
    airlocks: [Airlock; 2],
}

/// The requests of a group in one round.
struct Plan {
    /// The request before the round.
    first: Option<Request>,
    /// Requests to the far server: the time at which they are sent, and whether the client disconnects early.
    burst: Vec<(Duration, Request, bool)>,
    /// Requests to the near server before the late commit arrives.
    near: Vec<Request>,
    /// Requests after it has arrived.
    observations: Vec<Request>,
}

#[test]
fn histories_of_quiet_groups_are_linearizable_when_commits_arrive_late_or_their_responses_are_lost()
{
    let seed = number("AIRLOCK_SEED").unwrap_or(SHORT_SEED);
    let long = number("AIRLOCK_STRESS_SECONDS").map(|stress| LONG.min(Duration::from_secs(stress)));
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Scene::start();
    let (began, mut rounds, mut unknown, mut answered) = (Instant::now(), 0, 0, 0);
    let mut is_last = false;
    while !is_last {
        rounds += 1;
        let network = match random.u32(..3) {
            0 => Network::Held(Direction::Responses),
            _ => Network::Late(Direction::Requests, LATE),
        };
        let recorders = scene.round(network, &mut random);
        is_last = long.map_or(rounds == SHORT_ROUNDS, |long| began.elapsed() >= long);
        if is_last {
            scene.show_the_store();
        }
        scene.barrier(&recorders);
        for recorder in recorders {
            let (group, history) = (recorder.group(), recorder.history());
            let (of_group, unknown_of_group) = count(&history);
            answered += of_group;
            unknown += unknown_of_group;
            if let Some(violation) = check(group.slots, &history).violation() {
                let history = round::print(&history, &violation);
                panic!("AIRLOCK_SEED={seed}, round {rounds}, {network:?}:\n{history}");
            }
        }
    }
    let groups = GROUPS.len();
    let conflicts = round::conflicts(&scene.airlocks, &GROUPS);
    note(&format!(
        "{rounds} rounds of {groups} quiet groups: \
         {answered} answered, {unknown} unknown, {conflicts} conflicts in {:?}",
        began.elapsed()
    ));
    assert!(unknown > 2 * rounds, "too few outcomes were unknown");
    assert!(answered > 8 * rounds, "too few requests were answered");
    // There is no minimum of conflicts. Twelve runs of 8 rounds had 1 to 11: a server retries a commit that was lost or
    // is late only for the clients that still wait, and often it has seen the writes of the other one by then.
}

/// Without this, the histories would have no late writes.
#[test]
fn a_commit_that_is_delivered_after_its_timeout_takes_effect() {
    let scene = Scene::start();
    let group = &GROUPS[0];
    let send = |client: &Client, endpoint| client.try_post(endpoint, group.name, "late");
    // The server is connected, and the group exists.
    for endpoint in ["v1/pre-reboot", "v1/steady-state"] {
        assert!(send(&scene.far.patient, endpoint).unwrap().granted());
    }
    let late = Network::Late(Direction::Requests, 3 * LATE);
    scene.proxy.set_open(late);
    // Nothing repeats the commit of a request without a client.
    send(&scene.far.hasty, "v1/pre-reboot").unwrap_err();
    let holders = || scene.etcd.get(&group.key());
    assert!(!holders().contains("late"), "{}", holders());
    eventually("the late commit", || {
        holders().contains("late").then_some(())
    });
    assert!(scene.proxy.reset() > 0);
}

// === impl Scene ===

impl Scene {
    fn start() -> Self {
        let etcd = Etcd::with(SHORT_VERSION, 1, &[]);
        let proxy = Proxy::to(&etcd.endpoints()[0]);
        let start = |endpoint: &str| {
            let airlock = Airlock::start_with(&config(endpoint), &["-v"]);
            let server = Server {
                patient: Client::with_timeout(airlock.url(), Duration::from_secs(6)),
                hasty: Client::with_timeout(airlock.url(), HASTY),
            };
            (airlock, server)
        };
        let (far_airlock, far) = start(&proxy.endpoint());
        let (near_airlock, near) = start(&etcd.endpoints()[0]);
        Scene {
            etcd,
            proxy,
            far,
            near,
            airlocks: [far_airlock, near_airlock],
        }
    }

    /// Sends the requests of all groups. `network` is the fault.
    fn round(&self, network: Network, random: &mut fastrand::Rng) -> Vec<Recorder> {
        let are_lost = network == Network::Held(Direction::Responses);
        let recorders: Vec<Recorder> = GROUPS.iter().map(Recorder::new).collect();
        let plans: Vec<Plan> = (GROUPS.iter().map(|_| Plan::new(random, are_lost))).collect();
        for (recorder, plan) in recorders.iter().zip(&plans) {
            if let Some(first) = plan.first {
                let reply = recorder.ask(OBSERVER, &self.far.patient, first);
                assert_eq!(reply, Some(Reply::Yes), "no fault has begun");
            }
        }
        self.proxy.set(Network::Slow(ONE_WAY));
        let began = Instant::now() + BEGINNING;
        thread::scope(|scope| {
            for (recorder, plan) in recorders.iter().zip(&plans) {
                scope.spawn(move || self.send(recorder, plan, began));
            }
            sleep_until(began + FAULT);
            self.proxy.set_open(network);
        });
        self.proxy.set(Network::Works);
        recorders
    }

    /// Waits until both servers show what is in the store.
    fn show_the_store(&self) {
        show_the_store(&self.airlocks, &GROUPS, |group| {
            contents(group, &self.etcd.get(&group.key()))
        });
    }

    /// Ends the histories of a round.
    fn barrier(&self, recorders: &[Recorder]) {
        let servers = [self.far.clone(), self.near.clone()];
        thread::scope(|scope| {
            for recorder in recorders {
                let servers = &servers;
                scope.spawn(move || {
                    barrier(recorder, servers, &mut |_| {
                        for node in 0..NODES {
                            recorder.ask(BY_HAND, &self.near.patient, Request::Unlock(node));
                        }
                    });
                });
            }
        });
    }

    /// Sends the requests of one group.
    fn send(&self, recorder: &Recorder, plan: &Plan, began: Instant) {
        thread::scope(|scope| {
            for (client, (after, request, is_hasty)) in plan.burst.iter().enumerate() {
                scope.spawn(move || {
                    let far = &self.far;
                    let server = if *is_hasty { &far.hasty } else { &far.patient };
                    sleep_until(began + *after);
                    recorder.ask(client, server, *request);
                });
            }
            sleep_until(began + NEAR_REQUESTS);
            for request in &plan.near {
                recorder.ask(NEAR, &self.near.patient, *request);
            }
        });
        sleep_until(began + OBSERVATION);
        for request in &plan.observations {
            recorder.ask(OBSERVER, &self.near.patient, *request);
        }
    }
}

fn config(endpoint: &str) -> String {
    let tables: String = GROUPS
        .iter()
        .map(|group| {
            format!(
                "[[lock.groups]]\nname = {:?}\nslots = {}\n",
                group.name, group.slots
            )
        })
        .collect();
    format!(
        "{LISTEN}[etcd3]\nendpoints = [{endpoint:?}]\ntransaction_timeout_ms = {TIMEOUT_MS}\n{tables}"
    )
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

// === impl Plan ===

impl Plan {
    fn new(random: &mut fastrand::Rng, are_lost: bool) -> Self {
        let holder = random.usize(..NODES);
        let other = (holder + random.usize(1..NODES)) % NODES;
        let all = [
            Request::Lock(holder),
            Request::Unlock(holder),
            Request::Lock(other),
            Request::Unlock(other),
        ];
        let mut any = || all[random.usize(..all.len())];
        let [first, second, third] = [any(), any(), any()];
        let near = [any(), any(), any()];
        // The holder leaves without its reply, and another node waits for one: together they change the holder, and
        // without the former, the latter is refused.
        let burst = vec![
            (
                Duration::ZERO,
                mostly(random, Request::Lock(holder), first),
                false,
            ),
            (
                Duration::from_millis(12),
                mostly(random, Request::Unlock(holder), second),
                mostly(random, true, false),
            ),
            (
                Duration::from_millis(24),
                mostly(random, Request::Lock(other), third),
                mostly(random, false, true),
            ),
        ];
        Plan {
            first: mostly(random, Some(Request::Lock(holder)), None),
            burst,
            near: if mostly(random, are_lost, !are_lost) {
                near.into()
            } else {
                Vec::new()
            },
            observations: vec![
                Request::Lock(holder),
                Request::Lock(other),
                Request::Lock(holder),
            ],
        }
    }
}

/// Returns one of two values, the first one more often.
fn mostly<T>(random: &mut fastrand::Rng, usual: T, other: T) -> T {
    if random.u32(..4) > 0 { usual } else { other }
}
