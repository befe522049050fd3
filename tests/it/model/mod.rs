//! Model checking of the commit protocol: every order of events in fleets of a given size.
//!
//! The commits of a server and its reactions to their outcomes are the real code (`airlock::lock::protocol`,
//! `airlock::lock::semaphore`). The module `fleet` models the store, the network, the nodes and other programs.

mod fleet;
mod state;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use fleet::{Fleet, Variant};

/// Two servers and one slot for two nodes, with all actions.
const TWO_SERVERS: Fleet = Fleet {
    nodes: 2,
    servers: 2,
    slots: 1,
    late: 2,
    pause: true,
    variant: Variant::Real,
};

/// Three servers, with at most one late write and without a pause.
const THREE_SERVERS: Fleet = Fleet {
    servers: 3,
    late: 1,
    pause: false,
    ..TWO_SERVERS
};

/// Three nodes and two slots, so that the order within a batch matters, and one server.
const THREE_NODES: Fleet = Fleet {
    nodes: 3,
    servers: 1,
    slots: 2,
    late: 1,
    pause: false,
    ..TWO_SERVERS
};

/// Searches all reachable states. The test fails if their number changes, so a smaller search is noticed.
fn holds(fleet: Fleet, states: usize) {
    let search = fleet
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

/// Searches until `property` is violated.
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
fn invariant_4_the_search_finds_responses_from_the_copy() {
    breaks(Variant::AnswersFromTheCopy, fleet::TRUE_ANSWERS);
}

#[test]
fn invariant_6_the_search_finds_an_unknown_outcome_treated_as_success() {
    breaks(Variant::TreatsUnknownAsSuccess, fleet::TRUE_ANSWERS);
}

#[test]
fn invariant_6_the_search_finds_a_blindly_resent_write() {
    breaks(Variant::ResendsBlindly, fleet::NEVER_ABOVE_SLOTS);
    breaks(Variant::ResendsBlindly, fleet::ANSWERS_STAY_TRUE);
}

/// A lock request is in flight, its node disconnects, and the release is confirmed without a write. Then the lock
/// arrives, and no node will ever release it.
#[test]
fn invariant_6_the_search_finds_a_confirmation_beside_a_late_write() {
    breaks(Variant::NoFence, fleet::ANSWERS_STAY_TRUE);
}

/// The read after an unknown outcome only saves a likely conflict. The comparison and the fence are what the
/// invariant depends on: this test shows that it holds without the read.
#[test]
fn invariant_6_the_comparison_suffices_without_a_read() {
    let fleet = Fleet {
        variant: Variant::NoRead,
        late: 1,
        pause: false,
        ..TWO_SERVERS
    };
    holds(fleet, 16_085);
}
