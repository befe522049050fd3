//! The metrics that the tasks of the groups update. The gauges of a group are in `coordinator/metrics.rs`.

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, histogram_opts,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
};

use crate::lock::GroupName;

/// The upper bounds of the buckets for holds in seconds: a reboot takes minutes, one that fails until a person comes.
const HOLD_SECONDS: &[f64] = &[
    30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0,
];

const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// The metric families, labelled by group.
pub(crate) struct GroupMetrics {
    conflicts: IntCounterVec,
    unknown_outcomes: IntCounterVec,
    commit_batch_size: HistogramVec,
    hold_seconds: HistogramVec,
}

/// The metrics of one group.
#[derive(Clone)]
pub(crate) struct TaskMetrics {
    pub(super) conflicts: IntCounter,
    pub(super) unknown_outcomes: IntCounter,
    pub(super) commit_batch_size: Histogram,
    pub(super) hold_seconds: Histogram,
}

// === impl GroupMetrics ===

impl GroupMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(GroupMetrics {
            conflicts: register_int_counter_vec_with_registry!(
                "airlock_store_conflicts_total",
                "Commits that failed because another writer committed first; they are retried.",
                &["group"],
                registry
            )?,
            unknown_outcomes: register_int_counter_vec_with_registry!(
                "airlock_store_unknown_outcomes_total",
                "Commits with an unknown outcome; the server reads the store to determine it.",
                &["group"],
                registry
            )?,
            commit_batch_size: register_histogram_vec_with_registry!(
                histogram_opts!(
                    "airlock_commit_batch_size",
                    "Number of requests that one commit answered.",
                    BATCH_SIZES.to_vec()
                ),
                &["group"],
                registry
            )?,
            hold_seconds: register_histogram_vec_with_registry!(
                histogram_opts!(
                    "airlock_lock_hold_seconds",
                    "Time from the grant of a lock to its release by the node, of the releases at this server.",
                    HOLD_SECONDS.to_vec()
                ),
                &["group"],
                registry
            )?,
        })
    }

    /// Returns the metrics of a group. They exist from now on, with the value zero.
    pub(crate) fn of(&self, group: &GroupName) -> TaskMetrics {
        let label = &[group.as_str()];
        TaskMetrics {
            conflicts: self.conflicts.with_label_values(label),
            unknown_outcomes: self.unknown_outcomes.with_label_values(label),
            commit_batch_size: self.commit_batch_size.with_label_values(label),
            hold_seconds: self.hold_seconds.with_label_values(label),
        }
    }
}
