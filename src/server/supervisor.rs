//! The tasks of the server. If one of them ends, the server ends (invariant 10).

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time that requests in flight have to end after the first signal.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(4500);

/// All tasks of the server.
#[derive(Default)]
pub(super) struct Supervisor {
    /// Each task returns its name when it ends; `None` if it may end.
    running: JoinSet<Option<String>>,
    pub(super) shutdown: CancellationToken,
    pub(super) connections: TaskTracker,
}

// === impl Supervisor ===

impl Supervisor {
    /// Spawns a task that must not end.
    pub(super) fn spawn(&mut self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.to_owned();
        self.running.spawn(async move {
            task.await;
            Some(name)
        });
    }

    /// Spawns the task of a group, which ends once the group is removed from the configuration and its last request is
    /// answered.
    pub(super) fn spawn_until_unused(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            None
        });
    }

    /// Waits for the first task that ends, and returns its name.
    pub(super) async fn first_exit(&mut self) -> String {
        loop {
            match self.running.join_next().await {
                Some(Ok(Some(name))) => return name,
                Some(Ok(None)) => {}
                Some(Err(panicked)) => return panicked.to_string(),
                None => return "of the server".into(),
            }
        }
    }

    /// Stops accepting connections, and waits for the requests in flight.
    pub(super) async fn drain(mut self) {
        self.shutdown.cancel();
        self.connections.close();
        let drained = time::timeout(DRAIN_TIMEOUT, self.connections.wait()).await;
        if drained.is_err() {
            tracing::warn!("some requests did not end in time and were cut off");
        }
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn invariant_10_a_task_that_ends_or_panics_ends_the_server() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("that waits", std::future::pending());
        supervisor.spawn("of group default", async {});
        assert_eq!(supervisor.first_exit().await, "of group default");

        let mut supervisor = Supervisor::default();
        supervisor.spawn("that waits", std::future::pending());
        supervisor.spawn("of group default", async { panic!("as a bug would") });
        assert!(supervisor.first_exit().await.contains("panicked"));
    }
}
