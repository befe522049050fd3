//! Model checking of the policies that are evaluated on the stored value: caps, stall limits and settle times, in
//! fleets of two groups.
//!
//! As in the other searches, commits and decisions are the real code. Besides its own group, a commit may compare the
//! other one, which the server may know at an older revision.
//!
//! All servers have the same clock, and the deadline of a request is shorter than two ticks. The time is unbounded:
//! what has become so old that no policy can tell the difference is equal. What the other searches cover is left out:
//! the creation of a value, conflicts in the own group, and the read after an unknown outcome, without which a server
//! can do no less.

mod action;
mod admin;
mod fleet;
mod rules;
mod server;
mod state;
mod value;

use super::fleet::{ANSWERS_STAY_TRUE, TRUE_ANSWERS};
use super::{holds, is_violated};
use action::Variant;
use fleet::{CAPS, Fleet, OWN_GROUP, SETTLES, STALLS};
use rules::Policies;

/// One of two nodes in two groups may hold a slot.
const CAP: Fleet = Fleet {
    nodes: &[(0, &[0, 1]), (1, &[0, 1])],
    servers: 2,
    slots: 1,
    policies: Policies {
        max_held: Some(1),
        max_groups: None,
        stall: None,
        settle: None,
    },
    late: 1,
    admin_locks: None,
    unlocks: false,
    variant: Variant::Real,
};

/// One of two groups may have holders: the one with two nodes, or the other one.
const MAX_GROUPS: Fleet = Fleet {
    nodes: &[(0, &[0]), (0, &[0]), (1, &[1])],
    slots: 2,
    policies: Policies {
        max_held: None,
        max_groups: Some(1),
        ..CAP.policies
    },
    late: 0,
    ..CAP
};

/// Two nodes of one group ask two servers, with a limit for their holds and a settle time after each release.
const TIMES: Fleet = Fleet {
    nodes: &[(0, &[0]), (0, &[1])],
    slots: 2,
    policies: Policies {
        max_held: None,
        stall: Some(1),
        settle: Some(1),
        ..CAP.policies
    },
    unlocks: true,
    ..CAP
};

/// All policies in two groups. One of the two nodes that a cap allows has a slot from the start, and never returns.
const ALL: Fleet = Fleet {
    nodes: &[(0, &[0]), (0, &[]), (1, &[1])],
    policies: Policies {
        max_held: Some(2),
        ..TIMES.policies
    },
    late: 0,
    unlocks: false,
    ..TIMES
};

/// An administrator locks a slot for the node of one group, beside a server.
const ADMIN: Fleet = Fleet {
    nodes: &[(0, &[0]), (1, &[0])],
    servers: 1,
    admin_locks: Some(1),
    ..CAP
};

/// Searches until `property` is violated.
fn breaks(fleet: Fleet, variant: Variant, property: &'static str) {
    is_violated(Fleet { variant, ..fleet }, property);
}

#[test]
fn invariants_12_and_13_hold_for_a_cap() {
    holds(CAP, 118_813);
}

#[test]
fn invariants_12_and_13_hold_for_a_maximum_of_groups() {
    holds(MAX_GROUPS, 30_966);
}

#[test]
fn invariant_12_holds_for_stall_and_settle_time() {
    holds(TIMES, 69_538);
}

#[test]
fn invariants_12_and_13_hold_for_all_policies() {
    holds(ALL, 40_763);
}

#[test]
fn invariant_13_holds_for_an_administrators_lock() {
    holds(ADMIN, 57_720);
}

/// Two servers grant a lock at the same time, each in another group.
#[test]
fn invariant_13_the_search_finds_a_comparison_of_the_own_group_only() {
    breaks(CAP, Variant::ComparesOwnGroupOnly, CAPS);
    breaks(MAX_GROUPS, Variant::ComparesOwnGroupOnly, CAPS);
}

#[test]
fn invariant_13_the_search_finds_an_administrators_lock_above_a_cap() {
    breaks(ADMIN, Variant::AdminComparesOwnGroupOnly, CAPS);
    breaks(ADMIN, Variant::AdminIgnoresCaps, CAPS);
}

/// The node of the other group has released its slot, of which the server has not heard yet.
#[test]
fn invariant_4_the_search_finds_a_refusal_by_an_outdated_group() {
    breaks(CAP, Variant::RefusesFromTheCopy, TRUE_ANSWERS);
    breaks(CAP, Variant::RefusesByOwnGroupOnly, TRUE_ANSWERS);
}

#[test]
fn invariant_6_the_search_finds_a_confirmation_beside_a_late_write_with_policies() {
    breaks(CAP, Variant::NoFence, ANSWERS_STAY_TRUE);
    breaks(TIMES, Variant::NoFence, ANSWERS_STAY_TRUE);
}

#[test]
fn invariant_12_the_search_finds_a_refused_holder() {
    breaks(CAP, Variant::RefusesHolders, TRUE_ANSWERS);
}

#[test]
fn invariant_12_the_search_finds_a_release_that_depends_on_another_group() {
    breaks(CAP, Variant::ReleasesCompareBoth, OWN_GROUP);
}

/// Another server grants the next lock, or the same one after a restart.
#[test]
fn the_search_finds_a_settle_time_that_is_kept_in_memory() {
    breaks(TIMES, Variant::KeepsReleasesInMemory, SETTLES);
    let one_server = Fleet {
        nodes: &[(0, &[0])],
        servers: 1,
        ..TIMES
    };
    breaks(one_server, Variant::KeepsReleasesInMemory, SETTLES);
}

/// A server commits a release that was asked for earlier than one that was committed before.
#[test]
fn the_search_finds_a_settle_time_from_the_last_commit() {
    breaks(TIMES, Variant::StoresLastCommittedRelease, SETTLES);
}

#[test]
fn the_search_finds_a_settle_time_after_an_administrators_unlock() {
    breaks(TIMES, Variant::CountsUnlocks, TRUE_ANSWERS);
}

#[test]
fn the_search_finds_a_stall_that_a_restart_ends() {
    breaks(TIMES, Variant::ForgetsGrants, STALLS);
}
