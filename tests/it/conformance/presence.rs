//! The documents of servers in SQLite and in etcd: what happens if keys, leases, or servers are lost.

use airlock::store::presence::{Liveness, MAX_DOCUMENT, Published};
use airlock::store::{Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Runtime;

use super::backend::{Backend, EtcdBackend, Sqlite, etcd_store, etcd_store_of};
use super::{require_a_user, require_a_user_with};
use airlock_test_support::MAX_WAIT;
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, Version};

const KEYS: &str = "com.coreos.airlock/groups/#servers/h/";

/// Publishes as the server `h`.
async fn publish(store: &dyn Store, document: &str) {
    store.publish("h", document).await.unwrap();
}

/// Returns the names, the documents, and whether their servers run.
async fn listed(store: &dyn Store) -> Vec<(String, String, bool)> {
    let published = store.published().await.unwrap().into_iter();
    let row = |found: Published| {
        let is_alive = found.liveness == Liveness::Alive;
        (found.server, found.document.to_string(), is_alive)
    };
    published.map(row).collect()
}

fn alive(server: &str, document: &str) -> (String, String, bool) {
    (server.into(), document.into(), true)
}

/// Asserts that a server is gone, and was seen less than a minute ago.
async fn assert_gone_just_now(store: &dyn Store) {
    let published = store.published().await.unwrap();
    let Liveness::Gone { last_seen } = published[0].liveness else {
        panic!("{published:?}");
    };
    let age = Timestamp::now().duration_since(last_seen.unwrap());
    assert!(age < SignedDuration::from_mins(1), "{published:?}");
}

/// Returns the ids of all leases.
fn leases(etcd: &Etcd) -> Vec<String> {
    let listed = etcd.ctl(&["lease", "list"]);
    let ids = listed.lines().map(str::trim);
    let ids = ids.filter(|line| !line.is_empty() && !line.contains("found"));
    ids.map(str::to_owned).collect()
}

/// Returns the revision of the store.
fn revision(etcd: &Etcd) -> u64 {
    let reply = etcd.ctl(&["get", "any", "--write-out", "json"]);
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    reply["header"]["revision"].as_u64().unwrap()
}

/// A server is replaced by another one with the same name, which starts first.
async fn a_server_that_ends_leaves_its_successor_listed(backend: &dyn Backend) {
    let [old, new] = [(), ()].map(|()| backend.store());
    publish(&*old, "old").await;
    publish(&*new, "new").await;
    assert_eq!(listed(&*old).await, [alive("h", "new")]);
    old.withdraw("h").await.unwrap();
    assert_eq!(listed(&*new).await, [alive("h", "new")]);
    new.withdraw("h").await.unwrap();
    assert_eq!(listed(&*old).await, []);
}

#[test]
fn a_server_that_ends_leaves_its_successor_listed_in_sqlite() {
    let backend = Sqlite(tempfile::tempdir().unwrap());
    let test = a_server_that_ends_leaves_its_successor_listed(&backend);
    Runtime::new().unwrap().block_on(test);
}

#[test]
fn a_server_that_ends_leaves_its_successor_listed_and_no_lease_in_etcd() {
    for version in Version::ALL {
        let backend = EtcdBackend(Etcd::with(version, 1, &[]));
        let test = a_server_that_ends_leaves_its_successor_listed(&backend);
        Runtime::new().unwrap().block_on(test);
        assert_eq!(leases(&backend.0), [""; 0], "{version:?}");
    }
}

#[test]
fn the_documented_permission_suffices_in_etcd() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        let user = require_a_user_with(&mut etcd, &[ALL_GROUPS]);
        let store = etcd_store_of(Some(user.settings()), etcd.endpoints(), MAX_WAIT);
        Runtime::new().unwrap().block_on(async {
            publish(&store, "one").await;
            publish(&store, "one").await;
            assert_eq!(listed(&store).await, [alive("h", "one")]);
            store.withdraw("h").await.unwrap();
            assert_eq!(listed(&store).await, [], "{version:?}");
        });
        assert_eq!(leases(&etcd), [""; 0], "{version:?}");
    }
}

#[test]
fn lost_keys_and_leases_are_replaced_and_nothing_else_is_written() {
    let etcd = Etcd::start();
    let [own, other] = [(), ()].map(|()| etcd_store(etcd.endpoints(), MAX_WAIT));
    let expected = [alive("h", "one")];
    Runtime::new().unwrap().block_on(async {
        publish(&own, "one").await;
        let before = revision(&etcd);
        publish(&own, "one").await;
        assert_eq!(revision(&etcd), before);

        // An operator deletes the keys of a server that runs.
        for key in ["document", "seen", "alive"] {
            etcd.ctl(&["del", &format!("{KEYS}{key}")]);
            own.published().await.unwrap();
            publish(&own, "one").await;
            assert_eq!(listed(&other).await, expected, "{key}");
        }

        // The server does not run for a while, or etcd was restored from a backup.
        for lease in leases(&etcd) {
            etcd.ctl(&["lease", "revoke", &lease]);
        }
        assert_eq!(listed(&other).await, []);
        publish(&own, "one").await;
        assert_eq!(listed(&other).await, expected);
        assert_eq!(leases(&etcd).len(), 2);
    });
}

#[test]
fn a_server_that_is_gone_is_listed_for_a_day_with_the_time_at_which_it_was_seen() {
    let etcd = Etcd::start();
    let [own, other] = [(), ()].map(|()| etcd_store(etcd.endpoints(), MAX_WAIT));
    Runtime::new().unwrap().block_on(async {
        publish(&own, "one").await;
        // As after 45 s.
        etcd.ctl(&["del", &format!("{KEYS}alive")]);
        assert_gone_just_now(&other).await;
        // The time is known from now on.
        assert_gone_just_now(&other).await;
    });
    let of_a_day = leases(&etcd).into_iter().filter(|lease| {
        let told = etcd.ctl(&["lease", "timetolive", lease, "--keys"]);
        told.contains("granted with TTL(86400s)")
            && ["document", "seen"].iter().all(|key| told.contains(key))
    });
    assert_eq!(of_a_day.count(), 1);
}

#[test]
fn a_document_that_no_server_can_have_written_is_not_listed() {
    let too_large = "x".repeat(MAX_DOCUMENT + 1);
    let etcd = Etcd::start();
    let store = etcd_store(etcd.endpoints(), MAX_WAIT);
    let runtime = Runtime::new().unwrap();
    etcd.put(&format!("{KEYS}document"), &too_large);
    runtime.block_on(store.publish("b", "one")).unwrap();
    assert_eq!(runtime.block_on(listed(&store)), [alive("b", "one")]);

    let backend = Sqlite(tempfile::tempdir().unwrap());
    let store = backend.store();
    runtime.block_on(store.publish("b", "one")).unwrap();
    let file = rusqlite::Connection::open(backend.0.path().join("db")).unwrap();
    let add = "INSERT INTO servers VALUES (?1, unixepoch(), ?2)";
    file.execute(add, ["too large", &too_large]).unwrap();
    let no_text = "INSERT INTO servers VALUES ('no text', unixepoch(), CAST(x'ff' AS TEXT))";
    file.execute(no_text, ()).unwrap();
    assert_eq!(runtime.block_on(listed(&*store)), [alive("b", "one")]);
}

#[test]
fn a_server_on_sqlite_that_is_gone_is_listed_for_a_day() {
    let backend = Sqlite(tempfile::tempdir().unwrap());
    let [own, other] = [(), ()].map(|()| backend.store());
    let file = rusqlite::Connection::open(backend.0.path().join("db")).unwrap();
    let age = |seconds: i64| {
        let sql = "UPDATE servers SET seen = unixepoch() - ?1 WHERE server = 'h'";
        file.execute(sql, [seconds]).unwrap();
    };
    Runtime::new().unwrap().block_on(async {
        publish(&*own, "one").await;
        // A document is written once a minute, and then the server counts as running for 45 s.
        age(100);
        assert_eq!(listed(&*other).await, [alive("h", "one")]);
        age(110);
        let published = other.published().await.unwrap();
        let Liveness::Gone { last_seen } = published[0].liveness else {
            panic!("{published:?}");
        };
        let age_of = Timestamp::now().duration_since(last_seen.unwrap());
        assert!((110..170).contains(&age_of.as_secs()), "{published:?}");
        age(86_000);
        other.publish("b", "two").await.unwrap();
        assert_eq!(listed(&*other).await.len(), 2);
        age(86_500);
        other.publish("b", "three").await.unwrap();
        assert_eq!(listed(&*other).await, [alive("b", "three")]);
        // Under another name, the same document is written at once.
        other.publish("c", "three").await.unwrap();
        assert_eq!(
            listed(&*own).await,
            [alive("b", "three"), alive("c", "three")]
        );
    });
}

#[test]
fn after_etcd_has_denied_a_document_it_is_not_asked_again_soon() {
    let mut etcd = Etcd::start();
    let user = require_a_user(&mut etcd);
    let store = etcd_store_of(Some(user.settings()), etcd.endpoints(), MAX_WAIT);
    let runtime = Runtime::new().unwrap();
    let refused = || {
        let error = runtime.block_on(store.publish("h", "one")).unwrap_err();
        assert!(matches!(error, StoreError::Rejected(_)), "{error}");
        error.to_string()
    };
    let first = refused();
    assert!(first.contains("permission denied"), "{first}");
    let before = etcd.calls();
    assert_eq!(refused(), first);
    let calls = etcd.calls_since(&before);
    assert_eq!(calls.get("Txn"), None, "{calls:?}");
    // It leaves no lease for each attempt.
    assert_eq!(leases(&etcd).len(), 2);
}
