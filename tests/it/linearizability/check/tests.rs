//! Histories that are known to be right or wrong.

use super::*;

/// Returns the operations of tuples (client, request, reply, invoked, returned).
fn history(operations: &[(usize, Request, Reply, u64, u64)]) -> Vec<Operation> {
    let operation = |&(client, request, reply, invoked, returned): &_| Operation {
        client,
        request,
        reply,
        invoked: Duration::from_millis(invoked),
        returned: Duration::from_millis(returned),
    };
    operations.iter().map(operation).collect()
}

fn first_wrong(slots: u32, operations: &[(usize, Request, Reply, u64, u64)]) -> Option<usize> {
    check(slots, &history(operations))
        .violation()
        .map(|violation| violation.operation)
}

use Reply::{Capped, Full, Unknown, Yes};
use Request::{Delete, Lock, Pause, Restore, Resume, SetSlots, Snapshot, Unlock};

#[test]
fn sequential_operations_are_checked_in_order() {
    let good = [
        (0, Lock(1), Yes, 0, 1),
        (0, Lock(1), Yes, 2, 3),
        (0, Lock(2), Full, 4, 5),
        (0, Unlock(2), Yes, 6, 7),
        (0, Unlock(1), Yes, 8, 9),
        (0, Lock(2), Yes, 10, 11),
    ];
    assert_eq!(first_wrong(1, &good), None);
    assert_eq!(first_wrong(2, &good), Some(2), "refused with a slot free");
}

#[test]
fn one_grant_too_many_is_found() {
    let bad = [(0, Lock(1), Yes, 0, 1), (1, Lock(2), Yes, 2, 3)];
    assert_eq!(first_wrong(1, &bad), Some(1));
    let at_once = [(0, Lock(1), Yes, 0, 5), (1, Lock(2), Yes, 0, 5)];
    assert!(first_wrong(1, &at_once).is_some());
    assert_eq!(first_wrong(2, &at_once), None);
}

#[test]
fn a_release_that_is_lost_or_undone_is_found() {
    let lost = [
        (0, Lock(1), Yes, 0, 1),
        (0, Unlock(1), Yes, 2, 3),
        (1, Lock(2), Full, 4, 5),
    ];
    assert_eq!(first_wrong(1, &lost), Some(2));
}

#[test]
fn a_refusal_by_a_cap_is_possible_at_any_time_but_not_for_a_holder() {
    let good = [(0, Lock(1), Capped, 0, 1), (0, Lock(1), Yes, 2, 3)];
    assert_eq!(first_wrong(1, &good), None);
    let bad = [(0, Lock(1), Yes, 0, 1), (0, Lock(1), Capped, 2, 3)];
    assert_eq!(first_wrong(2, &bad), Some(1));
    let unlock = [(0, Unlock(1), Capped, 0, 1)];
    assert_eq!(first_wrong(1, &unlock), Some(0));
}

#[test]
fn a_refusal_from_an_old_copy_is_found() {
    let stale = [
        (0, Lock(1), Yes, 0, 1),
        (0, Unlock(1), Yes, 2, 3),
        (1, Lock(2), Yes, 4, 5),
        (2, Lock(1), Yes, 6, 7),
    ];
    assert_eq!(first_wrong(1, &stale), Some(3));
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    let swapped = [
        (0, Unlock(1), Yes, 10, 20),
        (1, Lock(2), Yes, 10, 20),
        (2, Lock(3), Full, 10, 20),
        (3, Lock(1), Yes, 0, 1),
    ];
    assert_eq!(first_wrong(1, &swapped), None);
}

#[test]
fn an_operation_that_could_have_been_idle_may_take_effect_later() {
    // Client 0 finds nothing to unlock at first, and then unlocks the node that client 1 has locked meanwhile.
    let unlocked = [
        (0, Unlock(1), Yes, 0, 10),
        (1, Lock(1), Yes, 1, 2),
        (2, Lock(2), Yes, 11, 12),
    ];
    assert_eq!(first_wrong(1, &unlocked), None);
    // The node of client 0 already holds a slot, client 2 unlocks it, and client 0 locks it again before it returns.
    let locked = [
        (1, Lock(1), Yes, 0, 1),
        (0, Lock(1), Yes, 2, 20),
        (2, Unlock(1), Yes, 3, 4),
        (2, Lock(2), Full, 5, 6),
    ];
    assert_eq!(first_wrong(1, &locked), None);
}

#[test]
fn an_unknown_outcome_takes_effect_late_or_never_but_at_most_once() {
    let late = [
        (0, Lock(1), Unknown, 0, 1),
        (1, Lock(2), Yes, 2, 3),
        (1, Unlock(2), Yes, 4, 5),
        (1, Lock(2), Full, 6, 7),
    ];
    assert_eq!(first_wrong(1, &late), None);
    let never = [(0, Lock(1), Unknown, 0, 1), (1, Lock(2), Yes, 2, 3)];
    assert_eq!(first_wrong(1, &never), None);
    let twice = [
        (0, Lock(1), Unknown, 0, 1),
        (1, Lock(2), Full, 2, 3),
        (1, Unlock(1), Yes, 4, 5),
        (1, Lock(2), Full, 6, 7),
    ];
    assert_eq!(first_wrong(1, &twice), Some(3));
    let too_early = [(1, Lock(2), Full, 0, 1), (0, Lock(1), Unknown, 2, 3)];
    assert_eq!(first_wrong(1, &too_early), Some(0));
}

#[test]
fn a_deletion_by_hand_releases_all_slots() {
    let deleted = [
        (0, Lock(1), Yes, 0, 1),
        (1, Delete, Yes, 2, 3),
        (2, Lock(2), Yes, 4, 5),
        (0, Lock(1), Full, 6, 7),
    ];
    assert_eq!(first_wrong(1, &deleted), None);
}

#[test]
fn an_administrators_slots_count_from_then_on() {
    let good = [
        (0, Lock(1), Yes, 0, 1),
        (0, Lock(2), Full, 2, 3),
        (9, SetSlots(2), Yes, 4, 5),
        (0, Lock(2), Yes, 6, 7),
        (9, Pause, Yes, 8, 9),
        (0, Lock(1), Yes, 10, 11),
        (0, Unlock(2), Yes, 12, 13),
        (0, Lock(2), Full, 14, 15),
        (9, Resume, Yes, 16, 17),
        (0, Lock(2), Full, 18, 19),
    ];
    assert_eq!(first_wrong(1, &good), None);
    let resumed = good.iter().copied().filter(|o| o.1 != Resume);
    assert_eq!(first_wrong(1, &resumed.collect::<Vec<_>>()), None);
    let without = good.iter().copied().filter(|o| o.1 != SetSlots(2));
    assert_eq!(first_wrong(1, &without.collect::<Vec<_>>()), Some(2));
}

#[test]
fn a_restoration_undoes_what_happened_since_the_snapshot_and_no_more() {
    let history = |last: Request, reply: Reply| {
        [
            (0, Lock(1), Yes, 0, 1),
            (9, Snapshot, Yes, 2, 3),
            (0, Unlock(1), Yes, 4, 5),
            (0, Lock(2), Yes, 6, 7),
            (9, Restore, Yes, 8, 9),
            (0, last, reply, 10, 11),
        ]
    };
    assert_eq!(first_wrong(1, &history(Lock(1), Yes)), None);
    // A 200 for a lock that the store has lost.
    assert_eq!(first_wrong(1, &history(Lock(2), Yes)), Some(5));
    assert_eq!(first_wrong(1, &history(Lock(2), Full)), None);
}
