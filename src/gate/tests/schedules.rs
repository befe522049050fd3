//! Random schedules: whatever happens, each grant is based on an open answer that is young enough, and no answer serves
//! more grants than it allows.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::Registry;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::time::{self, Instant};

use super::{Always, settings};
use crate::config::GateSettings;
use crate::gate::{Answer, Gate, GateMetrics, Gates, Pass, Source};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A node asks, and waits at most so many milliseconds.
    Acquire(u64),
    /// One of the passes is used, if it is valid.
    Use(usize),
    Drop(usize),
    Wait(u64),
    /// Somebody looks at the status page, or files were reloaded.
    Ask,
    /// The settings are reloaded, and differ if the flag is set.
    Reload(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3000_u64).prop_map(Step::Acquire),
        4 => any::<usize>().prop_map(Step::Use),
        1 => any::<usize>().prop_map(Step::Drop),
        4 => (0..400_u64).prop_map(Step::Wait),
        1 => Just(Step::Ask),
        1 => any::<bool>().prop_map(Step::Reload),
    ]
}

/// Answers of which each takes some milliseconds.
fn answers() -> impl Strategy<Value = Vec<(u64, bool)>> {
    let delay = prop_oneof![4 => 1..150_u64, 1 => 1..1200_u64];
    prop::collection::vec((delay, prop::bool::weighted(0.85)), 1..8)
}

/// An ask, as the source has seen it.
#[derive(Clone, Copy)]
struct Asked {
    since: Instant,
    /// `None`: there is no answer yet.
    answered: Option<Instant>,
    is_open: bool,
    /// The number of grants that are based on its answer.
    served: u64,
    /// The number of all grants since then.
    grants: u64,
}

/// What has happened at one gate: its source, and the grants.
struct History {
    answers: Vec<(u64, bool)>,
    asks: Mutex<Vec<Asked>>,
}

#[async_trait]
impl Source for History {
    async fn ask(&self) -> Answer {
        let (number, delay, is_open) = {
            let mut asks = self.asks.lock();
            let (delay, is_open) = self.answers[asks.len() % self.answers.len()];
            asks.push(Asked {
                since: Instant::now(),
                answered: None,
                is_open,
                served: 0,
                grants: 0,
            });
            (asks.len() - 1, delay, is_open)
        };
        time::sleep(Duration::from_millis(delay)).await;
        self.asks.lock()[number].answered = Some(Instant::now());
        if is_open {
            Answer::Open
        } else {
            Answer::closed("closed")
        }
    }
}

impl History {
    /// Checks a grant that is made now, and counts it.
    fn grant(&self, asked: Instant, settings: &GateSettings) {
        let now = Instant::now();
        let mut asks = self.asks.lock();
        assert!(now - asked <= settings.max_age, "the answer is too old");
        let own = asks.iter_mut().find(|ask| ask.since == asked);
        let own = own.expect("the answer to no ask");
        assert!(own.is_open && own.answered.is_some(), "no open answer");
        own.served += 1;
        assert!(
            own.served <= settings.allows,
            "an answer has served too many grants"
        );
        // An answer says nothing about the world after the grants that followed.
        asks.iter_mut().for_each(|ask| ask.grants += 1);
        let last = asks.iter().rfind(|ask| ask.answered.is_some()).unwrap();
        assert!(last.is_open, "the last answer is closed");
        assert!(
            last.grants <= settings.allows,
            "too many grants since the last answer"
        );
    }
}

/// The gate of the current settings.
struct Current {
    gate: Arc<Gate>,
    history: Arc<History>,
}

/// A pass that a node has got, with the gate that gave it.
type Held = (Pass, Arc<History>, GateSettings);

/// Replaces the gates by one with these settings.
fn reload(
    gates: &Gates,
    settings: &GateSettings,
    created: &Mutex<Option<Arc<History>>>,
) -> Current {
    let settings = Arc::new(settings.clone());
    gates.replace([&settings].into_iter());
    Current {
        gate: Arc::clone(&gates.of(&[settings])[0]),
        history: created.lock().clone().unwrap(),
    }
}

async fn run(allows: u64, answers: Vec<(u64, bool)>, steps: Vec<Step>) -> usize {
    let created = Arc::new(Mutex::new(None));
    let create = {
        let created = Arc::clone(&created);
        move |_: &Arc<GateSettings>| {
            let asks = Mutex::default();
            let answers = answers.clone();
            let history = Arc::new(History { answers, asks });
            *created.lock() = Some(Arc::clone(&history));
            history as Arc<dyn Source>
        }
    };
    let gates = Gates::with_source(GateMetrics::register(&Registry::new()).unwrap(), create);
    let mut settings = GateSettings {
        max_age: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..settings(allows)
    };
    let mut current = reload(&gates, &settings, &created);
    let held: Arc<Mutex<Vec<Held>>> = Arc::default();
    let mut grants = 0;
    for step in steps {
        match step {
            Step::Acquire(timeout) => {
                let deadline = Instant::now() + Duration::from_millis(timeout);
                let (gate, history) = (Arc::clone(&current.gate), Arc::clone(&current.history));
                let (held, settings) = (Arc::clone(&held), settings.clone());
                tokio::spawn(async move {
                    if let Ok(Some(pass)) = gate.acquire(deadline, &Always).await {
                        held.lock().push((pass, history, settings));
                    }
                });
            }
            Step::Use(index) | Step::Drop(index) => {
                let count = held.lock().len();
                if count == 0 {
                    continue;
                }
                let (pass, history, settings) = held.lock().swap_remove(index % count);
                if matches!(step, Step::Use(_)) && pass.is_valid(Instant::now()) {
                    history.grant(pass.asked(), &settings);
                    pass.used();
                    grants += 1;
                }
            }
            Step::Wait(milliseconds) => time::sleep(Duration::from_millis(milliseconds)).await,
            Step::Ask => current.gate.ask_now(),
            Step::Reload(differs) => {
                let name = if differs { "b" } else { "a" };
                settings.name = name.into();
                current = reload(&gates, &settings, &created);
            }
        }
    }
    grants
}

#[test]
fn each_grant_is_based_on_an_answer_that_is_open_young_and_not_used_up() {
    let grants = Cell::new(0);
    let schedules = (1..4_u64, answers(), prop::collection::vec(step(), 1..120));
    let mut runner = TestRunner::default();
    let result = runner.run(&schedules, |(allows, answers, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        grants.set(grants.get() + runtime.block_on(run(allows, answers, steps)));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(grants.get() > 300, "only {} grants", grants.get());
}
