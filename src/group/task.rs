//! The task of a group: it takes all queued requests, applies them in order, and commits the result at once.
//!
//! It sends every reply, and only after the commit on which the reply depends (invariant 3). It never replies from its
//! copy of the value alone (invariant 4).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task;
use tokio::time::Instant;

use super::attempt::{AttemptLoop, PermanentError, Proposal, RetryReason, Work};
use super::metrics::TaskMetrics;
use super::policies::Others;
use super::report::Reporter;
use super::shared::{GroupError, LastFailure, Request, Shared};
use crate::lock::codec::{Revision, Stored, Value};
use crate::lock::history::{CompletedHold, History};
use crate::lock::protocol::{Attempt, Protocol};
use crate::lock::semaphore::{Command, Outcome, Semaphore, whole_seconds};
use crate::lock::{GroupName, GroupState};
use crate::store::{Store, StoreError};

/// The maximum number of requests in one commit.
pub(super) const MAX_BATCH: usize = 4096;

/// Runs until all handles of its group are dropped.
pub(crate) struct GroupTask {
    batch: Batch,
    attempts: AttemptLoop,
}

/// The requests that the next commit answers, and those that wait in the queue.
struct Batch {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Request>,
    metrics: TaskMetrics,
    reporter: Reporter,
    requests: Vec<Request>,
    /// After a failed attempt that compared the groups of a cap, releases are committed first: what happens in other groups
    /// must not delay them.
    defers_locks: bool,
}

// === impl GroupTask ===

impl GroupTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Request>,
        store: Arc<dyn Store>,
        metrics: TaskMetrics,
    ) -> Self {
        GroupTask {
            attempts: AttemptLoop::new(store, shared.name.clone(), Arc::clone(&shared.contention)),
            batch: Batch {
                shared,
                queue,
                metrics,
                reporter: Reporter::default(),
                requests: Vec::new(),
                defers_locks: false,
            },
        }
    }

    /// Replaces the reporter, which otherwise writes only to the log.
    pub(crate) fn report_to(mut self, reporter: Reporter) -> Self {
        self.batch.reporter = reporter;
        self
    }

    pub(crate) async fn run(mut self) {
        let batch = &mut self.batch;
        loop {
            tokio::select! {
                biased;
                taken = batch.queue.recv_many(&mut batch.requests, MAX_BATCH) => match taken {
                    0 => return,
                    _ => {
                        // The failure of an earlier batch does not explain a timeout of this one.
                        batch.shared.last_failure.lock().take();
                        self.attempts.run(batch).await;
                    }
                },
                () = batch.shared.wake.notified() => batch.shared.beat(),
            }
        }
    }
}

// === impl Batch ===

/// A request leaves the batch with its reply. When the deadline of a request passes, its reply channel closes and the
/// next attempt drops it, so the attempts for a batch end at the latest after the last deadline.
impl Work for Batch {
    fn start(&mut self) -> bool {
        self.shared.beat();
        self.drop_cancelled();
        !self.requests.is_empty()
    }

    fn known(&self) -> Option<GroupState> {
        self.shared.cache.get()
    }

    fn observe(&mut self, stored: Stored, before: Option<Revision>) {
        self.shared.beat();
        self.shared.cache.set(stored, before);
    }

    fn others(&self) -> BTreeMap<GroupName, Option<GroupState>> {
        let needs_others = match self.defers_locks {
            true => self.requests.iter().all(Request::is_lock),
            false => self.requests.iter().any(Request::is_lock),
        };
        match needs_others {
            true => self.shared.policies.lock().others(),
            false => BTreeMap::new(),
        }
    }

    fn goes_on_without_others(&self) -> bool {
        true
    }

    fn observe_other(&mut self, group: &GroupName, stored: Stored, before: Option<Revision>) {
        self.shared.beat();
        let other = self.shared.policies.lock().others.get(group).cloned();
        if let Some(other) = other {
            other.0.set(stored, before);
        }
    }

    /// Takes what is queued and what the runtime has ready, as long as that brings more requests. There is no timer: a
    /// lone request never waits for others, and many requests become one commit.
    ///
    /// In a contended group, releases come last. Otherwise the waiting nodes of this server would be granted each slot
    /// in the commit that releases it, and other servers would never see a free one. Requests in the queue are
    /// concurrent, so every order of them is right.
    async fn gather(&mut self, contended: bool) {
        self.gather_all().await;
        if contended {
            let is_release = |request: &Request| matches!(request.command, Command::Unlock { .. });
            self.requests.sort_by_key(is_release);
        }
    }

    fn propose(
        &mut self,
        protocol: &Protocol,
        state: &GroupState,
        semaphore: &Arc<Semaphore>,
        others: &Others,
    ) -> Option<Proposal> {
        self.drop_cancelled();
        self.fail_ambiguous(state.stored.revision, semaphore);
        self.fail_without_space(semaphore);
        if self.requests.is_empty() {
            self.shared.last_failure.lock().take();
            return None;
        }
        let now = Instant::now();
        for request in &mut self.requests {
            request.check_gates(now, |since| self.shared.cache.granted_since(since));
        }
        let conditions = self.shared.conditions(others);
        let mut count = self.requests.len();
        if self.defers_locks {
            self.requests.sort_by_key(Request::is_lock);
            let releases = self.requests.partition_point(|request| !request.is_lock());
            if releases == 0 && others.is_empty() {
                // The last release has just ended otherwise: the next attempt compares the other groups.
                self.defers_locks = false;
                return None;
            }
            count = if releases == 0 { count } else { releases };
        }
        let commands = self.requests[..count]
            .iter()
            .map(|request| &request.command);
        let attempt = protocol.attempt(state.stored.revision, semaphore, &conditions, commands);
        Some(Proposal {
            history: state.history.append(&attempt.released),
            audit_log: Arc::clone(&state.audit_log),
            attempt,
        })
    }

    fn writing(&mut self, proposal: &Proposal, new: &Value) {
        let written = Stored::written(new.clone(), proposal.attempt.expected);
        self.shared.cache.will_write(GroupState {
            stored: Arc::new(written),
            semaphore: Ok(Arc::clone(&proposal.attempt.next)),
            audit_log: Arc::clone(&proposal.audit_log),
            history: proposal.history.clone(),
        });
    }

    fn committed(&mut self, proposal: Proposal, written: Option<Stored>) {
        let Proposal {
            attempt,
            audit_log,
            history,
        } = proposal;
        let answered = attempt.outcomes.len();
        self.metrics.commit_batch_size.observe(answered as f64);
        if let Some(written) = written {
            self.shared.cache.set_if_newer(GroupState {
                stored: Arc::new(written),
                semaphore: Ok(Arc::clone(&attempt.next)),
                audit_log,
                history: history.clone(),
            });
        }
        let mut released = attempt.released.into_iter();
        for (request, outcome) in self.requests.iter().zip(&attempt.outcomes) {
            let ended = match outcome {
                Outcome::Unlocked => released.next(),
                _ => None,
            };
            self.report(request, outcome, ended, &attempt.next, &history);
        }
        for (mut request, outcome) in self.requests.drain(..answered).zip(attempt.outcomes) {
            if outcome == Outcome::Locked {
                request.passes.mark_used();
            }
            // A client that has disconnected meanwhile holds what it asked for; asking again is harmless.
            let _ = request.reply.send(Ok(outcome));
        }
        self.shared.last_failure.lock().take();
        self.defers_locks = false;
    }

    fn rejected(&mut self, semaphore: &Semaphore, attempt: &Attempt, error: StoreError) {
        let mut needs_write = attempt.needs_write(semaphore);
        let needs_write = |request: &mut Request| needs_write(&request.command);
        let rejected = self.requests.extract_if(.., needs_write);
        refuse_all(rejected, &GroupError::Rejected(error));
    }

    fn no_space(
        &mut self,
        semaphore: &Semaphore,
        attempt: &Attempt,
        error: StoreError,
        was_sent: bool,
    ) {
        let mut needs_write = attempt.needs_write(semaphore);
        let mut outcomes = attempt.outcomes.iter();
        for request in &mut self.requests {
            let needs_write = needs_write(&request.command);
            let changes = outcomes.next().is_some_and(|outcome| outcome.changes());
            // If an earlier write may still arrive, the request cannot be refused; its deadline ends it.
            if needs_write && !request.may_arrive {
                request.no_space = Some(error.clone());
            }
            if changes && was_sent {
                request.in_doubt = Some(attempt.expected);
                request.passes.mark_used();
            }
        }
    }

    fn outcome_unknown(&mut self, proposal: &Proposal) {
        self.metrics.unknown_outcomes.inc();
        let attempt = &proposal.attempt;
        for (request, outcome) in self.requests.iter_mut().zip(&attempt.outcomes) {
            if outcome.changes() {
                request.in_doubt = Some(attempt.expected);
                request.may_arrive = true;
                request.passes.mark_used();
            }
        }
    }

    fn retrying(&mut self, reason: RetryReason) {
        self.defers_locks = !self.shared.policies.lock().caps.is_empty();
        match reason {
            RetryReason::Conflict => {
                self.metrics.conflicts.inc();
                *self.shared.last_failure.lock() = Some(LastFailure::Conflict);
            }
            RetryReason::Store(error) => {
                *self.shared.last_failure.lock() = Some(LastFailure::Store(error));
            }
        }
    }

    fn fail(&mut self, failure: PermanentError) {
        let error = match failure {
            PermanentError::Rejected(error) => GroupError::Rejected(error),
            PermanentError::Damaged(damaged) => GroupError::Damaged(damaged),
        };
        refuse_all(self.requests.drain(..), &error);
    }
}

impl Batch {
    /// Reports what a request has changed: in this commit, or in an earlier one of unknown outcome, which recorded the
    /// time of the request.
    fn report(
        &self,
        request: &Request,
        outcome: &Outcome,
        ended: Option<CompletedHold>,
        semaphore: &Semaphore,
        history: &History,
    ) {
        let was_in_doubt = request.in_doubt.is_some();
        let group = &self.shared.name;
        match &request.command {
            Command::Lock { id, at, client, .. } => {
                let hold = semaphore.holders.get(id.as_str());
                let Some(since) = hold.and_then(|hold| hold.since) else {
                    return;
                };
                let is_done = *outcome == Outcome::AlreadyHeld && was_in_doubt;
                if *outcome == Outcome::Locked || is_done && since == whole_seconds(*at) {
                    self.reporter.granted(group, &id.shared(), client, since);
                }
            }
            Command::Unlock { id, at, peer } => {
                let is_done = *outcome == Outcome::NotHeld && was_in_doubt;
                let is_own =
                    |hold: &&CompletedHold| hold.id == *id && hold.until == whole_seconds(*at);
                let earlier = is_done.then(|| history.holds().find(is_own).cloned());
                if let Some(hold) = ended.or_else(|| earlier.flatten()) {
                    let seconds = &self.metrics.hold_seconds;
                    self.reporter.released(group, &hold, *peer, seconds);
                }
            }
            Command::Renew { .. } => {}
        }
    }

    async fn gather_all(&mut self) {
        loop {
            let before = self.requests.len();
            task::yield_now().await;
            while self.requests.len() < MAX_BATCH
                && let Ok(request) = self.queue.try_recv()
            {
                self.requests.push(request);
            }
            if self.requests.len() == before {
                return;
            }
        }
    }

    /// Drops the requests of disconnected clients (invariant 7).
    fn drop_cancelled(&mut self) {
        self.requests.retain(|request| !request.reply.is_closed());
    }

    /// Fails the requests with an outcome that can no longer be determined; their nodes ask again. Puts those first that
    /// were in doubt, and that the value shows as done.
    fn fail_ambiguous(&mut self, known: Revision, semaphore: &Semaphore) {
        let is_ambiguous = |request: &mut Request| {
            Protocol::is_ambiguous(&request.command, request.in_doubt, known, semaphore)
        };
        let ambiguous = self.requests.extract_if(.., is_ambiguous);
        fail_all(ambiguous, &GroupError::Ambiguous);
        // SUBTLE: the others in doubt are done, if the revision has moved. They were applied before all requests that
        // were not; in any other order, one of these could undo them, and they would be applied a second time.
        let is_done = |request: &Request| request.in_doubt.is_some_and(|at| at != known);
        if self.requests.iter().any(is_done) {
            self.requests.sort_by_key(|request| !is_done(request));
        }
    }

    /// Fails the requests for which the store had no space, and whose effect the value does not show.
    fn fail_without_space(&mut self, semaphore: &Semaphore) {
        let refused = |request: &mut Request| {
            request.no_space.is_some() && !Protocol::is_done(&request.command, semaphore)
        };
        for mut request in self.requests.extract_if(.., refused) {
            if let Some(error) = request.no_space.take() {
                let _ = request.reply.send(Err(GroupError::Rejected(error)));
            }
        }
    }
}

/// Refuses requests. One that may have been applied by an earlier commit is not refused, since that could be wrong: its
/// outcome is unknown.
fn refuse_all(requests: impl Iterator<Item = Request>, error: &GroupError) {
    for request in requests {
        let error = match request.in_doubt {
            None => error.clone(),
            Some(_) => GroupError::Ambiguous,
        };
        let _ = request.reply.send(Err(error));
    }
}

fn fail_all(requests: impl Iterator<Item = Request>, error: &GroupError) {
    for request in requests {
        let _ = request.reply.send(Err(error.clone()));
    }
}
