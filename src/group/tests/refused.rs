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
        ]
        .map(|command| fixture.execute(command, DEADLINE));
        assert_eq!(
            futures_util::future::join_all(asked).await,
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
