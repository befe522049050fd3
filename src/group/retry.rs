//! How long to wait before the store is asked again.

use std::time::Duration;

use tokio::time;

/// The setbacks of a group lately. Waits are random up to a bound that doubles, so that servers that lost
/// to each other do not meet again.
#[derive(Default)]
pub(super) struct Retry {
    /// A success takes back only one: those who made it hard are still there for the next batch.
    conflicts: u32,
    /// In a row.
    failures: u32,
}

const CONFLICT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));
const FAILURE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));

// === impl Retry ===

impl Retry {
    /// A batch was committed.
    pub fn success(&mut self) {
        self.conflicts = self.conflicts.saturating_sub(1);
        self.failures = 0;
    }

    /// Another server was faster. The first time the new value is tried at once.
    pub async fn after_conflict(&mut self) {
        if self.conflicts > 0 {
            time::sleep(random(CONFLICT, self.conflicts - 1)).await;
        }
        self.conflicts = (self.conflicts + 1).min(MOST_DOUBLINGS + 1);
    }

    /// The store did not answer.
    pub async fn after_failure(&mut self) {
        time::sleep(random(FAILURE, self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

const MOST_DOUBLINGS: u32 = 6;

fn random((least, most): (Duration, Duration), doublings: u32) -> Duration {
    let bound = (least * 2_u32.pow(doublings.min(MOST_DOUBLINGS))).min(most);
    bound.mul_f64(0.5 + fastrand::f64() / 2.0)
}
