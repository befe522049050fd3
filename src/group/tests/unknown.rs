//! Invariant 6: what was sent and not answered.

use super::*;
use crate::store::Commit;

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_that_happened_without_an_answer_is_seen_and_not_sent_again() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::AnswerLost]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Write, Call::Read, Call::Confirm]);
    fixture.store.next(&[Fault::AnswerLost]);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Write, Call::Read, Call::Confirm]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_that_was_lost_is_made_anew_after_a_look() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::RequestLost]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Write, Call::Read, Call::Write]);
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_that_arrives_late_undoes_no_answer() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.ask_in_vain(unlock("a")).await;
    fixture.store.calls();
    // The store still has a. A bare confirmation of that would be overtaken by the release.
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Write]);
    let late = fixture.store.deliver().await;
    assert!(matches!(late[..], [Commit::Conflict(_)]), "{late:?}");
    assert_eq!(fixture.holders().await, ["a"]);
    // The fence is put up once.
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.store.calls(), [Call::Confirm]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_the_fence_stays_up_while_it_is_in_doubt_itself() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture
        .store
        .next(&[Fault::Late, Fault::RequestLost, Fault::Unreachable]);
    fixture.ask_in_vain(unlock("a")).await;
    fixture.store.calls();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    let writes = fixture.store.calls();
    assert!(!writes.contains(&Call::Confirm), "{writes:?}");
    fixture.store.deliver().await;
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_late_write_that_was_overtaken_by_its_own_arrival_is_seen() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.ask_in_vain(unlock("a")).await;
    fixture.store.deliver().await;
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_what_may_have_been_done_and_undone_is_neither_done_again_nor_denied() {
    let fixture = Fixture::new(1);
    for (command, since) in [
        (lock("a"), r#"{"total_slots":1,"holders":["b"]}"#),
        (lock("a"), r#"{"total_slots":1,"holders":[]}"#),
        (unlock("a"), r#"{"total_slots":1,"holders":["a"]}"#),
    ] {
        let before = match &command {
            Command::Unlock { .. } => r#"{"total_slots":1,"holders":["a"]}"#,
            _ => r#"{"total_slots":1,"holders":[]}"#,
        };
        fixture.overwrite(before);
        // What is known is confirmed, so that the next call is the write.
        let _ = fixture.lock("other").await;
        let _ = fixture.unlock("other").await;
        fixture.store.next(&[Fault::AnswerLost]);
        let asked = fixture.ask(command).await;
        fixture.overwrite(since);
        let answer = asked.await.unwrap();
        let Err(Failure::Unavailable(reason)) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("not known whether"), "{reason}");
        let stored = fixture
            .store
            .memory
            .read(fixture.group.name())
            .await
            .unwrap();
        assert_eq!(stored.value.unwrap().semaphore, since.as_bytes());
    }
}
