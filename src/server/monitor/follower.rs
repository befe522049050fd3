//! The follower: watches the store, and updates the known state of each group.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant};

use super::probe::refresh;
use crate::coordinator::{ServerState, StateReceiver};
use crate::lock::GroupName;
use crate::store::health::{Health, Replies};
use crate::store::instrumented::InstrumentedStore;
use crate::store::{Store as _, StoreError, Update};
use crate::text::explain::chain;

/// The pause after a watch that failed, which grows with every further failure. For that long, the known state of a
/// group may differ from the store.
const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// The maximum pause while the store refuses the watch: a refused attempt goes to every endpoint. Meanwhile, the groups
/// are refreshed one after the other.
const MAX_PAUSE_IF_REFUSED: Duration = Duration::from_secs(60);

/// The time after which a watch counts as one that works.
const STABLE: Duration = Duration::from_secs(60);

/// The interval between two calls while the store refuses the watch, each for one group.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the known state of each group current. Never returns.
pub(crate) async fn follow(store: &InstrumentedStore, mut state: StateReceiver) {
    let mut failures = 0;
    let mut was_refused = false;
    let mut warned = false;
    let mut polled = 0;
    loop {
        let current = state.get_and_mark();
        let names: Vec<GroupName> = current.groups.keys().cloned().collect();
        let mut report = |name: &GroupName, update: Update| {
            if let Some(found) = current.groups.get(name) {
                found.group.observe(update);
            }
        };
        let started = Instant::now();
        let error = tokio::select! {
            biased;
            error = store.watch(&names, &mut report) => error,
            () = state.changed() => continue,
        };
        if started.elapsed() > STABLE {
            failures = 0;
            warned = false;
        }
        let is_refused = matches!(error, StoreError::Rejected(_));
        if is_refused != was_refused {
            failures = 0;
        }
        was_refused = is_refused;
        let pause = pause(failures, is_refused);
        failures += 1;
        let reason = chain(&error);
        if is_refused && !warned {
            warned = true;
            tracing::warn!(
                reason,
                "the store refuses to be watched; the shown state of groups may be out of date"
            );
        } else {
            tracing::debug!(reason, "watching the store failed, retrying");
        }
        tokio::select! {
            biased;
            () = time::sleep(pause) => {}
            () = available_again(store.health()) => {}
            () = poll(store, &current, &mut polled), if is_refused => {}
            () = state.changed() => {}
        }
    }
}

/// Returns the pause after so many failures.
fn pause(failures: u32, is_refused: bool) -> Duration {
    let (factor, max): (u32, _) = match is_refused {
        true => (16, MAX_PAUSE_IF_REFUSED),
        false => (2, MAX_PAUSE),
    };
    MIN_PAUSE
        .saturating_mul(factor.saturating_pow(failures))
        .min(max)
}

/// Waits until the store replies after it did not.
async fn available_again(mut health: watch::Receiver<Health>) {
    let replies = |health: &Health| matches!(health.replies, Replies::Up { .. });
    let is_down = health.wait_for(|health| !replies(health)).await.is_ok();
    if !is_down || health.wait_for(replies).await.is_err() {
        // The store was dropped.
        std::future::pending::<()>().await;
    }
}

/// Refreshes one group after the other. Never returns.
async fn poll(store: &InstrumentedStore, state: &ServerState, polled: &mut usize) {
    loop {
        time::sleep(POLL_INTERVAL).await;
        let next = state
            .groups
            .values()
            .nth(*polled % state.groups.len().max(1));
        *polled = polled.wrapping_add(1);
        let Some(next) = next else { continue };
        let is_known = next.group.known().is_some();
        let _ = refresh(store, &next.group).await;
        if !is_known {
            // A read is two calls to etcd.
            time::sleep(POLL_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_up_to_8_seconds_or_a_minute_if_the_watch_is_refused() {
        let pauses = |is_refused| -> Vec<u128> {
            let failures = [0, 1, 2, 3, 4, u32::MAX].into_iter();
            let pauses = failures.map(|failures| pause(failures, is_refused).as_millis());
            pauses.collect()
        };
        assert_eq!(pauses(false), [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(pauses(true), [500, 8000, 60_000, 60_000, 60_000, 60_000]);
    }
}
