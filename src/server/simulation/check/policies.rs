//! The policies of a group in a run, and the values on which they depend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use super::super::fleet::Fleet;
use super::super::trace::{Moment, Trace};
use super::super::world::State;
use crate::lock::GroupName;
use crate::lock::policy::{Cap, CapView};

/// The values of all groups.
pub(super) type AllStates = BTreeMap<GroupName, Vec<State>>;

/// The policies of a group.
pub(super) struct Policies<'a> {
    pub(super) settle: Option<SignedDuration>,
    pub(super) stall_after: Option<SignedDuration>,
    caps: Vec<Cap>,
    all: &'a AllStates,
    trace: &'a Trace,
}

// === impl Policies ===

impl<'a> Policies<'a> {
    pub(super) fn of(group: &GroupName, fleet: &'a Fleet, all: &'a AllStates) -> Self {
        let policies = &fleet.plan.policies;
        Policies {
            settle: policies.settle,
            stall_after: policies.stall_after,
            caps: policies.caps_of(group),
            all,
            trace: &fleet.world.trace,
        }
    }

    /// Returns the caps as they apply to the group at that moment.
    pub(super) fn caps(&self, at: Moment) -> Vec<CapView> {
        let caps = self.caps.iter();
        caps.map(|cap| {
            let others = cap.others.iter().map(|other| &self.all[other]);
            let held: Vec<u64> = others.map(|states| held(current(states, at))).collect();
            CapView {
                name: Arc::clone(&cap.name),
                max_held: cap.max_held,
                max_groups: cap.max_groups,
                held_elsewhere: held.iter().sum(),
                groups_elsewhere: held.iter().filter(|held| **held > 0).count() as u64,
                unusable: None,
            }
        })
        .collect()
    }

    /// Reports whether the store may not have returned a group of a cap during an interval.
    pub(super) fn is_unreadable(
        &self,
        cap: &str,
        group: &GroupName,
        from: Moment,
        to: Moment,
    ) -> bool {
        let mut caps = self.caps.iter();
        caps.any(|found| *found.name == *cap && found.others.contains(group))
            && self.trace.has_between(from, to, "read meets ")
    }

    /// Returns the moments of an interval at which another group of a cap has a new value.
    pub(super) fn changes_elsewhere(&self, from: Moment, to: Moment) -> BTreeSet<Moment> {
        let others = self.caps.iter().flat_map(|cap| &cap.others);
        let moments = others.flat_map(|other| {
            let states = &self.all[other];
            let first = states.partition_point(|state| state.from <= from);
            let end = states.partition_point(|state| state.from <= to);
            states[first..end].iter().map(|state| state.from)
        });
        moments.collect()
    }
}

/// Returns the value at a moment.
pub(super) fn current(states: &[State], at: Moment) -> &State {
    let next = states.partition_point(|state| state.from <= at);
    &states[next.saturating_sub(1)]
}

/// Returns the number of holders.
pub(super) fn held(state: &State) -> u64 {
    let semaphore = state.semaphore.as_ref();
    semaphore.map_or(0, |semaphore| semaphore.holders.len() as u64)
}
