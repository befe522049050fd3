//! Model checking of the commit protocol: every order of events in fleets of a given size.
//!
//! The commits of a server, its reactions to their outcomes and the decisions about commands are the real code
//! (`airlock::lock`). `server` and `admin` follow `group::task`, `group::attempt` and `admin`; the other modules model
//! the store, the network, the nodes and other programs. Each fleet has few features, so that its search is complete.
//!
//! An operator's action suspends guarantees about the nodes that it affects, until their next requests:
//!
//! * A deletion ends all locks. Other nodes can be granted slots while the former holders are still away, and a pause or
//!   a number of slots that an administrator set is lost. A late write never brings a lock back.
//! * A restoration ends the locks that were granted since the backup, brings back those that were released since, and
//!   undoes the commands of administrators. Responses to other nodes stay true.
//! * A write in flight across a restoration can take effect on top of a later value with the same revision and the same
//!   bytes. No comparison can notice that (`WritesOutliveTheStore`). The other searches assume that a stopped store
//!   receives no earlier write.

mod action;
mod admin;
mod fleet;
mod policies;
mod server;
mod state;
mod value;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker as _, HasDiscoveries, Model};

use action::Variant;
use admin::Task;
use fleet::{Fleet, Intervention};

/// Two servers and one slot for two nodes, with administrators beside them.
const TWO_SERVERS: Fleet = Fleet {
    nodes: 2,
    servers: 2,
    slots: 1,
    late: 1,
    pause: true,
    coreos_airlock: false,
    renewals: false,
    refusals: false,
    task: None,
    intervention: None,
    variant: Variant::Real,
};

/// As few features as possible, for a few more.
const SMALL: Fleet = Fleet {
    servers: 1,
    pause: false,
    ..TWO_SERVERS
};

/// Two late writes.
const TWO_LATE_WRITES: Fleet = Fleet {
    servers: 2,
    late: 2,
    ..SMALL
};

/// Three nodes and two slots, so that the order within a batch matters, and one server.
const THREE_NODES: Fleet = Fleet {
    nodes: 3,
    slots: 2,
    ..SMALL
};

/// A policy refuses new grants from time to time.
const RENEWALS: Fleet = Fleet {
    renewals: true,
    pause: true,
    ..SMALL
};

/// The store rejects calls and has no space.
const REFUSALS: Fleet = Fleet {
    refusals: true,
    pause: true,
    ..SMALL
};

/// An operator deletes the value.
const DELETION: Fleet = Fleet {
    coreos_airlock: true,
    intervention: Some(Intervention::Delete),
    ..SMALL
};

/// An operator restores an older store.
const RESTORATION: Fleet = Fleet {
    late: 0,
    coreos_airlock: true,
    intervention: Some(Intervention::Restore { revisions: 4 }),
    ..SMALL
};

/// An administrator's command is executed beside a server and a coreos/airlock server.
const fn executing(task: Task) -> Fleet {
    Fleet {
        nodes: 1,
        coreos_airlock: true,
        refusals: true,
        task: Some(task),
        ..SMALL
    }
}

/// Searches all reachable states. The test fails if their number changes, so a smaller search is noticed.
fn holds<M>(fleet: M, states: usize)
where
    M: Model<
            State: Clone + Debug + Hash + PartialEq + Send + Sync,
            Action: Clone + Debug + PartialEq,
        >,
    M: Send + Sync + 'static,
{
    let search = fleet
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

fn breaks(fleet: Fleet, variant: Variant, property: &'static str) {
    is_violated(Fleet { variant, ..fleet }, property);
}

/// Searches until `property` is violated.
fn is_violated<M>(fleet: M, property: &'static str)
where
    M: Model<
            State: Clone + Debug + Hash + PartialEq + Send + Sync,
            Action: Clone + Debug + PartialEq,
        >,
    M: Send + Sync + 'static,
{
    let search = fleet
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AllOf([property].into()));
    search.spawn_bfs().join().assert_any_discovery(property);
}

#[test]
fn invariants_1_to_7_and_9_hold_for_two_servers() {
    holds(TWO_SERVERS, 255_708);
}

#[test]
fn invariants_1_to_7_and_9_hold_with_two_late_writes() {
    holds(TWO_LATE_WRITES, 261_318);
}

#[test]
fn invariants_1_to_7_and_9_hold_for_three_nodes() {
    holds(THREE_NODES, 238_186);
}

#[test]
fn invariants_1_to_7_and_9_hold_while_a_policy_refuses_grants() {
    holds(RENEWALS, 16_271);
}

#[test]
fn invariants_1_to_7_and_9_hold_while_the_store_refuses_writes() {
    holds(REFUSALS, 24_921);
}

#[test]
fn invariants_1_to_7_and_9_hold_after_a_deletion() {
    holds(DELETION, 16_890);
}

#[test]
fn invariants_1_to_7_and_9_hold_after_a_restoration() {
    holds(RESTORATION, 135_112);
}

#[test]
fn invariants_2_and_6_hold_for_an_administrators_lock() {
    holds(executing(Task::Lock { node: 0 }), 50_588);
    holds(executing(Task::Lock { node: 1 }), 28_560);
}

#[test]
fn invariants_2_and_6_hold_for_an_administrators_unlock() {
    holds(executing(Task::Unlock { node: 0 }), 49_591);
}

#[test]
fn invariants_2_and_6_hold_for_a_pause_and_for_more_slots() {
    holds(executing(Task::Pause), 46_204);
    holds(executing(Task::SetSlots { slots: 2 }), 60_584);
}

#[test]
fn invariant_2_the_search_finds_one_grant_too_many() {
    breaks(SMALL, Variant::GrantsOneTooMany, fleet::NEVER_ABOVE_SLOTS);
}

#[test]
fn invariant_3_the_search_finds_a_refusal_without_a_read() {
    breaks(REFUSALS, Variant::RefusesWithoutRead, fleet::TRUE_REFUSALS);
}

/// The first write for a request has an unknown outcome, the store rejects the second one, and the first one arrives.
#[test]
fn invariant_3_the_search_finds_a_refusal_beside_a_late_write() {
    breaks(REFUSALS, Variant::RefusesInDoubt, fleet::TRUE_REFUSALS);
}

#[test]
fn invariant_4_the_search_finds_responses_from_the_copy() {
    breaks(RENEWALS, Variant::AnswersFromTheCopy, fleet::TRUE_ANSWERS);
}

#[test]
fn invariant_6_the_search_finds_an_unknown_outcome_treated_as_success() {
    breaks(SMALL, Variant::TreatsUnknownAsSuccess, fleet::TRUE_ANSWERS);
}

/// Without the fence, a release is confirmed beside a late lock. Besides, a lock that was applied and undone is
/// applied again.
#[test]
fn invariant_6_the_search_finds_an_unknown_outcome_treated_as_unreachable() {
    let variant = Variant::TreatsUnknownAsUnreachable;
    breaks(SMALL, variant, fleet::ANSWERS_STAY_TRUE);
    breaks(RENEWALS, variant, fleet::ONCE);
}

#[test]
fn invariant_6_the_search_finds_a_blindly_resent_write() {
    let variant = Variant::ResendsBlindly;
    breaks(TWO_SERVERS, variant, fleet::NEVER_ABOVE_SLOTS);
    breaks(TWO_SERVERS, variant, fleet::ANSWERS_STAY_TRUE);
}

#[test]
fn invariant_6_the_search_finds_a_request_that_is_applied_twice() {
    breaks(RENEWALS, Variant::RepeatsTheAmbiguous, fleet::ONCE);
}

/// A lock request is in flight, its node disconnects, and the release is confirmed without a write. Then the lock
/// arrives, and no node will ever release it.
#[test]
fn invariant_6_the_search_finds_a_confirmation_beside_a_late_write() {
    breaks(SMALL, Variant::NoFence, fleet::ANSWERS_STAY_TRUE);
}

/// The first lock of a group is in flight. Meanwhile the node releases it, and an operator deletes the value.
#[test]
fn invariant_6_the_search_finds_a_late_creation_with_a_holder() {
    breaks(
        DELETION,
        Variant::CreatesWithHolder,
        fleet::ANSWERS_STAY_TRUE,
    );
}

#[test]
fn invariant_6_the_search_finds_a_command_that_fails_and_applies() {
    let lock = executing(Task::Lock { node: 0 });
    breaks(lock, Variant::FailsWithoutRead, fleet::TRUE_FAILURES);
    breaks(lock, Variant::ReportsUnknownAsFailed, fleet::TRUE_FAILURES);
}

/// The command is applied without a reply, and coreos/airlock undoes it and drops the audit log.
#[test]
fn invariant_6_the_search_finds_a_command_that_is_applied_twice() {
    let lock = executing(Task::Lock { node: 0 });
    breaks(lock, Variant::RepeatsWithoutTrace, fleet::ONCE);
}

/// The read after an unknown outcome only saves a likely conflict. The comparison and the fence are what the
/// invariant depends on: this test shows that it holds without the read.
#[test]
fn invariant_6_the_comparison_suffices_without_a_read() {
    let fleet = Fleet {
        variant: Variant::NoRead,
        pause: false,
        coreos_airlock: true,
        ..TWO_SERVERS
    };
    holds(fleet, 51_917);
}

/// A server knows a grant that the restored store lacks, and another node was granted a slot at the same revision.
#[test]
fn invariant_11_the_search_finds_a_comparison_of_revisions_only() {
    breaks(
        RESTORATION,
        Variant::ComparesRevisionsOnly,
        fleet::TRUE_ANSWERS,
    );
}

/// What no comparison prevents: the store has to be stopped for a restoration, so that all writes in flight fail.
#[test]
fn invariant_11_the_search_finds_a_write_in_flight_across_a_restoration() {
    let fleet = Fleet {
        late: 1,
        ..RESTORATION
    };
    breaks(
        fleet,
        Variant::WritesOutliveTheStore,
        fleet::ANSWERS_STAY_TRUE,
    );
}
