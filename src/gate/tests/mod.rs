//! Gates with a source that answers as the test says, on a clock that stands still while something can happen.

mod refresh;
mod schedules;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};
use tokio::task;
use tokio::time::{self, Instant};

use super::passes::Wanted;
use super::{Answer, Gate, Gates, Pass, Source};
use crate::config::{GateSettings, GateTarget};
use crate::gate::{Closed, GateMetrics};

const SECOND: Duration = Duration::from_secs(1);

/// A source that takes `delay` for each answer, and notes when it was asked.
#[derive(Clone)]
struct Fake(Arc<Mutex<FakeState>>);

struct FakeState {
    answer: Answer,
    delay: Duration,
    asked: Vec<Instant>,
}

#[async_trait]
impl Source for Fake {
    async fn ask(&self) -> Answer {
        let (answer, delay) = {
            let mut state = self.0.lock();
            state.asked.push(Instant::now());
            (state.answer.clone(), state.delay)
        };
        time::sleep(delay).await;
        answer
    }
}

impl Fake {
    fn new() -> Self {
        Fake(Arc::new(Mutex::new(FakeState {
            answer: Answer::Open,
            delay: Duration::from_millis(10),
            asked: Vec::new(),
        })))
    }

    fn set(&self, answer: Answer) {
        self.0.lock().answer = answer;
    }

    fn set_delay(&self, delay: Duration) {
        self.0.lock().delay = delay;
    }

    fn asks(&self) -> usize {
        self.0.lock().asked.len()
    }
}

fn settings(allows: u64) -> GateSettings {
    GateSettings {
        name: "a".into(),
        target: GateTarget::Http("http://localhost/".parse().unwrap()),
        timeout: 2 * SECOND,
        max_age: 5 * SECOND,
        allows,
        open_after_successes: 1,
        ca_cert_path: None,
        client_cert: None,
        credentials: None,
    }
}

/// Gates that all ask the same source, and what is scraped of them.
struct Server {
    gates: Gates,
    registry: Registry,
}

impl Server {
    fn new(fake: &Fake) -> Self {
        let (fake, registry) = (fake.clone(), Registry::new());
        let metrics = GateMetrics::register(&registry).unwrap();
        let gates = Gates::with_source(metrics, move |_| Arc::new(fake.clone()));
        Server { gates, registry }
    }

    fn replace(&self, settings: &[GateSettings]) -> Vec<Arc<Gate>> {
        let settings: Vec<_> = settings.iter().cloned().map(Arc::new).collect();
        self.gates.replace(settings.iter());
        self.gates.of(&settings).to_vec()
    }

    fn scrape(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap()
    }
}

/// Returns a gate that nothing asks for display.
fn gate(settings: GateSettings, fake: &Fake) -> Arc<Gate> {
    let metrics = GateMetrics::register(&Registry::new()).unwrap();
    let series = metrics.of(&settings.name);
    Gate::new(Arc::new(settings), Arc::new(fake.clone()), series)
}

async fn acquire(gate: &Arc<Gate>) -> Result<Pass, Closed> {
    acquire_within(gate, 3 * SECOND).await
}

/// A lock in a group without other grants.
struct Always;

impl Wanted for Always {
    fn is_wanted(&self) -> bool {
        true
    }

    fn granted_since(&self, _: Instant) -> u64 {
        0
    }
}

async fn acquire_within(gate: &Arc<Gate>, timeout: Duration) -> Result<Pass, Closed> {
    let pass = gate.acquire(Instant::now() + timeout, &Always).await?;
    Ok(pass.expect("a pass that is wanted"))
}

/// Returns why the gate gives no pass.
async fn refused(gate: &Arc<Gate>) -> String {
    acquire(gate).await.map(drop).unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn each_grant_needs_an_answer_of_its_own_and_an_unused_pass_is_given_back() {
    let fake = Fake::new();
    let gate = gate(settings(1), &fake);
    drop(acquire(&gate).await.unwrap());
    let pass = acquire(&gate).await.unwrap();
    assert_eq!((fake.asks(), pass.allows()), (1, 1));
    assert!(pass.is_valid(Instant::now()));
    pass.used();
    let second = acquire(&gate).await.unwrap();
    assert_eq!(fake.asks(), 2);
    // It ages from the moment at which the gate was asked, not from its answer.
    assert_eq!(second.asked().elapsed(), Duration::from_millis(10));
    let limit = second.asked() + 5 * SECOND;
    assert!(second.is_valid(limit));
    assert!(!second.is_valid(limit + Duration::from_millis(1)));
    drop(second);
    time::advance(5 * SECOND).await;
    drop(acquire(&gate).await.unwrap());
    assert_eq!(fake.asks(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_answer_allows_as_many_grants_as_configured_and_the_next_ones_wait() {
    let fake = Fake::new();
    let gate = gate(settings(2), &fake);
    let first = acquire(&gate).await.unwrap();
    let second = acquire(&gate).await.unwrap();
    let third = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { acquire(&gate).await }
    });
    time::sleep(SECOND).await;
    assert!(!third.is_finished());
    assert_eq!(fake.asks(), 1);
    first.used();
    // The second one may still be used, so that only one is left of the new answer.
    let third = third.await.unwrap().unwrap();
    assert_eq!(fake.asks(), 2);
    second.used();
    third.used();
    drop(acquire(&gate).await.unwrap());
    assert_eq!(fake.asks(), 3);
    // A deadline ends the wait.
    let (_first, _second) = (acquire(&gate).await.unwrap(), acquire(&gate).await.unwrap());
    assert!(
        refused(&gate)
            .await
            .contains("have not used its answer in time")
    );
}

#[tokio::test(start_paused = true)]
async fn a_grant_during_an_ask_counts_for_its_answer() {
    let fake = Fake::new();
    let gate = gate(settings(1), &fake);
    let pass = acquire(&gate).await.unwrap();
    gate.ask_now();
    task::yield_now().await;
    pass.used();
    time::sleep(Duration::from_millis(20)).await;
    assert_eq!(fake.asks(), 2);
    drop(acquire(&gate).await.unwrap());
    assert_eq!(fake.asks(), 3);
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_share_one_ask_and_a_closed_answer_counts_for_a_second() {
    let fake = Fake::new();
    fake.set(Answer::closed("no\nquorum"));
    let gate = gate(settings(1), &fake);
    let wait = || {
        tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { refused(&gate).await }
        })
    };
    let waiting: Vec<_> = (0..100).map(|_| wait()).collect();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), r"gate a: no\nquorum");
    }
    time::advance(SECOND).await;
    assert_eq!(refused(&gate).await, r"gate a: no\nquorum");
    assert_eq!(fake.asks(), 1);
    time::advance(Duration::from_millis(1)).await;
    fake.set(Answer::Open);
    assert!(acquire(&gate).await.is_ok());
    assert_eq!(fake.asks(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_end_the_ask_for_others() {
    let fake = Fake::new();
    fake.set_delay(SECOND);
    let gate = gate(settings(1), &fake);
    let leaves = time::timeout(SECOND / 2, acquire(&gate)).await;
    assert!(leaves.is_err());
    assert!(acquire(&gate).await.is_ok());
    assert_eq!(fake.asks(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_ends_the_passes_of_an_older_one() {
    let fake = Fake::new();
    let gate = gate(settings(1), &fake);
    let pass = acquire(&gate).await.unwrap();
    fake.set(Answer::closed("an alert fires"));
    gate.ask_now();
    assert!(pass.is_valid(Instant::now()));
    time::sleep(Duration::from_millis(20)).await;
    assert!(!pass.is_valid(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_gate_without_an_answer_in_time_is_closed_and_a_failure() {
    let fake = Fake::new();
    let server = Server::new(&fake);
    let open = settings(1);
    let gate = server.replace(std::slice::from_ref(&open)).remove(0);
    assert_eq!(gate.latest(), None);
    fake.set_delay(60 * SECOND);
    let started = Instant::now();
    let reason = refused(&gate).await;
    assert!(
        reason.starts_with("gate a: no answer within 2000 ms; "),
        "{reason}"
    );
    assert_eq!(started.elapsed(), 2 * SECOND);
    time::advance(2 * SECOND).await;
    let hurried = acquire_within(&gate, SECOND).await.map(drop);
    let hurried = hurried.unwrap_err().to_string();
    assert!(
        hurried.contains("within the time of the request"),
        "{hurried}"
    );
    time::sleep(2 * SECOND).await;
    // An answer that took longer than it counts, which the configuration does not allow.
    let late = GateSettings {
        max_age: SECOND,
        ..open
    };
    let gate = server.replace(&[late]).remove(0);
    fake.set_delay(SECOND + SECOND / 2);
    let reason = refused(&gate).await;
    assert!(reason.contains("took 1500 ms, and is too old"), "{reason}");
    let text = server.scrape();
    for line in [
        "airlock_gate_open{gate=\"a\"} 0",
        "airlock_gate_failures_total{gate=\"a\"} 3",
        "airlock_gate_duration_seconds_count{gate=\"a\"} 3",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_opens_after_enough_successful_answers_in_a_row() {
    let fake = Fake::new();
    let settings = GateSettings {
        open_after_successes: 3,
        ..settings(1)
    };
    let gate = gate(settings, &fake);
    for (answer, expected) in [
        (Answer::Open, Some("in a row, and has given 1")),
        (Answer::Open, Some("in a row, and has given 2")),
        (Answer::failed("cannot connect"), Some("cannot connect")),
        (Answer::Open, Some("in a row, and has given 1")),
        (Answer::Open, Some("in a row, and has given 2")),
        (Answer::Open, None),
        (Answer::Open, None),
        (Answer::closed("no"), Some("no")),
        (Answer::Open, Some("in a row, and has given 1")),
    ] {
        fake.set(answer);
        // Of the answers in between, none counts twice.
        time::advance(6 * SECOND).await;
        let reason = acquire(&gate).await.map(drop).err();
        let reason = reason.map(|closed| closed.reason);
        match (&reason, expected) {
            (Some(reason), Some(expected)) => assert!(reason.ends_with(expected), "{reason}"),
            (reason, expected) => assert_eq!((reason.is_none(), expected), (true, None)),
        }
        assert_eq!(gate.latest().unwrap().answer.reason(), reason.as_ref());
    }
}
