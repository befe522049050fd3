//! The attempt loop: read, propose, commit, and try again after a conflict or a failure.
//!
//! Group tasks and administrators' commands commit through this loop only. It owns the handling of conflicts
//! (invariant 5) and unknown outcomes (invariant 6); a [`Work`] decides what to commit and what to do with the result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, Instant};

use super::backoff::Backoff;
use super::contention::{Contention, MAX_ANNOUNCING, Pace};
use super::policies::Others;
use crate::lock::audit::AuditLog;
use crate::lock::codec::{self, Revision, Stored, Value};
use crate::lock::history::History;
use crate::lock::protocol::{Attempt, Protocol};
use crate::lock::semaphore::Semaphore;
use crate::lock::{GroupName, GroupState};
use crate::store::{CommitOutcome, DamagedValue, Member, Store, StoreError};

/// Commits the work of one group, one compare-and-swap at a time.
pub(crate) struct AttemptLoop {
    store: Arc<dyn Store>,
    group: GroupName,
    protocol: Protocol,
    backoff: Backoff,
    pace: Pace,
}

/// The work of an attempt loop: requests, or a command of an administrator.
pub(crate) trait Work {
    /// Starts an attempt: removes what is no longer wanted. Returns `false` if nothing is left to do.
    fn start(&mut self) -> bool;

    /// Returns the known state of the group.
    fn known(&self) -> Option<GroupState>;

    /// Takes a value that was just read, or that a conflict returned, to a call that began when the state as of `before`
    /// was known. From now on, there is a known state.
    fn observe(&mut self, stored: Stored, before: Option<Revision>);

    /// Returns the other groups on which the next commit may depend, because of a cap, each with its state if that is
    /// known.
    fn others(&self) -> BTreeMap<GroupName, Option<GroupState>> {
        BTreeMap::new()
    }

    /// Reports whether the work goes on without the state of such a group if it cannot be read. What depends on it is
    /// refused then; the rest is not (invariant 12).
    fn goes_on_without_others(&self) -> bool {
        false
    }

    /// Takes a value of such a group, as [`Work::observe`] does. From now on, its state is known.
    fn observe_other(&mut self, _group: &GroupName, _stored: Stored, _before: Option<Revision>) {}

    /// Waits for more work that can share the next commit. While the group is `contended`, a slot that is released is
    /// to be free for other servers until the next commit.
    fn gather(&mut self, contended: bool) -> impl Future<Output = ()> + Send;

    /// Proposes the next commit on top of the known state, and of those of the other groups; `None` if nothing is left to
    /// commit.
    fn propose(
        &mut self,
        protocol: &Protocol,
        state: &GroupState,
        semaphore: &Arc<Semaphore>,
        others: &Others,
    ) -> Option<Proposal>;

    /// The proposal is about to be committed: the store will have the value `new`.
    fn writing(&mut self, _proposal: &Proposal, _new: &Value) {}

    /// The proposal was committed. `written` is the new content of the store; `None` if nothing was written.
    fn committed(&mut self, proposal: Proposal, written: Option<Stored>);

    /// The store rejected the commit of this attempt, which had no effect.
    fn rejected(&mut self, semaphore: &Semaphore, attempt: &Attempt, error: StoreError);

    /// The store has no space for the write of this attempt or, unless that `was_sent`, for one that precedes it. It has
    /// taken effect or never will: the next proposal is made on top of a value that tells.
    fn no_space(
        &mut self,
        semaphore: &Semaphore,
        attempt: &Attempt,
        error: StoreError,
        was_sent: bool,
    );

    /// The outcome of this proposal is unknown.
    fn outcome_unknown(&mut self, proposal: &Proposal);

    /// The attempt failed for this reason and will be repeated.
    fn retrying(&mut self, reason: RetryReason);

    /// The attempt cannot succeed: all of the work fails.
    fn fail(&mut self, error: PermanentError);
}

/// A commit to attempt.
pub(crate) struct Proposal {
    pub(crate) attempt: Attempt,
    /// The audit log that is written together with the semaphore.
    pub(crate) audit_log: AuditLog,
    /// The history that is written together with the semaphore.
    pub(crate) history: History,
}

/// The reason why an attempt is repeated.
pub(crate) enum RetryReason {
    /// Another writer committed first.
    Conflict,
    /// The store did not reply.
    Store(StoreError),
}

/// The reason why no attempt can succeed.
pub(crate) enum PermanentError {
    /// The store rejects the call.
    Rejected(StoreError),
    /// The stored value cannot be used.
    Damaged(Box<DamagedValue>),
}

/// The reason why an attempt committed nothing.
enum AttemptError {
    Conflict,
    /// A server that is farther away from the store is to commit first.
    Paced(Duration),
    /// The watch reported a write by another program, but not the records beside it.
    Unreported,
    Store(StoreError),
    Damaged(Box<DamagedValue>),
    /// The store rejected the commit. The work for which it was needed has failed.
    CommitRejected,
    /// The store has no space for the write. The work for which it was needed fails, unless the value shows its effect.
    NoSpace(StoreError),
}

// === impl AttemptLoop ===

impl AttemptLoop {
    /// Creates the loop of a group. It takes the announcements of other servers from `contention`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        group: GroupName,
        contention: Arc<Contention>,
    ) -> Self {
        AttemptLoop {
            store,
            group,
            protocol: Protocol::default(),
            backoff: Backoff::default(),
            pace: Pace::new(contention),
        }
    }

    /// Attempts commits until nothing is left to do. The work sets its own deadline.
    pub(crate) async fn run<W: Work + Send>(&mut self, work: &mut W) {
        let mut may_gather = true;
        while work.start() {
            let result = self.attempt(work, may_gather).await;
            may_gather = true;
            match result {
                Ok(()) => self.backoff.success(),
                Err(AttemptError::Conflict) => {
                    work.retrying(RetryReason::Conflict);
                    self.after_conflict().await;
                }
                Err(AttemptError::Paced(pause)) => time::sleep(pause).await,
                // SUBTLE: a commit with the records of an older value would remove entries from the audit log. One that
                // is missing from a log that was kept proves to its command that it was not executed.
                Err(AttemptError::Unreported) => self.protocol.outdated(),
                Err(AttemptError::Store(error @ StoreError::Rejected(_))) => {
                    work.fail(PermanentError::Rejected(error));
                }
                Err(AttemptError::Damaged(damaged)) => work.fail(PermanentError::Damaged(damaged)),
                // What needs no write goes first: together with new grants it would be rejected again.
                Err(AttemptError::CommitRejected) => may_gather = false,
                Err(AttemptError::NoSpace(error)) => {
                    may_gather = false;
                    self.after_failure(work, error).await;
                }
                Err(AttemptError::Store(error)) => self.after_failure(work, error).await,
            }
        }
    }

    async fn after_conflict(&mut self) {
        if let Some(round_trip) = self.pace.announcement() {
            tracing::debug!(group = %self.group, ?round_trip, "losing against other servers, announcing it");
            let announced = self.store.announce_contention(&self.group, round_trip);
            // An announcement that does not arrive is repeated.
            let _ = time::timeout(MAX_ANNOUNCING, announced).await;
            self.backoff = Backoff::default();
        }
        self.backoff.after_conflict().await;
    }

    async fn after_failure<W: Work + Send>(&mut self, work: &mut W, error: StoreError) {
        tracing::debug!(group = %self.group, reason = %error, "store call failed, retrying");
        work.retrying(RetryReason::Store(error));
        self.backoff.after_failure().await;
    }

    async fn attempt<W: Work + Send>(
        &mut self,
        work: &mut W,
        may_gather: bool,
    ) -> Result<(), AttemptError> {
        self.read_if_needed(work).await?;
        if may_gather {
            work.gather(self.pace.is_contended()).await;
        }
        let Some((state, semaphore)) = self.usable(work)? else {
            return Ok(());
        };
        let others = self.others(work).await?;
        let Some(proposal) = work.propose(&self.protocol, &state, &semaphore, &others) else {
            return Ok(());
        };
        if proposal.attempt.writes
            && let Some(pause) = self.pace.pause()
        {
            return Err(AttemptError::Paced(pause));
        }
        if proposal.attempt.writes && state.stored.value.is_none() {
            return self.create(work, &state, &semaphore, proposal).await;
        }
        let attempt = &proposal.attempt;
        let new = attempt
            .writes
            .then(|| codec::encode(&attempt.next, &proposal.audit_log, &proposal.history));
        if let Some(new) = &new {
            work.writing(&proposal, new);
        }
        // Invariant 13: in a release, which makes room under each cap, only the own group counts.
        let members = match attempt.compares_members {
            true => others,
            false => Others::new(),
        };
        match self.commit(&state, new.as_ref(), &members).await {
            Ok(CommitOutcome::Committed(revision)) => {
                self.protocol.committed(attempt);
                let written = new.map(|value| Stored::written(value, revision));
                work.committed(proposal, written);
                Ok(())
            }
            Ok(CommitOutcome::Conflict(conflict)) => {
                let had_absent = members.values().any(|known| known.stored.value.is_none());
                if had_absent && state.stored.is_still(&conflict.current) {
                    self.protocol.conflicted_with_absent(attempt);
                }
                work.observe(conflict.current, Some(state.as_of()));
                for ((group, known), stored) in members.iter().zip(conflict.members) {
                    work.observe_other(group, stored, Some(known.as_of()));
                }
                Err(AttemptError::Conflict)
            }
            Err(error @ StoreError::Rejected(_)) => {
                work.rejected(&semaphore, attempt, error);
                Err(AttemptError::CommitRejected)
            }
            Err(error @ StoreError::NoSpace(_)) => {
                self.protocol.outdated();
                work.no_space(&semaphore, attempt, error.clone(), true);
                Err(AttemptError::NoSpace(error))
            }
            Err(error) => {
                if let StoreError::Unknown(_) = error {
                    self.protocol.unknown(attempt);
                    work.outcome_unknown(&proposal);
                }
                Err(AttemptError::Store(error))
            }
        }
    }

    /// Creates the value of a group: with the configured slots, and without holders. The proposal is made again on top
    /// of it.
    ///
    /// SUBTLE: no revision distinguishes a value that was deleted from one that never existed. If the first lock of a
    /// group created the value, and the outcome was unknown, that write could arrive after the value was created by
    /// others and deleted, and would lock a slot for a node that has long released it. A late creation of an empty
    /// value locks nothing.
    async fn create<W: Work + Send>(
        &mut self,
        work: &mut W,
        state: &GroupState,
        absent: &Semaphore,
        proposal: Proposal,
    ) -> Result<(), AttemptError> {
        let empty = codec::encode(absent, &[], &History::default());
        match self.commit(state, Some(&empty), &Others::new()).await {
            Ok(CommitOutcome::Committed(revision)) => {
                work.observe(Stored::written(empty, revision), Some(state.as_of()));
                Ok(())
            }
            Ok(CommitOutcome::Conflict(conflict)) => {
                work.observe(conflict.current, Some(state.as_of()));
                Err(AttemptError::Conflict)
            }
            Err(error) => {
                self.protocol.outdated();
                match error {
                    StoreError::Rejected(_) => {
                        work.rejected(absent, &proposal.attempt, error);
                        Err(AttemptError::CommitRejected)
                    }
                    // Another server may have created the value, with the lock that is asked for.
                    StoreError::NoSpace(_) => {
                        work.no_space(absent, &proposal.attempt, error.clone(), false);
                        Err(AttemptError::NoSpace(error))
                    }
                    error => Err(AttemptError::Store(error)),
                }
            }
        }
    }

    async fn commit(
        &mut self,
        state: &GroupState,
        new: Option<&Value>,
        members: &Others,
    ) -> Result<CommitOutcome, StoreError> {
        let also = members.iter().map(|(group, state)| Member {
            group,
            stored: &state.stored,
        });
        let also: Vec<_> = also.collect();
        let started = Instant::now();
        let result = self
            .store
            .commit(&self.group, &state.stored, new, &also)
            .await;
        match &result {
            Ok(CommitOutcome::Committed(_)) => self.pace.won(started, new.is_some()),
            // A conflict with another group of a cap says nothing about the servers that write this one.
            Ok(CommitOutcome::Conflict(conflict)) if state.stored.is_still(&conflict.current) => {}
            Ok(CommitOutcome::Conflict(_)) => self.pace.lost(started, new.is_some()),
            Err(_) => {}
        }
        result
    }

    /// Reads the store if the known state cannot be the base of a commit.
    async fn read_if_needed<W: Work + Send>(&mut self, work: &mut W) -> Result<(), AttemptError> {
        let known = work.known();
        let before = known.as_ref().map(GroupState::as_of);
        if !self.protocol.must_read && known.is_some_and(|known| known.semaphore.is_ok()) {
            return Ok(());
        }
        let stored = self.store.read(&self.group).await;
        let stored = stored.map_err(AttemptError::Store)?;
        self.protocol.has_read();
        work.observe(stored, before);
        Ok(())
    }

    /// Returns the states of the other groups on which the next commit may depend. Those that are not known are read.
    async fn others<W: Work + Send>(&self, work: &mut W) -> Result<Others, AttemptError> {
        let mut others = Others::new();
        for (group, known) in work.others() {
            if let Some(known) = known {
                others.insert(group, known);
                continue;
            }
            let stored = match self.store.read(&group).await {
                Ok(stored) => stored,
                Err(_) if work.goes_on_without_others() => continue,
                Err(error) => return Err(AttemptError::Store(error)),
            };
            work.observe_other(&group, stored, None);
            let read = work.others().remove(&group);
            others.extend(read.flatten().map(|known| (group, known)));
        }
        Ok(others)
    }

    /// Returns the known state with its semaphore, if it can be the base of a commit.
    fn usable<W: Work>(
        &self,
        work: &W,
    ) -> Result<Option<(GroupState, Arc<Semaphore>)>, AttemptError> {
        let Some(state) = work.known() else {
            return Ok(None);
        };
        match &state.semaphore {
            Ok(_) if !state.has_reported_records() => Err(AttemptError::Unreported),
            Ok(semaphore) => {
                let semaphore = Arc::clone(semaphore);
                Ok(Some((state, semaphore)))
            }
            Err(reason) => Err(AttemptError::Damaged(Box::new(DamagedValue {
                location: self.store.location(&self.group),
                reason: reason.clone(),
            }))),
        }
    }
}
