//! The data that the handles and the task of a group share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::cache::Cache;
use super::contention::Contention;
use super::passes::Passes;
use super::policies::{Others, Policies};
use super::turns::Turns;
use super::waiters::{MAX_WAITERS, Waiters};
use crate::lock::GroupName;
use crate::lock::codec::Revision;
use crate::lock::policy::{Conditions, Gates};
use crate::lock::semaphore::{Command, Outcome};
use crate::store::{DamagedValue, StoreError};

/// The state of a group that its handles and its task share.
pub(super) struct Shared {
    pub(super) name: GroupName,
    /// Other groups read it too, if they share a cap with this one.
    pub(super) cache: Arc<Cache>,
    pub(super) policies: Mutex<Policies>,
    pub(super) contention: Arc<Contention>,
    pub(super) waiters: Mutex<Waiters>,
    pub(super) turns: Mutex<Turns>,
    /// The reason why the latest attempt failed while requests were waiting; `None` after a success.
    pub(super) last_failure: Mutex<Option<LastFailure>>,
    /// Notified at each iteration of the task.
    pub(super) heartbeat: watch::Sender<()>,
    /// Makes an idle task iterate.
    pub(super) wake: Notify,
}

/// A command on its way to the task. If `reply` is closed, its client no longer waits.
pub(super) struct Request {
    pub(super) command: Command,
    /// The passes of the gates, if the group has gates.
    pub(super) passes: Passes,
    pub(super) reply: oneshot::Sender<Result<Outcome, GroupError>>,
    /// The revision on which a commit was based that was to change something for this request, and that may have been
    /// applied without a reply that says so.
    pub(super) in_doubt: Option<Revision>,
    /// Whether such a commit may still arrive at the store.
    pub(super) may_arrive: bool,
    /// The store had no space for a commit that this request needed. Unless the value shows what the request asked for,
    /// it is refused with this error.
    pub(super) no_space: Option<StoreError>,
}

/// The reason why the latest attempt of a group failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LastFailure {
    /// Another writer committed first.
    #[error("other servers changed the group during every attempt")]
    Conflict,
    /// The store did not reply.
    #[error(transparent)]
    Store(StoreError),
}

/// The reason why a command has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// The deadline has passed. The command may have been applied.
    #[error("{}", timeout_text(*timeout, last_failure.as_ref()))]
    Timeout {
        timeout: Duration,
        last_failure: Option<LastFailure>,
    },
    /// The outcome of a commit is unknown and can no longer be determined.
    #[error(
        "the store did not reply in time; it is unknown whether the request was applied; ask again"
    )]
    Ambiguous,
    /// The store rejects the request.
    #[error(transparent)]
    Rejected(StoreError),
    /// The stored value cannot be used.
    #[error(transparent)]
    Damaged(#[from] Box<DamagedValue>),
    /// The maximum number of requests already waits for the task.
    #[error("too many requests wait for this group")]
    QueueFull,
    /// The task has ended.
    #[error("the server is shutting down")]
    ShuttingDown,
}

fn timeout_text(timeout: Duration, last_failure: Option<&LastFailure>) -> String {
    let ms = timeout.as_millis();
    match last_failure {
        Some(LastFailure::Store(failure)) => failure.to_string(),
        Some(conflict @ LastFailure::Conflict) => format!("{conflict} within {ms} ms; ask again"),
        None => format!("no reply from the store within {ms} ms"),
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(name: GroupName, configured_slots: u64) -> Self {
        Shared {
            cache: Arc::new(Cache::new(name.clone(), configured_slots)),
            policies: Mutex::default(),
            contention: Arc::default(),
            name,
            waiters: Mutex::new(Waiters::new(MAX_WAITERS)),
            turns: Mutex::new(Turns::new(MAX_WAITERS)),
            last_failure: Mutex::default(),
            heartbeat: watch::Sender::new(()),
            wake: Notify::new(),
        }
    }

    /// Returns the conditions of a commit, if the other groups of the caps are in these states.
    pub(super) fn conditions(&self, others: &Others) -> Conditions {
        self.policies.lock().conditions(&self.cache, others)
    }

    /// Signals that the task has made progress.
    pub(super) fn beat(&self) {
        self.heartbeat.send_replace(());
    }
}

// === impl Request ===

impl Request {
    pub(super) fn new(
        command: Command,
        passes: Passes,
        reply: oneshot::Sender<Result<Outcome, GroupError>>,
    ) -> Self {
        Request {
            command,
            passes,
            reply,
            in_doubt: None,
            may_arrive: false,
            no_space: None,
        }
    }

    /// Reports whether the request asks for a lock.
    pub(super) fn is_lock(&self) -> bool {
        matches!(self.command, Command::Lock { .. })
    }

    /// Notes what the gates allow at `now`, if the group has gates. `granted_since` counts the grants in the group.
    pub(super) fn check_gates(&mut self, now: Instant, granted_since: impl Fn(Instant) -> u64) {
        if let Command::Lock { terms, .. } = &mut self.command
            && let Gates::Unasked | Gates::Allow(_) = terms.gates
        {
            terms.gates = self.passes.gates(now, granted_since);
        }
    }
}
