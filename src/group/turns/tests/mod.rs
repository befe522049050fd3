//! The rules one by one; `week` simulates fleets.

use proptest::prelude::*;

use super::*;
use crate::lock::policy::{Conditions, Terms};
use crate::lock::semaphore::Command;

mod week;

/// The turns of one server, and the semaphore of the store.
struct Fixture {
    turns: Turns,
    semaphore: Arc<Semaphore>,
}

impl Fixture {
    fn new(slots: u64) -> Self {
        let semaphore = Arc::new(Semaphore::new(slots));
        let mut turns = Turns::new(100);
        turns.observe(&semaphore, minute(0));
        Fixture { turns, semaphore }
    }

    /// A node asks; returns the reservation for which it is refused.
    fn ask(&mut self, node: &str, at: Timestamp) -> Option<Reservation> {
        let id = id(node);
        let kept = self.turns.reserved_for_others(&id, &self.semaphore, at);
        if kept.is_some() || self.semaphore.free() == 0 {
            self.turns.denied(&id, at);
        } else {
            Arc::make_mut(&mut self.semaphore).apply(&lock(id.clone(), at), &Conditions::default());
            self.turns.observe(&self.semaphore, at);
            self.turns.served(&id);
        }
        kept
    }

    fn release(&mut self, node: &str, at: Timestamp) {
        Arc::make_mut(&mut self.semaphore).release(&node.into(), at);
    }

    fn holds(&self, node: &str) -> bool {
        self.semaphore.holders.contains_key(node)
    }

    /// Node `holder` holds the only slot until the end of minute `until`, and `waiting` asks every five minutes.
    fn waits(waiting: &str, until: i64) -> Self {
        let mut fixture = Fixture::new(1);
        fixture.ask("holder", minute(0));
        for at in (0..=until).step_by(5) {
            fixture.ask(waiting, minute(at));
        }
        fixture.release("holder", minute(until));
        fixture
    }
}

fn id(text: &str) -> NodeId {
    text.parse().unwrap()
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn lock(id: NodeId, at: Timestamp) -> Command {
    Command::Lock {
        id,
        at,
        client: Default::default(),
        terms: Terms::default(),
    }
}

#[test]
fn a_free_slot_goes_to_the_node_that_asks_first() {
    let mut fixture = Fixture::waits("b", 60);
    assert_eq!(fixture.ask("c", minute(60)), None);
    assert!(fixture.holds("c"));
}

#[test]
fn a_node_that_has_waited_for_more_than_an_hour_gets_the_next_slot() {
    let mut fixture = Fixture::waits("b", 65);
    let kept = |reservation: Option<Reservation>| reservation.unwrap().to_string();
    let text = "a free slot is kept for nodes that have waited longer; ask again in";
    assert_eq!(
        kept(fixture.ask("c", minute(66))),
        format!("{text} 6 minutes")
    );
    assert_eq!(
        kept(fixture.ask("d", minute(71))),
        format!("{text} 1 minute")
    );
    assert_eq!(fixture.ask("b", minute(71)), None);
    assert!(fixture.holds("b"));
    fixture.release("b", minute(72));
    assert_eq!(fixture.ask("c", minute(72)), None);
}

#[test]
fn a_node_that_does_not_return_loses_its_turn() {
    let mut fixture = Fixture::waits("gone", 65);
    fixture.ask("c", minute(66)).unwrap();
    fixture.ask("d", minute(72)).unwrap();
    assert_eq!(fixture.ask("c", minute(73)), None);
    fixture.release("c", minute(74));
    assert_eq!(fixture.ask("d", minute(74)), None);
    fixture.release("d", minute(75));
    // It is not forgotten.
    fixture.turns.denied(&id("gone"), minute(75));
    fixture.ask("c", minute(76)).unwrap();
}

#[test]
fn no_slot_is_kept_for_a_node_that_has_not_asked_for_15_minutes() {
    let mut fixture = Fixture::waits("gone", 65);
    assert_eq!(fixture.ask("c", minute(81)), None);
}

#[test]
fn only_as_many_slots_are_kept_as_nodes_have_waited_for_long() {
    let mut fixture = Fixture::new(2);
    fixture.ask("x", minute(0));
    fixture.ask("y", minute(0));
    for at in (0..=65).step_by(5) {
        fixture.ask("b", minute(at));
    }
    fixture.release("x", minute(65));
    fixture.release("y", minute(65));
    assert_eq!(fixture.ask("c", minute(66)), None);
    fixture.ask("d", minute(66)).unwrap();
}

#[test]
fn a_node_that_another_server_granted_a_lock_no_longer_waits() {
    let mut fixture = Fixture::waits("b", 65);
    Arc::make_mut(&mut fixture.semaphore).apply(&lock(id("b"), minute(66)), &Conditions::default());
    assert_eq!(fixture.ask("c", minute(67)), None);
    fixture.release("b", minute(68));
    assert_eq!(fixture.ask("c", minute(69)), None);
    assert!(fixture.holds("c"));
}

#[test]
fn invariant_12_a_holder_is_never_refused() {
    let mut fixture = Fixture::new(2);
    fixture.ask("a", minute(0));
    fixture.ask("x", minute(0));
    for at in (0..=65).step_by(5) {
        fixture.ask("b", minute(at));
    }
    fixture.release("x", minute(65));
    assert_eq!(fixture.ask("a", minute(66)), None);
    fixture.ask("c", minute(66)).unwrap();
}

#[test]
fn many_nodes_that_have_waited_for_the_mean_have_precedence_for_30_seconds() {
    let mut fixture = Fixture::waits("b", 120);
    fixture.turns.mean = MeanWait {
        grants: MEAN_OF,
        seconds: 90.0 * 60.0,
    };
    let second = |second: i64| Timestamp::from_second(120 * 60 + second).unwrap();
    fixture.ask("c", second(0)).unwrap();
    fixture.ask("c", second(30)).unwrap();
    assert_eq!(fixture.ask("c", second(31)), None);
}

#[test]
fn after_the_clock_was_set_back_no_wait_is_known() {
    let mut fixture = Fixture::waits("b", 65);
    fixture.ask("c", minute(66)).unwrap();
    assert_eq!(fixture.ask("c", minute(5)), None);
    assert!(fixture.turns.by_id.is_empty());
    // The requests of one moment are in any order.
    fixture.turns.denied(&id("b"), minute(6));
    fixture.turns.denied(&id("d"), minute(5));
    assert_eq!(fixture.turns.by_id.len(), 2);
}

#[test]
fn invariant_8_the_nodes_are_bounded_and_a_silent_one_is_replaced() {
    let mut turns = Turns::new(2);
    for (node, at) in [
        ("a", 0),
        ("b", 0),
        ("c", 1),
        ("b", 10),
        ("c", 16),
        ("d", 17),
    ] {
        turns.denied(&id(node), minute(at));
    }
    let mut known: Vec<_> = turns.by_id.keys().map(NodeId::as_str).collect();
    known.sort_unstable();
    assert_eq!(known, ["b", "c"]);
    turns.denied(&id("d"), minute(10 + 121));
    assert_eq!(turns.by_id.len(), 2);
    turns.denied(&id("d"), minute(300));
    assert_eq!(turns.by_id.len(), 1);
}

proptest! {
    #[test]
    fn the_indexes_agree(
        max in 1..5_usize,
        steps in prop::collection::vec((-3..20_i64, 0..6_u8, 0..3_u8), 0..100),
    ) {
        let mut fixture = Fixture::new(2);
        fixture.turns.set_max(max);
        let mut now = 0;
        for (minutes, node, step) in steps {
            now += minutes;
            let node = node.to_string();
            match step {
                0 | 1 => drop(fixture.ask(&node, minute(now))),
                _ => fixture.release(&node, minute(now)),
            }
            let Turns { by_id, heard, heard_by_since, silent, .. } = &fixture.turns;
            prop_assert!(by_id.len() <= max);
            prop_assert_eq!(by_id.len(), heard.len() + silent.len());
            prop_assert_eq!(heard.len(), heard_by_since.len());
            for (listed, id) in heard {
                prop_assert!(!by_id[id].is_silent && *listed == by_id[id].listed);
            }
            for (listed, id) in silent {
                prop_assert!(by_id[id].is_silent && *listed == by_id[id].last_asked);
            }
            for (since, id) in heard_by_since {
                prop_assert_eq!(*since, by_id[id].since);
                prop_assert!(!by_id[id].is_silent);
            }
        }
    }
}
