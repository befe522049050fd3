//! The webhook: events, as CloudEvents 1.0 in JSON, for one HTTP receiver.
//!
//! * `event` has the events and their form; `signature` signs them as Standard Webhooks defines it.
//! * `queue` holds those that wait. It is bounded, and nothing that sends an event waits for it.
//! * `delivery` is the task that delivers them, each with the attempts of `receiver` and the pauses of `retry`.
//!
//! No request waits for any of this, and no state of the receiver ends the server.

mod delivery;
mod event;
mod metrics;
mod queue;
mod receiver;
mod retry;
mod signature;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use crate::config::NotifySettings;
use crate::reloadable::Reload;
use delivery::Delivery;
pub(crate) use event::Event;
pub(crate) use metrics::NotifyMetrics;
use queue::Queue;
pub(crate) use receiver::NotifyError;
use receiver::Receiver;
use retry::RetryPolicy;
pub(crate) use signature::check_secret;

/// The time that events have to be delivered once the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes the events of this server, for its receiver.
#[derive(Clone)]
pub(crate) struct Notifier {
    settings: Arc<NotifySettings>,
    delivery: Arc<Delivery>,
}

// === impl Notifier ===

impl Notifier {
    /// Reads the files that the settings name. `host` is the name of this machine.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub(crate) fn load(
        settings: NotifySettings,
        host: &str,
        metrics: NotifyMetrics,
    ) -> Result<Self, NotifyError> {
        Notifier::with_policy(settings, host, metrics, RetryPolicy::DEFAULT)
    }

    fn with_policy(
        settings: NotifySettings,
        host: &str,
        metrics: NotifyMetrics,
        policy: RetryPolicy,
    ) -> Result<Self, NotifyError> {
        let settings = Arc::new(settings);
        let metrics = Arc::new(metrics);
        let delivery = Delivery {
            queue: Queue::new(Arc::clone(&metrics)),
            receiver: Arc::new(Receiver::load(Arc::clone(&settings))?),
            source: event::source(host),
            policy,
            metrics,
        };
        Ok(Notifier {
            settings,
            delivery: Arc::new(delivery),
        })
    }

    /// Sends an event, if the receiver gets events of its kind. Never waits: the oldest events make room.
    pub(crate) fn send(&self, event: Event) {
        if self.settings.events.contains(&event.kind()) {
            self.delivery.queue.push(event);
        }
    }

    /// Returns the files to reload; `None` if there are none.
    pub(crate) fn files(&self) -> Option<Arc<dyn Reload>> {
        let receiver = &self.delivery.receiver;
        let has_files = !receiver.paths().is_empty();
        has_files.then(|| Arc::clone(receiver) as _)
    }

    /// Delivers the events, oldest first. Never returns.
    pub(crate) async fn deliver(self) {
        self.delivery.run().await;
    }

    /// Waits until all events are delivered, for at most a second.
    pub(crate) async fn flush(&self) {
        let queue = &self.delivery.queue;
        if time::timeout(FLUSH_TIMEOUT, queue.idle()).await.is_err() {
            let (receiver, events) = (self.settings.receiver(), queue.len() as u64);
            tracing::warn!(
                receiver,
                events,
                "events are lost, because the server ends before their delivery"
            );
        }
    }
}
