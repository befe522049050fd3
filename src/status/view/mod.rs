//! The view of the fleet that the page, `/v1/status` and the command line share. docs/reference.md documents its JSON.

mod condition;
mod denials;
mod group;
mod rows;
mod servers;
mod windows;

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::coordinator::{ConfiguredGroup, ServerState};
use crate::denials::DeniedClient;
use crate::fleet::{Fleet, FleetWaiter, ServerId, Waiting, WaitingNode};
use crate::group::{Group, Waiter};
use crate::names::NodeNames;
use crate::store::health::{Health, NotReady, Replies, Writes};
use crate::text::explain::chain;
pub(crate) use condition::{Condition, overdue_seconds};
pub(crate) use denials::{DenialView, of_fleet};
pub(crate) use group::{GroupFacts, GroupView, MAX_LISTED, hold_age};
pub(crate) use rows::{CompletedHoldView, HolderView, LockView, WaiterView};
pub(crate) use servers::{ServerView, servers};

/// The view of a server, and of the fleet as this server knows it.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    pub(crate) version: &'static str,
    /// The name of this machine.
    pub(crate) host: String,
    pub(crate) now: Timestamp,
    pub(crate) store: StoreView,
    /// The servers of the fleet, this one included; `None` if the store has not returned them yet.
    pub(crate) servers: Option<Vec<ServerView>>,
    pub(crate) groups: Vec<GroupView>,
    /// The clients that were rejected recently, the latest first.
    pub(crate) denials: Vec<DenialView>,
}

/// The view of the store.
#[derive(Debug, Serialize)]
pub(crate) struct StoreView {
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
}

// === impl Sources ===

impl Sources<'_> {
    /// Returns the name of this server for people.
    fn label(&self) -> String {
        let label = self.fleet.map(|fleet| fleet.label(self.id));
        label.unwrap_or_else(|| self.id.host.clone())
    }
}

// === impl StatusView ===

impl StatusView {
    pub(super) fn new(sources: Sources<'_>, now: Timestamp) -> Self {
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
        StatusView {
            version: env!("CARGO_PKG_VERSION"),
            host: sources.id.host.clone(),
            now,
            store: StoreView {
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
                .map(|group| view(group, &sources, &label, known, now))
                .collect(),
            denials: denials(sources),
        }
    }
}

/// Returns the clients that this server has rejected, and then those of the others.
fn denials(sources: Sources<'_>) -> Vec<DenialView> {
    let label = sources.label();
    let own = sources.denials.into_iter();
    let own = own.map(|client| DenialView::new(client, &label));
    let others = sources.fleet.into_iter();
    own.chain(others.flat_map(|fleet| of_fleet(fleet, Some(sources.id))))
        .collect()
}

fn view(
    configured: &ConfiguredGroup,
    sources: &Sources<'_>,
    label: &str,
    known: Timestamp,
    now: Timestamp,
) -> GroupView {
    let group = &configured.group;
    let state = group.known();
    let own = own_waiting(group, label);
    let waiting = match sources.fleet {
        Some(fleet) => own.merge(fleet.waiting(group.name(), Some(sources.id))),
        None => own,
    };
    let facts = GroupFacts {
        name: group.name(),
        configured_slots: Some(group.configured_slots()),
        state: state.as_ref(),
        windows: &configured.settings.windows,
        waiting: Some(waiting),
        names: sources.names,
    };
    GroupView::as_of(facts, known, now)
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
