//! The contract of `airlock::store`, checked against every backend: memory, SQLite, etcd 3.4 and 3.5.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use airlock::config::EtcdSettings;
use airlock::store::etcd::{Credentials, EtcdStore};
use airlock::store::memory::MemoryStore;
use airlock::store::sqlite::SqliteStore;
use airlock::store::{Commit, GroupName, Revision, Seen, Store, Stored, Value};
use etcd_client::{Client, Compare, CompareOp, Txn};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::etcd::{Etcd, Version};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A backend, and the means of another program to write into it.
trait Backend {
    /// A store on the same data; each call is another server's.
    fn store(&self) -> Arc<dyn Store>;
    /// Writes a value without lock times, as an Airlock or a person would; `None` deletes it.
    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>);
}

#[derive(Default)]
struct Memory(Arc<MemoryStore>);

struct Sqlite(TempDir);

struct EtcdBackend(Etcd);

impl Backend for Memory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as _
    }

    fn overwrite(&self, group: &GroupName, semaphore: Option<&str>) {
        let value = semaphore.map(|text| Value {
            semaphore: text.into(),
            lock_times: None,
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

/// A store without credentials.
pub fn etcd_store(endpoints: Vec<String>, timeout: Duration) -> EtcdStore {
    let settings = EtcdSettings {
        endpoints: endpoints.clone(),
        ca_cert_path: None,
        client_cert: None,
        user: None,
    };
    let credentials = Credentials::load(settings).unwrap();
    EtcdStore::new(endpoints, Arc::new(credentials), timeout)
}

#[test]
fn memory_fulfils_the_contract() {
    fulfils_the_contract(&Memory::default());
}

#[test]
fn sqlite_fulfils_the_contract() {
    fulfils_the_contract(&Sqlite(tempfile::tempdir().unwrap()));
}

#[test]
fn etcd_3_4_fulfils_the_contract() {
    fulfils_the_contract(&EtcdBackend(Etcd::start()));
}

#[test]
fn etcd_3_5_fulfils_the_contract() {
    fulfils_the_contract(&EtcdBackend(Etcd::with(Version::V3_5, 1, &[])));
}

/// design.md, "Traps": etcd answers a transaction that has no linearizable range from the member's own
/// state. A member without a quorum cannot know whether its state is the current one.
#[test]
fn invariant_4_an_etcd_member_without_a_quorum_confirms_nothing() {
    for version in [Version::V3_4, Version::V3_5] {
        let etcd = Etcd::with(version, 3, &[]);
        let group = group("g");
        let alone = vec![etcd.members[0].endpoint()];
        let store = etcd_store(alone, Duration::from_secs(2));
        Runtime::new().unwrap().block_on(async {
            let revision = write(&store, &group, Revision::ABSENT, &value("one")).await;
            for member in &etcd.members[1..] {
                member.freeze();
            }
            // The trap is there: without the ranges the member would vouch for what it has.
            let client = Client::connect([etcd.members[0].endpoint()], None).await;
            let mut client = client.unwrap().kv_client();
            let key = "com.coreos.airlock/groups/g/v1/semaphore";
            let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision.0);
            let bare = client.txn(Txn::new().when([unchanged]));
            let bare = timeout(PATIENCE, bare).await.unwrap().unwrap();
            assert!(bare.succeeded());

            let confirmed = store.commit(&group, revision, None).await;
            assert!(confirmed.is_err(), "{version:?}: {confirmed:?}");
            let read = store.read(&group).await;
            assert!(read.is_err(), "{version:?}: {read:?}");

            for member in &etcd.members[1..] {
                member.thaw();
            }
            etcd.wait_until_ready();
            let confirmed = store.commit(&group, revision, None).await.unwrap();
            assert_eq!(confirmed, Commit::Committed(revision));
        });
    }
}

/// Each clause has a group of its own.
fn fulfils_the_contract(backend: &dyn Backend) {
    Runtime::new().unwrap().block_on(async {
        what_is_written_is_read(backend).await;
        groups_do_not_touch_each_other(backend).await;
        a_lost_comparison_brings_the_current_value_and_writes_nothing(backend).await;
        a_confirmation_writes_nothing(backend).await;
        a_value_made_again_has_a_revision_that_it_never_had(backend).await;
        lock_times_do_not_outlive_the_write_of_another(backend).await;
        any_text_is_kept_as_it_is(backend).await;
        a_race_ends_at_the_exact_count(backend).await;
        who_follows_sees_the_current_values_and_every_last_change(backend).await;
    });
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn value(semaphore: &str) -> Value {
    Value {
        semaphore: semaphore.into(),
        lock_times: Some(format!("times of {semaphore}").into()),
    }
}

/// Commits what must not conflict.
async fn write(store: &dyn Store, group: &GroupName, expected: Revision, new: &Value) -> Revision {
    match store.commit(group, expected, Some(new)).await.unwrap() {
        Commit::Committed(revision) => revision,
        conflict @ Commit::Conflict(_) => panic!("{conflict:?}"),
    }
}

async fn what_is_written_is_read(backend: &dyn Backend) {
    let (store, other, group) = (backend.store(), backend.store(), group("read"));
    let absent = store.read(&group).await.unwrap();
    assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
    let mut revision = Revision::ABSENT;
    for text in ["one", "two"] {
        let new = write(&*store, &group, revision, &value(text)).await;
        assert!(new > revision);
        revision = new;
        for store in [&store, &other] {
            let stored = store.read(&group).await.unwrap();
            assert_eq!(
                (stored.revision, stored.value),
                (revision, Some(value(text)))
            );
            assert!(stored.as_of >= revision);
        }
    }
}

async fn groups_do_not_touch_each_other(backend: &dyn Backend) {
    let store = backend.store();
    // One name begins with the other; the third needs escaping.
    let groups = ["a", "a/v1", "a b"].map(group);
    for group in &groups {
        write(&*store, group, Revision::ABSENT, &value(group.as_str())).await;
    }
    for group in &groups {
        let stored = store.read(group).await.unwrap();
        assert_eq!(stored.value, Some(value(group.as_str())));
    }
}

async fn a_lost_comparison_brings_the_current_value_and_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("lost"));
    let stale = write(&*store, &group, Revision::ABSENT, &value("one")).await;
    write(&*backend.store(), &group, stale, &value("two")).await;
    let current = store.read(&group).await.unwrap();
    for expected in [Revision::ABSENT, stale, Revision(i64::MAX)] {
        for new in [None, Some(&value("three"))] {
            let lost = store.commit(&group, expected, new).await.unwrap();
            let Commit::Conflict(Stored {
                revision, value, ..
            }) = lost
            else {
                panic!("{expected:?} {new:?}: {lost:?}");
            };
            assert_eq!((revision, &value), (current.revision, &current.value));
        }
    }
    let after = store.read(&group).await.unwrap();
    assert_eq!(
        (after.revision, after.value),
        (current.revision, current.value)
    );
}

async fn a_confirmation_writes_nothing(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("confirmed"));
    let confirmed = store.commit(&group, Revision::ABSENT, None).await.unwrap();
    assert_eq!(confirmed, Commit::Committed(Revision::ABSENT));
    assert_eq!(store.read(&group).await.unwrap().value, None);
    let revision = write(&*store, &group, Revision::ABSENT, &value("one")).await;
    let before = store.read(&group).await.unwrap();
    let confirmed = store.commit(&group, revision, None).await.unwrap();
    assert_eq!(confirmed, Commit::Committed(revision));
    // Nor does the store's own clock move.
    assert_eq!(store.read(&group).await.unwrap(), before);
}

async fn a_value_made_again_has_a_revision_that_it_never_had(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("again"));
    let mut revisions = BTreeSet::new();
    for _ in 0..3 {
        let revision = write(&*store, &group, Revision::ABSENT, &value("one")).await;
        assert!(revisions.insert(revision), "{revision:?} in {revisions:?}");
        backend.overwrite(&group, None);
        let absent = store.read(&group).await.unwrap();
        assert_eq!((absent.revision, absent.value), (Revision::ABSENT, None));
        let lost = store.commit(&group, revision, None).await.unwrap();
        assert!(matches!(lost, Commit::Conflict(_)), "{lost:?}");
    }
}

async fn lock_times_do_not_outlive_the_write_of_another(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("times"));
    write(&*store, &group, Revision::ABSENT, &value("one")).await;
    backend.overwrite(&group, Some("two"));
    let stored = store.read(&group).await.unwrap();
    let others = Value {
        semaphore: b"two".into(),
        lock_times: None,
    };
    assert_eq!(stored.value, Some(others.clone()));
    let lost = store.commit(&group, Revision::ABSENT, None).await.unwrap();
    let Commit::Conflict(current) = lost else {
        panic!("{lost:?}");
    };
    assert_eq!(current.value, Some(others));
    write(&*store, &group, stored.revision, &value("three")).await;
    assert_eq!(
        store.read(&group).await.unwrap().value,
        Some(value("three"))
    );
}

async fn any_text_is_kept_as_it_is(backend: &dyn Backend) {
    let (store, group) = (backend.store(), group("text"));
    let mut revision = Revision::ABSENT;
    let long = "x".repeat(600_000);
    for text in ["", " \"'\\\n\t\u{1}é\u{2028}😀 ", &long] {
        revision = write(&*store, &group, revision, &value(text)).await;
        assert_eq!(store.read(&group).await.unwrap().value, Some(value(text)));
    }
}

/// Servers count to 200 together, each from what it last saw.
async fn a_race_ends_at_the_exact_count(backend: &dyn Backend) {
    const SERVERS: usize = 8;
    const EACH: usize = 25;
    let servers: Vec<_> = (0..SERVERS)
        .map(|_| {
            let store = backend.store();
            tokio::spawn(async move {
                let group = group("race");
                let mut known = store.read(&group).await.unwrap();
                let mut counted = Vec::new();
                while counted.len() < EACH {
                    let count = known.value.map_or(0, |value| {
                        String::from_utf8(value.semaphore).unwrap().parse().unwrap()
                    });
                    let next = value(&(count + 1_usize).to_string());
                    let commit = store.commit(&group, known.revision, Some(&next));
                    known = match commit.await.unwrap() {
                        Commit::Committed(revision) => {
                            counted.push(count + 1);
                            Stored {
                                revision,
                                value: Some(next),
                                as_of: revision,
                            }
                        }
                        Commit::Conflict(current) => current,
                    };
                }
                counted
            })
        })
        .collect();
    let mut counted = Vec::new();
    for server in servers {
        counted.extend(server.await.unwrap());
    }
    counted.sort_unstable();
    // Each number was reached by exactly one server.
    assert_eq!(counted, (1..=SERVERS * EACH).collect::<Vec<_>>());
    let stored = backend.store().read(&group("race")).await.unwrap();
    let last = value(&(SERVERS * EACH).to_string());
    assert_eq!(stored.value, Some(last));
}

async fn who_follows_sees_the_current_values_and_every_last_change(backend: &dyn Backend) {
    let (store, groups) = (backend.store(), [group("followed"), group("later")]);
    let first = write(&*store, &groups[0], Revision::ABSENT, &value("first")).await;

    let (sender, mut seen) = mpsc::unbounded_channel();
    let following = {
        let (store, groups) = (backend.store(), groups.clone());
        tokio::spawn(async move {
            store
                .follow(&groups, &mut |group, seen| {
                    // Nobody looks any more at the end of the test.
                    let _ = sender.send((group.clone(), seen));
                })
                .await
        })
    };
    let mut until = async |group: &GroupName, revision: Revision| -> Stored {
        let search = async {
            loop {
                let (found, seen) = seen.recv().await.unwrap();
                let (Seen::Current(stored) | Seen::Change(stored)) = seen;
                if found == *group && stored.revision == revision {
                    return stored;
                }
            }
        };
        timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("{revision:?} of {group} was not reported"))
    };
    assert_eq!(until(&groups[0], first).await.value, Some(value("first")));
    until(&groups[1], Revision::ABSENT).await;

    // By us, lock times included; by another; and gone.
    let second = write(&*store, &groups[0], first, &value("second")).await;
    assert_eq!(until(&groups[0], second).await.value, Some(value("second")));
    let created = write(&*store, &groups[1], Revision::ABSENT, &value("created")).await;
    assert_eq!(
        until(&groups[1], created).await.value,
        Some(value("created"))
    );
    backend.overwrite(&groups[0], Some("by another"));
    let third = store.read(&groups[0]).await.unwrap();
    assert_eq!(until(&groups[0], third.revision).await.value, third.value);
    backend.overwrite(&groups[0], None);
    assert_eq!(until(&groups[0], Revision::ABSENT).await.value, None);

    following.abort();
}
