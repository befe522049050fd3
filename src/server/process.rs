//! The metrics of the process: its version, its tasks, and what the kernel knows of it.

use prometheus::{
    IntGauge, Registry, register_gauge_with_registry, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

/// The metric families of the process.
pub(super) struct ProcessMetrics {
    tokio_tasks: IntGauge,
}

// === impl ProcessMetrics ===

impl ProcessMetrics {
    /// Registers the families, among them the usual `process_*`.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let build = register_int_gauge_vec_with_registry!(
            "airlock_build_info",
            "1, labelled with the version.",
            &["version"],
            registry
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let address_space = register_gauge_with_registry!(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            registry
        )?;
        // Without a limit, coreos/airlock reports the largest number, too.
        let limit = getrlimit(Resource::As).current;
        address_space.set(limit.unwrap_or(u64::MAX) as f64);
        Ok(ProcessMetrics {
            tokio_tasks: register_int_gauge_with_registry!(
                "airlock_tokio_tasks",
                "Number of live tasks: one per connection, one per group, and some of the server.",
                registry
            )?,
        })
    }

    /// Updates the gauges for a scrape.
    pub(super) fn update(&self) {
        if let Ok(runtime) = Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.tokio_tasks.set(tasks.try_into().unwrap_or(i64::MAX));
        }
    }
}
