//! The metrics of the webhook. They exist only if there is one.

use prometheus::{
    IntCounter, IntGauge, Registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry, register_int_gauge_with_registry,
};

/// The metric families.
pub(crate) struct NotifyMetrics {
    pub(super) delivered: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) rejected: IntCounter,
    pub(super) queued: IntGauge,
    pub(super) failures: IntCounter,
}

// === impl NotifyMetrics ===

impl NotifyMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = register_int_counter_vec_with_registry!(
            "airlock_notify_events_total",
            "Events for the webhook, by result: delivered, dropped (too many or too old) or rejected by the receiver.",
            &["result"],
            registry
        )?;
        Ok(NotifyMetrics {
            delivered: events.with_label_values(&["delivered"]),
            dropped: events.with_label_values(&["dropped"]),
            rejected: events.with_label_values(&["rejected"]),
            queued: register_int_gauge_with_registry!(
                "airlock_notify_queue_events",
                "Events that wait for their delivery.",
                registry
            )?,
            failures: register_int_counter_with_registry!(
                "airlock_notify_failures_total",
                "Failed attempts to deliver an event.",
                registry
            )?,
        })
    }
}
