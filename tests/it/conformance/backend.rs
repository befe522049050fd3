//! The backends of the conformance suite.

use std::sync::Arc;
use std::time::Duration;

use airlock::config::{EtcdSettings, EtcdUser};
use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Value};
use airlock::store::Store;
use airlock::store::etcd::{Credentials, EtcdStore};
use airlock::store::memory::MemoryStore;
use airlock::store::sqlite::SqliteStore;
use tempfile::TempDir;

use airlock_test_support::etcd::Etcd;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A backend, with write access for another program.
pub(crate) trait Backend {
    /// Opens a store with the same data, as another server would.
    fn store(&self) -> Arc<dyn Store>;
    /// Writes a value without lock times, as coreos/airlock or an administrator would; `None` deletes it.
    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>);
}

#[derive(Default)]
pub(crate) struct Memory(Arc<MemoryStore>);

pub(crate) struct Sqlite(pub(crate) TempDir);

pub(crate) struct EtcdBackend(pub(crate) Etcd);

impl Backend for Memory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as _
    }

    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>) {
        let value = semaphore.map(|text| Value {
            semaphore: text.into(),
            lock_times: LockTimes::Absent,
        });
        self.0.overwrite(group, value);
    }
}

impl Backend for Sqlite {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.0.path().join("db"), TIMEOUT).unwrap())
    }

    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>) {
        let mut file = rusqlite::Connection::open(self.0.path().join("db")).unwrap();
        file.busy_timeout(TIMEOUT).unwrap();
        let transaction = file.transaction().unwrap();
        transaction
            .execute("UPDATE clock SET revision = revision + 1", ())
            .unwrap();
        let group = group.as_str();
        match semaphore {
            Some(text) => transaction.execute(
                "INSERT OR REPLACE INTO semaphores SELECT ?1, revision, ?2, NULL FROM clock",
                (group, text),
            ),
            None => transaction.execute("DELETE FROM semaphores WHERE group_name = ?1", [group]),
        }
        .unwrap();
        transaction.commit().unwrap();
    }
}

impl Backend for EtcdBackend {
    fn store(&self) -> Arc<dyn Store> {
        let endpoints = self.0.endpoints().into_iter();
        Arc::new(etcd_store(endpoints.collect(), TIMEOUT))
    }

    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>) {
        let key = format!("com.coreos.airlock/groups/{group}/v1/semaphore");
        match semaphore {
            Some(text) => self.0.put(&key, text),
            None => drop(self.0.ctl(&["del", &key])),
        }
    }
}

/// Returns an etcd store without credentials.
pub(crate) fn etcd_store(endpoints: Vec<String>, timeout: Duration) -> EtcdStore {
    etcd_store_of(None, endpoints, timeout)
}

/// Returns an etcd store that logs in as a user.
pub(crate) fn etcd_store_of(
    user: Option<EtcdUser>,
    endpoints: Vec<String>,
    timeout: Duration,
) -> EtcdStore {
    let settings = EtcdSettings {
        endpoints: endpoints.clone(),
        cluster_id: None,
        ca_cert_path: None,
        client_cert: None,
        user,
    };
    let credentials = Credentials::load(settings).unwrap();
    EtcdStore::new(endpoints, Arc::new(credentials), timeout)
}
