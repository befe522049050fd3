//! The timeouts of a connection: how long its client may take for a request head, and how long it may stay idle.
//!
//! hyper's own timeout for HTTP/1.1 covers the time from one response to the end of the next head. It would also be the
//! idle timeout, and would have to be as long. For HTTP/2 hyper has no such timeout.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{self, Instant};

use crate::config::Limits;

/// The phase of one connection, and its start.
pub(super) struct ConnectionTimeouts(Mutex<PhaseState>);

#[derive(Clone, Copy)]
struct PhaseState {
    phase: Phase,
    since: Instant,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Nothing was received since the last response.
    Idle,
    /// A request head is being received, or the first one is awaited.
    Head,
    /// This many requests are being answered. Body, group and store have timeouts of their own.
    Answering(usize),
}

/// A request that is being answered. Dropping it ends the request.
pub(super) struct Answering(Arc<ConnectionTimeouts>);

// === impl ConnectionTimeouts ===

impl ConnectionTimeouts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(ConnectionTimeouts(Mutex::new(PhaseState {
            phase: Phase::Head,
            since: Instant::now(),
        })))
    }

    /// Records that bytes were received.
    pub(super) fn received(&self) {
        let mut state = self.0.lock();
        if let Phase::Idle = state.phase {
            *state = PhaseState {
                phase: Phase::Head,
                since: Instant::now(),
            };
        }
    }

    /// Records that the head of a request is complete.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        let mut state = self.0.lock();
        state.phase = match state.phase {
            Phase::Answering(requests) => Phase::Answering(requests + 1),
            Phase::Idle | Phase::Head => Phase::Answering(1),
        };
        Answering(Arc::clone(self))
    }

    /// Waits until the client has exceeded a timeout.
    ///
    /// It checks the phase periodically. Being notified of every change would cost two more wake-ups of the
    /// connection's task per request.
    pub(super) async fn expired(&self, limits: &Limits) {
        let shortest = limits.idle_timeout.min(limits.header_timeout);
        loop {
            let PhaseState { phase, since } = *self.0.lock();
            // A phase that starts after this moment lasts at least that long.
            let next_check = Instant::now() + shortest;
            let deadline = match phase {
                Phase::Idle => since + limits.idle_timeout,
                Phase::Head => since + limits.header_timeout,
                Phase::Answering(_) => next_check,
            };
            if deadline <= Instant::now() {
                return;
            }
            time::sleep_until(deadline.min(next_check)).await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        *state = match state.phase {
            Phase::Answering(requests) if requests > 1 => PhaseState {
                phase: Phase::Answering(requests - 1),
                ..*state
            },
            Phase::Answering(_) | Phase::Idle | Phase::Head => PhaseState {
                phase: Phase::Idle,
                since: Instant::now(),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits() -> Limits {
        let text = "[service]\ntls = false\n[embedded]\npath = \"x\"\n\
                    [limits]\nheader_timeout_ms = 1000\nidle_timeout_ms = 5000\n";
        let loaded = crate::config::parse("c.toml".as_ref(), text).unwrap();
        loaded.settings.limits
    }

    async fn ends_after(timeouts: &ConnectionTimeouts) -> Duration {
        let started = Instant::now();
        timeouts.expired(&limits()).await;
        // The timer is exact to the millisecond.
        Duration::from_secs_f64((started.elapsed().as_secs_f64() * 100.0).round() / 100.0)
    }

    #[tokio::test(start_paused = true)]
    async fn heads_and_pauses_have_separate_timeouts_and_answers_have_none() {
        let second = Duration::from_secs(1);
        let timeouts = ConnectionTimeouts::new();
        assert_eq!(ends_after(&timeouts).await, second);
        drop(timeouts.answer());
        assert_eq!(ends_after(&timeouts).await, 5 * second);

        drop(timeouts.answer());
        let late = async {
            time::sleep(2 * second).await;
            timeouts.received();
            time::sleep(second / 2).await;
            // More bytes give no more time.
            timeouts.received();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            after = ends_after(&timeouts) => assert_eq!(after, 3 * second),
            () = late => {}
        }

        let (one, two) = (timeouts.answer(), timeouts.answer());
        let answers = async {
            time::sleep(100 * second).await;
            drop(one);
            time::sleep(100 * second).await;
            drop(two);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            after = ends_after(&timeouts) => assert_eq!(after, 205 * second),
            () = answers => {}
        }
    }
}
