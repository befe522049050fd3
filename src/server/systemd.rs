//! Notifications to the service manager (`sd_notify`): ready, reloading, stopping, the status text, and a watchdog for
//! the group tasks. Without `NOTIFY_SOCKET`, nothing is sent and no task runs.
//!
//! A failed notification is logged and never stops the server.

use std::env;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use crate::config::ConfigErrors;
use crate::coordinator::StateReceiver;
use crate::group::Group;
use crate::store::health::{Health, Replies, Writes};
use crate::text::escape::shortened;
use crate::text::explain::chain;

/// The interval at which the status text follows the health of the store.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The time after which a notification that waits for room in the queue of the service manager is logged.
const SLOW: Duration = Duration::from_secs(5);

/// The time after which a notification that delays something else is dropped.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The length of a status text in characters; systemd ignores notifications of more than 4096 bytes.
const MAX_STATUS: usize = 900;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Reports whether a service manager listens.
pub(super) fn is_enabled() -> bool {
    env::var_os(NOTIFY_SOCKET).is_some()
}

/// Returns the timeout of the service manager's watchdog (`WatchdogSec=`), if it has one.
pub(super) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| is_enabled() && !timeout.is_zero())
}

/// Notifies the service manager that all listeners accept connections, and that no reload is in progress. Waits for as
/// long as it takes: a unit that never becomes ready is stopped.
pub(super) async fn ready() {
    notify(&[NotifyState::Ready]).await;
}

/// Notifies the service manager that the server shuts down.
pub(super) async fn stopping() {
    notify_soon(&[
        NotifyState::Stopping,
        NotifyState::Status("shutting down after the requests in flight"),
    ])
    .await;
}

/// Notifies the service manager that a reload starts. [`ready`] ends it, whether it succeeded or not.
pub(super) async fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_soon(&[NotifyState::Reloading, now]).await,
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
    }
}

/// Keeps the status text of `systemctl status` current. `rejection` is the reason why the last reload changed nothing.
/// Never returns.
pub(super) async fn report_status(
    state: StateReceiver,
    health: watch::Receiver<Health>,
    rejection: watch::Receiver<Option<ConfigErrors>>,
) {
    let mut reported = String::new();
    let mut tick = time::interval(STATUS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let groups = state.get().groups.len();
        let status = status_text(groups, &health.borrow(), rejection.borrow().as_ref());
        if status != reported {
            notify(&[NotifyState::Status(&status)]).await;
            reported = status;
        }
    }
}

/// Notifies the watchdog as long as the task of every group makes progress. Never returns.
///
/// An unavailable store stops no task: a restart would not bring it back.
pub(super) async fn watchdog(state: StateReceiver, timeout: Duration) {
    let groups = || {
        let state = state.get();
        let groups = state.groups.values();
        groups.map(|configured| configured.group.clone()).collect()
    };
    watch_groups(groups, timeout, async || {
        notify(&[NotifyState::Watchdog]).await;
    })
    .await;
}

async fn watch_groups(
    groups: impl Fn() -> Vec<Group>,
    timeout: Duration,
    alive: impl AsyncFn(),
) -> ! {
    let mut tick = time::interval(timeout / 3);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // All groups are asked for a heartbeat before one is awaited.
        let groups = groups();
        let heartbeats: Vec<_> = groups.iter().map(Group::next_heartbeat).collect();
        for (group, heartbeat) in groups.iter().zip(heartbeats) {
            tokio::pin!(heartbeat);
            if time::timeout(timeout / 2, &mut heartbeat).await.is_err() {
                tracing::error!(group = %group.name(), "the task of the group makes no progress");
                heartbeat.await;
            }
        }
        alive().await;
    }
}

fn status_text(groups: usize, health: &Health, rejection: Option<&ConfigErrors>) -> String {
    // The log has all errors.
    let rejection = rejection.map_or_else(String::new, |invalid| {
        let reason = invalid.summary(MAX_STATUS / 2);
        format!("configuration not reloaded: {reason}; running with the previous one; ")
    });
    let plural = if groups == 1 { "" } else { "s" };
    let store = match (&health.replies, &health.writes) {
        (Replies::Unknown, _) => "the store was not reached yet".to_owned(),
        (Replies::Down { error, .. }, _) => {
            let reason = chain(error);
            format!("the store is unavailable, requests are denied: {reason}")
        }
        (Replies::Up { .. }, Writes::Refused { error, .. }) => {
            let reason = chain(error);
            format!("the store refuses writes, no lock is granted: {reason}")
        }
        (Replies::Up { .. }, Writes::Unknown | Writes::Accepted) => {
            "the store is available".to_owned()
        }
    };
    // A line end would start another notification.
    shortened(
        &format!("{rejection}{groups} group{plural}; {store}"),
        MAX_STATUS,
    )
    .into_owned()
}

/// Notifies the service manager if it has room for the message within [`TIMEOUT`].
async fn notify_soon(states: &[NotifyState<'_>]) {
    if time::timeout(TIMEOUT, notify(states)).await.is_err() {
        tracing::warn!(?states, "the service manager reads no notifications");
    }
}

/// Notifies the service manager as soon as it has room for the message.
async fn notify(states: &[NotifyState<'_>]) {
    let Some(socket) = env::var_os(NOTIFY_SOCKET) else {
        return;
    };
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    // SUBTLE: `sd_notify::notify` blocks its thread while the queue of the socket is full.
    let mut sent = pin!(async {
        let client = UnixDatagram::unbound()?;
        // Only a connected socket becomes writable when the service manager reads from a full queue.
        client.connect(socket)?;
        client.send(message.as_bytes()).await
    });
    let result = match time::timeout(SLOW, &mut sent).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(?states, "the service manager reads no notifications");
            sent.await
        }
    };
    if let Err(error) = result {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::group::{GroupMetrics, GroupTask};
    use crate::lock::GroupName;
    use crate::lock::codec::{Stored, Value};
    use crate::lock::holders::Client;
    use crate::lock::policy::Terms;
    use crate::lock::semaphore::Command;
    use crate::store::memory::MemoryStore;
    use crate::store::{CommitOutcome, Location, Member, Report, Store, StoreError};

    /// A store with calls that never return, which the contract forbids.
    struct Stuck;

    #[async_trait]
    impl Store for Stuck {
        async fn read(&self, _: &GroupName) -> Result<Stored, StoreError> {
            std::future::pending().await
        }
        async fn commit(
            &self,
            _: &GroupName,
            _: &Stored,
            _: Option<&Value>,
            _: &[Member<'_>],
        ) -> Result<CommitOutcome, StoreError> {
            std::future::pending().await
        }
        async fn check_writable(&self, _: &GroupName) -> Result<(), StoreError> {
            std::future::pending().await
        }
        async fn watch(&self, _: &[GroupName], _: &mut Report<'_>) -> StoreError {
            std::future::pending().await
        }
        fn location(&self, group: &GroupName) -> Location {
            MemoryStore::default().location(group)
        }
    }

    fn group(name: &str, store: Arc<dyn Store>) -> (Group, GroupTask) {
        let name = GroupName::new(name).unwrap();
        let registry = prometheus::Registry::new();
        let metrics = GroupMetrics::register(&registry).unwrap().of(&name);
        Group::new(name, 1, 8, store, metrics)
    }

    /// Reports whether the watchdog is notified `times` within `timeout`, with a check every 10 ms.
    async fn are_alive(groups: Vec<Group>, times: usize, timeout: Duration) -> bool {
        let groups = || groups.clone();
        let (sender, mut notified) = mpsc::unbounded_channel();
        let watchdog = watch_groups(groups, Duration::from_millis(30), async || {
            let _ = sender.send(());
        });
        let notifications = async {
            for _ in 0..times {
                notified.recv().await;
            }
        };
        tokio::select! {
            _ = watchdog => false,
            () = notifications => true,
            () = time::sleep(timeout) => false,
        }
    }

    #[tokio::test]
    async fn idle_groups_keep_the_watchdog_notified() {
        let (one, its_task) = group("one", Arc::new(MemoryStore::default()));
        let (two, second_task) = group("two", Arc::new(MemoryStore::default()));
        tokio::spawn(its_task.run());
        tokio::spawn(second_task.run());
        assert!(are_alive(vec![one, two], 3, Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn one_stuck_group_silences_the_watchdog() {
        let (good, its_task) = group("good", Arc::new(MemoryStore::default()));
        let (stuck, second_task) = group("stuck", Arc::new(Stuck));
        tokio::spawn(its_task.run());
        tokio::spawn(second_task.run());
        let id = "a".parse().unwrap();
        let command = Command::Lock {
            id,
            at: jiff::Timestamp::UNIX_EPOCH,
            client: Client::default(),
            terms: Terms::default(),
        };
        let asked = stuck.execute(command, Duration::from_millis(1));
        assert!(asked.await.is_err());
        assert!(!are_alive(vec![good, stuck], 1, Duration::from_millis(200)).await);
    }
}
