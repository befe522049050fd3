//! The trace of a run: every event with its virtual time. It also numbers the events, which orders them.

use parking_lot::Mutex;
use tokio::time::Instant;

/// The position of an event in a run.
pub(super) type Moment = usize;

/// The number of events before a violation, and after it, that a failed run prints.
const BEFORE: usize = 120;
const AFTER: usize = 10;

/// An event that violates an invariant.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) at: Moment,
    pub(super) problem: String,
}

/// The events of one run.
pub(super) struct Trace {
    started: Instant,
    events: Mutex<Vec<String>>,
}

// === impl Trace ===

impl Trace {
    pub(super) fn new() -> Self {
        Trace {
            started: Instant::now(),
            events: Mutex::default(),
        }
    }

    /// Records an event, and returns its position.
    pub(super) fn record(&self, event: &str) -> Moment {
        let mut events = self.events.lock();
        let position = events.len();
        let at = self.started.elapsed().as_millis();
        events.push(format!("{position:>6} {at:>7} ms  {event}"));
        position
    }

    /// Reports whether an event of that text was recorded between two others.
    pub(super) fn has_between(&self, from: Moment, to: Moment, text: &str) -> bool {
        let events = self.events.lock();
        events[from..to].iter().any(|event| event.contains(text))
    }

    /// Returns all events.
    pub(super) fn events(&self) -> Vec<String> {
        self.events.lock().clone()
    }
}

/// Returns the events around a violation, one per line.
pub(super) fn around(events: &[String], at: Moment) -> String {
    let from = at.saturating_sub(BEFORE).min(events.len());
    let to = at.saturating_add(AFTER).min(events.len());
    events[from..to].join("\n")
}
