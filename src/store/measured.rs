//! A store that counts and times the calls to another, and remembers whether that one answered.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Commit, GroupName, Report, Revision, Store, StoreError, Stored, Value};
use crate::metrics::Metrics;

/// Whether the store answered when it was last asked.
#[derive(Clone, Debug)]
pub enum Health {
    /// It was not asked yet.
    Unknown,
    /// It answered.
    Up { at: Instant },
    /// It did not.
    Down { since: Instant, reason: String },
}

/// See the module's documentation.
pub struct MeasuredStore {
    inner: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    health: watch::Sender<Health>,
}

// === impl MeasuredStore ===

impl MeasuredStore {
    pub fn new(inner: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        MeasuredStore {
            inner,
            metrics,
            health: watch::Sender::new(Health::Unknown),
        }
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn record<T>(
        &self,
        call: &str,
        started: Instant,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.metrics.store_call(call, started.elapsed(), &result);
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
            let reason = error.to_string();
            *health = Health::Down { since, reason };
        });
    }
}

#[async_trait]
impl Store for MeasuredStore {
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
    ) -> Result<Commit, StoreError> {
        let started = Instant::now();
        let result = self.inner.commit(group, expected, new).await;
        let call = if new.is_some() { "write" } else { "confirm" };
        self.record(call, started, result)
    }

    fn place(&self, group: &GroupName) -> String {
        self.inner.place(group)
    }

    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        self.inner.follow(groups, report).await
    }
}
