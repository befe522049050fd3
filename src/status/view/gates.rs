//! The view of the gates, as the servers of the fleet have asked them last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::GateSettings;
use crate::fleet::{Fleet, GateState, GateStatus, ServerId};
use crate::gate::Closed;
use crate::text::escape::shortened;

/// The maximum number of gates that are listed. The configuration has at most as many.
const MAX_GATES: usize = 64;

/// The maximum number of servers that are listed for a gate.
const MAX_SERVERS: usize = 64;

/// The maximum number of characters of a name and of a reason.
const MAX_NAME: usize = 63;
const MAX_REASON: usize = 400;

/// The view of a gate.
#[derive(Debug, Serialize)]
pub(crate) struct GateView {
    pub(crate) name: String,
    /// The state that counts most among those of the servers.
    pub(crate) state: GateState,
    /// The configured groups that have it, sorted.
    pub(crate) groups: Vec<String>,
    /// Whether the servers disagree about its state.
    pub(crate) servers_disagree: bool,
    /// The running servers that have it, this one first.
    pub(crate) servers: Vec<GateServerView>,
}

/// The view of a gate at one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GateServerView {
    pub(crate) server: String,
    pub(crate) state: GateState,
    /// Why it is not open.
    pub(crate) reason: Option<String>,
    /// Since when it is in this state, if that is known.
    pub(crate) since: Option<Timestamp>,
    /// The age of the latest answer; `None`: only its server knows.
    pub(crate) age_seconds: Option<u64>,
}

/// The gates of the server that makes the view.
#[derive(Default)]
pub(super) struct OwnGates {
    /// The name of the server.
    pub(super) label: String,
    /// Its gates, with the ages of their latest answers.
    pub(super) gates: Vec<(GateStatus, Option<Duration>)>,
}

// === impl GateView ===

impl GateView {
    /// Returns the gates of the groups with these settings, and those that other servers publish, by name.
    pub(super) fn all<'a>(
        groups: impl Iterator<Item = (&'a str, &'a [Arc<GateSettings>])>,
        own: OwnGates,
        fleet: Option<&Fleet>,
        except: Option<&ServerId>,
    ) -> Vec<GateView> {
        let mut gates: BTreeMap<String, GateView> = BTreeMap::new();
        for (group, settings) in groups {
            for gate in settings {
                let gate = gates.entry(gate.name.to_string());
                let gate = gate.or_insert_with_key(|name| GateView::new(name));
                gate.groups.push(group.to_owned());
            }
        }
        for (status, age) in &own.gates {
            add(&mut gates, &own.label, status, *age);
        }
        for (server, status) in fleet.into_iter().flat_map(|fleet| fleet.gates(except)) {
            add(&mut gates, &server, status, None);
        }
        let gates = gates.into_values().map(GateView::judged);
        gates.take(MAX_GATES).collect()
    }

    fn new(name: &str) -> Self {
        GateView {
            name: name.to_owned(),
            state: GateState::Unknown,
            groups: Vec::new(),
            servers_disagree: false,
            servers: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(name: &str, groups: &[&str], servers: Vec<GateServerView>) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned());
        let gate = GateView {
            groups: groups.collect(),
            servers,
            ..GateView::new(name)
        };
        gate.judged()
    }

    fn judged(mut self) -> Self {
        let states = || self.servers.iter().map(|server| server.state);
        let known = || states().filter(|state| *state != GateState::Unknown);
        self.servers_disagree = known().min() != known().max();
        self.state = states().min().unwrap_or(GateState::Unknown);
        self
    }

    /// Returns the first of the servers at which the gate is in its state.
    fn example(&self) -> Option<&GateServerView> {
        let mut servers = self.servers.iter();
        servers.find(|server| server.state == self.state)
    }

    /// Returns the reason why the gate grants no lock; `None` if it is open, or no server has published it.
    pub(crate) fn reason(&self) -> Option<String> {
        let example = self.example()?;
        let reason = match (&example.reason, self.state) {
            (_, GateState::Open) => return None,
            (Some(reason), _) => reason.clone(),
            (None, _) => "it has not answered yet".into(),
        };
        Some(match self.servers_disagree {
            true => format!("{reason} (at {})", example.server),
            false => reason,
        })
    }

    /// Returns the time since which the gate is in its state.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.example()?.since
    }

    fn belongs_to(&self, group: &str) -> bool {
        let found = self
            .groups
            .binary_search_by(|name| name.as_str().cmp(group));
        found.is_ok()
    }
}

fn add(
    gates: &mut BTreeMap<String, GateView>,
    server: &str,
    status: &GateStatus,
    age: Option<Duration>,
) {
    let name = shortened(&status.name, MAX_NAME).into_owned();
    if gates.len() >= MAX_GATES && !gates.contains_key(&name) {
        return;
    }
    let gate = gates.entry(name);
    let gate = gate.or_insert_with_key(|name| GateView::new(name));
    if gate.servers.len() < MAX_SERVERS {
        let reason = status.reason.as_deref();
        gate.servers.push(GateServerView {
            server: server.to_owned(),
            state: status.state,
            reason: reason.map(|reason| shortened(reason, MAX_REASON).into_owned()),
            since: status.since,
            age_seconds: age.map(|age| age.as_secs()),
        });
    }
}

/// Returns the gates of a group.
pub(crate) fn gates_of_group<'a>(
    gates: &'a [GateView],
    group: &str,
) -> impl Iterator<Item = &'a GateView> {
    gates.iter().filter(move |gate| gate.belongs_to(group))
}

/// Returns the gate for which a group grants no lock; `None` if all are open, or nothing is known about them.
pub(super) fn closed_gate<'a>(
    gates: &'a [GateView],
    group: &str,
) -> Option<(&'a GateView, Closed)> {
    let closed = gates_of_group(gates, group).filter_map(|gate| Some((gate, gate.reason()?)));
    let (gate, reason) = closed.min_by_key(|(gate, _)| gate.state)?;
    let closed = Closed {
        gate: gate.name.as_str().into(),
        reason: reason.into(),
    };
    Some((gate, closed))
}
