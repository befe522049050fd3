//! The view of the groups that the page, `/v1/status` and `airlock get slots` share. docs/reference.md documents its
//! JSON.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::coordinator::{ConfiguredGroup, ServerState};
use crate::group::{Waiter, Waiting};
use crate::lock::audit::AuditEntry;
use crate::lock::history::{CompletedHold, History};
use crate::lock::holders::Hold;
use crate::lock::semaphore::Semaphore;
use crate::lock::window::{WindowState, Windows};
use crate::lock::{GroupName, GroupState};
use crate::store::health::{Health, NotReady, Writes};
use crate::text::duration::age;
use crate::text::explain::chain;

/// The maximum number of waiting nodes that are listed for a group. All of them are counted.
const MAX_LISTED: usize = 100;

/// The view of a server.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    pub(super) version: &'static str,
    pub(super) now: Timestamp,
    pub(super) store: StoreView,
    pub(super) groups: Vec<GroupView>,
}

/// The view of the store.
#[derive(Debug, Serialize)]
pub(super) struct StoreView {
    /// Whether the store replied recently.
    pub(super) up: bool,
    /// Whether the store accepts writes, as far as is known.
    pub(super) writable: bool,
    /// The reason if one of the two is false.
    pub(super) problem: Option<String>,
    /// Facts about the store that do not stop it.
    pub(super) notices: Vec<String>,
}

/// The known facts about a group, from a running server or from the store.
pub(crate) struct GroupFacts<'a> {
    pub(crate) name: &'a GroupName,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: the store has not replied about the group yet.
    pub(crate) state: Option<&'a GroupState>,
    pub(crate) windows: &'a Windows,
    /// `None`: unknown, because only a running server knows the nodes that it denied.
    pub(crate) waiting: Option<&'a Waiting>,
}

/// The view of a group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupView {
    pub(crate) name: String,
    /// `None`: the group is not configured.
    pub(crate) configured_slots: Option<u64>,
    /// `None`: not known yet, or the stored value is damaged.
    pub(crate) lock: Option<LockView>,
    /// The reason why the stored value cannot be used.
    pub(crate) damaged: Option<String>,
    pub(crate) windows: WindowView,
    /// The number of waiting nodes that are known; `None` if unknown.
    pub(crate) waiting_count: Option<usize>,
    /// More nodes may wait.
    #[serde(skip)]
    pub(crate) more_may_wait: bool,
    /// The longest waiting nodes, at most [`MAX_LISTED`]; `None` if unknown.
    pub(crate) waiting: Option<Vec<WaiterView>>,
    /// The latest administrators' commands, the latest first.
    pub(crate) audit_log: Vec<AuditEntry>,
    /// The last completed holds, the latest first.
    pub(crate) history: Vec<CompletedHoldView>,
    /// Whether another program has changed the group since the latest of them.
    pub(crate) history_has_gap: bool,
    /// The usual duration of a hold, if enough of them are known.
    pub(crate) usual_hold_seconds: Option<i64>,
}

/// The view of a completed hold.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CompletedHoldView {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
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
}

/// The view of a waiting node.
#[derive(Debug, Serialize)]
pub(crate) struct WaiterView {
    pub(crate) id: String,
    /// The name of the node, if it is known.
    pub(crate) name: Option<String>,
    /// The address of its latest request, if it is known.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) first_asked: Timestamp,
    pub(crate) last_asked: Timestamp,
    /// The number of denials since `first_asked`.
    pub(crate) times: u64,
    /// The reason for the latest denial.
    pub(crate) reason: &'static str,
}

/// The view of the reboot windows of a group.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WindowView {
    /// Whether the group has windows.
    pub(crate) configured: bool,
    /// Whether the windows allow new locks now.
    pub(crate) open: bool,
    /// The end of the open window.
    pub(crate) closes: Option<Timestamp>,
    /// The start of the next window, while none is open.
    pub(crate) opens: Option<Timestamp>,
    /// The next change as text for people.
    pub(crate) text: Option<String>,
}

// === impl StatusView ===

impl StatusView {
    pub(super) fn new(state: &ServerState, health: &Health, now: Timestamp) -> Self {
        let problem = health.readiness(Instant::now()).err();
        StatusView {
            version: env!("CARGO_PKG_VERSION"),
            now,
            store: StoreView {
                up: matches!(problem, None | Some(NotReady::ReadOnly { .. })),
                writable: !matches!(health.writes, Writes::Refused { .. }),
                problem: problem.map(|problem| chain(&problem)),
                notices: health.notices.iter().map(ToString::to_string).collect(),
            },
            groups: state
                .groups
                .values()
                .map(|group| view(group, now))
                .collect(),
        }
    }
}

fn view(configured: &ConfiguredGroup, now: Timestamp) -> GroupView {
    let group = &configured.group;
    let known = group.known();
    let facts = GroupFacts {
        name: group.name(),
        configured_slots: Some(group.configured_slots()),
        state: known.as_ref(),
        windows: &configured.settings.windows,
        waiting: Some(&group.waiting(MAX_LISTED)),
    };
    GroupView::new(&facts, now)
}

// === impl GroupView ===

impl GroupView {
    pub(crate) fn new(facts: &GroupFacts<'_>, now: Timestamp) -> Self {
        let (lock, damaged) = match facts.state.map(|state| &state.semaphore) {
            None => (None, None),
            Some(Ok(semaphore)) => (Some(LockView::new(semaphore, now)), None),
            Some(Err(reason)) => (None, Some(reason.to_string())),
        };
        let listed = |waiting: &Waiting| waiting.longest.iter().map(WaiterView::new).collect();
        let entries = facts.state.iter().flat_map(|state| state.audit_log.iter());
        let history = facts.state.map(|state| &state.history);
        let usual = history.and_then(History::usual);
        GroupView {
            name: facts.name.to_string(),
            configured_slots: facts.configured_slots,
            lock,
            damaged,
            windows: WindowView::new(facts.windows, now),
            waiting_count: facts.waiting.map(|waiting| waiting.count),
            more_may_wait: facts.waiting.is_some_and(|waiting| waiting.may_be_more),
            waiting: facts.waiting.map(listed),
            audit_log: entries.rev().cloned().collect(),
            history: history
                .into_iter()
                .flat_map(History::holds)
                .map(CompletedHoldView::new)
                .collect(),
            history_has_gap: history.is_some_and(History::has_gap),
            usual_hold_seconds: usual.map(|usual| usual.as_secs()),
        }
    }
}

// === impl CompletedHoldView ===

impl CompletedHoldView {
    fn new(hold: &CompletedHold) -> Self {
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
}

// === impl LockView ===

impl LockView {
    fn new(semaphore: &Semaphore, now: Timestamp) -> Self {
        let mut holders: Vec<_> = semaphore.holders.iter().collect();
        holders.sort_by_key(|(_, hold)| hold.since.unwrap_or(Timestamp::MAX));
        let holder = |(id, hold): (&Arc<str>, &Hold)| HolderView {
            id: id.to_string(),
            name: hold.client.name.as_deref().map(str::to_owned),
            peer: hold.client.peer,
            since: hold.since,
            age_seconds: hold
                .since
                .map(|since| now.duration_since(since).as_secs().max(0)),
            age: hold.since.map(|since| age(since, now)),
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

// === impl WaiterView ===

impl WaiterView {
    fn new(waiter: &Waiter) -> Self {
        WaiterView {
            id: waiter.id.to_string(),
            name: waiter.client.name.as_deref().map(str::to_owned),
            peer: waiter.client.peer,
            first_asked: waiter.first_asked,
            last_asked: waiter.last_asked,
            times: waiter.times,
            reason: waiter.reason.as_str(),
        }
    }
}

// === impl WindowView ===

impl WindowView {
    fn new(windows: &Windows, now: Timestamp) -> Self {
        let mut view = WindowView {
            configured: true,
            open: true,
            closes: None,
            opens: None,
            text: None,
        };
        match windows.state(now) {
            WindowState::Always => view.configured = false,
            WindowState::Open { until } => {
                view.closes = Some(until);
                let first = windows.upcoming(now, 1);
                view.text = first
                    .first()
                    .map(|opening| format!("open until {}", opening.closes_text()));
            }
            WindowState::Closed { next } => {
                view.open = false;
                view.opens = next.as_ref().map(|opening| opening.opens);
                view.text = next.map(|opening| format!("closed, opens {}", opening.opens_text()));
            }
        }
        view
    }
}
