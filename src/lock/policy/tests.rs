use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::lock::GroupName;
use crate::lock::holders::{Client, Hold};
use crate::lock::semaphore::{Command, Outcome, Semaphore};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn lock_on(text: &str, minute: i64, terms: Terms) -> Command {
    Command::Lock {
        id: text.parse().unwrap(),
        at: at(minute),
        client: Client::default(),
        terms,
    }
}

fn lock(text: &str, minute: i64) -> Command {
    lock_on(text, minute, Terms::default())
}

fn unlock(text: &str, minute: i64) -> Command {
    Command::Unlock {
        id: text.into(),
        at: at(minute),
        peer: None,
    }
}

fn held(slots: u64, holds: &[(&str, Option<i64>)]) -> Semaphore {
    let mut semaphore = Semaphore::new(slots);
    for (id, minute) in holds {
        semaphore
            .holders
            .insert((*id).into(), Hold::from(minute.map(at)));
    }
    semaphore
}

fn outcome(semaphore: &Semaphore, conditions: &Conditions, command: &Command) -> Outcome {
    semaphore.clone().apply(command, conditions).0
}

fn stall_after(after: i64) -> Conditions {
    let stall = Stall {
        after: minutes(after),
        first_seen: Arc::default(),
    };
    Conditions {
        stall: Some(stall),
        ..Conditions::default()
    }
}

fn cap(max_held: Option<u64>, max_groups: Option<u64>, elsewhere: (u64, u64)) -> Conditions {
    let cap = CapView {
        name: "cap".into(),
        max_held,
        max_groups,
        held_elsewhere: elsewhere.0,
        groups_elsewhere: elsewhere.1,
        unusable: None,
    };
    Conditions {
        caps: vec![cap],
        ..Conditions::default()
    }
}

/// Conditions and terms under which everything is refused.
fn strictest() -> (Conditions, Terms) {
    let conditions = Conditions {
        settle: Some(minutes(1000)),
        caps: cap(Some(1), Some(1), (5, 5)).caps,
        ..stall_after(1)
    };
    let terms = Terms {
        closed: true,
        gates: Gates::Closed,
    };
    (conditions, terms)
}

#[test]
fn invariant_12_no_policy_refuses_a_holder_or_a_release() {
    let (conditions, terms) = strictest();
    let mut semaphore = held(0, &[("a", Some(0))]);
    semaphore.released_at = Some(at(99));
    let decided = |command: &Command| outcome(&semaphore, &conditions, command);
    assert_eq!(decided(&lock_on("a", 100, terms)), Outcome::AlreadyHeld);
    let renew = Command::Renew { id: "a".into() };
    assert_eq!(decided(&renew), Outcome::AlreadyHeld);
    assert_eq!(decided(&unlock("a", 100)), Outcome::Unlocked);
    assert_eq!(decided(&unlock("b", 100)), Outcome::NotHeld);
}

#[test]
fn a_group_is_stalled_while_a_holder_has_held_for_longer_than_the_limit() {
    let semaphore = held(3, &[("a", Some(10)), ("b", Some(0)), ("c", None)]);
    let conditions = stall_after(30);
    let decided = |minute| outcome(&semaphore, &conditions, &lock("d", minute));
    assert_eq!(decided(30), Outcome::Refused(Refusal::Full { slots: 3 }));
    let stalled = Refusal::Stalled(Stalled {
        id: "b".into(),
        since: at(0),
        is_exact: true,
    });
    assert_eq!(decided(31), Outcome::Refused(stalled));
}

#[test]
fn a_holder_of_unknown_age_counts_from_when_it_was_first_seen() {
    let semaphore = held(3, &[("a", None), ("b", Some(20))]);
    let mut conditions = stall_after(30);
    let decided = |conditions: &Conditions| outcome(&semaphore, conditions, &lock("c", 45));
    assert_eq!(decided(&conditions), Outcome::Locked);
    conditions.stall = Some(Stall {
        after: minutes(30),
        first_seen: Arc::new([("a".into(), at(14))].into()),
    });
    let stalled = Refusal::Stalled(Stalled {
        id: "a".into(),
        since: at(14),
        is_exact: false,
    });
    assert_eq!(decided(&conditions), Outcome::Refused(stalled));
}

#[test]
fn a_release_in_the_same_commit_ends_a_stall() {
    let semaphore = Arc::new(held(2, &[("a", Some(0)), ("b", Some(50))]));
    let commands = [lock("c", 60), unlock("a", 60), lock("c", 60)];
    let outcomes = semaphore.apply_all(&stall_after(30), &commands).outcomes;
    assert!(matches!(
        outcomes[..],
        [
            Outcome::Refused(Refusal::Stalled(_)),
            Outcome::Unlocked,
            Outcome::Locked
        ]
    ));
}

#[test]
fn only_a_release_by_a_node_starts_the_settle_time() {
    let conditions = Conditions {
        settle: Some(minutes(10)),
        ..Conditions::default()
    };
    let mut semaphore = held(2, &[("a", Some(0)), ("b", Some(0))]);
    semaphore.release(&"a".into(), at(20));
    assert_eq!(
        outcome(&semaphore, &conditions, &lock("c", 20)),
        Outcome::Locked
    );
    semaphore.apply(&unlock("nobody", 20), &conditions);
    assert_eq!(semaphore.released_at, None);
    semaphore.apply(&unlock("b", 20), &conditions);
    let settling = Refusal::Settling { until: at(30) };
    let decided =
        |semaphore: &Semaphore, minute| outcome(semaphore, &conditions, &lock("c", minute));
    assert_eq!(decided(&semaphore, 29), Outcome::Refused(settling.clone()));
    assert_eq!(decided(&semaphore, 30), Outcome::Locked);
    // The clock of another server is behind: the settle time becomes no shorter.
    semaphore.holders.insert("d".into(), Hold::default());
    semaphore.apply(&unlock("d", 15), &conditions);
    assert_eq!(decided(&semaphore, 29), Outcome::Refused(settling));
    // A stored time that no correct clock can have is replaced.
    semaphore.holders.insert("e".into(), Hold::default());
    semaphore.apply(&unlock("e", 5), &conditions);
    assert_eq!(semaphore.released_at, Some(at(5)));
}

#[test]
fn a_release_is_not_followed_by_a_grant_in_the_same_commit_while_the_group_settles() {
    let conditions = Conditions {
        settle: Some(minutes(10)),
        ..Conditions::default()
    };
    let semaphore = Arc::new(held(1, &[("a", Some(0))]));
    let applied = semaphore.apply_all(&conditions, &[unlock("a", 5), lock("b", 5)]);
    let until = at(15);
    assert_eq!(
        applied.outcomes,
        [
            Outcome::Unlocked,
            Outcome::Refused(Refusal::Settling { until })
        ]
    );
}

#[test]
fn invariant_13_a_cap_counts_the_holders_of_all_its_groups() {
    let decided = |held_here: &[(&str, Option<i64>)], max_held, max_groups, elsewhere| {
        let conditions = cap(max_held, max_groups, elsewhere);
        outcome(&held(5, held_here), &conditions, &lock("new", 1))
    };
    let reached = |limit| {
        Outcome::Refused(Refusal::CapReached(CapReached {
            cap: "cap".into(),
            limit,
        }))
    };
    let one = &[("a", None)];
    assert_eq!(decided(&[], Some(2), None, (1, 1)), Outcome::Locked);
    assert_eq!(
        decided(one, Some(2), None, (1, 1)),
        reached(CapLimit::Held(2))
    );
    assert_eq!(
        decided(&[], Some(2), None, (2, 1)),
        reached(CapLimit::Held(2))
    );
    assert_eq!(
        decided(&[], None, Some(1), (1, 1)),
        reached(CapLimit::Groups(1))
    );
    assert_eq!(decided(one, None, Some(1), (0, 0)), Outcome::Locked);
    // Too many groups have holders already, perhaps since the cap was lowered.
    assert_eq!(
        decided(one, None, Some(1), (1, 1)),
        reached(CapLimit::Groups(1))
    );
}

#[test]
fn invariant_13_a_cap_counts_the_grants_of_the_same_commit() {
    let conditions = cap(Some(2), None, (1, 1));
    let empty = Arc::new(Semaphore::new(5));
    let outcomes = empty
        .apply_all(&conditions, &[lock("a", 1), lock("b", 1)])
        .outcomes;
    assert_eq!(outcomes[0], Outcome::Locked);
    assert!(matches!(
        outcomes[1],
        Outcome::Refused(Refusal::CapReached(_))
    ));
}

#[test]
fn a_cap_that_cannot_be_evaluated_refuses_and_names_the_group() {
    let mut conditions = cap(Some(5), None, (0, 0));
    let group = GroupName::new("broken").unwrap();
    conditions.caps[0].unusable = Some(group.clone());
    let unusable = Refusal::CapUnusable {
        cap: "cap".into(),
        group,
    };
    assert_eq!(
        outcome(&held(1, &[]), &conditions, &lock("a", 1)),
        Outcome::Refused(unusable)
    );
}

#[test]
fn an_override_ends_windows_freezes_and_gates_but_nothing_else() {
    let (conditions, terms) = strictest();
    let mut semaphore = held(2, &[]);
    let refused = |semaphore: &Semaphore, conditions: &Conditions, terms, minute| {
        outcome(semaphore, conditions, &lock_on("a", minute, terms))
    };
    let none = Conditions::default();
    let closed = Outcome::Refused(Refusal::Closed);
    assert_eq!(refused(&semaphore, &none, terms, 5), closed);
    semaphore.override_until = Some(at(10));
    assert_eq!(refused(&semaphore, &none, terms, 9), Outcome::Locked);
    assert_eq!(refused(&semaphore, &none, terms, 10), closed);
    let unasked = Terms {
        gates: Gates::Unasked,
        ..Terms::default()
    };
    assert_eq!(refused(&semaphore, &none, unasked, 9), Outcome::Locked);
    let unasked = refused(&semaphore, &none, unasked, 10);
    assert_eq!(unasked, Outcome::Refused(Refusal::GateUnasked));
    let capped = refused(&semaphore, &conditions, terms, 9);
    assert!(matches!(capped, Outcome::Refused(Refusal::CapReached(_))));
}

#[test]
fn the_answers_of_the_gates_allow_so_many_grants_in_one_commit() {
    let terms = |grants| Terms {
        gates: Gates::Allow(grants),
        ..Terms::default()
    };
    let commands = [
        lock_on("a", 1, terms(1)),
        lock_on("b", 1, terms(1)),
        lock_on("c", 1, terms(2)),
        lock_on("d", 1, terms(2)),
    ];
    let empty = Arc::new(Semaphore::new(9));
    let outcomes = empty.apply_all(&Conditions::default(), &commands).outcomes;
    let unasked = Outcome::Refused(Refusal::GateUnasked);
    assert_eq!(
        outcomes,
        [Outcome::Locked, unasked.clone(), Outcome::Locked, unasked]
    );
}

#[test]
fn the_most_lasting_reason_is_told_first() {
    let (mut conditions, mut terms) = strictest();
    let mut semaphore = held(0, &[("a", Some(0))]);
    semaphore.released_at = Some(at(99));
    let told = |semaphore: &Semaphore, conditions: &Conditions, terms| {
        let evaluation = Evaluation::new(conditions);
        let refusals: Vec<_> = evaluation
            .refusals(semaphore.facts(), at(100), terms)
            .collect();
        assert!(refusals.is_sorted(), "{refusals:?}");
        refusals.into_iter().next().unwrap()
    };
    let first = told(&semaphore, &conditions, terms);
    assert_eq!(first, Refusal::Paused);
    semaphore.slots = 1;
    let first = told(&semaphore, &conditions, terms);
    assert!(matches!(first, Refusal::Stalled(_)));
    conditions.stall = None;
    let first = told(&semaphore, &conditions, terms);
    assert_eq!(first, Refusal::Closed);
    terms.closed = false;
    let first = told(&semaphore, &conditions, terms);
    assert_eq!(first, Refusal::GateClosed);
    terms.gates = Gates::Unasked;
    let first = told(&semaphore, &conditions, terms);
    assert!(matches!(first, Refusal::CapReached(_)));
    conditions.caps.clear();
    let first = told(&semaphore, &conditions, terms);
    assert_eq!(first, Refusal::Full { slots: 1 });
    semaphore.slots = 2;
    let first = told(&semaphore, &conditions, terms);
    assert!(matches!(first, Refusal::Settling { .. }));
    conditions.settle = None;
    let first = told(&semaphore, &conditions, terms);
    assert_eq!(first, Refusal::GateUnasked);
}

#[test]
fn each_refusal_has_a_text() {
    let full = |slots| Refusal::Full { slots }.to_string();
    assert_eq!(full(1), "the only slot is held");
    assert_eq!(full(2), "all 2 slots are held");
    let reached = CapReached {
        cap: "zones".into(),
        limit: CapLimit::Groups(1),
    };
    assert_eq!(
        Refusal::CapReached(reached).to_string(),
        "the cap \"zones\" is reached: only 1 of its groups may have holders at a time"
    );
}
