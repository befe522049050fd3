//! The health of the store: whether it replies, whether it accepts writes, and what an operator should know besides.

use std::time::{Duration, Instant};

use super::{Endpoints, Notice, StoreError};

/// The health of the store, as the calls of this server show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) replies: Replies,
    pub(crate) writes: Writes,
    /// Facts about the store that do not stop it.
    pub(crate) notices: Vec<Notice>,
    /// `None`: the store has none, or they have not been verified yet.
    pub(crate) endpoints: Option<Endpoints>,
}

/// Whether the store replied to the latest call.
#[derive(Clone, Debug, Default)]
pub(crate) enum Replies {
    /// The store was not called yet.
    #[default]
    Unknown,
    /// The store replied.
    Up { at: Instant },
    /// The store did not reply.
    Down { since: Instant, error: StoreError },
}

/// Whether the store accepts writes. A store without free space still replies to reads.
#[derive(Clone, Debug, Default)]
pub(crate) enum Writes {
    /// Nothing was written yet, or a write was rejected for a reason that may concern one group only.
    #[default]
    Unknown,
    /// The store accepted the latest write.
    Accepted,
    /// The store refuses every write.
    Refused { since: Instant, error: StoreError },
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
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs();
        match &self.replies {
            Replies::Unknown => return Err(NotReady::Unknown),
            Replies::Down { since, error } => {
                return Err(NotReady::Down {
                    seconds: seconds(*since),
                    error: error.clone(),
                });
            }
            Replies::Up { at } if now.saturating_duration_since(*at) > MAX_AGE => {
                return Err(NotReady::Silent {
                    seconds: seconds(*at),
                });
            }
            Replies::Up { .. } => {}
        }
        match &self.writes {
            Writes::Refused { since, error } => Err(NotReady::ReadOnly {
                seconds: seconds(*since),
                error: error.clone(),
            }),
            Writes::Unknown | Writes::Accepted => Ok(()),
        }
    }

    /// Reports whether the store rejects the reads of all groups.
    pub(crate) fn rejects_reads(&self) -> bool {
        matches!(
            self.replies,
            Replies::Down {
                error: StoreError::Rejected(_),
                ..
            }
        )
    }

    /// Reports whether the store rejects the writes of all groups.
    pub(crate) fn rejects_writes(&self) -> bool {
        matches!(
            self.writes,
            Writes::Refused {
                error: StoreError::Rejected(_),
                ..
            }
        )
    }

    pub(super) fn replied(&mut self) {
        self.replies = Replies::Up { at: Instant::now() };
    }

    pub(super) fn failed(&mut self, error: StoreError) {
        let since = match &self.replies {
            Replies::Down { since, .. } => *since,
            Replies::Unknown | Replies::Up { .. } => Instant::now(),
        };
        self.replies = Replies::Down { since, error };
    }

    pub(super) fn write_accepted(&mut self) {
        self.writes = Writes::Accepted;
    }

    /// A write was rejected, perhaps for a reason that concerns one group only.
    pub(super) fn write_rejected(&mut self) {
        if let Writes::Accepted = self.writes {
            self.writes = Writes::Unknown;
        }
    }

    pub(super) fn write_refused(&mut self, error: StoreError) {
        let since = match &self.writes {
            Writes::Refused { since, .. } => *since,
            Writes::Unknown | Writes::Accepted => Instant::now(),
        };
        self.writes = Writes::Refused { since, error };
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
    #[error("the store has refused writes for {seconds} s, so no lock can be granted")]
    ReadOnly {
        seconds: u64,
        #[source]
        error: StoreError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("down")]
    struct Cause;

    fn error() -> StoreError {
        StoreError::unreachable(Cause)
    }

    /// Returns the result of the readiness as text.
    fn readiness(health: &Health, now: Instant) -> String {
        match health.readiness(now) {
            Ok(()) => "ready".to_owned(),
            Err(reason) => reason.to_string(),
        }
    }

    #[test]
    fn a_store_is_ready_while_its_latest_reply_is_recent() {
        let mut health = Health::default();
        let now = Instant::now();
        assert_eq!(
            readiness(&health, now),
            "the store has not been reached yet"
        );
        health.replied();
        assert_eq!(readiness(&health, Instant::now()), "ready");
        health.replies = Replies::Up { at: now };
        assert_eq!(readiness(&health, now + MAX_AGE), "ready");
        assert_eq!(
            readiness(&health, now + MAX_AGE + Duration::from_millis(1)),
            "the store has not replied for 10 s"
        );
    }

    #[test]
    fn only_a_rejection_means_that_the_calls_of_all_groups_are_rejected() {
        let mut health = Health::default();
        let rejects = |health: &Health| (health.rejects_reads(), health.rejects_writes());
        assert_eq!(rejects(&health), (false, false));
        health.failed(error());
        health.write_refused(error());
        assert_eq!(rejects(&health), (false, false));
        health.failed(StoreError::rejected(Cause));
        assert_eq!(rejects(&health), (true, false));
        health.replied();
        health.write_refused(StoreError::rejected(Cause));
        assert_eq!(rejects(&health), (false, true));
    }

    #[test]
    fn a_failure_and_a_refusal_of_writes_last_since_the_first() {
        let mut health = Health::default();
        let since = Instant::now();
        health.failed(error());
        assert!(matches!(health.replies, Replies::Down { .. }));
        health.replies = Replies::Down {
            since,
            error: error(),
        };
        health.failed(error());
        assert_eq!(
            readiness(&health, since + Duration::from_secs(5)),
            "the store has been unavailable for 5 s"
        );
        health.replied();
        health.write_refused(error());
        assert!(matches!(health.writes, Writes::Refused { .. }));
        health.writes = Writes::Refused {
            since,
            error: error(),
        };
        health.write_refused(error());
        assert_eq!(
            readiness(&health, since + Duration::from_secs(7)),
            "the store has refused writes for 7 s, so no lock can be granted"
        );
        health.write_accepted();
        assert_eq!(readiness(&health, Instant::now()), "ready");
    }

    #[test]
    fn a_rejected_write_says_nothing_about_other_groups() {
        let mut health = Health::default();
        health.write_accepted();
        health.write_rejected();
        assert!(matches!(health.writes, Writes::Unknown));
        health.write_refused(error());
        health.write_rejected();
        assert!(matches!(health.writes, Writes::Refused { .. }));
    }
}
