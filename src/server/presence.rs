//! Presence: publishes the document of this server, and reads those of all servers.

mod rejections;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::coordinator::StateReceiver;
use crate::denials::{self, Denials};
use crate::fleet::{Fleet, FleetReader, FleetServer, ServerDocument, ServerId};
use crate::store::presence::Liveness;
use crate::store::{Store, StoreError, presence};
use crate::text::explain::chain;
use rejections::Rejections;

/// The age at which the documents that were read last are not shown any more, and at which a document that cannot be
/// published is worth a warning.
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

/// What is known from earlier exchanges.
struct Exchange {
    /// The name under which this server publishes.
    name: String,
    reader: FleetReader,
    rejections: Rejections,
    /// The last successes.
    published: Instant,
    read: Instant,
    /// Whether a warning was logged since the last exchange without an error.
    warned: bool,
}

// === impl Presence ===

impl Presence {
    /// Publishes and reads from time to time. At the end of the server, its document is removed, unless that takes long:
    /// it is not gone, but stopped. Never returns.
    pub(super) async fn run(self) {
        let mut exchange = Exchange::new(self.id.name());
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.exchange_from_time_to_time(&mut exchange) => {}
        }
        let withdraw = self.store.withdraw(&exchange.name);
        let withdrawn = time::timeout(MAX_WITHDRAWING, withdraw).await;
        if let Ok(Err(error)) = withdrawn {
            let reason = chain(&error);
            tracing::debug!(reason, "the document of this server cannot be removed");
        }
        drop(self.ending);
        std::future::pending::<()>().await;
    }

    async fn exchange_from_time_to_time(&self, exchange: &mut Exchange) {
        let mut interval = time::interval(presence::INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.exchange(exchange).await;
        }
    }

    async fn exchange(&self, exchange: &mut Exchange) {
        let document = self.document(&mut exchange.rejections);
        let json = document.clone().into_json();
        let published = self.store.publish(&exchange.name, &json).await;
        // Also if the store refuses the write.
        let read = self.read(exchange, document).await;
        let now = Instant::now();
        if published.is_ok() {
            exchange.published = now;
        }
        if read.is_ok() {
            exchange.read = now;
        }
        if exchange.read.elapsed() > MAX_AGE {
            self.fleet.send_replace(None);
        }
        exchange.log(&published, &read);
    }

    fn document(&self, rejections: &mut Rejections) -> ServerDocument {
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
        rejections.limit(&mut document);
        document
    }

    /// Reads the documents of all servers. Changes the name of this one if another has it: two containers can have the
    /// same host name. This server runs, whatever the store knows about it.
    async fn read(
        &self,
        exchange: &mut Exchange,
        document: ServerDocument,
    ) -> Result<(), StoreError> {
        let mut servers = exchange.reader.read(&*self.store).await?;
        servers.retain(|server| server.document.id != self.id);
        let name = &mut exchange.name;
        if servers.iter().any(|server| server.name == *name) {
            tracing::debug!(%name, "another server publishes under this name");
            *name = format!("{}#{}", self.id.name(), self.id.instance);
        }
        servers.push(FleetServer {
            name: name.clone(),
            document: Arc::new(document),
            liveness: Liveness::Alive,
        });
        let fleet = Fleet::new(servers);
        self.fleet.send_replace(Some(Arc::new(fleet)));
        Ok(())
    }
}

// === impl Exchange ===

impl Exchange {
    fn new(name: String) -> Self {
        let now = Instant::now();
        Exchange {
            name,
            reader: FleetReader::default(),
            rejections: Rejections::default(),
            published: now,
            read: now,
            warned: false,
        }
    }

    /// Logs the errors of an exchange. Warns once if they last: if the store refuses one half, or if the document of this
    /// server grows old while those of the others are read.
    fn log(&mut self, published: &Result<(), StoreError>, read: &Result<(), StoreError>) {
        let is_hidden = published.is_err() && read.is_ok() && self.published.elapsed() > MAX_AGE;
        for error in [published, read]
            .into_iter()
            .filter_map(|result| result.as_ref().err())
        {
            let reason = chain(error);
            if !self.warned && (is_hidden || matches!(error, StoreError::Rejected(_))) {
                self.warned = true;
                tracing::warn!(
                    reason,
                    "the servers cannot exchange what they know: others may report this one as lost, and each shows \
                     only the nodes that it denied itself"
                );
            } else {
                tracing::debug!(
                    reason,
                    "the documents of servers cannot be exchanged, retrying"
                );
            }
        }
        self.warned &= published.is_err() || read.is_err();
    }
}

#[cfg(test)]
mod tests;
