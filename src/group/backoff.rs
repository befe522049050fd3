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
