//! A group without a value, and one that was deleted or restored behind the server.

use super::*;
use crate::lock::policy::Refusal;

#[tokio::test(start_paused = true)]
async fn a_group_starts_with_the_configured_slots_after_its_value_was_deleted() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.memory.overwrite(fixture.group.name(), None);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.lock("c").await, Ok(Outcome::Locked));
    assert_eq!(
        fixture.lock("d").await,
        Ok(Outcome::Refused(Refusal::Full { slots: 2 }))
    );
}

#[tokio::test(start_paused = true)]
async fn invariant_9_a_release_by_a_non_holder_writes_nothing_even_without_a_value() {
    let fixture = Fixture::unused(1);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Confirm]);
    let stored = fixture.store.memory.read(fixture.group.name()).await;
    assert_eq!(stored.unwrap().value, None);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_the_first_lock_of_a_group_follows_the_creation_of_an_empty_value() {
    let fixture = Fixture::unused(1);
    // The creation arrives after the group was created again, used and deleted.
    fixture.store.next(&[Fault::Late]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
    fixture.store.memory.overwrite(fixture.group.name(), None);
    fixture.store.deliver().await;
    assert!(fixture.holders().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn invariant_11_a_holder_is_not_confirmed_by_a_store_that_was_restored() {
    let fixture = Fixture::new(1);
    let backup = fixture.store.memory.backup();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.memory.restore(backup);
    // Another server locks the slot: its value has the revision of the value that this server knows.
    fixture.overwrite(r#"{"total_slots":1,"holders":["b"]}"#);
    assert_eq!(
        fixture.lock("a").await,
        Ok(Outcome::Refused(Refusal::Full { slots: 1 }))
    );
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.holders().await, ["b"]);
}
