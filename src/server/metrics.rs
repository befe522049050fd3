//! All metrics of the server. This file composes the families of the other modules, and adds those of the process.
//!
//! Labels come from the configuration and from closed enums, never from clients.

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};
use tokio::runtime::Handle;

use crate::api::ApiMetrics;
use crate::coordinator::{GroupCollector, StateReceiver};
use crate::group::GroupMetrics;
use crate::http::ConnectionMetrics;
use crate::store::instrumented::StoreMetrics;
use crate::tls::ServerTls;

/// The registered families, each for the module that updates it.
pub(super) struct Families {
    pub(super) api: ApiMetrics,
    pub(super) connections: ConnectionMetrics,
    pub(super) groups: GroupMetrics,
    pub(super) store: StoreMetrics,
}

/// The registry, and the metrics of the process.
pub(super) struct ServerMetrics {
    registry: Registry,
    certificate_expiry: IntGaugeVec,
    tls_reload_failures: IntCounterVec,
    htpasswd_reload_failures: IntCounter,
    config_reloads: IntCounterVec,
    last_reload_successful: IntGauge,
    tokio_tasks: IntGauge,
}

// === impl ServerMetrics ===

impl ServerMetrics {
    /// Registers all families but those of [`ServerMetrics::register_groups`].
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register() -> Result<(Self, Families), prometheus::Error> {
        let registry = Registry::new_custom(None, None)?;
        let families = Families {
            api: ApiMetrics::register(&registry)?,
            connections: ConnectionMetrics::register(&registry)?,
            groups: GroupMetrics::register(&registry)?,
            store: StoreMetrics::register(&registry)?,
        };
        let metrics = ServerMetrics::register_own(registry)?;
        metrics.register_process()?;
        Ok((metrics, families))
    }

    fn register_own(registry: Registry) -> Result<Self, prometheus::Error> {
        Ok(ServerMetrics {
            certificate_expiry: register_int_gauge_vec_with_registry!(
                "airlock_tls_certificate_expiry_timestamp_seconds",
                "Time at which the certificate in use expires, in seconds since 1970.",
                &["listener"],
                registry
            )?,
            tls_reload_failures: register_int_counter_vec_with_registry!(
                "airlock_tls_reload_failures_total",
                "Failed reloads of certificates, keys or etcd passwords, by listener; etcd3 is the etcd client.",
                &["target"],
                registry
            )?,
            htpasswd_reload_failures: register_int_counter_with_registry!(
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
            tokio_tasks: register_int_gauge_with_registry!(
                "airlock_tokio_tasks",
                "Number of live tasks: one per connection, one per group, and some of the server.",
                registry
            )?,
            registry,
        })
    }

    fn register_process(&self) -> Result<(), prometheus::Error> {
        let build = register_int_gauge_vec_with_registry!(
            "airlock_build_info",
            "1, labelled with the version.",
            &["version"],
            self.registry
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.last_reload_successful.set(1);
        for result in ["success", "failure"] {
            self.config_reloads.with_label_values(&[result]).reset();
        }
        #[cfg(target_os = "linux")]
        self.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(())
    }

    /// Registers the gauges of the groups in `state`.
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register_groups(&self, state: StateReceiver) -> Result<(), prometheus::Error> {
        self.registry
            .register(Box::new(GroupCollector::new(state)?))
    }

    /// Creates the counter of a target at zero.
    pub(super) fn init_tls_target(&self, target: &str) {
        self.tls_reload_failures.with_label_values(&[target]);
    }

    /// Sets the expiry of the certificate that a listener uses now.
    pub(super) fn certificate_loaded(&self, tls: &ServerTls) {
        self.certificate_expiry
            .with_label_values(&[tls.listener()])
            .set(tls.expiry_seconds());
    }

    pub(super) fn tls_reload_failed(&self, target: &str) {
        self.tls_reload_failures.with_label_values(&[target]).inc();
    }

    pub(super) fn htpasswd_reload_failed(&self) {
        self.htpasswd_reload_failures.inc();
    }

    /// Counts a reload of the configuration.
    pub(super) fn config_reloaded(&self, successful: bool) {
        self.last_reload_successful.set(successful.into());
        let result = if successful { "success" } else { "failure" };
        self.config_reloads.with_label_values(&[result]).inc();
    }

    /// Returns all metrics in the text format of Prometheus.
    pub(super) fn render(&self) -> String {
        if let Ok(runtime) = Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.tokio_tasks.set(tasks.try_into().unwrap_or(i64::MAX));
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}
