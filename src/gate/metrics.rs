//! The metrics of gates. Those of a gate exist while it is configured.

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_gauge_vec_with_registry,
};

/// The upper bounds of the buckets, in seconds. The maximum timeout is a minute.
const BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The metric families.
#[derive(Clone)]
pub(crate) struct GateMetrics {
    open: IntGaugeVec,
    duration: HistogramVec,
    failures: IntCounterVec,
}

/// The metrics of one gate.
pub(super) struct GateSeries {
    pub(super) open: IntGauge,
    pub(super) duration: Histogram,
    pub(super) failures: IntCounter,
}

// === impl GateMetrics ===

impl GateMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(GateMetrics {
            open: register_int_gauge_vec_with_registry!(
                "airlock_gate_open",
                "1 if the gate was open when it was last asked, 0 if it was closed, failed, or was not asked yet.",
                &["gate"],
                registry
            )?,
            duration: register_histogram_vec_with_registry!(
                "airlock_gate_duration_seconds",
                "Time until the answer about a gate, or until it failed.",
                &["gate"],
                BUCKETS.to_vec(),
                registry
            )?,
            failures: register_int_counter_vec_with_registry!(
                "airlock_gate_failures_total",
                "Times that a gate could not be asked, or had no valid answer. A closed gate is no failure.",
                &["gate"],
                registry
            )?,
        })
    }

    /// Returns the metrics of a gate, which exist from now on.
    pub(super) fn of(&self, gate: &str) -> GateSeries {
        GateSeries {
            open: self.open.with_label_values(&[gate]),
            duration: self.duration.with_label_values(&[gate]),
            failures: self.failures.with_label_values(&[gate]),
        }
    }

    /// Removes the metrics of a gate.
    pub(super) fn remove(&self, gate: &str) {
        // Without metrics, there is nothing to remove.
        let _ = self.open.remove_label_values(&[gate]);
        let _ = self.duration.remove_label_values(&[gate]);
        let _ = self.failures.remove_label_values(&[gate]);
    }
}
