//! The health of the store: whether it replied when it was last called.

use std::time::{Duration, Instant};

use super::StoreError;

/// Whether the store replied to the latest call.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    /// The store was not called yet.
    Unknown,
    /// The store replied.
    Up { at: Instant },
    /// The store did not reply.
    Down { since: Instant, error: StoreError },
}

/// The age at which a reply no longer proves that the store is available.
const MAX_AGE: Duration = Duration::from_secs(10);

// === impl Health ===

impl Health {
    /// Reports whether the store can be used, as far as is known at `now`.
    ///
    /// # Errors
    /// The reason, for `/readyz` and the page.
    pub(crate) fn readiness(&self, now: Instant) -> Result<(), NotReady> {
        match self {
            Health::Unknown => Err(NotReady::Unknown),
            Health::Down { since, error } => Err(NotReady::Down {
                seconds: now.saturating_duration_since(*since).as_secs(),
                error: error.clone(),
            }),
            Health::Up { at } => {
                let age = now.saturating_duration_since(*at);
                if age > MAX_AGE {
                    return Err(NotReady::Silent {
                        seconds: age.as_secs(),
                    });
                }
                Ok(())
            }
        }
    }
}

/// The reason why the server is not ready.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("the store has not been reached yet")]
    Unknown,
    #[error("the store has been unavailable for {seconds} s")]
    Down {
        seconds: u64,
        #[source]
        error: StoreError,
    },
    #[error("the store has not replied for {seconds} s")]
    Silent { seconds: u64 },
}
