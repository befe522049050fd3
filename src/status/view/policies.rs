//! What is known about the policies that several groups share, from a running server or from the store.

use std::collections::{BTreeMap, BTreeSet};

use super::caps::CapUsage;
use super::gates::{GateView, OwnGates};
use crate::config::{CapSettings, GroupSettings};
use crate::coordinator::ServerState;
use crate::fleet::{Fleet, GateStatus, ServerId, gates_of};
use crate::lock::{GroupName, GroupState};

/// The policies that several groups share.
#[derive(Default)]
pub(crate) struct SharedPolicies {
    pub(super) gates: Vec<GateView>,
    pub(super) caps: Vec<CapUsage>,
    /// The groups of caps that another program has written lately.
    pub(super) foreign_writes: BTreeSet<String>,
}

// === impl SharedPolicies ===

impl SharedPolicies {
    /// Describes what the store tells about the groups and caps of a configuration.
    pub(crate) fn from_store<'a, 's>(
        groups: impl Iterator<Item = (&'a GroupName, &'a GroupSettings)>,
        caps: &[CapSettings],
        fleet: Option<&Fleet>,
        state: impl Fn(&GroupName) -> Option<&'s GroupState>,
    ) -> Self {
        let gates = groups.map(|(name, settings)| (name.as_str(), &*settings.gates));
        SharedPolicies {
            gates: GateView::all(gates, OwnGates::default(), fleet, None),
            caps: caps.iter().map(|cap| CapUsage::new(cap, &state)).collect(),
            foreign_writes: foreign_writes(fleet).collect(),
        }
    }

    /// Describes what the server `id`, called `label`, knows.
    pub(super) fn of_server(
        state: &ServerState,
        fleet: Option<&Fleet>,
        id: &ServerId,
        label: &str,
    ) -> Self {
        let groups = state.groups.iter();
        let gates = groups.map(|(name, group)| (name.as_str(), &*group.settings.gates));
        let own = gates_of(state).into_values();
        let own = OwnGates {
            label: label.to_owned(),
            gates: own
                .map(|gate| {
                    (
                        GateStatus::new(gate),
                        gate.latest().map(|latest| latest.age),
                    )
                })
                .collect(),
        };
        let cap = |cap: &CapSettings| {
            let known = cap.groups.iter().filter_map(|name| {
                let known = state.groups.get(name)?.group.known()?;
                Some((name, known))
            });
            let known: BTreeMap<_, _> = known.collect();
            CapUsage::new(cap, |name| known.get(name))
        };
        let written = state.groups.values().map(|configured| &configured.group);
        let written = written.filter(|group| group.is_written_by_others());
        let written = written.map(|group| group.name().to_string());
        SharedPolicies {
            gates: GateView::all(gates, own, fleet, Some(id)),
            caps: state.caps.iter().map(cap).collect(),
            foreign_writes: foreign_writes(fleet).chain(written).collect(),
        }
    }

    /// Returns the caps to which a group belongs, if another program has written it lately.
    pub(super) fn caps_in_danger<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a str> {
        let is_written = self.foreign_writes.contains(group);
        let caps = self.caps_of(group).filter(move |_| is_written);
        caps.map(|cap| &*cap.name)
    }

    /// Returns the caps to which a group belongs.
    pub(super) fn caps_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a CapUsage> {
        self.caps.iter().filter(move |cap| cap.includes(group))
    }
}

fn foreign_writes(fleet: Option<&Fleet>) -> impl Iterator<Item = String> {
    let groups = fleet.into_iter().flat_map(Fleet::foreign_writes);
    groups.map(str::to_owned)
}
