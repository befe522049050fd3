//! The gauges of the groups, computed at scrape time from the current state of the server.
//!
//! Nothing is kept between two scrapes, so a group that a reload removes has no gauges afterwards. A gauge is
//! absent while its value is unknown: until the store has replied, and while the stored value cannot be decoded.

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts};

use super::state::{ConfiguredGroup, ServerState, StateReceiver};
use crate::config::CapSettings;
use crate::lock::window::WindowState;

/// Collects the gauges of all groups.
pub(crate) struct GroupCollector {
    state: StateReceiver,
    descriptions: Vec<Desc>,
}

/// The gauges of one scrape.
struct Gauges {
    config_groups: IntGauge,
    config_slots: IntGaugeVec,
    database_slots: GaugeVec,
    database_holders: IntGaugeVec,
    oldest_lock_seconds: GaugeVec,
    waiting_nodes: IntGaugeVec,
    window_open: IntGaugeVec,
    paused: IntGaugeVec,
    blocked: IntGaugeVec,
    override_until: GaugeVec,
    damaged: IntGaugeVec,
    admin_command: GaugeVec,
    cap_held: IntGaugeVec,
    cap_max: IntGaugeVec,
}

// === impl GroupCollector ===

impl GroupCollector {
    /// Creates the collector of the groups in `state`.
    ///
    /// # Errors
    /// If the description of a gauge is invalid.
    pub(crate) fn new(state: StateReceiver) -> Result<Self, prometheus::Error> {
        let gauges = Gauges::new()?;
        let descriptions = gauges.all().into_iter().flat_map(Collector::desc);
        Ok(GroupCollector {
            state,
            descriptions: descriptions.cloned().collect(),
        })
    }
}

impl Collector for GroupCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The descriptions were valid when the collector was created.
        let Ok(gauges) = Gauges::new() else {
            return Vec::new();
        };
        let state = self.state.get();
        let now = Timestamp::now();
        gauges.config_groups.set(to_i64(state.groups.len() as u64));
        for group in state.groups.values() {
            gauges.set(group, now);
        }
        for cap in &state.caps {
            gauges.set_cap(cap, &state);
        }
        let families = gauges.all().into_iter().flat_map(Collector::collect);
        // A family without any group has nothing to expose.
        families
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

// === impl Gauges ===

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let integers = |name, help| IntGaugeVec::new(Opts::new(name, help), &["group"]);
        let floats = |name, help| GaugeVec::new(Opts::new(name, help), &["group"]);
        let of_caps = |name, help| IntGaugeVec::new(Opts::new(name, help), &["cap", "limit"]);
        Ok(Gauges {
            config_groups: IntGauge::new("airlock_config_groups", "Number of configured groups.")?,
            config_slots: integers(
                "airlock_config_semaphore_slots",
                "Number of slots of a group in the configuration.",
            )?,
            database_slots: floats(
                "airlock_database_semaphore_slots",
                "Number of slots of a group in the store; 0 while the group is paused.",
            )?,
            database_holders: integers(
                "airlock_database_semaphore_lock_holders",
                "Number of nodes that hold a slot of a group, in the store.",
            )?,
            oldest_lock_seconds: floats(
                "airlock_oldest_lock_age_seconds",
                "Age of the oldest lock of a group; 0 if no lock is held or no lock time is known.",
            )?,
            waiting_nodes: integers(
                "airlock_waiting_nodes",
                "Number of nodes of a group that this server denied a lock in the last 15 minutes and that still wait.",
            )?,
            window_open: integers(
                "airlock_window_open",
                "1 if a reboot window of the group is open, or it has none; freezes and overrides do not matter.",
            )?,
            paused: integers(
                "airlock_group_paused",
                "1 if an administrator has paused the group.",
            )?,
            blocked: IntGaugeVec::new(
                Opts::new(
                    "airlock_group_blocked",
                    "1 while a policy refuses new locks of the group, for each policy that it has.",
                ),
                &["group", "reason"],
            )?,
            override_until: floats(
                "airlock_group_override_until_timestamp_seconds",
                "Time until which an administrator has overridden windows, freezes and gates; absent without an override.",
            )?,
            damaged: integers(
                "airlock_group_damaged",
                "1 if the stored value of the group cannot be used, so that all its requests are denied.",
            )?,
            admin_command: GaugeVec::new(
                Opts::new(
                    "airlock_admin_command_timestamp_seconds",
                    "Time of the latest administrators' command of a kind, as far as the audit log reaches.",
                ),
                &["group", "action"],
            )?,
            cap_held: of_caps(
                "airlock_cap_held",
                "Number of nodes that hold a slot in the groups of a cap (held), or of its groups with holders (groups).",
            )?,
            cap_max: of_caps(
                "airlock_cap_max",
                "Maximum of what airlock_cap_held counts, as configured.",
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 14] {
        [
            &self.config_groups,
            &self.config_slots,
            &self.database_slots,
            &self.database_holders,
            &self.oldest_lock_seconds,
            &self.waiting_nodes,
            &self.window_open,
            &self.paused,
            &self.blocked,
            &self.override_until,
            &self.damaged,
            &self.admin_command,
            &self.cap_held,
            &self.cap_max,
        ]
    }

    fn set(&self, configured: &ConfiguredGroup, now: Timestamp) {
        let group = &configured.group;
        let label = &[group.name().as_str()];
        let set = |gauge: &IntGaugeVec, value: u64| {
            gauge.with_label_values(label).set(to_i64(value));
        };
        set(&self.config_slots, group.configured_slots());
        set(&self.waiting_nodes, group.waiting_count() as u64);
        let open = match configured.settings.windows.state(now) {
            WindowState::Always | WindowState::Open { .. } => true,
            WindowState::Closed { .. } => false,
        };
        set(&self.window_open, open.into());
        let Some(known) = group.known() else { return };
        // The latest entry is the last one.
        for entry in &*known.audit_log {
            let labels = &[group.name().as_str(), entry.action.name()];
            let at = entry.at.as_second() as f64;
            self.admin_command.with_label_values(labels).set(at);
        }
        set(&self.damaged, known.semaphore.is_err().into());
        let Ok(semaphore) = known.semaphore else {
            return;
        };
        set(&self.paused, semaphore.is_paused().into());
        set(&self.database_holders, semaphore.holders.len() as u64);
        self.database_slots
            .with_label_values(label)
            .set(semaphore.slots as f64);
        let oldest = semaphore.holders.times().min();
        let age = oldest.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        self.oldest_lock_seconds
            .with_label_values(label)
            .set(age.max(0.0));
        if let Some(until) = semaphore.override_until {
            self.override_until
                .with_label_values(label)
                .set(until.as_second() as f64);
        }
        self.set_blocked(configured, now);
    }

    fn set_blocked(&self, configured: &ConfiguredGroup, now: Timestamp) {
        let policies = configured.policies();
        if policies.is_empty() {
            return;
        }
        let blocks = configured.blocks(now).unwrap_or_default();
        for policy in policies {
            let is_blocking = blocks.iter().any(|block| block.label() == policy);
            let labels = &[configured.group.name().as_str(), policy];
            let gauge = self.blocked.with_label_values(labels);
            gauge.set(is_blocking.into());
        }
    }

    fn set_cap(&self, cap: &CapSettings, state: &ServerState) {
        let known = cap
            .groups
            .iter()
            .map(|name| state.groups.get(name)?.group.known()?.held());
        // Without the number of one group, the sum is not known.
        let held: Option<Vec<u64>> = known.collect();
        let of_groups = |held: &Vec<u64>| held.iter().filter(|held| **held > 0).count() as u64;
        let limits = [
            (
                "held",
                cap.max_held,
                held.as_ref().map(|held| held.iter().sum()),
            ),
            ("groups", cap.max_groups, held.as_ref().map(of_groups)),
        ];
        for (limit, max, held) in limits {
            let Some(max) = max else { continue };
            let labels = &[&*cap.name, limit];
            self.cap_max.with_label_values(labels).set(to_i64(max));
            if let Some(held) = held {
                self.cap_held.with_label_values(labels).set(to_i64(held));
            }
        }
    }
}

fn to_i64(value: u64) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
