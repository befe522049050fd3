//! Invariant 6: commits of unknown outcome.

use super::*;
use crate::store::CommitOutcome;

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_that_happened_without_a_reply_is_found_and_not_sent_again() {
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
async fn invariant_6_a_lost_write_is_sent_again_after_a_read() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::RequestLost]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Write, Call::Read, Call::Write]);
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_without_effect_needs_neither_a_read_nor_a_fence() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.next(&[Fault::Unreachable]);
    fixture.send_without_reply(lock("a")).await;
    assert_eq!(fixture.store.calls().last(), Some(&Call::Write));
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Confirm]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_write_that_arrives_late_undoes_no_reply() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.send_without_reply(unlock("a")).await;
    fixture.store.calls();
    // The store still contains a. The late release would undo a confirmation without a write.
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Write]);
    let late = fixture.store.deliver().await;
    assert!(matches!(late[..], [CommitOutcome::Conflict(_)]), "{late:?}");
    assert_eq!(fixture.holders().await, ["a"]);
    // One fence suffices.
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.store.calls(), [Call::Confirm]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_the_fence_stays_while_its_own_outcome_is_unknown() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture
        .store
        .next(&[Fault::Late, Fault::RequestLost, Fault::Unreachable]);
    fixture.send_without_reply(unlock("a")).await;
    fixture.store.calls();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    let writes = fixture.store.calls();
    assert!(!writes.contains(&Call::Confirm), "{writes:?}");
    fixture.store.deliver().await;
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_late_write_that_has_arrived_is_found() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.next(&[Fault::Late]);
    fixture.send_without_reply(unlock("a")).await;
    fixture.store.deliver().await;
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_command_that_may_be_undone_is_neither_repeated_nor_denied() {
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
        // The cache is current, so that the next call is the write.
        let _ = fixture.lock("other").await;
        let _ = fixture.unlock("other").await;
        fixture.store.next(&[Fault::AnswerLost]);
        let asked = fixture.send(command).await;
        fixture.overwrite(since);
        let answer = asked.await.unwrap();
        let Err(Failed::Unavailable(reason)) = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("unknown whether"), "{reason}");
        let stored = fixture
            .store
            .memory
            .read(fixture.group.name())
            .await
            .unwrap();
        assert_eq!(stored.value.unwrap().semaphore, since.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_request_that_may_have_been_applied_is_not_refused() {
    for lost in [Fault::AnswerLost, Fault::RequestLost, Fault::Late] {
        let fixture = Fixture::new(1);
        fixture
            .store
            .next(&[lost, Fault::Rejected, Fault::Rejected]);
        let answer = fixture.lock("a").await;
        let Err(Failed::Unavailable(reason)) = answer else {
            panic!("{lost:?}: {answer:?}");
        };
        assert!(reason.contains("unknown whether"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_6_a_request_that_is_done_is_not_undone_by_one_before_it() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::AnswerLost]);
    let asked = [unlock("a"), lock("a"), lock("b")];
    // The lock of a was committed, while its release was not needed. Now it is.
    assert_eq!(
        fixture.execute_all(asked).await,
        [
            Ok(Outcome::Unlocked),
            Ok(Outcome::AlreadyHeld),
            Ok(Outcome::Locked)
        ]
    );
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_not_explained_by_what_happened_to_an_earlier_request() {
    let fixture = Fixture::new(1);
    fixture.store.always(Fault::Unreachable);
    let first = fixture.lock("a").await;
    assert_eq!(first, Err(Failed::Unavailable("no route".into())));
    fixture.store.always(None);
    run_until_idle().await;
    fixture.store.hold();
    let silent = "no reply from the store within 3000 ms".into();
    assert_eq!(fixture.lock("a").await, Err(Failed::Unavailable(silent)));
}
