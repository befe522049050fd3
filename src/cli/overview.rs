//! What the store tells about the fleet: the groups, configured or not, and the servers with the nodes that wait at them.

use std::net::IpAddr;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::CliError;
use super::context::{StoreContext, Target};
use crate::fleet::Fleet;
use crate::lock::GroupState;
use crate::lock::window::Windows;
use crate::status::{DenialView, GroupFacts, GroupView, ServerView, of_fleet, servers};
use crate::text::explain::chain;

/// The number of groups that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// The groups and the servers.
pub(super) struct Overview {
    pub(super) now: Timestamp,
    /// By name.
    pub(super) groups: Vec<GroupView>,
    /// `None`: the store does not return the documents of the servers.
    pub(super) servers: Option<Vec<ServerView>>,
    /// The clients that running servers have rejected lately; most likely nodes.
    pub(super) denials: Vec<DenialView>,
    /// The first stored value that cannot be used.
    pub(super) damaged: Option<CliError>,
}

// === impl Overview ===

impl Overview {
    /// Reads one group, or all groups if `group` is `None`.
    ///
    /// # Errors
    /// If a group cannot be read.
    pub(super) async fn read(
        context: &StoreContext,
        group: Option<&str>,
    ) -> Result<Self, CliError> {
        let targets = match group {
            Some(group) => vec![context.target(group).await?],
            None => all_targets(context).await,
        };
        let fleet = match Fleet::read(&*context.store).await {
            Ok(fleet) => Some(fleet),
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!("the servers and the waiting nodes are not known: {reason}");
                None
            }
        };
        let read = stream::iter(targets).map(async |target| {
            let state = context.state(&target).await?;
            Ok::<_, CliError>((target, state))
        });
        let states: Vec<_> = read.buffered(CONCURRENT_READS).collect().await;
        let now = Timestamp::now();
        let mut overview = Overview {
            now,
            groups: Vec::new(),
            servers: fleet.as_ref().map(|fleet| servers(fleet, None, now)),
            denials: fleet
                .as_ref()
                .map_or_else(Vec::new, |fleet| of_fleet(fleet, None)),
            damaged: None,
        };
        for read in states {
            let (target, state) = read?;
            if let (Err(reason), None) = (&state.semaphore, &overview.damaged) {
                overview.damaged = Some(context.damaged(&target, reason.clone()));
            }
            let view = view(context, &target, &state, fleet.as_ref(), now);
            overview.groups.push(view);
        }
        Ok(overview)
    }
}

/// Returns the configured groups, and those that only the store has.
async fn all_targets(context: &StoreContext) -> Vec<Target> {
    let mut targets: Vec<Target> = context.configured().collect();
    match context.store.groups().await {
        Ok(stored) => {
            let others = stored
                .into_iter()
                .filter(|group| !context.settings.groups.contains_key(group));
            targets.extend(others.map(|name| Target {
                name,
                configured_slots: None,
            }));
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::warn!("groups that are not configured are not shown: {reason}");
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    targets
}

fn view(
    context: &StoreContext,
    target: &Target,
    state: &GroupState,
    fleet: Option<&Fleet>,
    now: Timestamp,
) -> GroupView {
    let settings = context.settings.groups.get(&target.name);
    let always = Windows::default();
    let facts = GroupFacts {
        name: &target.name,
        configured_slots: target.configured_slots,
        state: Some(state),
        windows: settings.map_or(&always, |settings| &settings.windows),
        waiting: fleet.map(|fleet| fleet.waiting(&target.name, None).merge(Default::default())),
        names: &context.names,
    };
    GroupView::new(facts, now)
}

/// Returns the number of waiting nodes as it is shown.
pub(super) fn waiting(group: &GroupView) -> String {
    match group.waiting_count {
        None => "?".into(),
        Some(0) => "-".into(),
        Some(count) if group.more_may_wait => format!("{count}+"),
        Some(count) => count.to_string(),
    }
}

/// Returns an address as it is shown.
pub(super) fn address(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "-".into(), |peer| peer.to_string())
}

/// Reports whether `wanted` is the id, the name or the address of a node.
pub(super) fn is_node(wanted: &str, id: &str, name: Option<&str>, peer: Option<IpAddr>) -> bool {
    let address = wanted.parse::<IpAddr>().ok();
    id == wanted || name == Some(wanted) || (address.is_some() && address == peer)
}
