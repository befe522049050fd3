//! Fleets that poll for a week, with a simulated clock: the time that a node waits for its slot.
//!
//! `cargo test --lib group::turns::tests::week -- --ignored --nocapture` prints all of them, with and without
//! turns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::*;
use crate::lock::policy::Evaluation;
use crate::lock::semaphore::Outcome;

/// Milliseconds, like all times here.
const WEEK: i64 = 7 * 24 * 60 * MINUTE;
const MINUTE: i64 = 60_000;
/// The interval of a poll, without its jitter.
const INTERVAL: i64 = 5 * MINUTE;

/// When the nodes want to reboot.
#[derive(Clone, Copy, Debug)]
enum Demand {
    /// All at once, at the start of the week.
    Rollout,
    /// This many times each, at random.
    Random(u8),
    /// Again shortly after each reboot.
    Always,
}

#[derive(Clone, Copy, Debug)]
struct Fleet {
    demand: Demand,
    nodes: usize,
    slots: u64,
    /// Whether a node polls every 300 to 330 s, as Zincati does, or exactly every 300 s.
    has_jitter: bool,
    /// The load balancer chooses one of these for each request.
    servers: usize,
    /// More nodes, which ask once and never return.
    gone: usize,
}

struct Week {
    grants: usize,
    mean: f64,
    max: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Want,
    Poll,
    Release,
}

struct Simulation {
    fleet: Fleet,
    rng: fastrand::Rng,
    has_turns: bool,
    semaphore: Arc<Semaphore>,
    servers: Vec<Turns>,
    ids: Vec<NodeId>,
    events: BinaryHeap<Reverse<(i64, Event, usize)>>,
    /// The phase in which a node without jitter polls.
    phases: Vec<i64>,
    wants_since: Vec<Option<i64>>,
    /// The nodes that want to reboot again after their next reboot.
    again: HashSet<usize>,
    waits: Vec<i64>,
}

impl Fleet {
    fn new(demand: Demand, nodes: usize, slots: u64) -> Self {
        Fleet {
            demand,
            nodes,
            slots,
            has_jitter: true,
            servers: 1,
            gone: 0,
        }
    }

    fn without_jitter(self) -> Self {
        Fleet {
            has_jitter: false,
            ..self
        }
    }

    /// Two servers, and twenty nodes that do not return.
    fn with_two_servers(self) -> Self {
        Fleet {
            servers: 2,
            gone: 20,
            ..self
        }
    }

    fn simulate(self, seed: u64, has_turns: bool) -> Week {
        let semaphore = Arc::new(Semaphore::new(self.slots));
        let mut servers: Vec<_> = (0..self.servers).map(|_| Turns::new(10_000)).collect();
        for server in &mut servers {
            server.observe(&semaphore, time(0));
        }
        let all = self.nodes + self.gone;
        let ids = (0..all).map(|node| id(&format!("{node:032x}"))).collect();
        let mut rng = fastrand::Rng::with_seed(seed);
        let phases = (0..all).map(|_| rng.i64(0..INTERVAL)).collect();
        let mut simulation = Simulation {
            fleet: self,
            rng,
            phases,
            has_turns,
            semaphore,
            servers,
            ids,
            events: BinaryHeap::new(),
            wants_since: vec![None; all],
            again: HashSet::new(),
            waits: Vec::new(),
        };
        simulation.run();
        let Simulation {
            mut waits,
            wants_since,
            ..
        } = simulation;
        let grants = waits.len();
        let waiting = &wants_since[..self.nodes];
        waits.extend(waiting.iter().flatten().map(|since| WEEK - since));
        let minutes = |ms: i64| ms as f64 / MINUTE as f64;
        Week {
            grants,
            mean: minutes(waits.iter().sum()) / waits.len() as f64,
            max: minutes(*waits.iter().max().unwrap()),
        }
    }
}

impl Simulation {
    fn run(&mut self) {
        for node in 0..self.ids.len() {
            let is_gone = node >= self.fleet.nodes;
            match self.fleet.demand {
                _ if is_gone => self.at_random(node, WEEK),
                Demand::Rollout | Demand::Always => self.push(self.phases[node], Event::Want, node),
                Demand::Random(times) => (0..times).for_each(|_| self.at_random(node, WEEK)),
            }
        }
        while let Some(Reverse((now, event, node))) = self.events.pop()
            && now < WEEK
        {
            match event {
                Event::Want => self.want(node, now),
                Event::Poll => self.poll(node, now),
                Event::Release => self.release(node, now),
            }
        }
    }

    fn at_random(&mut self, node: usize, until: i64) {
        let at = self.rng.i64(0..until);
        self.push(at, Event::Want, node);
    }

    fn push(&mut self, at: i64, event: Event, node: usize) {
        self.events.push(Reverse((at, event, node)));
    }

    fn jitter(&mut self) -> i64 {
        match self.fleet.has_jitter {
            true => self.rng.i64(0..=INTERVAL / 10),
            false => 0,
        }
    }

    fn want(&mut self, node: usize, now: i64) {
        let holds = self.semaphore.holders.contains_key(self.ids[node].as_str());
        if holds || self.wants_since[node].is_some() {
            self.again.insert(node);
        } else {
            self.wants_since[node] = Some(now);
            self.poll(node, now);
        }
    }

    fn poll(&mut self, node: usize, now: i64) {
        let id = self.ids[node].clone();
        let server = self.rng.usize(..self.servers.len());
        let server = &mut self.servers[server];
        let reserved = server.reserved_for_others(&id, &self.semaphore, time(now));
        let command = lock(id.clone(), time(now));
        let conditions = Conditions::default();
        let evaluation = Evaluation::new(&conditions);
        if (self.has_turns && reserved.is_some())
            || self.semaphore.decide(&command, &evaluation) != Outcome::Locked
        {
            server.denied(&id, time(now));
            if node < self.fleet.nodes {
                let jitter = self.jitter();
                self.push(now + INTERVAL + jitter, Event::Poll, node);
            }
            return;
        }
        Arc::make_mut(&mut self.semaphore).apply(&command, &conditions);
        server.observe(&self.semaphore, time(now));
        server.served(&id);
        if node < self.fleet.nodes {
            self.waits
                .extend(self.wants_since[node].take().map(|since| now - since));
        }
        let hold = self.rng.i64(3 * MINUTE..=10 * MINUTE);
        self.push(now + hold, Event::Release, node);
    }

    fn release(&mut self, node: usize, now: i64) {
        let id = self.ids[node].shared();
        Arc::make_mut(&mut self.semaphore).release(&id, time(now));
        let wants_again = match self.fleet.demand {
            Demand::Always => node < self.fleet.nodes,
            Demand::Rollout | Demand::Random(_) => self.again.remove(&node),
        };
        if wants_again {
            let pause = match self.fleet.has_jitter {
                true => self.rng.i64(MINUTE..2 * MINUTE),
                false => INTERVAL - (now - self.phases[node]).rem_euclid(INTERVAL),
            };
            self.push(now + pause, Event::Want, node);
        }
    }
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// Asserts that no node waits for longer than three times the mean, or 150 minutes if that is more.
fn assert_fair(fleet: Fleet, seed: u64) -> Week {
    let week = fleet.simulate(seed, true);
    let Week { mean, max, .. } = week;
    let limit = (3.0 * mean).max(150.0);
    assert!(
        max <= limit,
        "{fleet:?}, seed {seed}: {max:.0} min, mean {mean:.0} min"
    );
    week
}

#[test]
fn a_rollout_is_fair() {
    for slots in [2, 20] {
        assert_fair(Fleet::new(Demand::Rollout, 1000, slots), slots);
    }
}

#[test]
fn nodes_with_updates_at_random_are_served_in_fair_time() {
    for slots in [1, 2] {
        let fleet = Fleet::new(Demand::Random(1), 1000, slots);
        assert_fair(fleet, slots);
        assert_fair(fleet.without_jitter(), slots);
    }
}

#[test]
fn a_queue_that_grows_for_a_week_is_fair() {
    let fleet = Fleet::new(Demand::Random(2), 1000, 1);
    assert_fair(fleet.with_two_servers(), 0);
    assert_fair(fleet.without_jitter(), 1);
}

#[test]
fn a_queue_that_never_ends_is_fair() {
    for (slots, seed) in [(1, 0), (20, 1)] {
        let fleet = Fleet::new(Demand::Always, 100, slots);
        assert_fair(fleet.without_jitter(), seed);
        assert_fair(fleet.with_two_servers(), seed);
    }
}

#[test]
fn without_turns_a_queue_is_a_lottery_and_they_cost_less_than_a_tenth_of_the_grants() {
    let fleet = Fleet::new(Demand::Always, 100, 5);
    let lottery = fleet.simulate(0, false);
    assert!(lottery.max > 6.0 * lottery.mean);
    let fair = assert_fair(fleet, 0);
    assert!(fair.grants > lottery.grants / 10 * 9);
}

/// The figures of docs/decisions/0009.
#[test]
#[ignore = "prints a table, and takes minutes"]
fn table() {
    use Demand::{Always, Random, Rollout};
    const SEEDS: u64 = 4;
    println!(
        "without turns and with them: grants, and minutes waited: mean, max, largest max/mean"
    );
    for (demand, nodes) in [
        (Rollout, 1000),
        (Random(1), 1000),
        (Random(2), 1000),
        (Always, 1000),
        (Always, 100),
        (Always, 10),
    ] {
        for slots in [1, 2, 5, 20] {
            let fleet = Fleet::new(demand, nodes, slots);
            for fleet in [fleet, fleet.without_jitter(), fleet.with_two_servers()] {
                let Fleet {
                    has_jitter,
                    servers,
                    ..
                } = fleet;
                print!("{demand:?} {nodes}, slots {slots}, jitter {has_jitter}, servers {servers}");
                for has_turns in [false, true] {
                    let weeks: Vec<_> = (0..SEEDS)
                        .map(|seed| fleet.simulate(seed, has_turns))
                        .collect();
                    let mean_of =
                        |of: fn(&Week) -> f64| weeks.iter().map(of).sum::<f64>() / SEEDS as f64;
                    let max_of = |of: fn(&Week) -> f64| weeks.iter().map(of).fold(0.0, f64::max);
                    print!(
                        " | {:.0} {:.1} {:.0} {:.2}",
                        mean_of(|week| week.grants as f64),
                        mean_of(|week| week.mean),
                        max_of(|week| week.max),
                        max_of(|week| week.max / week.mean),
                    );
                }
                println!();
            }
        }
    }
}
