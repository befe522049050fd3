//! The events that wait for their delivery, bounded in number and bytes.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::event::Event;
use super::metrics::NotifyMetrics;

/// The maximum number of events that wait.
pub(super) const MAX_EVENTS: usize = 1024;

/// The maximum number of bytes that they take.
const MAX_BYTES: usize = 1 << 20;

/// A queue with one consumer.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Is notified of each new event.
    pushed: Notify,
    /// Is notified whenever there is nothing left to deliver.
    idle: Notify,
    metrics: Arc<NotifyMetrics>,
}

/// An event in the queue.
pub(super) struct Queued {
    /// The attribute `id` of the event.
    pub(super) id: String,
    pub(super) event: Event,
    /// The time at which the event was sent.
    pub(super) sent: Timestamp,
    /// The same, for its age.
    pub(super) since: Instant,
}

struct Waiting {
    events: VecDeque<Queued>,
    bytes: usize,
    /// Whether the consumer has an event that it was given.
    is_delivering: bool,
    /// The random part of the ids of this process.
    process: u64,
    /// The number of events so far.
    count: u64,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(metrics: Arc<NotifyMetrics>) -> Self {
        Queue {
            waiting: Mutex::new(Waiting {
                events: VecDeque::new(),
                bytes: 0,
                is_delivering: false,
                // The operating system provides the randomness of its keys.
                process: RandomState::new().build_hasher().finish(),
                count: 0,
            }),
            pushed: Notify::new(),
            idle: Notify::new(),
            metrics,
        }
    }

    /// Adds an event. The oldest ones are dropped to make room for it.
    pub(super) fn push(&self, event: Event) {
        let dropped = {
            let mut waiting = self.waiting.lock();
            let dropped = waiting.push(event);
            self.count(&waiting);
            dropped
        };
        self.metrics.dropped.inc_by(dropped);
        self.pushed.notify_one();
    }

    /// Waits for the next event. The caller is done with the one before.
    pub(super) async fn next(&self) -> Queued {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.pushed.notified().await;
        }
    }

    /// Drops the events of at least this age, and returns their number.
    pub(super) fn drop_older_than(&self, age: Duration) -> u64 {
        let mut waiting = self.waiting.lock();
        let mut dropped = 0;
        while waiting
            .events
            .front()
            .is_some_and(|oldest| oldest.since.elapsed() >= age)
        {
            waiting.pop();
            dropped += 1;
        }
        self.count(&waiting);
        self.metrics.dropped.inc_by(dropped);
        dropped
    }

    /// Waits until no event is left, neither here nor with the caller of [`Queue::next`].
    pub(super) async fn idle(&self) {
        loop {
            // Created before the check, so that no notification is missed.
            let idle = self.idle.notified();
            if self.len() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Returns the number of events that are not delivered yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    fn take(&self) -> Option<Queued> {
        let mut waiting = self.waiting.lock();
        let next = waiting.pop();
        waiting.is_delivering = next.is_some();
        self.count(&waiting);
        if next.is_none() {
            self.idle.notify_waiters();
        }
        next
    }

    fn count(&self, waiting: &Waiting) {
        let count = waiting.len().try_into().unwrap_or(i64::MAX);
        self.metrics.queued.set(count);
    }
}

// === impl Waiting ===

impl Waiting {
    /// Adds an event, and returns the number of events that were dropped for it.
    fn push(&mut self, event: Event) -> u64 {
        self.count += 1;
        self.bytes += event.bytes();
        self.events.push_back(Queued {
            id: format!("{:016x}-{}", self.process, self.count),
            event,
            sent: Timestamp::now(),
            since: Instant::now(),
        });
        let mut dropped = 0;
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Queued> {
        let oldest = self.events.pop_front()?;
        self.bytes -= oldest.event.bytes();
        Some(oldest)
    }

    fn len(&self) -> usize {
        self.events.len() + usize::from(self.is_delivering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::GroupName;
    use prometheus::Registry;

    fn queue() -> Queue {
        let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
        Queue::new(Arc::new(metrics))
    }

    fn event(action: String) -> Event {
        Event::Admin {
            group: GroupName::new("g").unwrap(),
            by: "".into(),
            action,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn the_oldest_events_make_room_for_a_new_one() {
        let queue = queue();
        for number in 0..MAX_EVENTS + 2 {
            queue.push(event(number.to_string()));
        }
        assert_eq!((queue.len(), queue.metrics.dropped.get()), (MAX_EVENTS, 2));
        let Queued {
            id,
            event: Event::Admin { action, .. },
            ..
        } = queue.next().await
        else {
            panic!("not the event");
        };
        assert_eq!(action, "2");
        // A gap in the numbers shows that events are missing.
        assert!(id.ends_with("-3"), "{id}");
        assert_eq!(queue.metrics.queued.get(), MAX_EVENTS as i64);
    }

    #[test]
    fn events_take_at_most_a_mebibyte() {
        let queue = queue();
        let third = "x".repeat(MAX_BYTES / 3);
        for count in [1, 2, 2, 2] {
            queue.push(event(third.clone()));
            assert_eq!(queue.len(), count);
        }
        queue.push(event("x".repeat(MAX_BYTES)));
        assert_eq!((queue.len(), queue.metrics.dropped.get()), (0, 5));
        assert_eq!(queue.waiting.lock().bytes, 0);
    }

    #[test]
    fn no_two_processes_use_the_same_ids() {
        let ids = [(); 2].map(|()| {
            let queue = queue();
            queue.push(event(String::new()));
            queue.take().unwrap().id
        });
        assert_ne!(ids[0], ids[1]);
    }
}
