//! The states of gates, as each server publishes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::coordinator::ServerState;
use crate::gate::{Answer, Gate};

/// The state of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GateState {
    /// It gave no answer, and counts as closed.
    Failed,
    /// Nodes must not reboot.
    Closed,
    /// Nodes may reboot.
    Open,
    /// It has not answered yet, and counts as closed.
    Unknown,
}

/// The state of a gate at one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GateStatus {
    pub(crate) name: String,
    pub(crate) state: GateState,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Since when it is in this state; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
}

/// The maximum length of a reason in bytes: all gates have to fit into a document.
const MAX_REASON: usize = 200;

// === impl GateState ===

impl GateState {
    /// Returns the state of a gate with this answer.
    pub(crate) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Open => GateState::Open,
            Answer::Closed(_) => GateState::Closed,
            Answer::Failed(_) => GateState::Failed,
        }
    }

    /// Returns the words for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            GateState::Failed => "failed",
            GateState::Closed => "closed",
            GateState::Open => "open",
            GateState::Unknown => "not known yet",
        }
    }
}

// === impl GateStatus ===

impl GateStatus {
    /// Describes a gate of this server.
    pub(crate) fn new(gate: &Gate) -> Self {
        let latest = gate.latest();
        let answer = latest.as_ref().map(|latest| &latest.answer);
        let state = answer.map_or(GateState::Unknown, GateState::of);
        let reason = answer.and_then(Answer::reason);
        GateStatus {
            name: gate.name().to_string(),
            state,
            reason: reason.map(|reason| reason.to_string()),
            since: latest.map(|latest| latest.since),
        }
    }

    /// Returns the state as it is published: without the end of a long reason.
    pub(super) fn published(mut self) -> Self {
        if let Some(reason) = &mut self.reason
            && reason.len() > MAX_REASON
        {
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            reason.push('…');
        }
        self
    }
}

/// Returns the gates of the groups of a server, by name.
pub(crate) fn gates_of(state: &ServerState) -> BTreeMap<&str, &Arc<Gate>> {
    let gates = state.groups.values().flat_map(|group| &*group.gates);
    gates.map(|gate| (&**gate.name(), gate)).collect()
}
