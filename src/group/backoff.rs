//! The backoff between two attempts of a group.

use std::time::Duration;

use tokio::time;

/// The backoff of one group. Delays are random below a bound that doubles, so that servers that conflicted with each
/// other do not meet again.
#[derive(Default)]
pub(super) struct Backoff {
    /// Recent conflicts. A success subtracts only one: the servers that caused them still compete for the next batch.
    conflicts: u32,
    /// Consecutive failures of the store.
    failures: u32,
}

/// The bounds of a delay.
struct Bounds {
    min: Duration,
    max: Duration,
}

const CONFLICT: Bounds = Bounds {
    min: Duration::from_millis(1),
    max: Duration::from_millis(32),
};

const FAILURE: Bounds = Bounds {
    min: Duration::from_millis(20),
    max: Duration::from_millis(320),
};

const MAX_DOUBLINGS: u32 = 6;

// === impl Backoff ===

impl Backoff {
    /// Records that a batch was committed.
    pub(super) fn success(&mut self) {
        self.conflicts = self.conflicts.saturating_sub(1);
        self.failures = 0;
    }

    /// Waits after a conflict. After the first one, the new value is tried at once.
    pub(super) async fn after_conflict(&mut self) {
        if self.conflicts > 0 {
            time::sleep(CONFLICT.random(self.conflicts - 1)).await;
        }
        self.conflicts = (self.conflicts + 1).min(MAX_DOUBLINGS + 1);
    }

    /// Waits after the store failed to reply.
    pub(super) async fn after_failure(&mut self) {
        time::sleep(FAILURE.random(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

// === impl Bounds ===

impl Bounds {
    fn random(&self, doublings: u32) -> Duration {
        let bound = (self.min * 2_u32.pow(doublings.min(MAX_DOUBLINGS))).min(self.max);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const SAMPLES: u32 = 200;

    fn backoff(conflicts: u32, failures: u32) -> Backoff {
        Backoff {
            conflicts,
            failures,
        }
    }

    /// Returns the shortest and the longest of many delays in milliseconds, which the clock rounds up.
    async fn delays<F: Future<Output = ()>>(mut wait: impl FnMut() -> F) -> (u128, u128) {
        let (mut shortest, mut longest) = (u128::MAX, 0);
        for _ in 0..SAMPLES {
            let started = Instant::now();
            wait().await;
            let took = started.elapsed().as_millis();
            (shortest, longest) = (shortest.min(took), longest.max(took));
        }
        (shortest, longest)
    }

    /// Checks that the delays are spread over the upper half of the bound.
    fn assert_spread((shortest, longest): (u128, u128), bound: u128) {
        let lower = bound / 2;
        assert!(
            (lower..=lower + bound / 8 + 1).contains(&shortest),
            "{shortest} of {bound}"
        );
        assert!(
            (bound - bound / 8..=bound).contains(&longest),
            "{longest} of {bound}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_after_a_failure_doubles_up_to_the_maximum() {
        for (failures, bound) in [(0, 20), (1, 40), (3, 160), (4, 320), (5, 320), (1000, 320)] {
            let delays = delays(|| async { backoff(0, failures).after_failure().await }).await;
            assert_spread(delays, bound);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_after_a_conflict_doubles_up_to_the_maximum() {
        assert_eq!(
            delays(|| async { backoff(0, 0).after_conflict().await }).await,
            (0, 0)
        );
        for (conflicts, bound) in [(1, 1), (2, 2), (4, 8), (6, 32), (7, 32)] {
            let delays = delays(|| async { backoff(conflicts, 0).after_conflict().await }).await;
            assert_spread(delays, bound);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_forgets_all_failures_and_one_conflict() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.after_conflict().await;
            backoff.after_failure().await;
        }
        assert_eq!(backoff.conflicts, MAX_DOUBLINGS + 1);
        assert_eq!(backoff.failures, 100);
        backoff.success();
        assert_eq!(backoff.conflicts, MAX_DOUBLINGS);
        assert_eq!(backoff.failures, 0);
    }
}
