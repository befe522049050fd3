//! The gauges of the fleet, computed at scrape time from the latest documents of the servers.
//!
//! They are absent until the documents have been read once.

use std::collections::BTreeSet;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts};

use super::FleetReceiver;

/// Collects the gauges of the fleet.
pub(crate) struct FleetCollector {
    fleet: FleetReceiver,
    descriptions: Vec<Desc>,
}

/// The gauges of one scrape.
struct Gauges {
    servers: IntGauge,
    gone: IntGauge,
    configurations: IntGauge,
}

// === impl FleetCollector ===

impl FleetCollector {
    /// Creates the collector.
    ///
    /// # Errors
    /// If the description of a gauge is invalid.
    pub(crate) fn new(fleet: FleetReceiver) -> Result<Self, prometheus::Error> {
        let gauges = Gauges::new()?;
        let descriptions = gauges.all().into_iter().flat_map(Collector::desc);
        Ok(FleetCollector {
            fleet,
            descriptions: descriptions.cloned().collect(),
        })
    }
}

impl Collector for FleetCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let fleet = self.fleet.borrow().clone();
        // The descriptions were valid when the collector was created.
        let (Some(fleet), Ok(gauges)) = (fleet, Gauges::new()) else {
            return Vec::new();
        };
        let alive = fleet.alive().count();
        let configurations = fleet.alive().map(|server| &server.document.configuration);
        let configurations: BTreeSet<&String> = configurations.collect();
        gauges.servers.set(to_i64(alive));
        gauges.gone.set(to_i64(fleet.servers.len() - alive));
        gauges.configurations.set(to_i64(configurations.len()));
        let families = gauges.all().into_iter().flat_map(Collector::collect);
        families.collect()
    }
}

// === impl Gauges ===

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGauge::with_opts(Opts::new(name, help));
        Ok(Gauges {
            servers: gauge(
                "airlock_servers",
                "Number of running servers on the same store, this one included.",
            )?,
            gone: gauge(
                "airlock_servers_gone",
                "Number of servers on the same store that were lost in the last 24 hours and have not come back.",
            )?,
            configurations: gauge(
                "airlock_server_configurations",
                "Number of different configurations of groups among the running servers; 1 if they agree.",
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 3] {
        [&self.servers, &self.gone, &self.configurations]
    }
}

fn to_i64(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
