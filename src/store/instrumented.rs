//! A store that counts and times the calls to another store, and records that store's health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus::{
    Gauge, HistogramVec, IntCounterVec, Registry, histogram_opts, register_gauge_with_registry,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
};
use tokio::sync::watch;

use super::health::{Health, Replies, Writes};
use super::presence::Published;
use super::{CommitOutcome, Endpoints, Location, Member, Notice, Report, Store, StoreError};
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};

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
    writable: Gauge,
    foreign_endpoints: Gauge,
}

/// A call to the store.
#[derive(Clone, Copy)]
enum Call {
    Read,
    Confirm,
    Write,
    Check,
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
            health: watch::Sender::new(Health::default()),
        }
    }

    /// Returns the health of the store, which changes with every call.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Records that the store rejects every read. A single rejected read may concern one group only.
    pub(crate) fn rejects_all(&self, error: StoreError) {
        self.update(|health| health.failed(error));
    }

    /// Records that the store rejects every write.
    pub(crate) fn rejects_all_writes(&self, error: StoreError) {
        self.update(|health| health.write_refused(error));
    }

    /// Asks the store for facts that an operator should know.
    pub(crate) fn refresh_notices(&self) {
        let (notices, endpoints) = (self.inner.notices(), self.inner.endpoints());
        let foreign = notices.iter().filter(|notice| notice.is_foreign_endpoint());
        self.metrics.foreign_endpoints.set(foreign.count() as f64);
        self.health.send_if_modified(|health| {
            let changed = health.notices != notices || health.endpoints != endpoints;
            health.notices = notices;
            health.endpoints = endpoints;
            changed
        });
    }

    /// Records a call. `shows_writable` tells whether a result shows that the store accepts writes.
    fn record<T>(
        &self,
        call: Call,
        started: Instant,
        result: Result<T, StoreError>,
        shows_writable: impl FnOnce(&T) -> bool,
    ) -> Result<T, StoreError> {
        self.metrics.record(call, started.elapsed(), &result);
        self.update(|health| match (&result, call) {
            (Ok(value), _) => {
                health.replied();
                if shows_writable(value) {
                    health.write_accepted();
                }
            }
            // One group's value may be too large, or forbidden. The probe finds out whether the store rejects all.
            (Err(StoreError::Rejected(_)), Call::Write) => health.write_rejected(),
            (Err(StoreError::Rejected(_)), Call::Read | Call::Confirm | Call::Check) => {}
            (Err(error @ StoreError::NoSpace(_)), _) => {
                health.replied();
                health.write_refused(error.clone());
            }
            (Err(error @ (StoreError::Unreachable(_) | StoreError::Unknown(_))), _) => {
                health.failed(error.clone());
            }
        });
        result
    }

    fn update(&self, change: impl FnOnce(&mut Health)) {
        self.health.send_modify(|health| {
            change(health);
            self.metrics.show(health);
        });
    }
}

#[async_trait]
impl Store for InstrumentedStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        let started = Instant::now();
        let result = self.inner.read(group).await;
        self.record(Call::Read, started, result, |_| false)
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let started = Instant::now();
        let result = self.inner.commit(group, expected, new, also).await;
        let call = match new {
            Some(_) => Call::Write,
            None => Call::Confirm,
        };
        // A conflict writes nothing.
        self.record(call, started, result, |outcome| {
            new.is_some() && matches!(outcome, CommitOutcome::Committed(_))
        })
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        let started = Instant::now();
        let result = self.inner.check_writable(group).await;
        self.record(Call::Check, started, result, |()| true)
    }

    async fn verify(&self) {
        self.inner.verify().await;
    }

    fn location(&self, group: &GroupName) -> Location {
        self.inner.location(group)
    }

    fn notices(&self) -> Vec<Notice> {
        self.inner.notices()
    }

    fn endpoints(&self) -> Option<Endpoints> {
        self.inner.endpoints()
    }

    fn accept_current(&self) {
        self.inner.accept_current();
    }

    /// Neither counted nor part of the health: nothing depends on it.
    async fn announce_contention(&self, group: &GroupName, round_trip: Duration) {
        self.inner.announce_contention(group, round_trip).await;
    }

    async fn groups(&self) -> Result<Vec<GroupName>, StoreError> {
        self.inner.groups().await
    }

    /// Not counted either.
    async fn publish(&self, server: &str, document: &str) -> Result<(), StoreError> {
        self.inner.publish(server, document).await
    }

    async fn withdraw(&self, server: &str) -> Result<(), StoreError> {
        self.inner.withdraw(server).await
    }

    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        self.inner.published().await
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let error = self.inner.watch(groups, report).await;
        // The health records whether calls fail too, without waiting for the next one. A watch that is rejected says
        // nothing about them.
        if let Some(group) = groups.first()
            && !matches!(error, StoreError::Rejected(_))
        {
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
            writable: register_gauge_with_registry!(
                "airlock_store_writable",
                "1 if the store accepts writes; 0 if it refuses them, for example for lack of space.",
                registry
            )?,
            foreign_endpoints: register_gauge_with_registry!(
                "airlock_store_foreign_endpoints",
                "Number of etcd endpoints that belong to another cluster and are not used.",
                registry
            )?,
        })
    }

    /// Shows the health in the gauges.
    fn show(&self, health: &Health) {
        let up = matches!(health.replies, Replies::Up { .. });
        self.up.set(f64::from(u8::from(up)));
        match health.writes {
            Writes::Unknown => {}
            Writes::Accepted => self.writable.set(1.0),
            Writes::Refused { .. } => self.writable.set(0.0),
        }
    }

    fn record<T>(&self, call: Call, took: Duration, result: &Result<T, StoreError>) {
        let call = call.label();
        self.duration
            .with_label_values(&[call])
            .observe(took.as_secs_f64());
        let reason = match result {
            Ok(_) => return,
            Err(StoreError::Rejected(_)) => "rejected",
            Err(StoreError::NoSpace(_)) => "no_space",
            Err(StoreError::Unreachable(_)) => "unreachable",
            Err(StoreError::Unknown(_)) => "unknown",
        };
        self.failures.with_label_values(&[call, reason]).inc();
    }
}

// === impl Call ===

impl Call {
    /// Returns the value of the label `call`.
    fn label(self) -> &'static str {
        match self {
            Call::Read => "read",
            Call::Confirm => "confirm",
            Call::Write => "write",
            Call::Check => "check",
        }
    }
}

#[cfg(test)]
mod tests;
