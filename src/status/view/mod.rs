//! The view of the fleet that the page, `/v1/status` and the command line share. docs/reference.md documents its JSON.

mod blocked;
mod caps;
mod condition;
mod conditions;
mod denials;
mod facts;
mod gates;
mod group;
mod policies;
mod problems;
mod rows;
mod servers;
#[cfg(test)]
mod tests;
mod windows;

use std::mem;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::admin::host;
use crate::config::GroupSettings;
use crate::coordinator::{ConfiguredGroup, ServerState};
use crate::denials::{DeniedClient, MAX_LISTED as MAX_LISTED_DENIALS};
use crate::fleet::{Fleet, FleetWaiter, ServerId, Waiting, WaitingNode};
use crate::group::{Group, Waiter};
use crate::names::NodeNames;
use crate::store::Endpoints;
use crate::store::health::{Health, NotReady, Replies, Writes};
use crate::text::explain::chain;
#[cfg(test)]
pub(crate) use blocked::BlockView;
pub(crate) use caps::{CapUsage, GroupUsage};
pub(crate) use condition::{Condition, is_refusal, overdue_seconds};
pub(crate) use denials::{DenialView, denials};
pub(crate) use facts::GroupFacts;
pub(crate) use gates::{GateServerView, GateView, gates_of_group};
pub(crate) use group::{GroupView, MAX_LISTED, hold_age};
pub(crate) use policies::SharedPolicies;
pub(crate) use problems::Problem;
pub(crate) use rows::{CompletedHoldView, HolderView, LockView, WaiterView};
pub(crate) use servers::{ServerView, servers};
pub(crate) use windows::CalendarLine;

/// The view of a server, and of the fleet as this server knows it.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub(crate) version: &'static str,
    /// The name of this machine.
    pub(crate) host: String,
    pub(crate) now: Timestamp,
    /// Whether an operator should look at anything of what follows.
    pub(crate) needs_attention: bool,
    /// Why this server has not applied its configuration file, if the last reload changed nothing; without a server, why
    /// none can apply the file.
    pub(crate) reload_problem: Option<String>,
    pub(crate) store: StoreView,
    /// The servers of the fleet; `None` if the store does not return them.
    pub(crate) servers: Option<Vec<ServerView>>,
    pub(crate) groups: Vec<GroupView>,
    /// The gates of the groups, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gates: Vec<GateView>,
    /// The limits that several groups share, in the order of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) caps: Vec<CapUsage>,
    /// The clients that were rejected recently; of those of this server the latest first.
    pub(crate) denials: Vec<DenialView>,
    /// More clients were rejected, or may have been: not all servers are known.
    pub(crate) more_denials: bool,
}

/// The view of the store.
#[derive(Debug, Serialize)]
pub(crate) struct StoreView {
    /// The endpoints or the file, as configured.
    pub(crate) location: String,
    /// The endpoints of etcd; `None` if they have not been called yet, or the store is embedded.
    pub(crate) etcd: Option<Endpoints>,
    /// Whether the store replied recently.
    pub(crate) up: bool,
    /// Whether the store accepts writes, as far as is known.
    pub(crate) writable: bool,
    /// When it stopped replying; `None` while it replies, and before its first reply.
    pub(crate) unavailable_since: Option<Timestamp>,
    /// The reason if one of the two is false.
    pub(crate) problem: Option<String>,
    /// Facts about the store that do not stop it.
    pub(crate) notices: Vec<String>,
}

/// The time of a view, and what it has space for.
#[derive(Clone, Copy)]
struct Moment {
    /// When the store has confirmed the states of the groups for the last time.
    known: Timestamp,
    now: Timestamp,
    /// The maximum number of lines of each calendar.
    max_calendar: usize,
}

/// The maximum number of lines of all calendars, of one of them, and the number that each has in any case.
const MAX_CALENDARS: usize = 3000;
const MAX_CALENDAR: usize = 30;
const MIN_CALENDAR: usize = 3;

/// The sources of the view of a server.
pub(super) struct Sources<'a> {
    pub(super) state: &'a ServerState,
    pub(super) health: &'a Health,
    /// `None`: the store has not returned it yet.
    pub(super) fleet: Option<&'a Fleet>,
    /// This server.
    pub(super) id: &'a ServerId,
    pub(super) names: &'a NodeNames,
    /// The clients that this server has rejected recently, the latest first.
    pub(super) denials: Vec<DeniedClient>,
    /// The endpoints or the file of the store.
    pub(super) location: &'a str,
    /// Why the last reload changed nothing.
    pub(super) reload_problem: Option<String>,
}

// === impl Sources ===

impl Sources<'_> {
    /// Returns the name of this server for people.
    fn label(&self) -> String {
        let label = self.fleet.map(|fleet| fleet.label(self.id));
        label.unwrap_or_else(|| self.id.host.clone())
    }
}

// === impl StoreView ===

impl StoreView {
    /// Describes a store of which no problem is known.
    pub(crate) fn working(location: String) -> Self {
        StoreView {
            location,
            etcd: None,
            up: true,
            writable: true,
            unavailable_since: None,
            problem: None,
            notices: Vec::new(),
        }
    }
}

// === impl StatusView ===

impl StatusView {
    pub(super) fn new(mut sources: Sources<'_>, now: Timestamp) -> Self {
        let health = sources.health;
        let problem = health.readiness(Instant::now()).err();
        let up = matches!(problem, None | Some(NotReady::ReadOnly { .. }));
        let unavailable_since = match &health.replies {
            Replies::Up { at } | Replies::Down { since: at, .. } if !up => {
                SignedDuration::try_from(at.elapsed())
                    .ok()
                    .and_then(|elapsed| now.checked_sub(elapsed).ok())
            }
            Replies::Unknown | Replies::Up { .. } | Replies::Down { .. } => None,
        };
        // The ages of holds are those that were known then.
        let known = unavailable_since.unwrap_or(now);
        let groups = sources.state.groups.values();
        let label = sources.label();
        let more_denials = sources.denials.len() >= MAX_LISTED_DENIALS
            || sources
                .fleet
                .is_none_or(|fleet| fleet.more_rejected(Some(sources.id)));
        let denials = denials(
            mem::take(&mut sources.denials),
            &label,
            sources.fleet,
            Some(sources.id),
            sources.names,
        );
        let policies = SharedPolicies::of_server(sources.state, sources.fleet, sources.id, &label);
        let at = Moment {
            known,
            now,
            max_calendar: max_calendar(sources.state),
        };
        let view = StatusView {
            version: env!("CARGO_PKG_VERSION"),
            host: sources.id.host.clone(),
            now,
            needs_attention: false,
            reload_problem: sources.reload_problem.take(),
            store: StoreView {
                location: sources.location.to_owned(),
                etcd: health.endpoints.clone(),
                up,
                writable: !matches!(health.writes, Writes::Refused { .. }),
                unavailable_since,
                problem: problem.map(|problem| chain(&problem)),
                notices: health.notices.iter().map(ToString::to_string).collect(),
            },
            servers: sources
                .fleet
                .map(|fleet| servers(fleet, Some(sources.id), now)),
            groups: groups
                .map(|group| view(group, &sources, &label, &denials, &policies, at))
                .collect(),
            gates: policies.gates,
            caps: policies.caps,
            denials,
            more_denials,
        };
        view.judged()
    }

    /// Returns the view of what the store tells, without a server. `reload_problem` is why none can apply the file.
    pub(crate) fn from_store(
        store: StoreView,
        groups: Vec<GroupView>,
        fleet: Option<&Fleet>,
        denials: Vec<DenialView>,
        policies: SharedPolicies,
        reload_problem: Option<String>,
        now: Timestamp,
    ) -> Self {
        let view = StatusView {
            version: env!("CARGO_PKG_VERSION"),
            host: host::name(),
            now,
            needs_attention: false,
            reload_problem,
            store,
            servers: fleet.map(|fleet| servers(fleet, None, now)),
            groups,
            gates: policies.gates,
            caps: policies.caps,
            denials,
            more_denials: fleet.is_none_or(|fleet| fleet.more_rejected(None)),
        };
        view.judged()
    }

    /// Leaves out the gates and caps that belong to none of the groups.
    pub(crate) fn retain_policies_of_groups(&mut self) {
        let groups = &self.groups;
        let is_listed = |name: &str| groups.iter().any(|group| group.name == name);
        self.gates
            .retain(|gate| gate.groups.iter().any(|name| is_listed(name)));
        self.caps
            .retain(|cap| cap.groups.iter().any(|group| is_listed(&group.name)));
    }

    /// Returns the view with its verdict.
    fn judged(self) -> Self {
        StatusView {
            needs_attention: !self.problems().is_empty(),
            ..self
        }
    }
}

/// Returns the maximum number of lines of each calendar.
fn max_calendar(state: &ServerState) -> usize {
    let settings = state.groups.values().map(|group| &group.settings);
    let has_calendar = |settings: &&GroupSettings| {
        !settings.windows.0.is_empty() || !settings.freezes.0.is_empty()
    };
    let calendars = settings.filter(has_calendar).count();
    (MAX_CALENDARS / calendars.max(1)).clamp(MIN_CALENDAR, MAX_CALENDAR)
}

fn view(
    configured: &ConfiguredGroup,
    sources: &Sources<'_>,
    label: &str,
    denials: &[DenialView],
    policies: &SharedPolicies,
    at: Moment,
) -> GroupView {
    let group = &configured.group;
    let state = group.known();
    let own = own_waiting(group, label);
    let waiting = match sources.fleet {
        Some(fleet) => Some(own.merge(fleet.waiting(group.name(), Some(sources.id)))),
        // What nodes the others know is not known.
        None if own.count == 0 => None,
        None => Some(Waiting {
            may_be_more: true,
            ..own
        }),
    };
    let facts = GroupFacts {
        name: group.name(),
        configured_slots: Some(group.configured_slots()),
        state: state.as_ref(),
        settings: Some(&configured.settings),
        conditions: group.conditions(),
        policies,
        max_calendar: at.max_calendar,
        waiting,
        denials,
        names: sources.names,
    };
    facts.view_as_of(at.known, at.now)
}

/// Returns the nodes that wait at this server.
fn own_waiting(group: &Group, server: &str) -> Waiting {
    let waiting = group.waiting(MAX_LISTED);
    let waiter = |waiter: &Waiter| FleetWaiter {
        node: WaitingNode::new(waiter),
        server: server.to_owned(),
        latest: Some((waiter.last_asked, waiter.times)),
    };
    Waiting {
        nodes: waiting.longest.iter().map(waiter).collect(),
        count: waiting.count,
        may_be_more: waiting.may_be_more,
    }
}
