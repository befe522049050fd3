//! What the store tells about the fleet: the groups, configured or not, and the servers with the nodes that wait at them.

use std::net::IpAddr;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::CliError;
use super::context::{StoreContext, Target};
use crate::fleet::Fleet;
use crate::lock::GroupState;
use crate::lock::window::Windows;
use crate::status::{DenialView, GroupFacts, GroupView, StatusView, StoreView, denials};
use crate::text::explain::chain;

/// The number of groups that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// The groups and the servers.
pub(super) struct Overview {
    pub(super) view: StatusView,
    /// The first stored value that cannot be used.
    pub(super) damaged: Option<CliError>,
}

// === impl Overview ===

impl Overview {
    /// Reads one group, or all groups if `group` is `None`. `store` is what is known about the store.
    ///
    /// # Errors
    /// If no group can be read.
    pub(super) async fn read(
        context: &StoreContext,
        group: Option<&str>,
        store: StoreView,
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
            let state = context.state(&target).await;
            (target, state)
        });
        let states: Vec<_> = read.buffered(CONCURRENT_READS).collect().await;
        let now = Timestamp::now();
        let denials = denials(Vec::new(), "", fleet.as_ref(), None, &context.names);
        let (mut groups, mut damaged, mut failed) = (Vec::new(), None, Vec::new());
        for (target, state) in states {
            let state = match state {
                Ok(state) => Some(state),
                Err(error) => {
                    failed.push((target.name.clone(), error));
                    None
                }
            };
            if let Some(Err(reason)) = state.as_ref().map(|state| &state.semaphore) {
                damaged.get_or_insert_with(|| context.damaged(&target, reason.clone()));
            }
            groups.push(view(
                context,
                &target,
                state.as_ref(),
                fleet.as_ref(),
                &denials,
                now,
            ));
        }
        let none_is_known = failed.len() == groups.len();
        for (name, error) in failed {
            if none_is_known {
                return Err(error);
            }
            tracing::warn!("group {name} is not known: {}", chain(&error));
        }
        Ok(Overview {
            view: StatusView::from_store(store, groups, fleet.as_ref(), denials, now),
            damaged,
        })
    }
}

/// Returns the configured groups, and those that only the store has.
pub(super) async fn all_targets(context: &StoreContext) -> Vec<Target> {
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
    state: Option<&GroupState>,
    fleet: Option<&Fleet>,
    denials: &[DenialView],
    now: Timestamp,
) -> GroupView {
    let settings = context.settings.groups.get(&target.name);
    let always = Windows::default();
    // Without a running server, nothing is known about waiting nodes.
    let fleet = fleet.filter(|fleet| fleet.alive().next().is_some());
    let facts = GroupFacts {
        name: &target.name,
        configured_slots: target.configured_slots,
        state,
        windows: settings.map_or(&always, |settings| &settings.windows),
        waiting: fleet.map(|fleet| fleet.waiting(&target.name, None).merge(Default::default())),
        denials,
        names: &context.names,
    };
    facts.view(now)
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
