//! Locks that depend on gates. Whatever happens between the answer of a gate and the commit, a lock is based on an answer
//! that is young enough, and that no other grant has used up.

use std::path::PathBuf;

use async_trait::async_trait;
use prometheus::Registry;
use tokio::time;

use super::*;
use crate::config::{GateSettings, GateTarget};
use crate::gate::{Answer, Gate, GateMetrics, Gates as AllGates, Source, Wanted};
use crate::group::{Passes, Policies};
use crate::lock::policy::Gates;

const MAX_AGE: Duration = Duration::from_secs(5);

/// A gate that is always open.
struct Open;

#[async_trait]
impl Source for Open {
    async fn ask(&self) -> Answer {
        Answer::Open
    }

    fn paths(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl Wanted for Fixture {
    fn is_wanted(&self) -> bool {
        true
    }

    fn granted_since(&self, since: Instant) -> u64 {
        self.group.granted_since(since)
    }
}

/// A group of two slots with a gate that allows one lock for each answer.
struct Gated {
    fixture: Fixture,
    gate: Arc<Gate>,
    _gates: AllGates,
}

impl Gated {
    fn new() -> Self {
        let fixture = Fixture::new(2);
        fixture.group.set_policies(Policies {
            has_gates: true,
            ..Policies::default()
        });
        let settings = Arc::new(GateSettings {
            name: "gate".into(),
            target: GateTarget::Http("http://localhost/".parse().unwrap()),
            timeout: MAX_AGE,
            max_age: MAX_AGE,
            allows: 1,
            open_after_successes: 1,
            ca_cert_path: None,
            client_cert: None,
            credentials: None,
        });
        let metrics = GateMetrics::register(&Registry::new()).unwrap();
        let gates = AllGates::with_source(metrics, |_| Arc::new(Open));
        gates.replace([&settings].into_iter());
        let gate = Arc::clone(&gates.of(&[settings])[0]);
        Gated {
            fixture,
            gate,
            _gates: gates,
        }
    }

    async fn passes(&self) -> Passes {
        let deadline = Instant::now() + DEADLINE;
        let pass = self.gate.acquire(deadline, &self.fixture).await.unwrap();
        Passes::new(pass.into_iter().collect())
    }

    /// Sends a lock with these passes, and continues once it is in the queue.
    async fn send(&self, id: &str, passes: Passes) -> JoinHandle<Answered> {
        let group = self.fixture.group.clone();
        let command = gated(id);
        let asking = tokio::spawn(async move {
            let answered = group.execute_with(command, passes, 10 * MAX_AGE).await;
            Ok(answered?)
        });
        run_until_idle().await;
        asking
    }
}

type Answered = super::Answer;

fn gated(id: &str) -> Command {
    let Command::Lock { id, at, client, .. } = lock(id) else {
        unreachable!()
    };
    let terms = Terms {
        gates: Gates::Unasked,
        ..Terms::default()
    };
    Command::Lock {
        id,
        at,
        client,
        terms,
    }
}

fn unasked() -> Answered {
    Ok(Outcome::Refused(Refusal::GateUnasked))
}

#[tokio::test(start_paused = true)]
async fn a_lock_without_passes_is_refused_and_one_with_passes_uses_them_up() {
    let gated = Gated::new();
    let asking = gated.send("a", Passes::default()).await;
    assert_eq!(asking.await.unwrap(), unasked());
    let asking = gated.send("a", gated.passes().await).await;
    assert_eq!(asking.await.unwrap(), Ok(Outcome::Locked));
    let asking = gated.send("a", Passes::default()).await;
    assert_eq!(asking.await.unwrap(), Ok(Outcome::AlreadyHeld));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_has_become_too_old_before_the_next_attempt_grants_nothing() {
    let gated = Gated::new();
    let passes = gated.passes().await;
    // The first attempt fails, and the next one begins after the answer is too old.
    gated.fixture.store.next(&[Fault::Raced]);
    gated.fixture.store.hold();
    let asking = gated.send("a", passes).await;
    time::advance(MAX_AGE + Duration::from_millis(1)).await;
    gated.fixture.store.release();
    assert_eq!(asking.await.unwrap(), unasked());
    assert!(gated.fixture.holders().await.is_empty());
    // It was given back: the gate gives the next one.
    let asking = gated.send("a", gated.passes().await).await;
    assert_eq!(asking.await.unwrap(), Ok(Outcome::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_another_server_uses_up_an_answer_from_before_it() {
    let gated = Gated::new();
    let passes = gated.passes().await;
    gated
        .fixture
        .overwrite(r#"{"total_slots":2,"holders":["other"]}"#);
    let asking = gated.send("a", passes).await;
    assert_eq!(asking.await.unwrap(), unasked());
    // Otherwise the next answer would be from the moment of the grant.
    time::advance(Duration::from_millis(1)).await;
    let asking = gated.send("a", gated.passes().await).await;
    assert_eq!(asking.await.unwrap(), Ok(Outcome::Locked));
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_unknown_outcome_has_used_its_pass() {
    let gated = Gated::new();
    gated.fixture.store.always(Fault::Late);
    let passes = gated.passes().await;
    let group = gated.fixture.group.clone();
    let answer = group.execute_with(self::gated("a"), passes, DEADLINE).await;
    assert!(answer.is_err(), "{answer:?}");
    gated.fixture.store.always(None);
    // The gate has to be asked again, although its answer is young: the late commit may still arrive.
    let asked = Instant::now();
    time::advance(Duration::from_millis(1)).await;
    let deadline = asked + DEADLINE;
    let pass = gated.gate.acquire(deadline, &gated.fixture).await.unwrap();
    assert!(pass.unwrap().asked() >= asked);
}
