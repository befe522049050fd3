//! A store that rejects calls, or has a value that cannot be used.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_reported_at_once() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::Rejected]);
    let started = Instant::now();
    let refused = Err(Failed::Refused("not allowed".into()));
    assert_eq!(fixture.lock("a").await, refused);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_write_fails_only_the_requests_that_needed_it() {
    let refused = || Err(Failed::Refused("not allowed".into()));
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    for (faults, release) in [
        (&[Fault::Rejected; 2][..], refused()),
        (&[Fault::Rejected], Ok(Outcome::Unlocked)),
    ] {
        fixture.store.next(faults);
        let asked = [
            lock("b"),
            lock("too-many"),
            lock("a"),
            unlock("c"),
            unlock("a"),
        ];
        assert_eq!(
            fixture.execute_all(asked).await,
            [
                refused(),
                refused(),
                Ok(Outcome::AlreadyHeld),
                Ok(Outcome::NotHeld),
                release,
            ]
        );
    }
    assert!(fixture.holders().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_write_fails_every_request_that_the_same_node_repeats() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Rejected]);
    let refused = || Err(Failed::Refused("not allowed".into()));
    let asked = [unlock("a"), unlock("a"), unlock("b")];
    assert_eq!(
        fixture.execute_all(asked).await,
        [refused(), refused(), Ok(Outcome::NotHeld)]
    );
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_fence_fails_the_requests_that_it_was_to_confirm() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.send_without_reply(unlock("a")).await;
    fixture.store.next(&[Fault::Rejected]);
    let refused = Err(Failed::Refused("not allowed".into()));
    assert_eq!(fixture.lock("a").await, refused);
    fixture.store.deliver().await;
    assert!(fixture.holders().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_value_is_kept_and_the_group_works_once_it_is_repaired() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    for damaged in ["{oops", r#"{"total_slots":1,"holder":["a"]}"#] {
        fixture.overwrite(damaged);
        for answer in [fixture.lock("b").await, fixture.unlock("a").await] {
            let Err(Failed::Refused(reason)) = answer else {
                panic!("{answer:?}");
            };
            let location = fixture.store.location(fixture.group.name());
            let expected = format!("the value of {location} cannot be used: ");
            assert!(reason.starts_with(&expected), "{reason}");
        }
        let stored = fixture.store.memory.read(fixture.group.name()).await;
        let stored = stored.unwrap().value.unwrap();
        assert_eq!(stored.semaphore, damaged.as_bytes());
    }
    fixture.overwrite(r#"{"total_slots":1,"holders":["a"]}"#);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
}

#[tokio::test(start_paused = true)]
async fn without_space_a_lock_that_is_in_the_store_is_granted_and_any_other_one_refused() {
    let refused = || Err(Failed::Refused("no space".into()));
    let fixture = Fixture::new(2);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.calls();
    fixture.store.next(&[Fault::NoSpaceApplied]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    // The store is read before the reply, and nothing is written to be sure.
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Write, Call::Read, Call::Confirm]);
    fixture.store.next(&[Fault::NoSpace]);
    assert_eq!(fixture.lock("b").await, refused());
    assert_eq!(fixture.holders().await, ["a"]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
}

#[tokio::test(start_paused = true)]
async fn without_space_a_release_is_attempted_without_the_grants_of_its_batch() {
    let refused = || Err(Failed::Refused("no space".into()));
    for (faults, release) in [
        (&[Fault::NoSpace; 2][..], refused()),
        (&[Fault::NoSpace], Ok(Outcome::Unlocked)),
        (
            &[Fault::NoSpace, Fault::NoSpaceApplied],
            Ok(Outcome::NotHeld),
        ),
    ] {
        let fixture = Fixture::new(3);
        assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
        assert_eq!(fixture.lock("d").await, Ok(Outcome::Locked));
        fixture.store.next(faults);
        let asked = [
            lock("b"),
            lock("too-many"),
            lock("d"),
            unlock("c"),
            unlock("a"),
        ];
        assert_eq!(
            fixture.execute_all(asked).await,
            [
                refused(),
                refused(),
                Ok(Outcome::AlreadyHeld),
                Ok(Outcome::NotHeld),
                release,
            ],
            "{faults:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_space_a_lock_that_was_applied_and_undone_is_not_refused() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.next(&[Fault::NoSpaceApplied]);
    let asked = fixture.send(lock("a")).await;
    fixture.overwrite(r#"{"total_slots":1,"holders":[]}"#);
    let answer = asked.await.unwrap();
    let Err(Failed::Unavailable(reason)) = answer else {
        panic!("{answer:?}");
    };
    assert!(reason.contains("unknown whether"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn without_space_a_holder_is_confirmed_only_once_no_late_write_can_undo_it() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.send_without_reply(unlock("a")).await;
    // Only a write can exclude that the release still arrives, and the store accepts none.
    fixture.store.always(Fault::NoSpace);
    let answer = fixture.lock("a").await;
    assert!(answer.is_err(), "{answer:?}");
    fixture.store.always(None);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    fixture.store.deliver().await;
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn without_space_the_first_lock_is_granted_if_another_server_created_the_value_with_it() {
    let fixture = Fixture::unused(1);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    fixture.overwrite(r#"{"total_slots":1,"holders":["a"]}"#);
    fixture.store.next(&[Fault::NoSpace]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_space_refuses_the_first_lock_of_a_group() {
    let fixture = Fixture::unused(1);
    for fault in [Fault::NoSpace, Fault::NoSpaceApplied] {
        fixture.store.next(&[fault]);
        let refused = Err(Failed::Refused("no space".into()));
        assert_eq!(fixture.lock("a").await, refused);
    }
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
}
