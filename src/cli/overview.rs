//! What the store tells about the fleet: the groups, configured or not, and the servers with the nodes that wait at them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::CliError;
use super::context::{StoreContext, Target};
use crate::config::{CapSettings, GroupSettings};
use crate::fleet::Fleet;
use crate::lock::policy::{Conditions, Stall};
use crate::lock::{GroupName, GroupState};
use crate::status::{
    Condition, DenialView, GroupFacts, GroupView, SharedPolicies, StatusView, StoreView, denials,
};
use crate::text::explain::chain;

/// The number of groups that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// Why the state of a group is not known if the settings of the groups are not valid.
const UNKNOWN_SLOTS: &str = "it is not in the store, and its slots cannot be read from the file";

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
        let caps: Vec<CapSettings> = caps_of(context, &targets).cloned().collect();
        let members = members(context, &targets, &caps);
        let (listed, members) = (read(context, targets).await, read(context, members).await);
        let now = Timestamp::now();
        let denials = denials(Vec::new(), "", fleet.as_ref(), None, &context.names);
        let mut states = BTreeMap::new();
        let (mut names, mut damaged, mut failed) = (Vec::new(), None, Vec::new());
        for (target, state) in listed {
            if let Ok(Err(reason)) = state.as_ref().map(|state| &state.semaphore) {
                damaged.get_or_insert_with(|| context.damaged(&target, reason.clone()));
            }
            match state {
                Ok(state) => drop(states.insert(target.name.clone(), state)),
                Err(error) => failed.push((target.name.clone(), error)),
            }
            names.push(target);
        }
        let none_is_known = failed.len() == names.len();
        for (target, state) in members {
            match state {
                Ok(state) => drop(states.insert(target.name, state)),
                Err(error) => failed.push((target.name, error)),
            }
        }
        for (name, error) in failed {
            if none_is_known {
                return Err(error);
            }
            tracing::warn!("group {name} is not known: {}", chain(&error));
        }
        // Without a running server, nothing is known about waiting nodes and gates.
        let running = fleet.as_ref();
        let running = running.filter(|fleet| fleet.alive().next().is_some());
        let groups = context.settings.groups.iter();
        let policies =
            SharedPolicies::from_store(groups, &caps, running, |group| states.get(group));
        let source = Source {
            context,
            states: &states,
            caps: &caps,
            running,
            denials: &denials,
            policies: &policies,
        };
        let groups = names
            .iter()
            .map(|target| source.view(target, now))
            .collect();
        let fleet = fleet.as_ref();
        Ok(Overview {
            view: StatusView::from_store(
                store,
                groups,
                fleet,
                denials,
                policies,
                context.problem.clone(),
                now,
            ),
            damaged,
        })
    }
}

/// Reads the states of groups.
async fn read(
    context: &StoreContext,
    targets: Vec<Target>,
) -> Vec<(Target, Result<GroupState, CliError>)> {
    let read = stream::iter(targets).map(async |target| {
        let state = context.state(&target).await;
        (target, state)
    });
    read.buffered(CONCURRENT_READS).collect().await
}

/// Returns the caps to which groups belong.
fn caps_of<'c>(
    context: &'c StoreContext,
    targets: &[Target],
) -> impl Iterator<Item = &'c CapSettings> {
    let caps = context.settings.caps.iter();
    caps.filter(|cap| {
        let mut targets = targets.iter();
        targets.any(|target| cap.groups.contains(&target.name))
    })
}

/// Returns the other groups of these caps.
fn members(context: &StoreContext, targets: &[Target], caps: &[CapSettings]) -> Vec<Target> {
    let names: BTreeSet<&GroupName> = caps.iter().flat_map(|cap| &cap.groups).collect();
    let is_other = |name: &&GroupName| targets.iter().all(|target| target.name != **name);
    let others = names.into_iter().filter(is_other);
    let member = |name: &GroupName| Target {
        name: name.clone(),
        configured_slots: context.settings.groups.get(name).map(|group| group.slots),
    };
    others.map(member).collect()
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

/// What is known about the groups.
struct Source<'a> {
    context: &'a StoreContext,
    states: &'a BTreeMap<GroupName, GroupState>,
    caps: &'a [CapSettings],
    /// The servers, if one of them runs.
    running: Option<&'a Fleet>,
    denials: &'a [DenialView],
    policies: &'a SharedPolicies,
}

// === impl Source ===

impl Source<'_> {
    fn view(&self, target: &Target, now: Timestamp) -> GroupView {
        let context = self.context;
        let settings = context.settings.groups.get(&target.name);
        let read = self.states.get(&target.name);
        let state = read.filter(|state| context.knows_slots(state));
        // Slots that are not known are not compared with those of the store.
        let stored = || state?.semaphore.as_ref().ok().map(|found| found.slots);
        let configured_slots = match context.has_valid_groups {
            true => target.configured_slots,
            false => stored().or(Some(0)),
        };
        let waiting = |fleet: &Fleet| fleet.waiting(&target.name, None).merge(Default::default());
        let facts = GroupFacts {
            name: &target.name,
            configured_slots,
            state,
            settings,
            conditions: self.conditions(&target.name, settings),
            policies: self.policies,
            max_calendar: 0,
            waiting: self.running.map(waiting),
            denials: self.denials,
            names: &context.names,
        };
        let mut view = facts.view(now);
        if !context.has_valid_groups {
            view.configured_slots = None;
        }
        if read.is_some() && state.is_none() {
            let details = view.conditions.iter().zip(&mut view.details);
            for (_, detail) in details.filter(|(condition, _)| **condition == Condition::Unknown) {
                *detail = UNKNOWN_SLOTS.to_owned();
            }
        }
        view
    }

    /// Returns what a lock depends on. When a server first saw a holder whose time of grant is unknown is not known here.
    fn conditions(&self, group: &GroupName, settings: Option<&GroupSettings>) -> Conditions {
        let caps = self.caps.iter().filter_map(|cap| cap.for_group(group));
        Conditions {
            stall: settings
                .and_then(|settings| settings.stall_after)
                .map(|after| Stall {
                    after,
                    first_seen: Arc::default(),
                }),
            settle: settings.and_then(|settings| settings.settle),
            caps: caps
                .map(|cap| cap.view(|group| self.states.get(group)?.held()))
                .collect(),
        }
    }
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
