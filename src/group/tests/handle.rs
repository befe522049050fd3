//! What a handle of a group tells without the store.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::group::waiters::DenyReason;
use crate::lock::NodeId;
use crate::lock::holders::Client;

#[tokio::test(start_paused = true)]
async fn the_configured_slots_count_until_the_group_has_a_value() {
    let fixture = Fixture::unused(1);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    let slots = || fixture.group.known().unwrap().semaphore.unwrap().slots;
    for configured in [5, 3] {
        fixture.group.set_configured_slots(configured);
        assert_eq!(fixture.group.configured_slots(), configured);
        assert_eq!(slots(), configured);
    }
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.group.set_configured_slots(9);
    assert_eq!(slots(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_denied_node_waits_until_it_is_served() {
    let fixture = Fixture::new(1);
    let id: NodeId = "a".parse().unwrap();
    fixture
        .group
        .record_denied(&id, Client::default(), DenyReason::Full);
    fixture
        .group
        .record_denied(&id, Client::default(), DenyReason::Paused);
    let waiters = fixture.group.waiting(10).longest;
    assert_eq!(waiters.len(), 1);
    assert_eq!(
        (waiters[0].times, waiters[0].reason),
        (2, DenyReason::Paused)
    );
    assert_eq!(fixture.group.waiting_count(), 1);
    fixture.group.record_served(&id);
    assert_eq!(fixture.group.waiting_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_kept_for_a_node_that_has_waited_for_more_than_an_hour() {
    let fixture = Fixture::new(1);
    let [b, c]: [NodeId; 2] = ["b", "c"].map(|id| id.parse().unwrap());
    let now = Timestamp::now();
    let ago = |minutes| now - SignedDuration::from_mins(minutes);
    assert_eq!(
        fixture.group.reserved_for_others(&lock(c.as_str()), now),
        None
    );
    for minutes in [65, 5] {
        fixture.group.shared.turns.lock().denied(&b, ago(minutes));
    }
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    assert!(
        fixture
            .group
            .reserved_for_others(&lock(c.as_str()), now)
            .is_some()
    );
    assert_eq!(
        fixture.group.reserved_for_others(&lock(b.as_str()), now),
        None
    );
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    fixture.group.record_served(&b);
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::Unlocked));
    assert_eq!(
        fixture.group.reserved_for_others(&lock(c.as_str()), now),
        None
    );
}
