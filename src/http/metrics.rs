//! The metrics of connections.

use prometheus::{
    IntCounterVec, IntGauge, IntGaugeVec, Registry, register_int_counter_vec_with_registry,
    register_int_gauge_vec_with_registry,
};

/// The metric families, labelled by listener.
pub(crate) struct ConnectionMetrics {
    open: IntGaugeVec,
    rejected: IntCounterVec,
    evicted: IntCounterVec,
}

/// The metrics of one listener.
#[derive(Clone)]
pub(crate) struct ListenerMetrics {
    listener: &'static str,
    pub(super) open: IntGauge,
    rejected: IntCounterVec,
    evicted: IntCounterVec,
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(ConnectionMetrics {
            open: register_int_gauge_vec_with_registry!(
                "airlock_connections",
                "Number of open connections.",
                &["listener"],
                registry
            )?,
            rejected: register_int_counter_vec_with_registry!(
                "airlock_rejected_connections_total",
                "Connections closed before a request: over a limit, or without a TLS handshake.",
                &["listener", "reason"],
                registry
            )?,
            evicted: register_int_counter_vec_with_registry!(
                "airlock_evicted_connections_total",
                "Connections closed in favor of others: at a limit of connections, or of their memory.",
                &["listener", "reason"],
                registry
            )?,
        })
    }

    /// Returns the metrics of a listener.
    pub(crate) fn of(&self, listener: &'static str) -> ListenerMetrics {
        ListenerMetrics {
            listener,
            open: self.open.with_label_values(&[listener]),
            rejected: self.rejected.clone(),
            evicted: self.evicted.clone(),
        }
    }
}

// === impl ListenerMetrics ===

impl ListenerMetrics {
    pub(super) fn rejected(&self, reason: &str) {
        self.rejected
            .with_label_values(&[self.listener, reason])
            .inc();
    }

    pub(super) fn evicted(&self, reason: &str, count: usize) {
        self.evicted
            .with_label_values(&[self.listener, reason])
            .inc_by(count.try_into().unwrap_or(u64::MAX));
    }
}
