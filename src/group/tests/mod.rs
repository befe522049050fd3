//! The group task over a store that fails as told. The clock is tokio's, and stands still while anything
//! runs: deadlines pass at once.

mod refused;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Failure, Group};
use crate::metrics::Metrics;
use crate::semaphore::{Command, Outcome};
use crate::store::faulty::{Call, Fault, FaultyStore};
use crate::store::{GroupName, Store as _, Value};
use crate::stored;

const DEADLINE: Duration = Duration::from_secs(3);

type Answer = Result<Outcome, Failure>;

/// A running group of one slot or more, and its store.
struct Fixture {
    store: Arc<FaultyStore>,
    group: Group,
}

impl Fixture {
    fn new(slots: u64) -> Self {
        Fixture::with_mailbox(slots, 1000)
    }

    fn with_mailbox(slots: u64, mailbox: usize) -> Self {
        let store = FaultyStore::new();
        let name = GroupName::new("g").unwrap();
        let metrics = Metrics::new().unwrap().group(&name);
        let (group, task) = Group::new(name, slots, mailbox, Arc::clone(&store) as _, metrics);
        tokio::spawn(task.run());
        Fixture { store, group }
    }

    async fn lock(&self, id: &str) -> Answer {
        self.group.ask(lock(id), DEADLINE).await
    }

    async fn unlock(&self, id: &str) -> Answer {
        self.group.ask(unlock(id), DEADLINE).await
    }

    /// Asks, and goes on when the request is in the mailbox.
    async fn ask(&self, command: Command) -> JoinHandle<Answer> {
        let group = self.group.clone();
        let asking = tokio::spawn(async move { group.ask(command, DEADLINE).await });
        settle().await;
        asking
    }

    /// Asks, and hangs up when the deadline has passed.
    async fn ask_in_vain(&self, command: Command) {
        let answer = self.group.ask(command, Duration::from_millis(1)).await;
        assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    }

    async fn holders(&self) -> Vec<String> {
        let stored = self.store.memory.read(self.group.name()).await.unwrap();
        let Some(value) = stored.value else {
            return Vec::new();
        };
        let semaphore = stored::decode(&value).unwrap().0;
        semaphore.holders.keys().map(ToString::to_string).collect()
    }

    /// Somebody else writes.
    fn overwrite(&self, semaphore: &str) {
        let value = Value {
            semaphore: semaphore.into(),
            lock_times: None,
        };
        self.store.memory.overwrite(self.group.name(), Some(value));
    }
}

fn lock(id: &str) -> Command {
    Command::Lock {
        id: id.parse().unwrap(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn unlock(id: &str) -> Command {
    Command::Unlock {
        id: id.parse().unwrap(),
    }
}

/// Lets all other tasks run until they wait for something. The clock does not move.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_1_who_is_granted_a_lock_is_in_the_store() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["a"]);
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Full { slots: 1 }));
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_1_a_grant_and_its_release_that_wait_together_are_two_commits() {
    let fixture = Fixture::new(1);
    fixture.store.hold();
    let waiting = fixture.ask(lock("first")).await;
    let asked = [
        fixture.ask(unlock("first")).await,
        fixture.ask(lock("a")).await,
        fixture.ask(unlock("a")).await,
        fixture.ask(lock("b")).await,
    ];
    fixture.store.release();
    assert_eq!(waiting.await.unwrap(), Ok(Outcome::Locked));
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.unwrap().unwrap());
    }
    assert_eq!(
        outcomes,
        [
            Outcome::Unlocked,
            Outcome::Locked,
            Outcome::Unlocked,
            Outcome::Locked
        ]
    );
    // The first lock; its release and the lock of a; the release of a and the lock of b.
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Write, Call::Write, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn invariant_3_nobody_is_answered_before_the_commit_also_not_refused() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.hold();
    let asked = [
        fixture.ask(lock("a")).await,
        fixture.ask(lock("b")).await,
        fixture.ask(unlock("c")).await,
    ];
    settle().await;
    assert!(asked.iter().all(|asked| !asked.is_finished()));
    fixture.store.release();
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.unwrap().unwrap());
    }
    let full = Outcome::Full { slots: 1 };
    assert_eq!(outcomes, [Outcome::AlreadyHeld, full, Outcome::NotHeld]);
}

#[tokio::test(start_paused = true)]
async fn invariant_4_what_changes_nothing_is_confirmed_by_the_store_and_not_written() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.calls();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Full { slots: 1 }));
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Confirm; 3]);
}

#[tokio::test(start_paused = true)]
async fn invariant_4_nothing_is_answered_from_what_is_remembered() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":1,"holders":["b"]}"#);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    fixture.overwrite(r#"{"total_slots":1,"holders":[]}"#);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":0,"holders":[]}"#);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Full { slots: 0 }));
}

#[tokio::test(start_paused = true)]
async fn invariant_5_a_lost_comparison_is_applied_again_to_what_won() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":2,"holders":["z"]}"#);
    fixture.store.calls();
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b", "z"]);
    // The conflict brought the value: it was not read.
    assert_eq!(fixture.store.calls(), [Call::Write; 2]);
}

#[tokio::test(start_paused = true)]
async fn invariant_5_comparisons_that_are_always_lost_end_at_the_deadline() {
    let fixture = Fixture::new(1);
    fixture.overwrite(r#"{"total_slots":1,"holders":[]}"#);
    fixture.store.always(Fault::Raced);
    let started = Instant::now();
    let answer = fixture.lock("a").await;
    assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
    assert_eq!(started.elapsed(), DEADLINE);
    assert!(fixture.holders().await.is_empty());
    let attempts = fixture.store.calls().len();
    assert!((10..1000).contains(&attempts), "{attempts} attempts");
}

#[tokio::test(start_paused = true)]
async fn what_did_not_happen_for_sure_is_tried_again_until_the_deadline_and_told_then() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::Unreachable]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.always(Fault::Unreachable);
    let started = Instant::now();
    let answer = fixture.unlock("a").await;
    assert_eq!(answer, Err(Failure::Unavailable("no route".into())));
    assert_eq!(started.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn invariant_7_who_hung_up_while_the_store_was_read_is_not_applied() {
    let fixture = Fixture::new(1);
    fixture.store.hold();
    let gone = fixture.ask(lock("gone")).await;
    gone.abort();
    settle().await;
    fixture.store.release();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_7_who_hung_up_before_its_batch_is_not_applied() {
    let fixture = Fixture::new(3);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.hold();
    let first = fixture.ask(lock("first")).await;
    let gone = fixture.ask(lock("gone")).await;
    let last = fixture.ask(lock("last")).await;
    gone.abort();
    settle().await;
    fixture.store.release();
    assert_eq!(first.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(last.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["first", "last"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_8_a_full_mailbox_is_told_at_once() {
    let fixture = Fixture::with_mailbox(9, 2);
    fixture.store.hold();
    let mut asked = Vec::new();
    for id in ["in-its-batch", "in-the-mailbox", "too"] {
        asked.push(fixture.ask(lock(id)).await);
    }
    assert_eq!(fixture.lock("one-too-many").await, Err(Failure::Busy));
    fixture.store.release();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Outcome::Locked));
    }
    assert_eq!(fixture.holders().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_batch_costs_one_commit() {
    let fixture = Fixture::new(400);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.hold();
    let mut asked = vec![fixture.ask(lock("first")).await];
    for node in 0..500 {
        asked.push(fixture.ask(lock(&node.to_string())).await);
    }
    fixture.store.release();
    let mut granted = 0;
    for asked in asked {
        match asked.await.unwrap().unwrap() {
            Outcome::Locked => granted += 1,
            other => assert_eq!(other, Outcome::Full { slots: 400 }),
        }
    }
    assert_eq!(granted, 400);
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Confirm, Call::Write, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn what_others_are_about_to_ask_joins_the_batch() {
    let fixture = Fixture::new(10);
    let mut asked = Vec::new();
    let (first, mut turn) = oneshot::channel::<()>();
    for node in 0..10 {
        let (next, after) = oneshot::channel();
        let group = fixture.group.clone();
        let my_turn = std::mem::replace(&mut turn, after);
        asked.push(tokio::spawn(async move {
            my_turn.await.unwrap();
            let asking = group.ask(lock(&node.to_string()), DEADLINE);
            tokio::pin!(asking);
            // It is in the mailbox once it was polled.
            assert!(futures_util::poll!(&mut asking).is_pending());
            let _ = next.send(());
            asking.await
        }));
    }
    settle().await;
    first.send(()).unwrap();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Outcome::Locked));
    }
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_deleted_begins_again_with_the_configured_slots() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.memory.overwrite(fixture.group.name(), None);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.lock("c").await, Ok(Outcome::Locked));
    assert_eq!(fixture.lock("d").await, Ok(Outcome::Full { slots: 2 }));
}

#[tokio::test(start_paused = true)]
async fn invariant_9_a_release_by_a_non_holder_writes_nothing_also_where_there_is_no_value() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Read, Call::Confirm]);
    let stored = fixture.store.memory.read(fixture.group.name()).await;
    assert_eq!(stored.unwrap().value, None);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_when_nobody_can_ask_any_more() {
    let store = FaultyStore::new();
    let name = GroupName::new("g").unwrap();
    let metrics = Metrics::new().unwrap().group(&name);
    let (group, task) = Group::new(name, 1, 1, store, metrics);
    let task = tokio::spawn(task.run());
    drop(group);
    task.await.unwrap();
}
