//! A store that refuses, or has a value that cannot be used: somebody has to mend it.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_told_at_once() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::Rejected]);
    let started = Instant::now();
    let refused = Err(Failure::Refused("not allowed".into()));
    assert_eq!(fixture.lock("a").await, refused);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_refuses_only_whom_it_was_for() {
    let refused = || Err(Failure::Refused("not allowed".into()));
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
        .map(|command| fixture.group.ask(command, DEADLINE));
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
async fn a_damaged_value_is_refused_and_kept_and_works_once_it_is_mended() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite("{oops");
    for _ in 0..2 {
        for answer in [fixture.lock("b").await, fixture.unlock("a").await] {
            let Err(Failure::Refused(reason)) = answer else {
                panic!("{answer:?}");
            };
            let place = fixture.store.place(fixture.group.name());
            let expected = format!("the value stored at {place} cannot be used: ");
            assert!(reason.starts_with(&expected), "{reason}");
        }
    }
    let stored = fixture.store.memory.read(fixture.group.name()).await;
    assert_eq!(stored.unwrap().value.unwrap().semaphore, b"{oops");
    fixture.overwrite(r#"{"total_slots":1,"holders":["a"]}"#);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
}
