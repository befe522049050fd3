//! Executes administrators' commands on the store itself, beside running servers or without any.
//!
//! Each command is one compare-and-swap that contains an [`AuditEntry`]. After an unknown outcome, the entry tells
//! whether the command was applied (invariant 6).

pub(crate) mod host;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::group::{AttemptLoop, Others, PermanentError, Proposal, RetryReason, Work};
use crate::lock::audit::{self, AuditEntry};
use crate::lock::codec::{Revision, Stored};
use crate::lock::command::{AdminCommand, Decision, Refused};
use crate::lock::history::CompletedHold;
use crate::lock::policy::{Cap, CapView};
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
    /// The store did not reply to the commit of the command, and the group has changed since.
    #[error(
        "the store did not reply, and the group has changed since; its audit log does not tell whether the command was \
         executed"
    )]
    NoTrace,
    /// The command may have been applied, or may still be.
    #[error("{0}")]
    Unknown(#[source] Box<ExecuteError>),
    /// The stored value cannot be used; nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Box<DamagedValue>),
}

/// The group that a command is to change.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) group: &'a GroupName,
    /// A group without a value counts as one with this many free slots.
    pub(crate) slots_if_absent: u64,
    /// The caps to which the group belongs.
    pub(crate) caps: &'a [Cap],
}

/// Executes `command` in the name of `by` (`user@host`).
///
/// # Errors
/// If the command is refused, or the store does not reply for 10 s.
pub(crate) async fn execute(
    store: &Arc<dyn Store>,
    target: Target<'_>,
    command: &AdminCommand,
    by: &str,
) -> Result<Change, ExecuteError> {
    execute_at(store, target, command, by, Timestamp::now()).await
}

/// Executes `command` as [`execute`] does. `at` is the time in the audit entry, and the time of a grant.
pub(crate) async fn execute_at(
    store: &Arc<dyn Store>,
    target: Target<'_>,
    command: &AdminCommand,
    by: &str,
    at: Timestamp,
) -> Result<Change, ExecuteError> {
    let Target {
        group,
        slots_if_absent,
        caps,
    } = target;
    let caps = if command.obeys_caps() { caps } else { &[] };
    let others = caps.iter().flat_map(|cap| cap.others.iter());
    let mut execution = Execution {
        command,
        caps,
        others: others.map(|group| (group.clone(), None)).collect(),
        by: by.into(),
        slots_if_absent,
        at,
        deadline: Instant::now() + TIMEOUT,
        known: None,
        proposed: None,
        refused: None,
        in_doubt: None,
        no_space: None,
        result: None,
    };
    let mut attempts = AttemptLoop::new(Arc::clone(store), group.clone(), Arc::default());
    attempts.run(&mut execution).await;
    let may_be_applied = execution.in_doubt.is_some() || execution.no_space.is_some();
    match execution.result {
        Some(Ok(change)) => Ok(change),
        // The command may have been applied by an earlier attempt, whatever ended the last one.
        Some(Err(error)) if may_be_applied => Err(ExecuteError::Unknown(Box::new(error))),
        Some(Err(error)) => Err(error),
        // The loop runs until there is a result.
        None => Err(ExecuteError::Contended),
    }
}

/// A command during its attempts.
struct Execution<'a> {
    command: &'a AdminCommand,
    caps: &'a [Cap],
    /// The other groups of these caps.
    others: BTreeMap<GroupName, Option<GroupState>>,
    by: Arc<str>,
    slots_if_absent: u64,
    /// The time in the audit entry. It identifies the entry, so it is the same in all attempts.
    at: Timestamp,
    deadline: Instant,
    known: Option<GroupState>,
    /// The current attempt.
    proposed: Option<Proposed>,
    /// The refusal that the current attempt confirms.
    refused: Option<Refused>,
    /// An attempt of unknown outcome.
    in_doubt: Option<Proposed>,
    /// The store had no space for the latest proposal, and was not read since.
    no_space: Option<StoreError>,
    result: Option<Result<Change, ExecuteError>>,
}

/// An attempt to commit a command.
struct Proposed {
    entry: AuditEntry,
    change: Change,
    /// The state on which the attempt is based.
    base: GroupState,
}

/// The fate of an attempt of unknown outcome, as a later state shows it.
enum Fate {
    Applied,
    /// It may still arrive, unless another write comes first.
    Open,
    /// It has not happened, and never will.
    Lost,
    /// It has happened or never will.
    NoTrace,
}

// === impl Proposed ===

impl Proposed {
    /// Determines the fate of the attempt.
    ///
    /// SUBTLE: on top of another revision, a missing entry proves something only if the audit log was kept since. A
    /// repair by hand can drop the log, and with it the entry of an attempt that was applied: to attempt it again would
    /// execute one command twice. The entry before the attempt shows that the log was kept.
    fn fate(&self, state: &GroupState) -> Fate {
        let log = &state.audit_log;
        let was_kept = || {
            self.base
                .audit_log
                .last()
                .is_some_and(|last| log.contains(last))
        };
        match () {
            () if log.contains(&self.entry) => Fate::Applied,
            () if self.base.stored.is_still(&state.stored) => Fate::Open,
            () if was_kept() => Fate::Lost,
            () => Fate::NoTrace,
        }
    }
}

// === impl Execution ===

impl Execution<'_> {
    /// Ends the command if `state` shows the outcome of an attempt that was unknown. Returns whether it has ended.
    fn resolve(&mut self, state: &GroupState) -> bool {
        let Some(in_doubt) = &self.in_doubt else {
            return false;
        };
        match in_doubt.fate(state) {
            Fate::Applied => self.result = Some(Ok(in_doubt.change.clone())),
            Fate::NoTrace => self.result = Some(Err(ExecuteError::NoTrace)),
            Fate::Lost => self.in_doubt = None,
            Fate::Open => {}
        }
        self.result.is_some()
    }

    /// Ends the command after the store had no space for the latest attempt, of which `state` shows whether it was
    /// applied.
    fn end_without_space(&mut self, state: &GroupState, error: StoreError) {
        let may_arrive = self.in_doubt.is_some();
        // An attempt that may still arrive has the base and the entry of the latest one.
        let Some(tried) = self.in_doubt.take().or_else(|| self.proposed.take()) else {
            return;
        };
        self.result = Some(match tried.fate(state) {
            Fate::Applied => Ok(tried.change),
            Fate::Lost => Err(ExecuteError::Unavailable(error)),
            Fate::Open if !may_arrive => Err(ExecuteError::Unavailable(error)),
            Fate::Open | Fate::NoTrace => {
                self.in_doubt = Some(tried);
                Err(ExecuteError::Unavailable(error))
            }
        });
    }
}

impl Work for Execution<'_> {
    fn start(&mut self) -> bool {
        self.result.is_none()
    }

    fn known(&self) -> Option<GroupState> {
        self.known.clone()
    }

    fn observe(&mut self, stored: Stored, _: Option<Revision>) {
        self.known = Some(GroupState::new(stored, self.slots_if_absent));
    }

    fn others(&self) -> BTreeMap<GroupName, Option<GroupState>> {
        self.others.clone()
    }

    fn observe_other(&mut self, group: &GroupName, stored: Stored, _: Option<Revision>) {
        // A group without a value has no holders, however many slots it has.
        let state = GroupState::new(stored, 0);
        self.others.insert(group.clone(), Some(state));
    }

    async fn gather(&mut self, _: bool) {}

    fn propose(
        &mut self,
        _: &Protocol,
        state: &GroupState,
        before: &Arc<Semaphore>,
        others: &Others,
    ) -> Option<Proposal> {
        if let Some(error) = self.no_space.take() {
            self.end_without_space(state, error);
            return None;
        }
        if self.resolve(state) {
            return None;
        }
        let before = Arc::clone(before);
        let caps = self
            .caps
            .iter()
            .map(|cap| cap.view(|group| others.get(group)?.held()));
        let caps: Vec<CapView> = caps.collect();
        let (next, action, released) = match self.command.decide(&before, self.at, &caps) {
            Decision::Unchanged => {
                let after = Arc::clone(&before);
                self.result = Some(Ok(Change { before, after }));
                return None;
            }
            // The other groups were read at other moments: only a comparison with all of them tells that it is true.
            Decision::Refused(refused) if refused.depends_on_members() => {
                self.proposed = None;
                self.refused = Some(refused);
                return Some(confirmation(state, before));
            }
            Decision::Refused(refused) => {
                self.result = Some(Err(refused.into()));
                return None;
            }
            Decision::Change {
                next,
                action,
                released,
            } => (Arc::new(next), action, released),
        };
        let by_hand = |hold| CompletedHold {
            by: Some(Arc::clone(&self.by)),
            ..hold
        };
        let released: Vec<CompletedHold> = released.into_iter().map(by_hand).collect();
        let entry = AuditEntry {
            at: self.at,
            by: Arc::clone(&self.by),
            action,
        };
        let audit_log = audit::append(&state.audit_log, entry.clone());
        let after = Arc::clone(&next);
        self.proposed = Some(Proposed {
            entry,
            change: Change { before, after },
            base: state.clone(),
        });
        Some(Proposal {
            attempt: Attempt {
                expected: state.stored.revision,
                next,
                writes: true,
                compares_members: !caps.is_empty(),
                outcomes: Vec::new(),
                released: Vec::new(),
            },
            audit_log,
            history: state.history.append(&released),
        })
    }

    fn committed(&mut self, _: Proposal, _: Option<Stored>) {
        self.result = match (self.proposed.take(), self.refused.take()) {
            (Some(proposed), _) => Some(Ok(proposed.change)),
            (None, refused) => refused.map(|refused| Err(refused.into())),
        };
    }

    fn rejected(&mut self, _: &Semaphore, _: &Attempt, error: StoreError) {
        self.result = Some(Err(ExecuteError::Unavailable(error)));
    }

    fn no_space(&mut self, _: &Semaphore, _: &Attempt, error: StoreError, was_sent: bool) {
        if was_sent {
            self.no_space = Some(error);
        } else {
            self.result = Some(Err(ExecuteError::Unavailable(error)));
        }
    }

    fn outcome_unknown(&mut self, proposal: &Proposal) {
        if proposal.attempt.writes {
            self.in_doubt = self.proposed.take();
        }
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

/// Proposes to write nothing, and to compare all groups of the caps with what is known.
fn confirmation(state: &GroupState, semaphore: Arc<Semaphore>) -> Proposal {
    Proposal {
        attempt: Attempt {
            expected: state.stored.revision,
            next: semaphore,
            writes: false,
            compares_members: true,
            outcomes: Vec::new(),
            released: Vec::new(),
        },
        audit_log: Arc::clone(&state.audit_log),
        history: state.history.clone(),
    }
}

#[cfg(test)]
mod tests;
