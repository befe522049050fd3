//! The gauges of a group, which are set when Prometheus asks.

use jiff::Timestamp;
use prometheus::IntGaugeVec;

use super::Metrics;
use crate::live::LiveGroup;
use crate::policy;
use crate::store::GroupName;

impl Metrics {
    pub(super) fn group_gauges(&self, live: &LiveGroup, now: Timestamp) {
        let group = &live.group;
        let label = &[group.name().as_str()];
        let set = |gauge: &IntGaugeVec, value: usize| {
            let value = value.try_into().unwrap_or(i64::MAX);
            gauge.with_label_values(label).set(value);
        };
        self.config_slots
            .with_label_values(label)
            .set(group.configured_slots().try_into().unwrap_or(i64::MAX));
        set(&self.waiting_nodes, group.waiting_count());
        let open = match live.settings.windows.state(now) {
            policy::State::Always | policy::State::Open { .. } => true,
            policy::State::Closed { .. } => false,
        };
        set(&self.window_open, open.into());
        // What is not known is not shown; what cannot be read keeps its last value.
        let Some(Ok(semaphore)) = group.known().map(|known| known.semaphore) else {
            return;
        };
        set(&self.paused, (semaphore.slots == 0).into());
        set(&self.database_holders, semaphore.holders.len());
        self.database_slots
            .with_label_values(label)
            .set(semaphore.slots as f64);
        let oldest = semaphore.holders.values().flatten().min();
        let age = oldest.map_or(0.0, |since| now.duration_since(*since).as_secs_f64());
        self.oldest_lock_seconds
            .with_label_values(label)
            .set(age.max(0.0));
    }

    /// A group is not configured any more.
    pub fn forget(&self, name: &GroupName) {
        let label = &[name.as_str()];
        // Which of them exist depends on what happened in the group; those that do not are no loss.
        for gauge in [
            &self.config_slots,
            &self.database_holders,
            &self.waiting_nodes,
            &self.window_open,
            &self.paused,
        ] {
            let _ = gauge.remove_label_values(label);
        }
        for gauge in [&self.database_slots, &self.oldest_lock_seconds] {
            let _ = gauge.remove_label_values(label);
        }
    }
}
