//! Presence: publishes the document of this server, and reads those of all servers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::coordinator::StateReceiver;
use crate::denials::{self, Denials};
use crate::fleet::{Fleet, ServerDocument, ServerId};
use crate::store::{Store, StoreError, presence};
use crate::text::explain::chain;

/// The time without attempts after the store has refused one: the user of etcd may use the keys of groups only.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);

/// The age at which the documents that were read last are not shown any more.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The time that the end of the server waits for its document to be removed.
const MAX_WITHDRAWING: Duration = Duration::from_secs(1);

/// The presence of this server.
pub(super) struct Presence {
    pub(super) store: Arc<dyn Store>,
    pub(super) state: StateReceiver,
    pub(super) denials: Arc<Denials>,
    pub(super) id: ServerId,
    pub(super) started: Timestamp,
    /// Whether this server has a receiver of events.
    pub(super) notifies: bool,
    pub(super) fleet: watch::Sender<Option<Arc<Fleet>>>,
    /// Cancelled when the server ends.
    pub(super) shutdown: CancellationToken,
    /// The end of the server waits for it.
    pub(super) ending: TaskTrackerToken,
}

// === impl Presence ===

impl Presence {
    /// Publishes and reads from time to time. At the end of the server, its document is removed, unless that takes long:
    /// it is not gone, but stopped. Never returns.
    pub(super) async fn run(self) {
        let mut name = self.id.name();
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.exchange_from_time_to_time(&mut name) => {}
        }
        let withdrawn = time::timeout(MAX_WITHDRAWING, self.store.withdraw(&name)).await;
        if let Ok(Err(error)) = withdrawn {
            let reason = chain(&error);
            tracing::debug!(reason, "the document of this server cannot be removed");
        }
        drop(self.ending);
        std::future::pending::<()>().await;
    }

    async fn exchange_from_time_to_time(&self, name: &mut String) {
        let mut interval = time::interval(presence::INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused: Option<Instant> = None;
        let mut warned = false;
        let mut read = Instant::now();
        loop {
            interval.tick().await;
            let mut results = Vec::new();
            if refused.is_none_or(|at| at.elapsed() > AFTER_REFUSAL) {
                let published = self.publish(name).await;
                let is_refused = matches!(published, Err(StoreError::Rejected(_)));
                refused = is_refused.then(Instant::now);
                results.push(published);
            }
            // Also if the store refuses the write.
            results.push(self.read(name).await.map(|()| read = Instant::now()));
            if read.elapsed() > MAX_AGE {
                self.fleet.send_replace(None);
            }
            for error in results.into_iter().filter_map(Result::err) {
                let reason = chain(&error);
                if let StoreError::Rejected(_) = error
                    && !warned
                {
                    warned = true;
                    tracing::warn!(
                        reason,
                        "the store refuses the document of this server; each server shows only the nodes that it denied itself"
                    );
                } else {
                    tracing::debug!(
                        reason,
                        "the documents of servers cannot be exchanged, retrying"
                    );
                }
            }
        }
    }

    async fn publish(&self, name: &str) -> Result<(), StoreError> {
        let state = self.state.get();
        let configuration = state.configuration.clone();
        let rejected = self.denials.list(Timestamp::now(), denials::MAX_LISTED);
        let mut document = ServerDocument::new(
            self.id.clone(),
            self.started,
            configuration,
            &state,
            &rejected,
        );
        document.notifies = self.notifies;
        self.store.publish(name, &document.into_json()).await
    }

    /// Reads the documents of all servers. Changes the name of this one if another has it: two containers can have the
    /// same host name.
    async fn read(&self, name: &mut String) -> Result<(), StoreError> {
        let fleet = Fleet::read(&*self.store).await?;
        let mut servers = fleet.servers.iter();
        if let Some(found) = servers.find(|server| server.name == *name)
            && found.document.id.instance != self.id.instance
        {
            tracing::debug!(%name, "another server publishes under this name");
            *name = format!("{}#{}", self.id.name(), self.id.instance);
        }
        self.fleet.send_replace(Some(Arc::new(fleet)));
        Ok(())
    }
}
