use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::coordinator::ServerState;
use crate::denials::{Denial, DenialReason};
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};
use crate::logging::logged;
use crate::store::memory::MemoryStore;
use crate::store::presence::Published;
use crate::store::{CommitOutcome, Location, Member, Report};

/// The store of one server, which refuses documents, or does not reply to reads, for a while. It writes a document only
/// if it has changed.
#[derive(Default)]
struct Failing {
    inner: Arc<MemoryStore>,
    written: Mutex<Option<[String; 2]>>,
    publish: AtomicBool,
    published: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("the store failed")]
struct Failed;

#[async_trait]
impl Store for Failing {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        self.inner.read(group).await
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        self.inner.commit(group, expected, new, also).await
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        self.inner.check_writable(group).await
    }

    fn location(&self, group: &GroupName) -> Location {
        self.inner.location(group)
    }

    async fn publish(&self, server: &str, document: &str) -> Result<(), StoreError> {
        if self.publish.load(Ordering::Relaxed) {
            return Err(StoreError::unknown(Failed));
        }
        let current = Some([server, document].map(str::to_owned));
        let known = std::mem::replace(&mut *self.written.lock(), current.clone());
        match known == current {
            true => Ok(()),
            false => self.inner.publish(server, document).await,
        }
    }

    async fn withdraw(&self, server: &str) -> Result<(), StoreError> {
        *self.written.lock() = None;
        self.inner.withdraw(server).await
    }

    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        match self.published.load(Ordering::Relaxed) {
            true => Err(StoreError::unknown(Failed)),
            false => self.inner.published().await,
        }
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        self.inner.watch(groups, report).await
    }
}

/// A server on the port 3333 of the host `a`.
struct Server {
    store: Arc<Failing>,
    denials: Arc<Denials>,
    _state: watch::Sender<Arc<ServerState>>,
    presence: Presence,
    exchange: Exchange,
}

impl Server {
    fn first() -> Self {
        Server::start(Arc::default(), "1")
    }

    fn start(inner: Arc<MemoryStore>, instance: &str) -> Self {
        let store = Arc::new(Failing {
            inner,
            ..Failing::default()
        });
        let (state, receiver) = watch::channel(Arc::new(ServerState::of(BTreeMap::new())));
        let denials = Arc::<Denials>::default();
        let id = ServerId {
            host: "a".into(),
            port: 3333,
            instance: instance.into(),
        };
        let exchange = Exchange::new(id.name());
        let presence = Presence {
            notifies: false,
            store: Arc::clone(&store) as _,
            state: StateReceiver::new(receiver),
            denials: Arc::clone(&denials),
            id,
            started: Timestamp::UNIX_EPOCH,
            fleet: watch::Sender::new(None),
            shutdown: CancellationToken::new(),
            ending: tokio_util::task::TaskTracker::new().token(),
        };
        Server {
            store,
            denials,
            _state: state,
            presence,
            exchange,
        }
    }

    /// Exchanges documents for so many seconds.
    async fn run(&mut self, seconds: u64) {
        for _ in 0..seconds / presence::INTERVAL.as_secs() {
            time::advance(presence::INTERVAL).await;
            self.presence.exchange(&mut self.exchange).await;
        }
    }

    /// Returns the names of the running servers, as this one knows them.
    fn alive(&self) -> Option<Vec<String>> {
        let fleet = self.presence.fleet.borrow().clone()?;
        Some(fleet.alive().map(|server| server.name.clone()).collect())
    }

    fn reject(&self, peer: u8) {
        let denial = Denial {
            reason: DenialReason::WrongPassword,
            peer: [192, 0, 2, peer].into(),
            group: None,
            id: None,
            detail: None,
        };
        self.denials.record(&denial, Timestamp::now());
    }

    /// Returns the number of rejected clients in the published document.
    async fn rejected(&self) -> usize {
        let fleet = Fleet::read(&*self.store).await.unwrap();
        fleet.rejected(None).count()
    }
}

/// Runs a test without waiting, and returns the messages of its warnings.
fn without_waiting(test: impl Future<Output = ()>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    logged(|| runtime.block_on(test))
}

#[test]
fn a_server_that_cannot_publish_runs_nevertheless_and_is_warned_about_once() {
    let messages = without_waiting(async {
        let mut server = Server::first();
        server.run(10).await;
        server.store.publish.store(true, Ordering::Relaxed);
        // As after 45 s.
        server.store.withdraw("a:3333").await.unwrap();
        server.run(60).await;
        assert_eq!(server.alive(), Some(vec!["a:3333".into()]));
        // The first warning comes after the first minute, and the second one of the next failure.
        server.run(120).await;
        server.store.publish.store(false, Ordering::Relaxed);
        server.run(10).await;
        server.store.publish.store(true, Ordering::Relaxed);
        server.run(120).await;
    });
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("report this one as lost"));
}

#[test]
fn what_was_read_a_minute_ago_is_not_known_any_more() {
    let messages = without_waiting(async {
        let mut server = Server::first();
        server.run(10).await;
        server.store.published.store(true, Ordering::Relaxed);
        server.run(60).await;
        assert_eq!(server.alive(), Some(vec!["a:3333".into()]));
        server.run(10).await;
        assert_eq!(server.alive(), None);
        server.store.published.store(false, Ordering::Relaxed);
        server.run(10).await;
        assert_eq!(server.alive(), Some(vec!["a:3333".into()]));
    });
    assert_eq!(messages, [""; 0]);
}

#[test]
fn two_servers_with_the_same_address_publish_under_two_names() {
    without_waiting(async {
        let mut first = Server::first();
        first.run(10).await;
        let mut second = Server::start(Arc::clone(&first.store.inner), "2");
        second.run(10).await;
        first.run(20).await;
        second.run(10).await;
        for server in [&first, &second] {
            let expected = ["a:3333", "a:3333#1"].map(str::to_owned);
            assert_eq!(server.alive(), Some(expected.to_vec()));
        }
    });
}

#[test]
fn rejected_clients_change_the_document_at_most_twice_in_two_minutes() {
    without_waiting(async {
        let mut server = Server::first();
        let mut published = Vec::new();
        for peer in 1..=14 {
            server.reject(peer);
            server.run(10).await;
            published.push(server.rejected().await);
        }
        assert_eq!(published, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 13, 14]);
    });
}
