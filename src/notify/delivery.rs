//! The task that delivers the events, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, Instant};

use super::metrics::NotifyMetrics;
use super::queue::{Queue, Queued};
use super::receiver::{AttemptError, Receiver};
use super::retry::RetryPolicy;
use crate::text::explain::explain;

/// The deliveries to the receiver.
pub(super) struct Delivery {
    pub(super) queue: Queue,
    pub(super) receiver: Arc<Receiver>,
    /// The attribute `source` of the events.
    pub(super) source: String,
    pub(super) policy: RetryPolicy,
    pub(super) metrics: Arc<NotifyMetrics>,
}

/// The number of attempts after which an event waits behind all others, if the receiver responds to each with an error
/// that may be about this event.
const MAX_FAILURES: u32 = 3;

/// The failed attempts since the last successful one.
#[derive(Default)]
struct Outage {
    attempts: u64,
    /// The latest failures in a row that may pass. They determine the pause.
    failures: u32,
    /// The time before which no attempt is made.
    pause_until: Option<Instant>,
    /// The number of events that were rejected or too old.
    lost: u64,
    is_failure_logged: bool,
    is_rejection_logged: bool,
}

// === impl Delivery ===

impl Delivery {
    /// Delivers the events, oldest first. Never returns.
    pub(super) async fn run(&self) {
        let mut outage = Outage::default();
        loop {
            let next = self.queue.next().await;
            self.deliver(next, &mut outage).await;
        }
    }

    /// Attempts to deliver an event until it is delivered, rejected by the receiver, too old, or deferred in favor of the
    /// others.
    async fn deliver(&self, mut queued: Queued, outage: &mut Outage) {
        let body = queued.event.json(&queued.id, &self.source, queued.sent);
        loop {
            if let Some(until) = outage.pause_until.take() {
                time::sleep_until(until).await;
            }
            let Err(error) = self.receiver.deliver(&queued.id, &body).await else {
                self.metrics.delivered.inc();
                self.end(outage);
                return;
            };
            self.metrics.failures.inc();
            if error.is_rejection() {
                self.metrics.rejected.inc();
                outage.attempts += 1;
                self.reject(outage, &error);
                return;
            }
            let was_deferred = queued.failures >= MAX_FAILURES;
            queued.failures += u32::from(error.may_be_about_event());
            let is_deferred = error.may_be_about_event() && queued.failures >= MAX_FAILURES;
            // The demand of a receiver that fails because of one event does not hold for the others.
            let retry_after = error.retry_after().filter(|_| !is_deferred);
            outage.pause(self.policy, retry_after);
            if queued.since.elapsed() >= self.policy.give_up {
                self.metrics.dropped.inc();
                outage.attempts += 1;
                outage.lost += 1 + self.queue.drop_older_than(self.policy.give_up);
                return;
            }
            // Others may be delivered between its attempts: each of these is no outage of its own.
            if !(was_deferred && is_deferred) {
                outage.attempts += 1;
                self.fail(outage, &error);
            }
            if is_deferred {
                let pause = self.policy.pause(queued.failures, error.retry_after());
                self.queue.defer(queued, Instant::now() + pause);
                return;
            }
        }
    }

    /// Logs a failure that may pass.
    fn fail(&self, outage: &mut Outage, error: &AttemptError) {
        if !std::mem::replace(&mut outage.is_failure_logged, true) {
            let (receiver, reason) = (self.receiver.name(), explain(error));
            tracing::warn!(
                receiver,
                reason,
                "events cannot be delivered; each is tried again for an hour"
            );
        }
    }

    /// Records a rejection. The next event is sent at once.
    fn reject(&self, outage: &mut Outage, error: &AttemptError) {
        outage.failures = 0;
        outage.lost += 1;
        if !std::mem::replace(&mut outage.is_rejection_logged, true) {
            let (receiver, reason) = (self.receiver.name(), explain(error));
            tracing::error!(
                receiver,
                reason,
                "the receiver rejects events, which are lost"
            );
        }
    }

    fn end(&self, outage: &mut Outage) {
        let Outage { attempts, lost, .. } = std::mem::take(outage);
        if attempts > 0 {
            let receiver = self.receiver.name();
            tracing::warn!(receiver, attempts, lost, "events are delivered again");
        }
    }
}

// === impl Outage ===

impl Outage {
    /// Delays the next attempt after one that has failed.
    fn pause(&mut self, policy: RetryPolicy, retry_after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        self.pause_until = Some(Instant::now() + policy.pause(self.failures, retry_after));
    }
}
