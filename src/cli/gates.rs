//! The gates, as they answer this machine.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use serde::Serialize;

use crate::config::{ConfiguredGate, Settings};
use crate::fleet::GateState;
use crate::gate;

/// The answer of a gate to this machine, without regard to earlier ones.
#[derive(Debug, Serialize)]
pub(super) struct GateAnswer {
    pub(super) name: Arc<str>,
    pub(super) state: GateState,
    /// Why the gate is not open.
    pub(super) reason: Option<Arc<str>>,
    /// The time until the answer.
    pub(super) milliseconds: u64,
    /// The groups that need the gate to be open.
    pub(super) groups: Vec<String>,
}

/// Asks all gates of the configuration at the same time, each of them once.
pub(super) async fn ask_all(settings: &Settings) -> Vec<GateAnswer> {
    ask(settings, |_| true).await
}

/// Asks the gates whose names are wanted at the same time, each of them once.
pub(super) async fn ask(settings: &Settings, is_wanted: impl Fn(&str) -> bool) -> Vec<GateAnswer> {
    let gates = settings.gates.iter();
    let gates = gates.filter(|gate| is_wanted(&gate.settings.name));
    join_all(gates.map(|gate| GateAnswer::ask(gate, settings))).await
}

/// Reports whether a gate could not be asked.
pub(super) fn has_failure(answers: &[GateAnswer]) -> bool {
    let mut answers = answers.iter();
    answers.any(|answer| answer.state == GateState::Failed)
}

// === impl GateAnswer ===

impl GateAnswer {
    async fn ask(gate: &ConfiguredGate, settings: &Settings) -> Self {
        let started = Instant::now();
        let answer = gate::ask_once(&gate.settings).await;
        let name = &gate.settings.name;
        let groups = settings.groups.iter().filter(|(_, group)| {
            let mut gates = group.gates.iter();
            gates.any(|gate| gate.name == *name)
        });
        GateAnswer {
            name: Arc::clone(name),
            state: GateState::of(&answer),
            reason: answer.reason().cloned(),
            milliseconds: started.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
            groups: groups.map(|(name, _)| name.to_string()).collect(),
        }
    }
}
