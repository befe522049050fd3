//! The tasks of the server. If one of them ends, the server ends (invariant 10).

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time that requests in flight have to end after the first signal.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(4500);

/// The reason why the server ends by itself (invariant 10).
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskExit {
    #[error("the task \"{0}\" ended unexpectedly")]
    Ended(String),
    #[error("a task of the server panicked")]
    Panicked(#[from] JoinError),
    #[error("no task is left")]
    NoneLeft,
}

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

    /// Waits for the first task that ends and must not.
    pub(super) async fn first_exit(&mut self) -> TaskExit {
        loop {
            match self.running.join_next().await {
                Some(Ok(Some(name))) => return TaskExit::Ended(name),
                Some(Ok(None)) => {}
                Some(Err(panicked)) => return TaskExit::Panicked(panicked),
                None => return TaskExit::NoneLeft,
            }
        }
    }

    /// Stops accepting connections, and waits for the requests in flight, and then for `last`, before it ends the tasks.
    pub(super) async fn drain(mut self, last: impl Future<Output = ()>) {
        self.shutdown.cancel();
        self.connections.close();
        let drained = time::timeout(DRAIN_TIMEOUT, self.connections.wait()).await;
        if drained.is_err() {
            tracing::warn!("some requests did not end in time and were cut off");
        }
        last.await;
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn invariant_10_a_task_that_ends_or_panics_ends_the_server() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("main listener", std::future::pending());
        supervisor.spawn("store probe", async {});
        assert_eq!(
            supervisor.first_exit().await.to_string(),
            "the task \"store probe\" ended unexpectedly"
        );

        let panics = || async { panic!("as a bug would") };
        let mut supervisor = Supervisor::default();
        supervisor.spawn("main listener", panics());
        let exit = supervisor.first_exit().await;
        assert!(matches!(exit, TaskExit::Panicked(_)), "{exit}");

        let mut supervisor = Supervisor::default();
        supervisor.spawn("main listener", std::future::pending());
        supervisor.spawn_until_unused(panics());
        let exit = supervisor.first_exit().await;
        assert!(matches!(exit, TaskExit::Panicked(_)), "{exit}");
    }

    #[tokio::test]
    async fn what_is_left_to_do_at_the_end_is_done_with_the_tasks() {
        let (ask, asked) = oneshot::channel::<oneshot::Sender<()>>();
        let mut supervisor = Supervisor::default();
        supervisor.spawn("event delivery", async {
            asked.await.unwrap().send(()).unwrap();
            std::future::pending().await
        });
        let drained = supervisor.drain(async {
            let (answer, answered) = oneshot::channel();
            ask.send(answer).unwrap();
            answered.await.unwrap();
        });
        drained.await;
    }
}
