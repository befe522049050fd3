//! The metrics of reloads: of the configuration, and of the files that it names.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};

use super::target::ReloadTarget;
use crate::gate::Gates;
use crate::reloadable::Reload as _;

/// The metric families of reloads.
pub(crate) struct ReloadMetrics {
    certificate_expiry: IntGaugeVec,
    tls_failures: IntCounterVec,
    htpasswd_failures: IntCounter,
    config_reloads: IntCounterVec,
    last_reload_successful: IntGauge,
}

// === impl ReloadMetrics ===

impl ReloadMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = ReloadMetrics {
            certificate_expiry: register_int_gauge_vec_with_registry!(
                "airlock_tls_certificate_expiry_timestamp_seconds",
                "Time at which the certificate in use expires, in seconds since 1970.",
                &["listener"],
                registry
            )?,
            tls_failures: register_int_counter_vec_with_registry!(
                "airlock_tls_reload_failures_total",
                "Failed reloads of certificates, keys, secrets or names of nodes, by target: service, status, etcd3, \
                 node_names, notify or gates.",
                &["target"],
                registry
            )?,
            htpasswd_failures: register_int_counter_with_registry!(
                "airlock_htpasswd_reload_failures_total",
                "Failed reloads of the htpasswd file.",
                registry
            )?,
            config_reloads: register_int_counter_vec_with_registry!(
                "airlock_config_reloads_total",
                "Reloads of the configuration with SIGHUP.",
                &["result"],
                registry
            )?,
            last_reload_successful: register_int_gauge_with_registry!(
                "airlock_config_last_reload_successful",
                "1 if the configuration was valid when it was last read, at the start or with SIGHUP.",
                registry
            )?,
        };
        metrics.last_reload_successful.set(1);
        for result in ["success", "failure"] {
            metrics.config_reloads.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// Records the first load of a target, so that its metrics exist.
    pub(crate) fn loaded(&self, target: &ReloadTarget) {
        if !matches!(target, ReloadTarget::Htpasswd) {
            self.tls_failures.with_label_values(&[target.label()]);
        }
        self.reloaded(target, true);
    }

    /// Records the first load of the gates, if any of them has files.
    pub(crate) fn gates_loaded(&self, gates: &Gates) {
        if !gates.paths().is_empty() {
            self.loaded(&ReloadTarget::Gates);
        }
    }

    /// Records a reload of a target.
    pub(crate) fn reloaded(&self, target: &ReloadTarget, successful: bool) {
        match (target, successful) {
            (ReloadTarget::Listener(tls), true) => self
                .certificate_expiry
                .with_label_values(&[tls.listener()])
                .set(tls.expiry_seconds()),
            (ReloadTarget::Htpasswd, false) => self.htpasswd_failures.inc(),
            (
                ReloadTarget::Listener(_)
                | ReloadTarget::Etcd
                | ReloadTarget::NodeNames
                | ReloadTarget::Notify
                | ReloadTarget::Gates,
                false,
            ) => {
                self.tls_failures.with_label_values(&[target.label()]).inc();
            }
            (
                ReloadTarget::Etcd
                | ReloadTarget::Htpasswd
                | ReloadTarget::NodeNames
                | ReloadTarget::Notify
                | ReloadTarget::Gates,
                true,
            ) => {}
        }
    }

    /// Records a reload of the configuration.
    pub(super) fn config_reloaded(&self, successful: bool) {
        self.last_reload_successful.set(successful.into());
        let result = if successful { "success" } else { "failure" };
        self.config_reloads.with_label_values(&[result]).inc();
    }
}
