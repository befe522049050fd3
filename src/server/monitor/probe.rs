//! The probe: calls the store when nothing else does, so that its health is always known.

use std::time::{Duration, Instant};

use tokio::time::{self, MissedTickBehavior};

use crate::coordinator::StateReceiver;
use crate::group::Group;
use crate::store::health::{Health, Replies, Writes};
use crate::store::instrumented::InstrumentedStore;
use crate::store::{CommitOutcome, Notice, Store as _, StoreError};
use crate::text::explain::chain;

/// The age of the latest reply after which the store is called again.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// The interval at which the store is asked whether it accepts writes, and the endpoints that are not in use to which
/// cluster they belong. While it is not known to accept writes, it is asked about them each time.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// The number of groups that are tried if the store rejects calls. It may reject those of one group only.
const MAX_GROUPS: usize = 8;

/// What was logged about the health.
#[derive(Default)]
struct Logged {
    down: bool,
    read_only: bool,
    notices: Vec<Notice>,
}

/// Calls the store from time to time, and logs when its health changes. Never returns.
pub(crate) async fn probe(store: &InstrumentedStore, state: StateReceiver) {
    let health = store.health();
    let mut logged = Logged::default();
    let mut checked = None;
    let mut interval = time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0.. {
        interval.tick().await;
        let state = state.get();
        let configured = state.groups.values().take(MAX_GROUPS);
        let groups: Vec<&Group> = configured.map(|configured| &configured.group).collect();
        let current = health.borrow().clone();
        if must_read(&current) {
            read(store, candidates(&groups, current.rejects_reads(), tick)).await;
        }
        let current = health.borrow().clone();
        let replies = matches!(current.replies, Replies::Up { .. });
        let is_due = checked.is_none_or(|at: Instant| at.elapsed() >= CHECK_INTERVAL);
        let check = check_writes(store, candidates(&groups, current.rejects_writes(), tick));
        if replies && is_due {
            checked = Some(Instant::now());
            tokio::join!(check, store.verify());
        } else if replies && !matches!(current.writes, Writes::Accepted) {
            check.await;
        }
        store.refresh_notices();
        logged.update(&health.borrow().clone());
    }
}

fn must_read(health: &Health) -> bool {
    match health.replies {
        Replies::Up { at } => at.elapsed() >= INTERVAL,
        Replies::Unknown | Replies::Down { .. } => true,
    }
}

/// Returns the groups to call the store for: all, as long as their calls are rejected; or, once it is known to reject
/// those of all groups, one in turn.
fn candidates<T>(groups: &[T], rejects_all: bool, tick: usize) -> &[T] {
    match tick.checked_rem(groups.len()) {
        Some(next) if rejects_all => &groups[next..=next],
        Some(_) | None => groups,
    }
}

/// Reads one group, which the health records; or several, as long as the store rejects the reads.
async fn read(store: &InstrumentedStore, groups: &[&Group]) {
    let mut rejected = None;
    for group in groups {
        match refresh(store, group).await {
            Err(error @ StoreError::Rejected(_)) => rejected = Some(error),
            Ok(()) | Err(_) => return,
        }
    }
    if let Some(error) = rejected {
        store.rejects_all(error);
    }
}

/// Asks the store for the state of a group, which the group takes note of. To confirm the known one is a single call to
/// etcd, and a read is two.
pub(super) async fn refresh(store: &InstrumentedStore, group: &Group) -> Result<(), StoreError> {
    let known = group.known();
    let current = match &known {
        None => store.read(group.name()).await?,
        Some(known) => match store.commit(group.name(), &known.stored, None).await? {
            CommitOutcome::Committed(_) => return Ok(()),
            CommitOutcome::Conflict(current) => current,
        },
    };
    group.observe_read(current, known.map(|known| known.as_of()));
    Ok(())
}

/// Asks the store whether it accepts a write to one of the groups, which the health records.
async fn check_writes(store: &InstrumentedStore, groups: &[&Group]) {
    let mut rejected = None;
    for group in groups {
        match store.check_writable(group.name()).await {
            Err(error @ StoreError::Rejected(_)) => rejected = Some(error),
            Ok(()) | Err(_) => return,
        }
    }
    if let Some(error) = rejected {
        store.rejects_all_writes(error);
    }
}

// === impl Logged ===

impl Logged {
    fn update(&mut self, health: &Health) {
        match &health.replies {
            Replies::Down { error, .. } if !self.down => {
                self.down = true;
                let reason = chain(error);
                tracing::error!(
                    reason,
                    "the store is unavailable; requests are denied until it is available again"
                );
            }
            Replies::Up { .. } if self.down => {
                self.down = false;
                tracing::warn!("the store is available again");
            }
            Replies::Unknown | Replies::Up { .. } | Replies::Down { .. } => {}
        }
        match &health.writes {
            Writes::Refused { error, .. } if !self.read_only => {
                self.read_only = true;
                let reason = chain(error);
                tracing::error!(
                    reason,
                    "the store refuses writes; no lock is granted until it accepts them again"
                );
            }
            Writes::Accepted if self.read_only => {
                self.read_only = false;
                tracing::warn!("the store accepts writes again");
            }
            Writes::Unknown | Writes::Accepted | Writes::Refused { .. } => {}
        }
        for notice in &health.notices {
            if !self.notices.contains(notice) {
                tracing::error!("{notice}");
            }
        }
        self.notices.clone_from(&health.notices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_rejects_all_calls_is_asked_for_one_group_after_the_other() {
        let groups = ["a", "b", "c"];
        assert_eq!(candidates(&groups, false, 4), groups);
        assert_eq!(candidates(&groups, true, 4), ["b"]);
        assert_eq!(candidates(&groups, true, 5), ["c"]);
        assert!(candidates::<()>(&[], true, 6).is_empty());
    }
}
