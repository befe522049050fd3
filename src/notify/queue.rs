//! The events that wait for their delivery, bounded in number and bytes.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{self, Instant};

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
    /// How often the receiver has failed because of this event, as far as its responses tell.
    pub(super) failures: u32,
    /// The time before which no attempt is made.
    due: Option<Instant>,
}

/// What the consumer does next.
enum Next {
    Deliver(Box<Queued>),
    /// No event is due until then.
    WaitUntil(Instant),
    /// There is no event.
    Wait,
}

struct Waiting {
    events: VecDeque<Queued>,
    bytes: usize,
    /// Whether the consumer has an event that it was given.
    is_delivering: bool,
    /// The random part of the ids of this process.
    process: u64,
    /// The number of events so far that only this server sends.
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

    /// Adds an event. Others are dropped to make room for it: first the oldest ones about denied requests, of which
    /// clients can cause any number.
    pub(super) fn push(&self, event: Event) {
        let mut waiting = self.waiting.lock();
        let queued = waiting.queued(event);
        self.add(waiting, queued);
        self.pushed.notify_one();
    }

    /// Adds an event that [`Queue::next`] has returned, behind all others. It is not due before `due`.
    pub(super) fn defer(&self, mut queued: Queued, due: Instant) {
        queued.due = Some(due);
        self.add(self.waiting.lock(), queued);
    }

    /// Waits for the next event that is due. The caller is done with the one before.
    pub(super) async fn next(&self) -> Queued {
        loop {
            match self.take() {
                Next::Deliver(next) => return *next,
                Next::WaitUntil(due) => {
                    // Whether a new event or the time has ended the wait, the queue knows.
                    let _elapsed = time::timeout_at(due, self.pushed.notified()).await;
                }
                Next::Wait => self.pushed.notified().await,
            }
        }
    }

    /// Drops the events of at least this age, and returns their number.
    pub(super) fn drop_older_than(&self, age: Duration) -> u64 {
        let mut waiting = self.waiting.lock();
        let dropped = waiting.drop_older_than(age);
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

    fn take(&self) -> Next {
        let mut waiting = self.waiting.lock();
        let next = waiting.next(Instant::now());
        waiting.is_delivering = matches!(next, Next::Deliver(_));
        self.count(&waiting);
        if let Next::Wait = next {
            self.idle.notify_waiters();
        }
        next
    }

    fn add(&self, mut waiting: MutexGuard<'_, Waiting>, queued: Queued) {
        let dropped = waiting.add(queued);
        self.count(&waiting);
        self.metrics.dropped.inc_by(dropped);
    }

    fn count(&self, waiting: &Waiting) {
        let count = waiting.len().try_into().unwrap_or(i64::MAX);
        self.metrics.queued.set(count);
    }
}

// === impl Waiting ===

impl Waiting {
    /// Gives an event its id.
    fn queued(&mut self, event: Event) -> Queued {
        let id = event.shared_id().unwrap_or_else(|| {
            self.count += 1;
            format!("{:016x}-{}", self.process, self.count)
        });
        Queued {
            id,
            event,
            sent: Timestamp::now(),
            since: Instant::now(),
            failures: 0,
            due: None,
        }
    }

    /// Adds an event, and returns the number of events that were dropped for it.
    fn add(&mut self, queued: Queued) -> u64 {
        self.bytes += queued.event.bytes();
        self.events.push_back(queued);
        let mut dropped = 0;
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let is_denied = |queued: &Queued| matches!(queued.event, Event::Denied { .. });
            let oldest = self.events.iter().position(is_denied).unwrap_or(0);
            self.remove(oldest);
            dropped += 1;
        }
        dropped
    }

    fn next(&mut self, now: Instant) -> Next {
        let is_due = |queued: &Queued| queued.due.is_none_or(|due| due <= now);
        let due = self.events.iter().position(is_due);
        if let Some(next) = due.and_then(|index| self.remove(index)) {
            return Next::Deliver(Box::new(next));
        }
        let due = self.events.iter().filter_map(|queued| queued.due).min();
        due.map_or(Next::Wait, Next::WaitUntil)
    }

    fn drop_older_than(&mut self, age: Duration) -> u64 {
        let before = self.events.len();
        // Those that were deferred are behind younger ones.
        self.events.retain(|queued| queued.since.elapsed() < age);
        self.bytes = self.events.iter().map(|queued| queued.event.bytes()).sum();
        (before - self.events.len()) as u64
    }

    fn remove(&mut self, index: usize) -> Option<Queued> {
        let removed = self.events.remove(index)?;
        self.bytes -= removed.event.bytes();
        Some(removed)
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
    use tokio::task;

    fn queue() -> Queue {
        let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
        Queue::new(Arc::new(metrics))
    }

    fn event(id: String) -> Event {
        Event::Granted {
            group: GroupName::new("g").unwrap(),
            id: id.into(),
            name: None,
            peer: None,
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
            event: Event::Granted { id: node, .. },
            ..
        } = queue.next().await
        else {
            panic!("not the event");
        };
        assert_eq!(&*node, "2");
        // A gap in the numbers shows that events are missing.
        assert!(id.ends_with("-3"), "{id}");
        assert_eq!(queue.metrics.queued.get(), MAX_EVENTS as i64);
    }

    #[tokio::test]
    async fn events_about_denied_requests_make_room_first() {
        let denied = || Event::Denied {
            group: None,
            reason: "wrong_password".into(),
            peer: None,
            id: None,
            detail: String::new(),
            times: 1,
        };
        let queue = queue();
        queue.push(event("first".into()));
        for _ in 0..MAX_EVENTS {
            queue.push(denied());
        }
        for number in 0..MAX_EVENTS - 1 {
            queue.push(event(number.to_string()));
        }
        assert_eq!(queue.metrics.dropped.get(), MAX_EVENTS as u64);
        // None of them is left, not even the latest one.
        queue.push(denied());
        assert_eq!(queue.len(), MAX_EVENTS);
        let Event::Granted { id, .. } = queue.next().await.event else {
            panic!("not the first event");
        };
        assert_eq!(&*id, "first");
        let rest = &queue.waiting.lock().events;
        let is_granted = |queued: &Queued| matches!(queued.event, Event::Granted { .. });
        assert!(rest.iter().all(is_granted));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deferred_event_waits_behind_the_others_until_it_is_due() {
        let queue = queue();
        for number in 0..3 {
            queue.push(event(number.to_string()));
        }
        let due = Instant::now() + Duration::from_secs(60);
        let first = queue.next().await;
        let id = first.id.clone();
        queue.defer(first, due);
        for _ in 0..2 {
            assert_ne!(queue.next().await.id, id);
        }
        assert!(Instant::now() < due);
        // A new event does not wait for it.
        let (next, ()) = tokio::join!(queue.next(), async {
            task::yield_now().await;
            queue.push(event("new".into()));
        });
        assert_ne!(next.id, id);
        assert_eq!(queue.next().await.id, id);
        assert!(Instant::now() >= due);
        assert_eq!(queue.len(), 1);
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
            let Next::Deliver(queued) = queue.take() else {
                panic!("no event");
            };
            queued.id
        });
        assert_ne!(ids[0], ids[1]);
    }
}
