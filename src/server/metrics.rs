//! All metrics of the server. This file only composes the families of the other modules.
//!
//! Labels come from the configuration and from closed enums, never from clients.

use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

use super::process::ProcessMetrics;
use super::reload::ReloadMetrics;
use crate::api::ApiMetrics;
use crate::coordinator::{GroupCollector, StateReceiver};
use crate::denials::{DenialCollector, Denials};
use crate::fleet::{FleetCollector, FleetReceiver};
use crate::gate::GateMetrics;
use crate::group::GroupMetrics;
use crate::http::ConnectionMetrics;
use crate::logging;
use crate::notify::NotifyMetrics;
use crate::store::instrumented::StoreMetrics;

/// The registered families, each for the module that updates it.
pub(super) struct Families {
    pub(super) api: ApiMetrics,
    pub(super) connections: ConnectionMetrics,
    pub(super) gates: GateMetrics,
    pub(super) groups: GroupMetrics,
    pub(super) reloads: ReloadMetrics,
    pub(super) store: StoreMetrics,
}

/// All registered families, for a scrape.
pub(super) struct ServerMetrics {
    registry: Registry,
    process: ProcessMetrics,
}

// === impl ServerMetrics ===

impl ServerMetrics {
    /// Registers all families but those of [`ServerMetrics::register_collectors`], [`ServerMetrics::register_fleet`] and
    /// [`ServerMetrics::register_notify`].
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register() -> Result<(Self, Families), prometheus::Error> {
        let registry = Registry::new_custom(None, None)?;
        let families = Families {
            api: ApiMetrics::register(&registry)?,
            connections: ConnectionMetrics::register(&registry)?,
            gates: GateMetrics::register(&registry)?,
            groups: GroupMetrics::register(&registry)?,
            reloads: ReloadMetrics::register(&registry)?,
            store: StoreMetrics::register(&registry)?,
        };
        logging::register(&registry)?;
        let process = ProcessMetrics::register(&registry)?;
        Ok((ServerMetrics { registry, process }, families))
    }

    /// Registers the gauges that are computed at scrape time: of the groups in `state`, and of rejected clients.
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register_collectors(
        &self,
        state: StateReceiver,
        denials: Arc<Denials>,
    ) -> Result<(), prometheus::Error> {
        let registry = &self.registry;
        registry.register(Box::new(GroupCollector::new(state)?))?;
        registry.register(Box::new(DenialCollector::new(denials)?))
    }

    /// Registers the gauges of the fleet.
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register_fleet(&self, fleet: FleetReceiver) -> Result<(), prometheus::Error> {
        self.registry
            .register(Box::new(FleetCollector::new(fleet)?))
    }

    /// Registers the families of the webhook.
    ///
    /// # Errors
    /// If two families have the same name.
    pub(super) fn register_notify(&self) -> Result<NotifyMetrics, prometheus::Error> {
        NotifyMetrics::register(&self.registry)
    }

    /// Returns all metrics in the text format of Prometheus.
    pub(super) fn render(&self) -> String {
        self.process.update();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}
