use parking_lot::Mutex;

use super::*;
use crate::lock::codec::LockTimes;
use crate::lock::codec::Revision;
use crate::store::Conflict;
use crate::store::faulty::Injected;

/// A store that notes the calls, and fails them as it is told.
#[derive(Default)]
struct Script {
    calls: Mutex<Vec<&'static str>>,
    error: Mutex<Option<StoreError>>,
    notices: Mutex<Vec<Notice>>,
    /// Whether commits succeed instead of a conflict.
    commits: Mutex<bool>,
}

// === impl Script ===

impl Script {
    fn call<T>(&self, name: &'static str, value: T) -> Result<T, StoreError> {
        self.calls.lock().push(name);
        match &*self.error.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(value),
        }
    }
}

#[async_trait]
impl Store for Script {
    async fn read(&self, _: &GroupName) -> Result<Stored, StoreError> {
        self.call("read", absent())
    }

    async fn commit(
        &self,
        _: &GroupName,
        _: &Stored,
        new: Option<&Value>,
        _: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let name = if new.is_some() { "write" } else { "confirm" };
        let outcome = match *self.commits.lock() {
            true => CommitOutcome::Committed(Revision(1)),
            false => CommitOutcome::Conflict(Conflict {
                current: absent(),
                members: Vec::new(),
            }),
        };
        self.call(name, outcome)
    }

    async fn check_writable(&self, _: &GroupName) -> Result<(), StoreError> {
        self.call("check", ())
    }

    async fn verify(&self) {
        let _ = self.call("verify", ());
    }

    fn notices(&self) -> Vec<Notice> {
        self.notices.lock().clone()
    }

    fn accept_current(&self) {
        let _ = self.call("accept", ());
    }

    fn location(&self, group: &GroupName) -> Location {
        Location {
            description: group.to_string(),
            repair_command: String::new(),
        }
    }

    async fn announce_contention(&self, _: &GroupName, _: Duration) {
        let _ = self.call("announce", ());
    }

    async fn watch(&self, _: &[GroupName], _: &mut Report<'_>) -> StoreError {
        let error = self.call("watch", ()).err();
        error.unwrap_or_else(|| StoreError::unreachable(Injected("watch")))
    }
}

fn absent() -> Stored {
    Stored::absent(Revision(0))
}

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

struct Fixture {
    script: Arc<Script>,
    store: InstrumentedStore,
    registry: Registry,
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        let script = Arc::new(Script::default());
        let registry = Registry::new();
        let metrics = StoreMetrics::register(&registry).unwrap();
        let store = InstrumentedStore::new(Arc::clone(&script) as _, metrics);
        Fixture {
            script,
            store,
            registry,
        }
    }

    /// Makes one call of each kind, which fails with `error`.
    async fn call_all(&self, error: Option<StoreError>) {
        *self.script.error.lock() = error;
        let _ = self.store.read(&group()).await;
        self.confirm().await;
        self.write().await;
        let _ = self.store.check_writable(&group()).await;
    }

    async fn confirm(&self) {
        let _ = self.store.commit(&group(), &absent(), None, &[]).await;
    }

    async fn write(&self) {
        let value = Value {
            semaphore: Vec::new(),
            lock_times: LockTimes::Absent,
        };
        let _ = self
            .store
            .commit(&group(), &absent(), Some(&value), &[])
            .await;
    }

    fn metrics(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap()
    }

    fn assert_metric(&self, line: &str) {
        let metrics = self.metrics();
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
}

#[tokio::test]
async fn each_call_is_passed_on_counted_and_timed() {
    let fixture = Fixture::new();
    fixture.call_all(None).await;
    fixture.store.verify().await;
    fixture.store.accept_current();
    fixture
        .store
        .announce_contention(&group(), Duration::ZERO)
        .await;
    let calls = std::mem::take(&mut *fixture.script.calls.lock());
    let expected = [
        "read", "confirm", "write", "check", "verify", "accept", "announce",
    ];
    assert_eq!(calls, expected);
    for call in ["read", "confirm", "write", "check"] {
        fixture.assert_metric(&format!(
            "airlock_store_duration_seconds_count{{call=\"{call}\"}} 1"
        ));
    }
    assert!(!fixture.metrics().contains("airlock_store_failures_total{"));
    for (error, reason) in [
        (StoreError::rejected(Injected("")), "rejected"),
        (StoreError::no_space(Injected("")), "no_space"),
        (StoreError::unreachable(Injected("")), "unreachable"),
        (StoreError::unknown(Injected("")), "unknown"),
    ] {
        fixture.call_all(Some(error)).await;
        for call in ["read", "confirm", "write", "check"] {
            fixture.assert_metric(&format!(
                "airlock_store_failures_total{{call=\"{call}\",reason=\"{reason}\"}} 1"
            ));
        }
    }
}

#[tokio::test]
async fn the_gauges_show_whether_the_store_replies_and_accepts_writes() {
    let fixture = Fixture::new();
    for (error, up, writable) in [
        (None, 1, 1),
        (Some(StoreError::unreachable(Injected(""))), 0, 1),
        (Some(StoreError::no_space(Injected(""))), 1, 0),
        // A single group may be concerned.
        (Some(StoreError::rejected(Injected(""))), 1, 0),
        (None, 1, 1),
        (Some(StoreError::unknown(Injected(""))), 0, 1),
    ] {
        fixture.call_all(error).await;
        fixture.assert_metric(&format!("airlock_store_up {up}"));
        fixture.assert_metric(&format!("airlock_store_writable {writable}"));
    }
    fixture.call_all(None).await;
    let error = StoreError::rejected(Injected(""));
    fixture.store.rejects_all_writes(error.clone());
    fixture.assert_metric("airlock_store_up 1");
    fixture.assert_metric("airlock_store_writable 0");
    fixture.store.rejects_all(error);
    fixture.assert_metric("airlock_store_up 0");
}

#[tokio::test]
async fn the_health_has_the_notices_of_the_store() {
    let fixture = Fixture::new();
    let mut health = fixture.store.health();
    fixture.store.refresh_notices();
    assert!(!health.has_changed().unwrap());
    let foreign = Notice::ForeignEndpoint {
        url: "http://b:2379".into(),
        found: "2".into(),
        expected: "1".into(),
    };
    *fixture.script.notices.lock() = vec![foreign.clone()];
    fixture.store.refresh_notices();
    assert_eq!(fixture.store.notices(), std::slice::from_ref(&foreign));
    assert_eq!(health.borrow_and_update().notices, [foreign]);
    fixture.assert_metric("airlock_store_foreign_endpoints 1");
    fixture.store.refresh_notices();
    assert!(!health.has_changed().unwrap());
}

#[tokio::test]
async fn the_end_of_a_watch_shows_whether_the_store_still_replies() {
    let fixture = Fixture::new();
    fixture.store.watch(&[group()], &mut |_, _| {}).await;
    assert_eq!(*fixture.script.calls.lock(), ["watch", "read"]);
    fixture.assert_metric("airlock_store_up 1");
    // A store that refuses the watch has replied.
    *fixture.script.error.lock() = Some(StoreError::rejected(Injected("watch")));
    fixture.store.watch(&[group()], &mut |_, _| {}).await;
    assert_eq!(*fixture.script.calls.lock(), ["watch", "read", "watch"]);
}

#[tokio::test]
async fn only_a_write_shows_that_the_store_accepts_writes() {
    let fixture = Fixture::new();
    fixture.write().await;
    *fixture.script.commits.lock() = true;
    fixture.confirm().await;
    fixture.assert_metric("airlock_store_writable 0");
    fixture.write().await;
    fixture.assert_metric("airlock_store_writable 1");
}
