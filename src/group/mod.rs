//! One reboot group: the handle that requests come in by, and what is known of the group's semaphore.
//!
//! All locking goes through the group's one task (`task`), which alone talks to the store on behalf of
//! nodes. Nothing is decided here.

pub mod protocol;
mod retry;
mod task;
mod view;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time;

use crate::fleetlock::NodeId;
use crate::metrics::GroupMetrics;
use crate::semaphore::{Command, Outcome};
use crate::store::{GroupName, Revision, Seen, Store};
pub use task::GroupTask;
pub use view::Known;
use view::View;
use waiting::Waiting;
pub use waiting::{Waiter, Why};

/// A group as the rest of the server sees it. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

/// What the handles and the task of a group have in common.
struct Shared {
    name: GroupName,
    /// The slots that the configuration gives it, for when the store has no value.
    configured_slots: AtomicU64,
    view: View,
    waiting: Mutex<Waiting>,
    /// What the store said when it last failed while requests were waiting.
    last_failure: Mutex<Option<String>>,
    /// Counts how often the task came by, and makes it come by when it is idle.
    turns: watch::Sender<u64>,
    nudge: Notify,
}

/// One command on its way to the task. If `reply` is closed, nobody waits for it any more.
struct Request {
    command: Command,
    reply: oneshot::Sender<Result<Outcome, Failure>>,
    /// A commit that was to change something for it was built on this revision, and nobody knows whether
    /// it happened.
    in_doubt: Option<Revision>,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The store did not answer in time. The command may have happened.
    #[error("{0}")]
    Unavailable(String),
    /// The store refuses, or what it has is damaged; somebody has to mend it.
    #[error("{0}")]
    Refused(String),
    /// The mailbox is full.
    #[error("too many requests wait in this group")]
    Busy,
    /// The task has ended.
    #[error("the server is shutting down")]
    ShuttingDown,
}

// === impl Group ===

impl Group {
    /// A group and its task, which the caller has to run. `mailbox` requests may wait for it.
    pub fn new(
        name: GroupName,
        configured_slots: u64,
        mailbox: usize,
        store: Arc<dyn Store>,
        metrics: GroupMetrics,
    ) -> (Self, GroupTask) {
        let (requests, waiting) = mpsc::channel(mailbox);
        let shared = Arc::new(Shared {
            view: View::new(name.clone()),
            name,
            configured_slots: AtomicU64::new(configured_slots),
            waiting: Mutex::default(),
            last_failure: Mutex::default(),
            turns: watch::Sender::new(0),
            nudge: Notify::new(),
        });
        let task = GroupTask::new(Arc::clone(&shared), waiting, store, metrics);
        (Group { shared, requests }, task)
    }

    pub fn name(&self) -> &GroupName {
        &self.shared.name
    }

    pub fn configured_slots(&self) -> u64 {
        self.shared.configured_slots()
    }

    /// The configuration was read again. The store's slots do not change by this.
    pub fn set_configured_slots(&self, slots: u64) {
        self.shared.configured_slots.store(slots, Ordering::Relaxed);
        self.shared.view.set_slots_if_absent(slots);
    }

    /// A node was not let in.
    pub fn refused(&self, id: &NodeId, why: Why) {
        self.shared.waiting().refused(id, why, Timestamp::now());
    }

    /// A node has what it asked for.
    pub fn served(&self, id: &NodeId) {
        self.shared.waiting().served(id);
    }

    /// The nodes that were refused lately, the one that waits longest first.
    pub fn waiting(&self) -> Vec<Waiter> {
        self.shared.waiting().list(Timestamp::now())
    }

    /// How many they are.
    pub fn waiting_count(&self) -> usize {
        self.shared.waiting().count(Timestamp::now())
    }

    /// Has the task carry out `command`, within `timeout`.
    pub async fn ask(&self, command: Command, timeout: Duration) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(Request::new(command, reply)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Failure::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Failure::ShuttingDown),
        }
        match time::timeout(timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::ShuttingDown),
            Err(_) => Err(Failure::Unavailable(match self.shared.last_failure() {
                Some(reason) => reason,
                None => format!("no answer from the store within {} ms", timeout.as_millis()),
            })),
        }
    }

    /// Ends once the task has moved, from now on; never if it is stuck. It does not depend on the store.
    pub fn next_turn(&self) -> impl Future<Output = ()> + use<> {
        let mut turns = self.shared.turns.subscribe();
        self.shared.nudge.notify_one();
        async move {
            // The sender lives as long as a handle or the task; with neither there is no turn to come.
            if turns.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Takes note of what somebody saw in the store.
    pub fn see(&self, seen: Seen) {
        self.shared.view.see(seen, self.shared.configured_slots());
    }

    /// What is known of the group; `None` until the store has answered once.
    pub fn known(&self) -> Option<Known> {
        self.shared.view.get()
    }
}

// === impl Request ===

impl Request {
    fn new(command: Command, reply: oneshot::Sender<Result<Outcome, Failure>>) -> Self {
        Request {
            command,
            reply,
            in_doubt: None,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn configured_slots(&self) -> u64 {
        self.configured_slots.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_failure(&self) -> Option<String> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_last_failure(&self, reason: Option<String>) {
        *self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
