//! Executes administrators' commands on the store itself, beside running servers or without any.
//!
//! Each command is one compare-and-swap that contains an [`AuditEntry`]. After an unknown outcome, the entry tells
//! whether the command was applied (invariant 6).

pub(crate) mod host;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::group::{AttemptLoop, PermanentError, Proposal, RetryReason, Work};
use crate::lock::audit::{self, AuditEntry};
use crate::lock::codec::{Revision, Stored};
use crate::lock::command::{AdminCommand, Decision, Refused};
use crate::lock::protocol::{Attempt, Protocol};
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::store::{DamagedValue, Store, StoreError};

/// The time for which a command is attempted.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The semaphore before and after a command. They are equal if the command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) before: Arc<Semaphore>,
    pub(crate) after: Arc<Semaphore>,
}

/// The reason why a command is not known to be executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// The command is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store rejects the command or cannot be reached; nothing was changed.
    #[error(transparent)]
    Unavailable(StoreError),
    /// Other writers changed the group during the whole time; nothing was changed.
    #[error("other writers changed the group during every attempt; try again")]
    Contended,
    /// The command may have been applied, or may still be.
    #[error("{0}")]
    Unknown(#[source] Box<ExecuteError>),
    /// The stored value cannot be used; nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Box<DamagedValue>),
}

/// Executes `command` in the name of `by` (`user@host`). A group without a value counts as one with `slots_if_absent`
/// free slots.
///
/// # Errors
/// If the command is refused, or the store does not reply for 10 s.
pub(crate) async fn execute(
    store: &Arc<dyn Store>,
    group: &GroupName,
    slots_if_absent: u64,
    command: &AdminCommand,
    by: &str,
) -> Result<Change, ExecuteError> {
    let now = Timestamp::now();
    let mut execution = Execution {
        command,
        by: by.into(),
        slots_if_absent,
        at: now,
        deadline: Instant::now() + TIMEOUT,
        known: None,
        proposed: None,
        in_doubt: None,
        no_space: None,
        result: None,
    };
    let mut attempts = AttemptLoop::new(Arc::clone(store), group.clone(), Arc::default());
    attempts.run(&mut execution).await;
    match (execution.result, execution.in_doubt) {
        (Some(Ok(change)), _) => Ok(change),
        // The command may have been applied by an earlier attempt, whatever ended the last one.
        (Some(Err(error)), Some(_)) => Err(ExecuteError::Unknown(Box::new(error))),
        (Some(Err(error)), None) => Err(error),
        // The loop runs until there is a result.
        (None, _) => Err(ExecuteError::Contended),
    }
}

/// A command during its attempts.
struct Execution<'a> {
    command: &'a AdminCommand,
    by: Arc<str>,
    slots_if_absent: u64,
    /// The time in the audit entry. It identifies the entry, so it is the same in all attempts.
    at: Timestamp,
    deadline: Instant,
    known: Option<GroupState>,
    /// The entry and the change of the current attempt.
    proposed: Option<(AuditEntry, Change)>,
    /// The entry and the change of an attempt of unknown outcome.
    in_doubt: Option<(AuditEntry, Change)>,
    /// The store had no space for the latest proposal, which was based on this revision.
    no_space: Option<(Revision, StoreError)>,
    result: Option<Result<Change, ExecuteError>>,
}

impl Work for Execution<'_> {
    fn start(&mut self) -> bool {
        self.result.is_none()
    }

    fn known(&self) -> Option<GroupState> {
        self.known.clone()
    }

    fn observe(&mut self, stored: Stored) {
        self.known = Some(GroupState::new(stored, self.slots_if_absent));
    }

    async fn gather(&mut self, _: bool) {}

    fn propose(
        &mut self,
        _: &Protocol,
        state: &GroupState,
        before: &Arc<Semaphore>,
    ) -> Option<Proposal> {
        let tried = self.no_space.as_ref().and(self.proposed.as_ref());
        let applied = [tried, self.in_doubt.as_ref()]
            .into_iter()
            .flatten()
            .find(|(entry, _)| state.audit_log.contains(entry));
        if let Some((_, change)) = applied {
            self.result = Some(Ok(change.clone()));
            return None;
        }
        if let Some((expected, error)) = self.no_space.take() {
            // On top of any other revision, the entry may have been applied, and dropped by coreos/airlock.
            if expected != state.stored.revision && self.in_doubt.is_none() {
                self.in_doubt = self.proposed.take();
            }
            self.result = Some(Err(ExecuteError::Unavailable(error)));
            return None;
        }
        let before = Arc::clone(before);
        let (next, action) = match self.command.decide(&before, self.at) {
            Decision::Unchanged => {
                let after = Arc::clone(&before);
                self.result = Some(Ok(Change { before, after }));
                return None;
            }
            Decision::Refused(refused) => {
                self.result = Some(Err(refused.into()));
                return None;
            }
            Decision::Change(next, action) => (Arc::new(next), action),
        };
        let entry = AuditEntry {
            at: self.at,
            by: Arc::clone(&self.by),
            action,
        };
        let audit_log = audit::append(&state.audit_log, entry.clone());
        let after = Arc::clone(&next);
        self.proposed = Some((entry, Change { before, after }));
        Some(Proposal {
            attempt: Attempt {
                expected: state.stored.revision,
                next,
                writes: true,
                outcomes: Vec::new(),
            },
            audit_log,
        })
    }

    fn committed(&mut self, _: Proposal, _: Option<Stored>) {
        self.result = self.proposed.take().map(|(_, change)| Ok(change));
    }

    fn write_rejected(&mut self, _: &Semaphore, _: &Attempt, error: StoreError) {
        self.result = Some(Err(ExecuteError::Unavailable(error)));
    }

    fn no_space(&mut self, _: &Semaphore, attempt: &Attempt, error: StoreError) {
        self.no_space = Some((attempt.expected, error));
    }

    fn outcome_unknown(&mut self, _: &Proposal) {
        self.in_doubt = self.proposed.take();
    }

    fn retrying(&mut self, reason: RetryReason) {
        if Instant::now() >= self.deadline {
            self.result = Some(Err(match reason {
                RetryReason::Conflict => ExecuteError::Contended,
                RetryReason::Store(error) => ExecuteError::Unavailable(error),
            }));
        }
    }

    fn fail(&mut self, failure: PermanentError) {
        self.result = Some(Err(match failure {
            PermanentError::Rejected(error) => ExecuteError::Unavailable(error),
            PermanentError::Damaged(damaged) => ExecuteError::Damaged(damaged),
        }));
    }
}

#[cfg(test)]
mod tests;
