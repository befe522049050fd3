//! Requests that share one commit.

use tokio::sync::oneshot;

use super::*;
use crate::group::task::MAX_BATCH;
use crate::lock::codec::{Revision, Stored};
use crate::lock::history::{CompletedHold, History};
use crate::lock::policy::Refusal;
use crate::store::Update;

#[tokio::test(start_paused = true)]
async fn a_batch_costs_one_commit() {
    let fixture = Fixture::new(400);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.hold();
    let mut asked = vec![fixture.send(lock("first")).await];
    for node in 0..500 {
        asked.push(fixture.send(lock(&node.to_string())).await);
    }
    fixture.store.release();
    let mut granted = 0;
    for asked in asked {
        match asked.await.unwrap().unwrap() {
            Outcome::Locked => granted += 1,
            other => assert_eq!(other, Outcome::Refused(Refusal::Full { slots: 400 })),
        }
    }
    assert_eq!(granted, 400);
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Confirm, Call::Write, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_limited() {
    let fixture = Fixture::with_queue(1, 2 * MAX_BATCH);
    fixture.store.hold();
    let mut asked = vec![fixture.send(unlock("first")).await];
    for node in 1..=MAX_BATCH {
        asked.push(fixture.send(unlock(&node.to_string())).await);
    }
    fixture.store.calls();
    fixture.store.release();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Outcome::NotHeld));
    }
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Confirm; 2]);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_about_to_be_sent_join_the_batch() {
    let fixture = Fixture::new(10);
    let mut asked = Vec::new();
    let (first, mut turn) = oneshot::channel::<()>();
    for node in 0..10 {
        let (next, after) = oneshot::channel();
        let group = fixture.group.clone();
        let my_turn = std::mem::replace(&mut turn, after);
        asked.push(tokio::spawn(async move {
            my_turn.await.unwrap();
            let asking = group.execute(lock(&node.to_string()), DEADLINE);
            tokio::pin!(asking);
            // It is in the queue once it was polled.
            assert!(futures_util::poll!(&mut asking).is_pending());
            let _ = next.send(());
            Answer::Ok(asking.await?)
        }));
    }
    run_until_idle().await;
    first.send(()).unwrap();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Outcome::Locked));
    }
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_watch_reports_before_the_store_replies_is_not_decoded() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.hold();
    let unlocking = fixture.send(unlock("a")).await;
    let ended = CompletedHold {
        id: "a".into(),
        name: None,
        peer: None,
        from: Some(Timestamp::UNIX_EPOCH),
        until: Timestamp::UNIX_EPOCH,
        by: None,
        after_gap: false,
    };
    let history = History::default().append(&[ended]);
    let released = Semaphore {
        released_at: Some(Timestamp::UNIX_EPOCH),
        ..Semaphore::new(1)
    };
    let value = codec::encode(&released, &[], &history);
    let newer = Stored::written(value, Revision(i64::MAX));
    fixture.group.observe(Update::Change(newer));
    let known = fixture.group.known().unwrap().semaphore.unwrap();
    // The task has it too.
    assert!(Arc::strong_count(&known) > 2);
    fixture.store.release();
    assert_eq!(unlocking.await.unwrap(), Ok(Outcome::Unlocked));
}
