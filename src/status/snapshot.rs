//! What the page and `/v1/status` show, gathered at one moment. Plain values: nothing of it is locked.

use jiff::Timestamp;
use serde::Serialize;

use crate::act::Act;
use crate::age::age;
use crate::group::{Waiter, Why};
use crate::live::{Live, LiveGroup};
use crate::monitor;
use crate::policy::State as WindowState;
use crate::store::measured::Health;

/// The most waiting nodes that are listed for a group; the rest is counted.
const LISTED: usize = 100;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    pub version: &'static str,
    pub now: Timestamp,
    pub store: StoreView,
    pub groups: Vec<GroupView>,
}

#[derive(Debug, Serialize)]
pub struct StoreView {
    pub up: bool,
    /// Why it is not.
    pub problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct GroupView {
    pub name: String,
    /// `None`: not known yet, or the value is damaged.
    pub lock: Option<LockView>,
    /// What is wrong with the stored value.
    pub damaged: Option<String>,
    pub configured_slots: u64,
    pub windows: WindowView,
    /// All that wait.
    pub waiting_count: usize,
    /// The first of them.
    pub waiting: Vec<WaiterView>,
    /// The latest first.
    pub acts: Vec<Act>,
}

#[derive(Debug, Serialize)]
pub struct LockView {
    /// 0 while paused.
    pub slots: u64,
    pub free: u64,
    pub paused: bool,
    /// The one that holds longest first, unknown times last.
    pub holders: Vec<HolderView>,
}

#[derive(Debug, Serialize)]
pub struct HolderView {
    pub id: String,
    pub since: Option<Timestamp>,
    pub age_seconds: Option<i64>,
    /// For people.
    #[serde(skip)]
    pub age: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct WaiterView {
    pub id: String,
    pub first_asked: Timestamp,
    pub last_asked: Timestamp,
    pub times: u64,
    pub why: &'static str,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct WindowView {
    /// There are windows.
    pub configured: bool,
    /// New locks are granted now, as far as windows go.
    pub open: bool,
    pub closes: Option<Timestamp>,
    pub opens: Option<Timestamp>,
    /// The next change, for people.
    pub text: Option<String>,
}

// === impl Snapshot ===

impl Snapshot {
    pub fn take(live: &Live, health: &Health, now: Timestamp) -> Self {
        let problem = monitor::readiness(health).err();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            now,
            store: StoreView {
                up: problem.is_none(),
                problem,
            },
            groups: live.groups.values().map(|group| view(group, now)).collect(),
        }
    }
}

fn view(live: &LiveGroup, now: Timestamp) -> GroupView {
    let group = &live.group;
    let waiting = group.waiting();
    let known = group.known();
    let acts = known.as_ref().map(|known| known.acts.iter().rev().cloned());
    let (lock, damaged) = match known.as_ref().map(|known| &known.semaphore) {
        None => (None, None),
        Some(Err(reason)) => (None, Some(reason.to_string())),
        Some(Ok(semaphore)) => {
            let mut holders: Vec<_> = semaphore.holders.iter().collect();
            holders.sort_by_key(|(_, since)| since.unwrap_or(Timestamp::MAX));
            let lock = LockView {
                slots: semaphore.slots,
                free: semaphore.free(),
                paused: semaphore.slots == 0,
                holders: holders
                    .into_iter()
                    .map(|(id, since)| HolderView {
                        id: id.to_string(),
                        since: *since,
                        age_seconds: since.map(|since| now.duration_since(since).as_secs().max(0)),
                        age: since.map(|since| age(since, now)),
                    })
                    .collect(),
            };
            (Some(lock), None)
        }
    };
    GroupView {
        name: group.name().to_string(),
        lock,
        damaged,
        configured_slots: group.configured_slots(),
        windows: windows(live, now),
        waiting_count: waiting.len(),
        waiting: waiting.iter().take(LISTED).map(waiter).collect(),
        acts: acts.map(Iterator::collect).unwrap_or_default(),
    }
}

fn waiter(waiter: &Waiter) -> WaiterView {
    WaiterView {
        id: waiter.id.to_string(),
        first_asked: waiter.first_asked,
        last_asked: waiter.last_asked,
        times: waiter.times,
        why: Why::as_str(waiter.why),
    }
}

fn windows(live: &LiveGroup, now: Timestamp) -> WindowView {
    let mut view = WindowView {
        configured: true,
        open: true,
        closes: None,
        opens: None,
        text: None,
    };
    let windows = &live.settings.windows;
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
