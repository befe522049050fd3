//! The commit protocol, model-checked: every order of events in fleets of a stated size.
//!
//! What a server sends and what it makes of an outcome is the real code (`airlock::group::protocol`,
//! `airlock::semaphore`). The store, the network, the nodes and everybody else are in `fleet`.

mod fleet;
mod state;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use fleet::{Fleet, Variant};

/// Two servers and one slot for two nodes, with everything that can happen.
const TWO_SERVERS: Fleet = Fleet {
    nodes: 2,
    servers: 2,
    slots: 1,
    late: 2,
    pause: true,
    variant: Variant::Real,
};

/// More servers; one late write, and no pause.
const THREE_SERVERS: Fleet = Fleet {
    servers: 3,
    late: 1,
    pause: false,
    ..TWO_SERVERS
};

/// More nodes and slots, so that a batch has an order; one server.
const THREE_NODES: Fleet = Fleet {
    nodes: 3,
    servers: 1,
    slots: 2,
    late: 1,
    pause: false,
    ..TWO_SERVERS
};

/// Searches all that can happen. The number of states is stated, so that nobody shrinks it unseen.
fn holds(fleet: Fleet, states: usize) {
    let search = fleet
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

/// Searches until `property` is broken.
fn breaks(variant: Variant, property: &'static str) {
    let fleet = Fleet {
        variant,
        ..TWO_SERVERS
    };
    let search = fleet
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AllOf([property].into()));
    search.spawn_bfs().join().assert_any_discovery(property);
}

#[test]
fn invariants_1_to_7_and_9_hold_for_two_servers() {
    holds(TWO_SERVERS, 125_862);
}

#[test]
fn invariants_1_to_7_and_9_hold_for_three_servers() {
    holds(THREE_SERVERS, 159_524);
}

#[test]
fn invariants_1_to_7_and_9_hold_for_three_nodes() {
    holds(THREE_NODES, 82_724);
}

#[test]
fn invariant_4_answers_from_the_copy_are_found_out() {
    breaks(Variant::AnswersFromTheCopy, fleet::TRUE_ANSWERS);
}

#[test]
fn invariant_6_an_unknown_outcome_taken_for_a_success_is_found_out() {
    breaks(Variant::TakesUnknownAsDone, fleet::TRUE_ANSWERS);
}

#[test]
fn invariant_6_a_write_that_is_sent_again_blindly_is_found_out() {
    breaks(Variant::SendsBlindlyAgain, fleet::NEVER_ABOVE_SLOTS);
    breaks(Variant::SendsBlindlyAgain, fleet::ANSWERS_STAY_TRUE);
}

/// A lock in flight, its node gone, its release confirmed without a write: then the lock arrives, and
/// nobody will ever release it.
#[test]
fn invariant_6_a_bare_confirmation_beside_a_late_write_is_found_out() {
    breaks(Variant::NoFence, fleet::ANSWERS_STAY_TRUE);
}

/// To read after an unknown outcome saves a comparison that may be lost. It is the comparison and the
/// fence that keep the promise; this says so, should somebody wonder which of them may go.
#[test]
fn invariant_6_the_comparison_looks_also_where_nothing_is_read() {
    let fleet = Fleet {
        variant: Variant::NoRead,
        late: 1,
        pause: false,
        ..TWO_SERVERS
    };
    holds(fleet, 16_085);
}
