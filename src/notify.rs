//! What the service manager is told (`sd_notify`): ready, reloading, stopping, how it goes, and that the
//! group tasks are alive. Without a `NOTIFY_SOCKET` nothing is told and nothing runs.
//!
//! Nothing here fails the server: who cannot be told is told nothing, and the log says so.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use crate::group::Group;
use crate::live::LiveReceiver;
use crate::store::measured::Health;

/// How soon the status follows the store's.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Whether anybody listens.
pub fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How often the service manager wants to hear of us (`WatchdogSec=`), if it does.
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| is_wanted() && !timeout.is_zero())
}

/// All listeners accept.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server is about to end.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("ending, after the requests in flight"),
    ]);
}

/// The configuration is read again until this is dropped, whether it turns out good or bad.
#[must_use]
pub struct Reloading(());

/// Says that the configuration is read again.
pub fn reloading() -> Reloading {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
    }
    Reloading(())
}

/// Keeps the status line of `systemctl status` true. Never ends.
pub async fn report_status(live: LiveReceiver, health: watch::Receiver<Health>) {
    let mut told = String::new();
    let mut tick = time::interval(STATUS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let status = status(live.get().groups.len(), &health.borrow());
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

/// Tells the service manager that we are alive as long as every group's task moves. Never ends.
///
/// A store that does not answer stops no task: to start again would not bring it back.
pub async fn watchdog(live: LiveReceiver, timeout: Duration) {
    let groups = || {
        let live = live.get();
        let groups = live.groups.values().map(|live| live.group.clone());
        groups.collect()
    };
    watch_groups(groups, timeout, || tell(&[NotifyState::Watchdog])).await;
}

async fn watch_groups(groups: impl Fn() -> Vec<Group>, timeout: Duration, alive: impl Fn()) -> ! {
    let mut tick = time::interval(timeout / 3);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // All are asked before one is waited for.
        let groups = groups();
        let turns: Vec<_> = groups.iter().map(Group::next_turn).collect();
        for (group, turn) in groups.iter().zip(turns) {
            tokio::pin!(turn);
            if time::timeout(timeout / 2, &mut turn).await.is_err() {
                tracing::error!(group = %group.name(), "the group's task does not move");
                turn.await;
            }
        }
        alive();
    }
}

fn status(groups: usize, health: &Health) -> String {
    let plural = if groups == 1 { "" } else { "s" };
    match health {
        Health::Unknown => format!("{groups} group{plural}; the store was not asked yet"),
        Health::Up { .. } => format!("{groups} group{plural}; the store answers"),
        Health::Down { reason, .. } => {
            let reason = reason.replace('\n', " ");
            format!(
                "{groups} group{plural}; the store does not answer, nodes are refused: {reason}"
            )
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

// === impl Reloading ===

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::group::GroupTask;
    use crate::metrics::Metrics;
    use crate::semaphore::Command;
    use crate::store::GroupName;
    use crate::store::memory::MemoryStore;
    use crate::store::{Commit, Report, Revision, Store, StoreError, Stored, Value};

    /// A store whose calls never return, which no real one may do.
    struct Stuck;

    #[async_trait]
    impl Store for Stuck {
        async fn read(&self, _: &GroupName) -> Result<Stored, StoreError> {
            std::future::pending().await
        }
        async fn commit(
            &self,
            _: &GroupName,
            _: Revision,
            _: Option<&Value>,
        ) -> Result<Commit, StoreError> {
            std::future::pending().await
        }
        async fn follow(&self, _: &[GroupName], _: &mut Report<'_>) -> StoreError {
            std::future::pending().await
        }
        fn place(&self, group: &GroupName) -> String {
            group.to_string()
        }
    }

    fn group(name: &str, store: Arc<dyn Store>) -> (Group, GroupTask) {
        let name = GroupName::new(name).unwrap();
        let metrics = Metrics::new().unwrap().group(&name);
        Group::new(name, 1, 8, store, metrics)
    }

    /// Whether `groups` are found alive `times` in a row, looked at every 10 ms.
    async fn are_alive(groups: Vec<Group>, times: usize, patience: Duration) -> bool {
        let groups = || groups.clone();
        let (told, mut heard) = mpsc::unbounded_channel();
        let watching = watch_groups(groups, Duration::from_millis(30), || {
            let _ = told.send(());
        });
        let hearing = async {
            for _ in 0..times {
                heard.recv().await;
            }
        };
        tokio::select! {
            _ = watching => false,
            () = hearing => true,
            () = time::sleep(patience) => false,
        }
    }

    #[tokio::test]
    async fn idle_groups_are_alive() {
        let (one, its_task) = group("one", Arc::new(MemoryStore::default()));
        let (two, second_task) = group("two", Arc::new(MemoryStore::default()));
        tokio::spawn(its_task.run());
        tokio::spawn(second_task.run());
        assert!(are_alive(vec![one, two], 3, Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn one_group_that_is_stuck_silences_the_watchdog() {
        let (good, its_task) = group("good", Arc::new(MemoryStore::default()));
        let (stuck, second_task) = group("stuck", Arc::new(Stuck));
        tokio::spawn(its_task.run());
        tokio::spawn(second_task.run());
        let id = "a".parse().unwrap();
        let at = jiff::Timestamp::UNIX_EPOCH;
        let asked = stuck.ask(Command::Lock { id, at }, Duration::from_millis(1));
        assert!(asked.await.is_err());
        assert!(!are_alive(vec![good, stuck], 1, Duration::from_millis(200)).await);
    }
}
