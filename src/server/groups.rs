//! The groups of the server: creates them from settings, and spawns their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::supervisor::Supervisor;
use crate::config::{CapSettings, GroupSettings, Settings};
use crate::coordinator::{ConfiguredGroup, ServerState};
use crate::denials::Denials;
use crate::gate::Gates;
use crate::group::{Group, GroupMetrics, Policies, Reporter, max_waiters};
use crate::lock::GroupName;
use crate::lock::policy::Cap;
use crate::store::Store;

/// Creates groups on one store.
pub(super) struct GroupFactory {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: GroupMetrics,
    pub(super) denials: Arc<Denials>,
    pub(super) gates: Arc<Gates>,
    pub(super) reporter: Reporter,
}

// === impl GroupFactory ===

impl GroupFactory {
    /// Creates the state for `settings`. A group that exists in `running` keeps its task and its queue.
    pub(super) fn state(
        &self,
        supervisor: &mut Supervisor,
        settings: &Settings,
        running: &BTreeMap<GroupName, ConfiguredGroup>,
    ) -> ServerState {
        let gates = settings.groups.values().flat_map(|group| &group.gates);
        self.gates.replace(gates);
        let mut groups = BTreeMap::new();
        let max_waiters = max_waiters(settings.groups.len());
        for (name, group_settings) in &settings.groups {
            let group = match running.get(name) {
                Some(running) => {
                    let group = running.group.clone();
                    group.set_configured_slots(group_settings.slots);
                    group
                }
                None => self.spawn(supervisor, name, group_settings, settings),
            };
            group.set_max_waiters(max_waiters);
            let configured = ConfiguredGroup {
                group,
                settings: group_settings.clone(),
                gates: self.gates.of(&group_settings.gates),
            };
            groups.insert(name.clone(), configured);
        }
        set_policies(&groups, &settings.caps);
        self.denials.set_groups(groups.keys());
        ServerState {
            groups,
            caps: settings.caps.clone(),
            slots_mismatch: settings.slots_mismatch,
            limits: settings.limits.clone(),
            configuration: settings.digest(),
        }
    }

    fn spawn(
        &self,
        supervisor: &mut Supervisor,
        name: &GroupName,
        group_settings: &GroupSettings,
        settings: &Settings,
    ) -> Group {
        let (group, task) = Group::new(
            name.clone(),
            group_settings.slots,
            settings.limits.waiting_requests_per_group,
            Arc::clone(&self.store),
            self.metrics.of(name),
        );
        let task = task.report_to(self.reporter.clone());
        supervisor.spawn_until_unused(task.run());
        group
    }
}

/// Gives each group its policies, with the groups that share caps with it.
pub(super) fn set_policies(groups: &BTreeMap<GroupName, ConfiguredGroup>, caps: &[CapSettings]) {
    for (
        name,
        ConfiguredGroup {
            group,
            settings: own,
            ..
        },
    ) in groups
    {
        let caps: Vec<Cap> = caps.iter().filter_map(|cap| cap.for_group(name)).collect();
        let others = caps.iter().flat_map(|cap| &cap.others);
        let others = others.filter_map(|other| {
            let found = groups.get(other)?;
            Some((other.clone(), found.group.as_other()))
        });
        group.set_policies(Policies {
            stall_after: own.stall_after,
            settle: own.settle,
            has_gates: !own.gates.is_empty(),
            others: others.collect(),
            caps,
        });
    }
}
