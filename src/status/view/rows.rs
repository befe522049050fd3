//! The views of holders, waiting nodes and completed holds.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::condition::overdue_seconds;
use crate::fleet::FleetWaiter;
use crate::group::DenyReason;
use crate::lock::history::CompletedHold;
use crate::lock::holders::Hold;
use crate::lock::semaphore::Semaphore;
use crate::text::duration::age;

/// The view of the semaphore of a group.
#[derive(Debug, Serialize)]
pub(crate) struct LockView {
    /// 0 while the group is paused.
    pub(crate) slots: u64,
    pub(crate) held: usize,
    pub(crate) free: u64,
    pub(crate) paused: bool,
    /// The holders, the oldest lock first; unknown lock times come last.
    pub(crate) holders: Vec<HolderView>,
}

/// The view of a holder.
#[derive(Debug, Serialize)]
pub(crate) struct HolderView {
    pub(crate) id: String,
    /// The name of the node, if it is known.
    pub(crate) name: Option<String>,
    /// The address that asked for the lock, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// The time of the grant; `None` if unknown.
    pub(crate) since: Option<Timestamp>,
    pub(crate) age_seconds: Option<i64>,
    /// The age as text for people.
    #[serde(skip)]
    pub(crate) age: Option<String>,
    /// Whether it has held its slot for much longer than a reboot takes.
    pub(crate) overdue: bool,
}

/// The view of a waiting node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WaiterView {
    pub(crate) id: String,
    /// The name of the node, if it is known.
    pub(crate) name: Option<String>,
    /// The address of its latest request, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// The host of the server that denied it.
    pub(crate) server: String,
    pub(crate) first_asked: Timestamp,
    /// The time of the latest denial; `None`: only its server knows.
    pub(crate) last_asked: Option<Timestamp>,
    /// The number of denials since `first_asked`; `None`: only its server knows.
    pub(crate) times: Option<u64>,
    /// The reason for the latest denial.
    pub(crate) reason: String,
    /// Whether the store or the server failed, so that it is no matter of waiting.
    #[serde(skip)]
    pub(crate) is_failing: bool,
}

/// The view of a completed hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CompletedHoldView {
    pub(crate) id: String,
    /// The name of the node, if it was known.
    pub(crate) name: Option<String>,
    /// The address that asked for the lock, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// The time of the grant; `None` if unknown.
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Timestamp,
    pub(crate) held_seconds: Option<i64>,
    /// The administrator who unlocked it; `None`: the node released it.
    pub(crate) by: Option<String>,
    /// Whether another program has changed the group before it.
    pub(crate) after_gap: bool,
}

// === impl LockView ===

impl LockView {
    pub(super) fn new(semaphore: &Semaphore, usual_seconds: Option<i64>, now: Timestamp) -> Self {
        let mut holders: Vec<_> = semaphore.holders.iter().collect();
        holders.sort_by_key(|(_, hold)| hold.since.unwrap_or(Timestamp::MAX));
        let overdue = overdue_seconds(usual_seconds);
        let holder = |(id, hold): (&Arc<str>, &Hold)| {
            let age_seconds = hold
                .since
                .map(|since| now.duration_since(since).as_secs().max(0));
            HolderView {
                id: id.to_string(),
                name: hold.client.name.as_deref().map(str::to_owned),
                peer: hold.client.peer,
                since: hold.since,
                age_seconds,
                age: hold.since.map(|since| age(since, now)),
                overdue: age_seconds.is_some_and(|seconds| seconds > overdue),
            }
        };
        LockView {
            slots: semaphore.slots,
            held: semaphore.holders.len(),
            free: semaphore.free(),
            paused: semaphore.is_paused(),
            holders: holders.into_iter().map(holder).collect(),
        }
    }
}

// === impl HolderView ===

impl HolderView {
    /// Returns the name of the node, or its id.
    pub(crate) fn node(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

// === impl WaiterView ===

impl WaiterView {
    pub(super) fn new(waiter: &FleetWaiter) -> Self {
        let node = &waiter.node;
        let failures = [DenyReason::Unavailable, DenyReason::Rejected].map(DenyReason::as_str);
        WaiterView {
            id: node.id.clone(),
            name: node.name.as_deref().map(str::to_owned),
            peer: node.peer,
            server: waiter.server.clone(),
            first_asked: node.first_asked,
            last_asked: waiter.latest.map(|(at, _)| at),
            times: waiter.latest.map(|(_, times)| times),
            is_failing: failures.contains(&&*node.reason),
            reason: node.reason.clone(),
        }
    }

    /// Returns the name of the node, or its id.
    pub(crate) fn node(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

// === impl CompletedHoldView ===

impl CompletedHoldView {
    pub(super) fn new(hold: &CompletedHold) -> Self {
        CompletedHoldView {
            id: hold.id.to_string(),
            name: hold.name.as_deref().map(str::to_owned),
            peer: hold.peer,
            from: hold.from,
            until: hold.until,
            held_seconds: hold.duration().map(|held| held.as_secs()),
            by: hold.by.as_deref().map(str::to_owned),
            after_gap: hold.after_gap,
        }
    }

    /// Returns the name of the node, or its id.
    pub(crate) fn node(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}
