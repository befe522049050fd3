//! A reboot group: the handle through which requests arrive, and the task that answers them.
//!
//! The group's one task performs all locking; it alone calls the store on behalf of nodes. The handle only passes
//! requests on, and shows what is known about the group.

mod attempt;
mod backoff;
mod cache;
mod contention;
mod foreign;
mod metrics;
mod passes;
mod policies;
mod report;
mod shared;
mod task;
mod turns;
mod waiters;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};

use crate::lock::codec::{Revision, Stored};
use crate::lock::holders::Client;
use crate::lock::policy::{Conditions, Evaluation, Refusal};
use crate::lock::semaphore::{Command, Outcome, Semaphore};
use crate::lock::{GroupName, GroupState, NodeId};
use crate::store::{Store, Update};
pub(crate) use attempt::{AttemptLoop, PermanentError, Proposal, RetryReason, Work};
pub(crate) use metrics::{GroupMetrics, TaskMetrics};
pub(crate) use passes::Passes;
pub(crate) use policies::{OtherGroup, Others, Policies};
pub(crate) use report::Reporter;
pub(crate) use shared::GroupError;
use shared::{Request, Shared};
pub(crate) use task::GroupTask;
pub(crate) use turns::Reservation;
pub(crate) use waiters::{DenyReason, Waiter, Waiting, max_waiters};

/// The handle of a group. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Group {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

// === impl Group ===

impl Group {
    /// Creates a group and its task, which the caller has to run. At most `queue` requests wait for the task.
    pub(crate) fn new(
        name: GroupName,
        configured_slots: u64,
        queue: usize,
        store: Arc<dyn Store>,
        metrics: TaskMetrics,
    ) -> (Self, GroupTask) {
        let (requests, queued) = mpsc::channel(queue);
        let shared = Arc::new(Shared::new(name, configured_slots));
        let task = GroupTask::new(Arc::clone(&shared), queued, store, metrics);
        let group = Group { shared, requests };
        (group, task)
    }

    pub(crate) fn name(&self) -> &GroupName {
        &self.shared.name
    }

    pub(crate) fn configured_slots(&self) -> u64 {
        self.shared.cache.configured_slots()
    }

    /// Changes the configured slots after a reload. The number in the store does not change.
    pub(crate) fn set_configured_slots(&self, slots: u64) {
        self.shared.cache.set_configured_slots(slots);
    }

    /// Changes the policies after a reload.
    pub(crate) fn set_policies(&self, policies: Policies) {
        let cache = &self.shared.cache;
        cache.track_holders(policies.stall_after.is_some());
        cache.track_grants(policies.has_gates);
        let caps = policies.caps.iter().map(|cap| Arc::clone(&cap.name));
        cache.track_foreign_writes(caps.collect());
        *self.shared.policies.lock() = policies;
    }

    /// Reports whether the group belongs to a cap, and another program has written it lately.
    pub(crate) fn is_written_by_others(&self) -> bool {
        self.shared.cache.is_written_by_others()
    }

    /// Returns what other groups need of this one, if they share a cap with it.
    pub(crate) fn as_other(&self) -> OtherGroup {
        OtherGroup(Arc::clone(&self.shared.cache))
    }

    /// Reports whether the group belongs to a cap.
    pub(crate) fn has_caps(&self) -> bool {
        !self.shared.policies.lock().caps.is_empty()
    }

    /// Returns the conditions under which a lock would be granted now, as far as they are known.
    pub(crate) fn conditions(&self) -> Conditions {
        let policies = self.shared.policies.lock();
        let others = policies.others().into_iter();
        let known = others.filter_map(|(group, state)| Some((group, state?)));
        policies.conditions(&self.shared.cache, &known.collect())
    }

    /// Reports whether a lock would be granted if the gates were open, as far as the state is known.
    pub(crate) fn needs_only_gates(&self, command: &Command) -> bool {
        let expected = self
            .known_semaphore()
            .map(|semaphore| self.expect(command, &semaphore));
        expected == Some(Outcome::Refused(Refusal::GateUnasked))
    }

    /// Returns the number of grants, by any server, of which this one has taken note since then, if the group has gates.
    pub(crate) fn granted_since(&self, since: Instant) -> u64 {
        self.shared.cache.granted_since(since)
    }

    /// Returns the outcome of `command` on `semaphore`, as far as the state of other groups is known.
    fn expect(&self, command: &Command, semaphore: &Semaphore) -> Outcome {
        semaphore.decide(command, &Evaluation::new(&self.conditions()))
    }

    /// Records that a node was denied a lock.
    pub(crate) fn record_denied(&self, id: &NodeId, client: Client, reason: DenyReason) {
        let now = Timestamp::now();
        self.shared.waiters.lock().denied(id, client, reason, now);
        self.shared.turns.lock().denied(id, now);
    }

    /// Records that a node no longer waits: its request succeeded.
    pub(crate) fn record_served(&self, id: &NodeId) {
        self.shared.waiters.lock().served(id);
        let mut turns = self.shared.turns.lock();
        if turns.is_empty() {
            return;
        }
        let semaphore = self.known_semaphore();
        // Its wait counts for the mean if it ended with a grant.
        if let Some(semaphore) = semaphore {
            turns.observe(&semaphore, Timestamp::now());
        }
        turns.served(id);
    }

    /// Changes the maximum number of waiting nodes that are known.
    pub(crate) fn set_max_waiters(&self, max: usize) {
        self.shared.waiters.lock().set_max(max);
        self.shared.turns.lock().set_max(max);
    }

    /// Returns the reservation for which a lock has to be refused: the free slots are kept for nodes that have waited for
    /// longer. To be asked at each request for a lock. `None` for a holder, and if the lock is not granted anyway.
    pub(crate) fn reserved_for_others(
        &self,
        command: &Command,
        now: Timestamp,
    ) -> Option<Reservation> {
        let Command::Lock { id, .. } = command else {
            return None;
        };
        let mut turns = self.shared.turns.lock();
        if turns.is_empty() {
            return None;
        }
        let semaphore = self.known_semaphore()?;
        match self.expect(command, &semaphore) {
            // The slots have to be seen while they are held as well.
            Outcome::Locked | Outcome::Refused(Refusal::Full { .. } | Refusal::GateUnasked) => {
                turns.reserved_for_others(id, &semaphore, now)
            }
            // The time for which they are kept is not to pass while a policy grants no lock.
            Outcome::Refused(_) => {
                turns.keep_no_longer();
                None
            }
            Outcome::AlreadyHeld | Outcome::Unlocked | Outcome::NotHeld => None,
        }
    }

    /// Describes the nodes that were denied recently, with up to `max_listed` of them, the longest waiting first.
    pub(crate) fn waiting(&self, max_listed: usize) -> Waiting {
        let mut waiters = self.shared.waiters.lock();
        waiters.list(Timestamp::now(), max_listed)
    }

    /// Returns the number of nodes that were denied recently.
    pub(crate) fn waiting_count(&self) -> usize {
        self.shared.waiters.lock().count(Timestamp::now())
    }

    /// Has the task execute `command`, within `timeout`.
    ///
    /// # Errors
    /// If the queue is full, or the command has no outcome within `timeout`. It may still be applied then.
    pub(crate) async fn execute(
        &self,
        command: Command,
        timeout: Duration,
    ) -> Result<Outcome, GroupError> {
        self.execute_with(command, Passes::default(), timeout).await
    }

    /// The same for a lock of a group with gates, which have given these passes.
    pub(crate) async fn execute_with(
        &self,
        command: Command,
        passes: Passes,
        timeout: Duration,
    ) -> Result<Outcome, GroupError> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(Request::new(command, passes, reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(GroupError::QueueFull),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(GroupError::ShuttingDown),
        }
        match time::timeout(timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(GroupError::ShuttingDown),
            Err(_) => Err(GroupError::Timeout {
                timeout,
                last_failure: self.shared.last_failure.lock().clone(),
            }),
        }
    }

    /// Completes once the task has made progress after this call; never if the task is stuck. Progress does not depend
    /// on the store.
    pub(crate) fn next_heartbeat(&self) -> impl Future<Output = ()> + use<> {
        let mut heartbeat = self.shared.heartbeat.subscribe();
        self.shared.wake.notify_one();
        async move {
            // The sender lives as long as a handle or the task. Without either there is no heartbeat to come.
            if heartbeat.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Takes note of an update from the store.
    pub(crate) fn observe(&self, update: Update) {
        if let Update::Contention { round_trip } = update {
            self.shared.contention.announce(round_trip);
        }
        self.shared.cache.observe(update);
    }

    /// Takes note of a value that was read while the state as of `before` was known.
    pub(crate) fn observe_read(&self, read: Stored, before: Option<Revision>) {
        self.shared.cache.set(read, before);
    }

    fn known_semaphore(&self) -> Option<Arc<Semaphore>> {
        self.known()?.semaphore.ok()
    }

    /// Returns the known state; `None` until the store has replied once.
    pub(crate) fn known(&self) -> Option<GroupState> {
        self.shared.cache.get()
    }
}
