//! The group task on a store with injected faults. tokio's clock is paused: it advances only while all tasks wait, so
//! deadlines pass at once.

mod absent;
mod batch;
mod caps;
mod contention;
mod gates;
mod handle;
mod records;
mod refused;
mod report;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Group, GroupError};
use super::{GroupMetrics, TaskMetrics};
use crate::lock::GroupName;
use crate::lock::codec::{self, LockTimes, Value};
use crate::lock::history::History;
use crate::lock::holders::Client;
use crate::lock::policy::{Refusal, Terms};
use crate::lock::semaphore::{Command, Outcome, Semaphore};
use crate::store::Store as _;
use crate::store::faulty::{Call, Fault, FaultyStore};

const DEADLINE: Duration = Duration::from_secs(3);

/// The reply to a request.
type Answer = Result<Outcome, Failed>;

/// The class of a [`GroupError`], and its text where it has one of its own.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    Unavailable(String),
    Refused(String),
    QueueFull,
    ShuttingDown,
}

impl From<GroupError> for Failed {
    fn from(error: GroupError) -> Self {
        let text = error.to_string();
        match error {
            GroupError::Timeout { .. } | GroupError::Ambiguous => Failed::Unavailable(text),
            GroupError::Rejected(_) | GroupError::Damaged(_) => Failed::Refused(text),
            GroupError::QueueFull => Failed::QueueFull,
            GroupError::ShuttingDown => Failed::ShuttingDown,
        }
    }
}

fn metrics(group: &GroupName) -> TaskMetrics {
    let registry = prometheus::Registry::new();
    GroupMetrics::register(&registry).unwrap().of(group)
}

/// A running group and its store.
struct Fixture {
    store: Arc<FaultyStore>,
    group: Group,
}

impl Fixture {
    /// Creates a group that was used before.
    fn new(slots: u64) -> Self {
        let fixture = Fixture::unused(slots);
        fixture.create(slots);
        fixture
    }

    /// Creates a group without a value.
    fn unused(slots: u64) -> Self {
        Fixture::with_queue(slots, 1000)
    }

    fn create(&self, slots: u64) {
        let empty = codec::encode(&Semaphore::new(slots), &[], &History::default());
        self.store.memory.overwrite(self.group.name(), Some(empty));
    }

    fn with_queue(slots: u64, queue: usize) -> Self {
        let store = FaultyStore::new();
        let name = GroupName::new("g").unwrap();
        let metrics = metrics(&name);
        let (group, task) = Group::new(name, slots, queue, Arc::clone(&store) as _, metrics);
        tokio::spawn(task.run());
        Fixture { store, group }
    }

    async fn lock(&self, id: &str) -> Answer {
        self.execute(lock(id), DEADLINE).await
    }

    async fn unlock(&self, id: &str) -> Answer {
        self.execute(unlock(id), DEADLINE).await
    }

    async fn execute(&self, command: Command, timeout: Duration) -> Answer {
        Ok(self.group.execute(command, timeout).await?)
    }

    /// Sends commands that can share one batch, and returns their answers in order.
    async fn execute_all<const N: usize>(&self, commands: [Command; N]) -> Vec<Answer> {
        let asked = commands.map(|command| self.execute(command, DEADLINE));
        futures_util::future::join_all(asked).await
    }

    /// Sends a command, and continues once it is in the queue.
    async fn send(&self, command: Command) -> JoinHandle<Answer> {
        let group = self.group.clone();
        let asking = tokio::spawn(async move { Ok(group.execute(command, DEADLINE).await?) });
        run_until_idle().await;
        asking
    }

    /// Sends a command, and checks that its deadline passes before its outcome.
    async fn send_without_reply(&self, command: Command) {
        let answer = self.execute(command, Duration::from_millis(1)).await;
        assert!(matches!(answer, Err(Failed::Unavailable(_))), "{answer:?}");
    }

    async fn holders(&self) -> Vec<String> {
        let stored = self.store.memory.read(self.group.name()).await.unwrap();
        let Some(value) = stored.value else {
            return Vec::new();
        };
        let semaphore = codec::decode(&value).unwrap().semaphore;
        semaphore.holders.keys().map(ToString::to_string).collect()
    }

    /// Writes as another program would.
    fn overwrite(&self, semaphore: &str) {
        let value = Value {
            semaphore: semaphore.into(),
            lock_times: LockTimes::Absent,
        };
        self.store.memory.overwrite(self.group.name(), Some(value));
    }
}

fn lock(id: &str) -> Command {
    Command::Lock {
        id: id.parse().unwrap(),
        at: Timestamp::UNIX_EPOCH,
        client: Client::default(),
        terms: Terms::default(),
    }
}

fn unlock(id: &str) -> Command {
    Command::Unlock {
        id: id.into(),
        at: Timestamp::UNIX_EPOCH,
        peer: None,
    }
}

/// Lets all other tasks run until they wait for something. The clock does not advance.
async fn run_until_idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_1_a_granted_node_is_in_the_store() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["a"]);
    assert_eq!(
        fixture.lock("b").await,
        Ok(Outcome::Refused(Refusal::Full { slots: 1 }))
    );
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::Unlocked));
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_1_a_grant_and_its_release_in_the_same_queue_are_two_commits() {
    let fixture = Fixture::new(1);
    fixture.store.hold();
    let waiting = fixture.send(lock("first")).await;
    let asked = [
        fixture.send(unlock("first")).await,
        fixture.send(lock("a")).await,
        fixture.send(unlock("a")).await,
        fixture.send(lock("b")).await,
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
    // The lock of first; its release and the lock of a; the release of a and the lock of b.
    let calls = fixture.store.calls();
    assert_eq!(calls, [Call::Read, Call::Write, Call::Write, Call::Write]);
}

#[tokio::test(start_paused = true)]
async fn invariant_3_no_reply_is_sent_before_the_commit_not_even_a_refusal() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.hold();
    let asked = [
        fixture.send(lock("a")).await,
        fixture.send(lock("b")).await,
        fixture.send(unlock("c")).await,
    ];
    run_until_idle().await;
    assert!(asked.iter().all(|asked| !asked.is_finished()));
    fixture.store.release();
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.unwrap().unwrap());
    }
    let full = Outcome::Refused(Refusal::Full { slots: 1 });
    assert_eq!(outcomes, [Outcome::AlreadyHeld, full, Outcome::NotHeld]);
}

#[tokio::test(start_paused = true)]
async fn invariant_4_a_batch_without_changes_is_confirmed_by_the_store_and_not_written() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.calls();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::AlreadyHeld));
    assert_eq!(
        fixture.lock("b").await,
        Ok(Outcome::Refused(Refusal::Full { slots: 1 }))
    );
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
    assert_eq!(fixture.store.calls(), [Call::Confirm; 3]);
}

#[tokio::test(start_paused = true)]
async fn invariant_4_no_reply_is_based_on_the_cache_alone() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":1,"holders":["b"]}"#);
    assert_eq!(fixture.unlock("a").await, Ok(Outcome::NotHeld));
    fixture.overwrite(r#"{"total_slots":1,"holders":[]}"#);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":0,"holders":[]}"#);
    assert_eq!(
        fixture.lock("a").await,
        Ok(Outcome::Refused(Refusal::Paused))
    );
}

#[tokio::test(start_paused = true)]
async fn invariant_5_after_a_conflict_the_batch_is_applied_to_the_current_value() {
    let fixture = Fixture::new(2);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.overwrite(r#"{"total_slots":2,"holders":["z"]}"#);
    fixture.store.calls();
    assert_eq!(fixture.lock("b").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["b", "z"]);
    // The conflict returned the value, so it was not read.
    assert_eq!(fixture.store.calls(), [Call::Write; 2]);
}

#[tokio::test(start_paused = true)]
async fn invariant_5_endless_conflicts_end_at_the_deadline_and_are_named() {
    let fixture = Fixture::new(1);
    fixture.overwrite(r#"{"total_slots":1,"holders":[]}"#);
    fixture.store.always(Fault::Raced);
    let started = Instant::now();
    let conflicts =
        "other servers changed the group during every attempt within 3000 ms; ask again";
    let answer = fixture.lock("a").await;
    assert_eq!(answer, Err(Failed::Unavailable(conflicts.into())));
    assert_eq!(started.elapsed(), DEADLINE);
    assert!(fixture.holders().await.is_empty());
    let attempts = fixture.store.calls().len();
    assert!((10..1000).contains(&attempts), "{attempts} attempts");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_effect_is_retried_until_the_deadline_and_reported_then() {
    let fixture = Fixture::new(1);
    fixture.store.next(&[Fault::Unreachable]);
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    fixture.store.always(Fault::Unreachable);
    let started = Instant::now();
    let answer = fixture.unlock("a").await;
    assert_eq!(answer, Err(Failed::Unavailable("no route".into())));
    assert_eq!(started.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn invariant_7_a_client_that_disconnects_during_the_read_is_not_applied() {
    let fixture = Fixture::new(1);
    fixture.store.hold();
    let gone = fixture.send(lock("gone")).await;
    gone.abort();
    run_until_idle().await;
    fixture.store.release();
    assert_eq!(fixture.lock("a").await, Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_7_a_client_that_disconnects_before_its_batch_is_not_applied() {
    let fixture = Fixture::new(3);
    assert_eq!(fixture.unlock("any").await, Ok(Outcome::NotHeld));
    fixture.store.hold();
    let first = fixture.send(lock("first")).await;
    let gone = fixture.send(lock("gone")).await;
    let last = fixture.send(lock("last")).await;
    gone.abort();
    run_until_idle().await;
    fixture.store.release();
    assert_eq!(first.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(last.await.unwrap(), Ok(Outcome::Locked));
    assert_eq!(fixture.holders().await, ["first", "last"]);
}

#[tokio::test(start_paused = true)]
async fn invariant_8_a_full_queue_is_reported_at_once() {
    let fixture = Fixture::with_queue(9, 2);
    fixture.create(9);
    fixture.store.hold();
    let mut asked = Vec::new();
    for id in ["in-its-batch", "in-the-queue", "too"] {
        asked.push(fixture.send(lock(id)).await);
    }
    assert_eq!(fixture.lock("one-too-many").await, Err(Failed::QueueFull));
    fixture.store.release();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Outcome::Locked));
    }
    assert_eq!(fixture.holders().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_once_its_handles_are_dropped() {
    let store = FaultyStore::new();
    let name = GroupName::new("g").unwrap();
    let metrics = metrics(&name);
    let (group, task) = Group::new(name, 1, 1, store, metrics);
    let task = tokio::spawn(task.run());
    drop(group);
    task.await.unwrap();
}
