//! The probe: calls the store when nothing else does, so that its health is always known.

use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
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
            let candidates = candidates(&groups, current.rejects_reads(), tick);
            if let Some(error) = rejection(candidates, |group| refresh(store, group).boxed()).await
            {
                store.rejects_all(error);
            }
        }
        let current = health.borrow().clone();
        let replies = matches!(current.replies, Replies::Up { .. });
        let is_due = checked.is_none_or(|at: Instant| at.elapsed() >= CHECK_INTERVAL);
        let check = async {
            let candidates = candidates(&groups, current.rejects_writes(), tick);
            let check = rejection(candidates, |group| store.check_writable(group.name()));
            if let Some(error) = check.await {
                store.rejects_all_writes(error);
            }
        };
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

/// Returns the groups for which the store may be called: all; or, once it is known to reject the calls of all groups,
/// one in turn.
fn candidates<T>(groups: &[T], rejects_all: bool, tick: usize) -> &[T] {
    match tick.checked_rem(groups.len()) {
        Some(next) if rejects_all => &groups[next..=next],
        Some(_) | None => groups,
    }
}

/// Calls the store for the first group, and for the other ones if it rejects that. Returns an error if it rejects all of
/// the calls. Any other result is part of the health already.
async fn rejection<'a, T>(
    groups: &[&'a T],
    call: impl Fn(&'a T) -> BoxFuture<'a, Result<(), StoreError>>,
) -> Option<StoreError> {
    let rejected = |result| match result {
        Err(error @ StoreError::Rejected(_)) => Some(error),
        Ok(()) | Err(_) => None,
    };
    let (first, others) = groups.split_first()?;
    let error = rejected(call(first).await)?;
    // Together: with an endpoint that does not reply, each call takes as long as it is waited for.
    let results = join_all(others.iter().map(|group| call(group))).await;
    results
        .into_iter()
        .try_fold(error, |_, result| rejected(result))
}

/// Asks the store for the state of a group, which the group takes note of. To confirm the known one is a single call to
/// etcd, and a read is two.
pub(super) async fn refresh(store: &InstrumentedStore, group: &Group) -> Result<(), StoreError> {
    let known = group.known();
    let current = match &known {
        None => store.read(group.name()).await?,
        Some(known) => match store.commit(group.name(), &known.stored, None, &[]).await? {
            CommitOutcome::Committed(_) => return Ok(()),
            CommitOutcome::Conflict(conflict) => conflict.current,
        },
    };
    group.observe_read(current, known.map(|known| known.as_of()));
    Ok(())
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
    use std::future::ready;
    use std::sync::Arc;

    use tokio::sync::Barrier;

    use super::*;
    use crate::group::GroupMetrics;
    use crate::lock::GroupName;
    use crate::lock::codec::{LockTimes, Revision, Stored, Value};
    use crate::store::Update;
    use crate::store::faulty::{Call, FaultyStore};
    use crate::store::instrumented::StoreMetrics;

    #[derive(Debug, thiserror::Error)]
    #[error("rejected")]
    struct Cause;

    fn rejected() -> Result<(), StoreError> {
        Err(StoreError::rejected(Cause))
    }

    fn fixture() -> (Arc<FaultyStore>, InstrumentedStore, Group) {
        let faulty = FaultyStore::new();
        let registry = prometheus::Registry::new();
        let store =
            InstrumentedStore::new(faulty.clone(), StoreMetrics::register(&registry).unwrap());
        let name = GroupName::new("g").unwrap();
        let metrics = GroupMetrics::register(&registry).unwrap().of(&name);
        let (group, _) = Group::new(name, 1, 1, faulty.clone(), metrics);
        (faulty, store, group)
    }

    fn known(group: &Group) -> Revision {
        group.known().unwrap().as_of()
    }

    #[tokio::test]
    async fn a_refresh_confirms_the_known_state_or_replaces_it() {
        let (faulty, store, group) = fixture();
        let backup = faulty.memory.backup();
        faulty.memory.overwrite(group.name(), None);
        refresh(&store, &group).await.unwrap();
        let first = known(&group);
        refresh(&store, &group).await.unwrap();
        assert_eq!(faulty.calls(), [Call::Read, Call::Confirm]);
        // The store is restored, so that its clock goes back.
        faulty.memory.restore(backup);
        let value = Value {
            semaphore: b"{}".to_vec(),
            lock_times: LockTimes::Absent,
        };
        faulty.memory.overwrite(group.name(), Some(value));
        group.observe(Update::Current(Stored::absent(Revision(9))));
        refresh(&store, &group).await.unwrap();
        assert_eq!(known(&group), first);
    }

    #[tokio::test]
    async fn a_late_reply_to_a_refresh_does_not_hide_what_was_written_meanwhile() {
        let (faulty, store, group) = fixture();
        refresh(&store, &group).await.unwrap();
        let value = Value {
            semaphore: b"{}".to_vec(),
            lock_times: LockTimes::Absent,
        };
        faulty.memory.overwrite(group.name(), Some(value));
        faulty.hold();
        let written = async {
            tokio::task::yield_now().await;
            group.observe(Update::Change(Stored::absent(Revision(9))));
            faulty.release();
        };
        let (refreshed, ()) = tokio::join!(refresh(&store, &group), written);
        refreshed.unwrap();
        assert_eq!(known(&group), Revision(9));
    }

    #[tokio::test]
    async fn only_if_the_store_rejects_the_calls_of_all_groups_it_is_an_error() {
        let call = |result: &bool| ready(if *result { Ok(()) } else { rejected() }).boxed();
        for (results, expected) in [
            (&[][..], false),
            (&[&true], false),
            (&[&false], true),
            (&[&false, &false, &true], false),
            (&[&false, &false, &false], true),
        ] {
            let error = rejection(results, call).await;
            assert_eq!(error.is_some(), expected, "{results:?}");
        }
    }

    #[tokio::test]
    async fn the_calls_after_a_rejection_are_made_together() {
        let barrier = Barrier::new(2);
        let call = async |group: &'static str| {
            if group != "first" {
                barrier.wait().await;
            }
            rejected()
        };
        let groups = [&"first", &"second", &"third"];
        assert!(
            rejection(&groups, |group| call(group).boxed())
                .await
                .is_some()
        );
    }

    #[test]
    fn a_store_that_rejects_all_calls_is_asked_for_one_group_after_the_other() {
        let groups = ["a", "b", "c"];
        assert_eq!(candidates(&groups, false, 4), groups);
        assert_eq!(candidates(&groups, true, 4), ["b"]);
        assert_eq!(candidates(&groups, true, 5), ["c"]);
        assert!(candidates::<()>(&[], true, 6).is_empty());
    }
}
