//! A store that counts and times the calls to another store, and records that store's health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus::{
    Gauge, HistogramVec, IntCounterVec, Registry, histogram_opts, register_gauge_with_registry,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
};
use tokio::sync::watch;

use super::health::Health;
use super::{CommitOutcome, Location, Report, Store, StoreError};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};

/// A store that measures the calls to another store.
pub(crate) struct InstrumentedStore {
    inner: Arc<dyn Store>,
    metrics: StoreMetrics,
    health: watch::Sender<Health>,
}

/// The metric families of a store.
pub(crate) struct StoreMetrics {
    duration: HistogramVec,
    failures: IntCounterVec,
    up: Gauge,
}

/// The upper bounds of the buckets for durations in seconds. A call, and a request that waits for it, takes from half a
/// millisecond up to a timeout.
pub(crate) const DURATION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

// === impl InstrumentedStore ===

impl InstrumentedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, metrics: StoreMetrics) -> Self {
        InstrumentedStore {
            inner,
            metrics,
            health: watch::Sender::new(Health::Unknown),
        }
    }

    /// Returns the health of the store, which changes with every call.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn record<T>(
        &self,
        call: &str,
        started: Instant,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.metrics.record(call, started.elapsed(), &result);
        match &result {
            Ok(_) => {
                self.health.send_replace(Health::Up { at: Instant::now() });
            }
            Err(error) => self.record_failure(error),
        }
        result
    }

    fn record_failure(&self, error: &StoreError) {
        self.health.send_modify(|health| {
            let since = match health {
                Health::Down { since, .. } => *since,
                Health::Unknown | Health::Up { .. } => Instant::now(),
            };
            let error = error.clone();
            *health = Health::Down { since, error };
        });
    }
}

#[async_trait]
impl Store for InstrumentedStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        let started = Instant::now();
        let result = self.inner.read(group).await;
        self.record("read", started, result)
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<CommitOutcome, StoreError> {
        let started = Instant::now();
        let result = self.inner.commit(group, expected, new).await;
        let call = if new.is_some() { "write" } else { "confirm" };
        self.record(call, started, result)
    }

    fn location(&self, group: &GroupName) -> Location {
        self.inner.location(group)
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let error = self.inner.watch(groups, report).await;
        // The health records whether calls fail too, without waiting for the next one.
        if let Some(group) = groups.first() {
            let _ = self.read(group).await;
        }
        error
    }
}

// === impl StoreMetrics ===

impl StoreMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(StoreMetrics {
            duration: register_histogram_vec_with_registry!(
                histogram_opts!(
                    "airlock_store_duration_seconds",
                    "Duration of a call to the store.",
                    DURATION_BUCKETS.to_vec()
                ),
                &["call"],
                registry
            )?,
            failures: register_int_counter_vec_with_registry!(
                "airlock_store_failures_total",
                "Calls to the store that returned no result.",
                &["call", "reason"],
                registry
            )?,
            up: register_gauge_with_registry!(
                "airlock_store_up",
                "1 if the store replied to the latest call.",
                registry
            )?,
        })
    }

    fn record<T>(&self, call: &str, took: Duration, result: &Result<T, StoreError>) {
        self.duration
            .with_label_values(&[call])
            .observe(took.as_secs_f64());
        let reason = match result {
            Ok(_) => {
                self.up.set(1.0);
                return;
            }
            Err(StoreError::Rejected(_)) => "rejected",
            Err(StoreError::Unreachable(_)) => "unreachable",
            Err(StoreError::Unknown(_)) => "unknown",
        };
        self.up.set(0.0);
        self.failures.with_label_values(&[call, reason]).inc();
    }
}
