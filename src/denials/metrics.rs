//! The gauge of rejected clients, computed at scrape time.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use super::Denials;

/// Collects the number of rejected clients for each reason. There is a value for each reason, also if it is 0, so that
/// an alert can tell "none" from "unknown".
pub(crate) struct DenialCollector {
    denials: Arc<Denials>,
    clients: IntGaugeVec,
}

// === impl DenialCollector ===

impl DenialCollector {
    /// Creates the collector of the clients in `denials`.
    ///
    /// # Errors
    /// If the description of the gauge is invalid.
    pub(crate) fn new(denials: Arc<Denials>) -> Result<Self, prometheus::Error> {
        let description = Opts::new(
            "airlock_denied_clients",
            "Number of clients that this server has rejected in the last 15 minutes.",
        );
        let clients = IntGaugeVec::new(description, &["reason"])?;
        Ok(DenialCollector { denials, clients })
    }
}

impl Collector for DenialCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.clients.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (reason, count) in self.denials.counts(Timestamp::now()) {
            let gauge = self.clients.with_label_values(&[reason.label()]);
            gauge.set(count.try_into().unwrap_or(i64::MAX));
        }
        self.clients.collect()
    }
}
