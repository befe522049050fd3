//! Events about the groups.

use super::*;
use crate::lock::audit::{Action, AuditEntry};
use crate::lock::codec::{self, Revision, Stored};
use crate::lock::history::CompletedHold;

const HOUR: i64 = 3600;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn name() -> GroupName {
    GroupName::new("workers").unwrap()
}

/// Returns the state of a group that these nodes hold since these times.
fn holders<'i>(holders: impl IntoIterator<Item = (&'i str, i64)>) -> GroupState {
    let mut semaphore = Semaphore::new(1);
    for (id, since) in holders {
        semaphore
            .holders
            .insert(id.into(), Some(second(since)).into());
    }
    state(&semaphore, &[], &History::default())
}

/// Returns the state of a group with an audit log of commands at 0, 1, and so on.
fn commands(count: i64) -> GroupState {
    let entry = |at| AuditEntry {
        at: second(at),
        by: "root@ops".into(),
        action: Action::Pause,
    };
    let log: Vec<AuditEntry> = (0..count).map(entry).collect();
    state(&Semaphore::new(1), &log, &History::default())
}

/// Returns the state of a group with these completed holds, which have begun at 0.
fn history(holds: &[(&str, i64, Option<&str>)]) -> GroupState {
    let hold = |(id, until, by): &(&str, i64, Option<&str>)| CompletedHold {
        id: (*id).into(),
        name: Some("db-1".into()),
        peer: None,
        from: Some(second(0)),
        until: second(*until),
        by: by.map(Into::into),
        after_gap: false,
    };
    let holds: Vec<CompletedHold> = holds.iter().map(hold).collect();
    let history = History::default().append(&holds);
    state(&Semaphore::new(1), &[], &history)
}

fn state(semaphore: &Semaphore, log: &[AuditEntry], history: &History) -> GroupState {
    let value = codec::encode(semaphore, log, history);
    GroupState::new(Stored::written(value, Revision(1)), 1)
}

/// Returns a state that cannot be used.
fn damaged() -> GroupState {
    let mut value = codec::encode(&Semaphore::new(1), &[], &History::default());
    value.semaphore = "{".into();
    let state = GroupState::new(Stored::written(value, Revision(2)), 1);
    assert!(state.semaphore.is_err());
    state
}

fn observe(observed: &mut Observed, state: &GroupState, at: i64) -> Vec<Event> {
    observed.of_group(&name(), state, &NodeNames::default(), second(at))
}

#[test]
fn a_command_causes_one_event_unless_it_is_older_than_the_server() {
    let mut observed = Observed::default();
    let mut events = |count, at| observe(&mut observed, &commands(count), at).len();
    assert_eq!(events(1, HOUR), 0);
    assert_eq!(events(3, HOUR + 5), 2);
    assert_eq!(events(3, HOUR + 10), 0);
}

#[test]
fn a_command_while_the_server_restarts_causes_an_event() {
    // Those at 0 and 1 are too old.
    let events = observe(&mut Observed::default(), &commands(4), 61);
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn a_hold_that_an_administrator_ends_causes_one_event() {
    let mut observed = Observed::default();
    let old = ("old", 5, Some("root@ops"));
    assert!(observe(&mut observed, &history(&[old]), HOUR).is_empty());
    let unlocked = ("a", HOUR + 1, Some("core@admin"));
    let holds = [old, ("b", HOUR, None), unlocked];
    let events = observe(&mut observed, &history(&holds), HOUR + 5);
    let [
        Event::Released {
            id,
            name,
            since,
            at,
            by,
            ..
        },
    ] = &events[..]
    else {
        panic!("not one release: {events:?}");
    };
    assert_eq!((&**id, name.as_deref()), ("a", Some("db-1")));
    assert_eq!((*since, *at), (Some(second(0)), second(HOUR + 1)));
    assert_eq!(by.as_deref(), Some("core@admin"));
    // The oldest one leaves the history.
    let holds = [unlocked, ("c", HOUR + 6, None)];
    assert!(observe(&mut observed, &history(&holds), HOUR + 10).is_empty());
}

#[test]
fn a_hold_causes_one_event_when_it_becomes_overdue() {
    let mut observed = Observed::default();
    let state = holders([("a", 0)]);
    let mut events = |at| observe(&mut observed, &state, at).len();
    assert_eq!([3595, 3600, 3601, 3602].map(&mut events), [0, 0, 1, 0]);
    // The node has come back, and holds a slot again.
    let mut events = |since, at| observe(&mut observed, &holders([("a", since)]), at).len();
    assert_eq!(events(3610, 3615), 0);
    assert_eq!(events(3610, 3610 + HOUR + 1), 1);
}

#[test]
fn a_server_that_starts_sends_no_event_about_holds_that_are_overdue_already() {
    let mut observed = Observed::default();
    let state = holders([("a", 0), ("b", 100)]);
    let mut events = |at| observe(&mut observed, &state, at).len();
    let start = HOUR + 70;
    assert_eq!([start, start + 5, start + 35].map(&mut events), [0, 0, 1]);
    // It may have become overdue while no server ran.
    let events = observe(&mut Observed::default(), &state, HOUR + 110);
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_damaged_group_that_is_repaired_repeats_no_event() {
    let mut observed = Observed::default();
    let mut events = |state: &GroupState, at| observe(&mut observed, state, at).len();
    for state in [holders([("a", 0)]), commands(2)] {
        events(&state, HOUR - 5);
        events(&state, HOUR + 1);
        assert_eq!(events(&damaged(), HOUR + 5), 0);
        assert_eq!(events(&state, HOUR + 10), 0);
    }
}

#[test]
fn many_overdue_holds_are_observed_in_linear_time() {
    let ids: Vec<String> = (0..50_000)
        .map(|number| format!("node{number:032}"))
        .collect();
    let state = holders(ids.iter().map(|id| (&**id, 0)));
    let mut observed = Observed::default();
    let mut events = |at| observe(&mut observed, &state, at).len();
    assert_eq!(events(0), 0);
    let started = Instant::now();
    assert_eq!(events(HOUR + 1), ids.len());
    assert_eq!(events(HOUR + 6), 0);
    let took = started.elapsed();
    // With a comparison of each with each, it takes more than a minute.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
