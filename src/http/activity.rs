//! What a connection is doing and since when, so that one that keeps us waiting is ended.
//!
//! hyper's own limit for HTTP/1.1 runs from one answer to the end of the next head, so it is the idle limit
//! too, and has to be as long; for HTTP/2 it has none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{self, Instant};

use crate::config::Limits;

/// Of one connection.
pub struct Activity(Mutex<State>);

#[derive(Clone, Copy)]
struct State {
    doing: Doing,
    since: Instant,
}

#[derive(Clone, Copy)]
enum Doing {
    /// Nothing has come since the last answer.
    Idle,
    /// A request has begun to come, or the first is awaited.
    Head,
    /// So many requests are being answered. Body, group and store have limits of their own.
    Answering(usize),
}

/// One request that is being answered, until it is dropped.
pub struct Answering(Arc<Activity>);

// === impl Activity ===

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Activity(Mutex::new(State {
            doing: Doing::Head,
            since: Instant::now(),
        })))
    }

    /// Bytes have come in.
    pub fn bytes(&self) {
        let mut state = self.state();
        if let Doing::Idle = state.doing {
            *state = State {
                doing: Doing::Head,
                since: Instant::now(),
            };
        }
    }

    /// The head of a request is complete.
    pub fn answer(self: &Arc<Self>) -> Answering {
        let mut state = self.state();
        state.doing = match state.doing {
            Doing::Answering(requests) => Doing::Answering(requests + 1),
            Doing::Idle | Doing::Head => Doing::Answering(1),
        };
        Answering(Arc::clone(self))
    }

    /// Waits until the client has kept us waiting for too long.
    ///
    /// It looks from time to time instead of being told of every change, which would cost each request
    /// two more turns of the connection's task.
    pub async fn overdue(&self, limits: &Limits) {
        let shortest = limits.idle_timeout.min(limits.header_timeout);
        loop {
            let State { doing, since } = *self.state();
            // What begins after this moment has at least so long.
            let look_again = Instant::now() + shortest;
            let deadline = match doing {
                Doing::Idle => since + limits.idle_timeout,
                Doing::Head => since + limits.header_timeout,
                Doing::Answering(_) => look_again,
            };
            if deadline <= Instant::now() {
                return;
            }
            time::sleep_until(deadline.min(look_again)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        *state = match state.doing {
            Doing::Answering(requests) if requests > 1 => State {
                doing: Doing::Answering(requests - 1),
                ..*state
            },
            Doing::Answering(_) | Doing::Idle | Doing::Head => State {
                doing: Doing::Idle,
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

    async fn ends_after(activity: &Activity) -> Duration {
        let started = Instant::now();
        activity.overdue(&limits()).await;
        // The timer is exact to the millisecond.
        Duration::from_secs_f64((started.elapsed().as_secs_f64() * 100.0).round() / 100.0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_a_pause_have_each_their_own_limit_and_an_answer_has_none() {
        let second = Duration::from_secs(1);
        let activity = Activity::new();
        assert_eq!(ends_after(&activity).await, second);
        drop(activity.answer());
        assert_eq!(ends_after(&activity).await, 5 * second);

        drop(activity.answer());
        let late = async {
            time::sleep(2 * second).await;
            activity.bytes();
            time::sleep(second / 2).await;
            // More bytes give no more time.
            activity.bytes();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            after = ends_after(&activity) => assert_eq!(after, 3 * second),
            () = late => {}
        }

        let (one, two) = (activity.answer(), activity.answer());
        let answers = async {
            time::sleep(100 * second).await;
            drop(one);
            time::sleep(100 * second).await;
            drop(two);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            after = ends_after(&activity) => assert_eq!(after, 205 * second),
            () = answers => {}
        }
    }
}
