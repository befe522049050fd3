//! Invariant 11 on etcd: the server uses one cluster, whatever the endpoints and the backups are.

use std::time::Duration;

use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Stored, Value};
use airlock::store::{CommitOutcome, Member, Store as _};
use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::{MAX_WAIT, eventually};
use tokio::time::timeout;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

/// Returns the id of a cluster, as etcd logs it.
fn cluster_id(etcd: &Etcd) -> String {
    let status = eventually("etcd to tell its cluster", || etcd.members[0].status());
    format!("{:x}", status.cluster)
}

/// Restores what etcd contains with another token, which gives the cluster another id.
fn restore_as_another_cluster(etcd: &mut Etcd) {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot");
    etcd.save_snapshot(&snapshot).unwrap();
    etcd.restore_snapshot(&snapshot, "another");
    etcd.wait_until_ready();
}

fn endpoints(clusters: &[&Etcd]) -> Vec<String> {
    clusters.iter().flat_map(|etcd| etcd.endpoints()).collect()
}

fn foreign_endpoints(airlock: &Airlock) -> Option<f64> {
    airlock.metric("airlock_store_foreign_endpoints")
}

#[test]
fn two_clusters_in_one_list_grant_nothing_until_the_configuration_names_one() {
    let (one, two) = (Etcd::start(), Etcd::start());
    let both = endpoints(&[&one, &two]);
    let ids = [cluster_id(&one), cluster_id(&two)];
    let mut airlock = Airlock::on_etcd(&both, "");
    let refused = airlock.client().lock("default", "a");
    assert_eq!((refused.status, &*refused.kind()), (500, "failed_sem_init"));
    for (endpoint, id) in both.iter().zip(&ids) {
        let belongs = format!("{endpoint} belongs to {id}");
        assert!(refused.value().contains(&belongs), "{refused:?}");
    }
    airlock.wait_for_log("the endpoints did not all belong to the same etcd cluster");
    let (status, text) = airlock.status("/readyz");
    assert_eq!(status, 503, "{text}");
    assert!(text.contains(&ids[0]) && text.contains(&ids[1]), "{text}");
    assert_eq!((&*one.get(KEY), &*two.get(KEY)), ("", ""));

    let named = format!("cluster_id = {:?}\n", ids[1]);
    let mut airlock = Airlock::on_etcd(&both, &named);
    assert!(airlock.client().lock("default", "a").granted());
    assert_eq!(one.get(KEY), "");
    assert!(two.get(KEY).contains("\"a\""));
    eventually("the foreign endpoint to be counted", || {
        (foreign_endpoints(&airlock) == Some(1.0)).then_some(())
    });
    let notice = format!(
        "the endpoint {} belongs to the etcd cluster {}, not to the cluster {} that this server uses",
        both[0], ids[0], ids[1]
    );
    airlock.wait_for_log(&notice);
    for path in ["/", "/readyz", "/v1/status"] {
        let (status, text) = airlock.status(path);
        assert_eq!(status, 200, "{text}");
        // The page begins it with a capital letter.
        assert!(text.contains(&notice[1..]), "{path}: {text}");
    }
}

#[test]
fn an_endpoint_of_another_cluster_is_not_used_when_the_first_cluster_fails() {
    let (mut one, mut two) = (Etcd::start(), Etcd::start());
    let both = endpoints(&[&one, &two]);
    two.members[0].kill();
    let mut airlock = Airlock::on_etcd(&both, "");
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    two.members[0].spawn();
    two.wait_until_ready();
    one.members[0].kill();
    // Two requests, of which the second finds the other cluster running for certain.
    for _ in 0..2 {
        let refused = client.lock("default", "b");
        assert!(!refused.granted(), "{refused:?}");
    }
    airlock.wait_for_log("belongs to the etcd cluster");
    assert_eq!(two.get(KEY), "");
    one.members[0].spawn();
    one.wait_until_ready();
    eventually("the first cluster to be used again", || {
        client.lock("default", "a").granted().then_some(())
    });
    let full = client.lock("default", "b");
    assert_eq!(full.kind(), "failed_lock", "{full:?}");
    assert_eq!(two.get(KEY), "");
    let notices = airlock.log().matches("not to the cluster").count();
    assert_eq!(notices, 1, "{}", airlock.log());
}

/// A routine reload must not move the locks to another cluster.
#[test]
fn a_reload_accepts_no_foreign_endpoint_beside_or_instead_of_the_cluster() {
    let (mut one, two) = (Etcd::start(), Etcd::start());
    let endpoints = endpoints(&[&two, &one]);
    // Otherwise the two would be a split from the start.
    two.members[0].freeze();
    let config = format!("[etcd3]\nendpoints = {endpoints:?}\n");
    let mut airlock = Airlock::start(&config);
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    two.members[0].thaw();
    two.wait_until_ready();
    let mut reloads = 0;
    let mut reload = |airlock: &mut Airlock| {
        reloads += 1;
        airlock.reload(&config);
        eventually("the reload", || {
            let seen = airlock.log().matches("configuration reloaded").count();
            (seen == reloads).then_some(())
        });
    };
    // Beside the cluster.
    reload(&mut airlock);
    assert!(client.lock("default", "a").granted());
    assert_eq!(client.lock("default", "b").kind(), "failed_lock");
    // Instead of it.
    one.members[0].kill();
    reload(&mut airlock);
    for _ in 0..3 {
        let refused = client.lock("default", "b");
        assert!(!refused.granted(), "{refused:?}");
    }
    assert_eq!(two.get(KEY), "");
    one.members[0].spawn();
    one.wait_until_ready();
    eventually("the cluster to be used again", || {
        client.lock("default", "a").granted().then_some(())
    });
    assert_eq!(client.lock("default", "b").kind(), "failed_lock");
    assert_eq!(two.get(KEY), "");
}

#[test]
fn a_cluster_with_a_new_id_is_refused_until_an_operator_accepts_it() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        let config = format!("[etcd3]\nendpoints = {:?}\n", etcd.endpoints());
        let airlock = Airlock::start(&config);
        let client = airlock.client();
        assert!(client.lock("default", "a").granted());
        let before = cluster_id(&etcd);
        restore_as_another_cluster(&mut etcd);
        let after = cluster_id(&etcd);
        assert_ne!(before, after);
        let refused = client.unlock("default", "a");
        assert!(!refused.granted(), "{refused:?}");
        for expected in [&before, &after, "restored from a backup", "SIGHUP"] {
            assert!(refused.value().contains(expected), "{refused:?}");
        }
        assert!(etcd.get(KEY).contains("\"a\""));

        airlock.reload(&config);
        eventually("the new cluster to be accepted", || {
            client.unlock("default", "a").granted().then_some(())
        });
        assert!(!etcd.get(KEY).contains("\"a\""));
    }
}

#[test]
fn a_cluster_that_the_configuration_names_is_not_exchanged_by_a_reload() {
    let mut etcd = Etcd::start();
    let id = cluster_id(&etcd);
    let endpoints = etcd.endpoints();
    let config = format!("[etcd3]\nendpoints = {endpoints:?}\ncluster_id = {id:?}\n");
    let mut airlock = Airlock::start(&config);
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    restore_as_another_cluster(&mut etcd);
    airlock.reload(&config);
    airlock.wait_for_log("configuration reloaded");
    let refused = client.unlock("default", "a");
    let named = format!("etcd3.cluster_id is {id:?}");
    assert!(refused.value().contains(&named), "{refused:?}");
    airlock.restart();
    let refused = airlock.client().unlock("default", "a");
    assert!(refused.value().contains(&named), "{refused:?}");
}

/// The file names the old cluster while the server, which started without the name, meets another one.
#[test]
fn a_reload_with_another_store_in_the_file_accepts_no_other_cluster() {
    let mut etcd = Etcd::start();
    let id = cluster_id(&etcd);
    let config = format!("[etcd3]\nendpoints = {:?}\n", etcd.endpoints());
    let mut airlock = Airlock::start(&config);
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    restore_as_another_cluster(&mut etcd);
    airlock.reload(&format!("{config}cluster_id = {id:?}\n"));
    airlock.wait_for_log("configuration reloaded");
    let refused = client.unlock("default", "a");
    let used = format!("this server uses the cluster {id}");
    assert!(refused.value().contains(&used), "{refused:?}");
}

/// Restores a snapshot with the same token, which keeps the id of the cluster, and continues with revisions that were
/// used before.
#[test]
fn a_restored_backup_confirms_no_lock_that_it_does_not_contain_and_loses_no_other_one() {
    for version in Version::ALL {
        // The first request after the restoration is one that the server would confirm, or one that it would write.
        for request in ["v1/pre-reboot", "v1/steady-state"] {
            let mut etcd = Etcd::with(version, 1, &[]);
            let one = Airlock::on_etcd(&etcd.endpoints(), "");
            assert!(one.client().lock("default", "first").granted());
            assert!(one.client().unlock("default", "first").granted());
            let folder = tempfile::tempdir().unwrap();
            let snapshot = folder.path().join("snapshot");
            etcd.save_snapshot(&snapshot).unwrap();
            let id = cluster_id(&etcd);

            // The server knows this value and its revision.
            assert!(one.client().lock("default", "a").granted());
            let known = revision(&etcd);
            etcd.restore_snapshot(&snapshot, "etcd-cluster");
            etcd.wait_until_ready();
            assert_eq!(cluster_id(&etcd), id);
            assert!(revision(&etcd) < known);
            etcd.put(KEY, r#"{"total_slots":1,"holders":["b"]}"#);
            assert_eq!(revision(&etcd), known, "the revision is not used again");

            let answer = one.client().try_post(request, "default", "a").unwrap();
            assert_eq!(answer.granted(), request == "v1/steady-state", "{answer:?}");
            assert!(one.client().unlock("default", "a").granted());
            let stored = etcd.get(KEY);
            assert!(stored.contains("\"b\""), "{stored}");
        }
    }
}

/// The same on the store alone, since a server may have seen the restored value before it confirms or writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_from_before_the_restoration_is_neither_confirmed_nor_overwritten() {
    let value = |text: &str| Value {
        semaphore: text.into(),
        lock_times: LockTimes::Absent,
    };
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        let store = crate::conformance::etcd_store(etcd.endpoints(), Duration::from_secs(10));
        let group = GroupName::new("default").unwrap();
        let write = async |expected: &Stored, text| {
            let new = value(text);
            store.commit(&group, expected, Some(&new), &[]).await
        };
        let absent = store.read(&group).await.unwrap();
        write(&absent, "first").await.unwrap();
        let first = store.read(&group).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("snapshot");
        etcd.save_snapshot(&snapshot).unwrap();
        write(&first, "lost").await.unwrap();
        let lost = store.read(&group).await.unwrap();
        etcd.restore_snapshot(&snapshot, "etcd-cluster");
        etcd.wait_until_ready();
        etcd.put(KEY, "other");
        // The first call finds that the connection was lost.
        let current = timeout(MAX_WAIT, async {
            loop {
                if let Ok(current) = store.read(&group).await {
                    return current;
                }
            }
        });
        let current = current.await.unwrap();
        assert_eq!(current.revision, lost.revision);
        let another = GroupName::new("another").unwrap();
        let unused = store.read(&another).await.unwrap();
        let member = [Member {
            group: &group,
            stored: &lost,
        }];
        let with_member = async |new: Option<&Value>| {
            let outcome = store.commit(&another, &unused, new, &member).await;
            outcome.unwrap()
        };
        for outcome in [
            store.commit(&group, &lost, None, &[]).await.unwrap(),
            write(&lost, "new").await.unwrap(),
            with_member(None).await,
            with_member(Some(&value("new"))).await,
        ] {
            assert!(
                matches!(outcome, CommitOutcome::Conflict(_)),
                "{version:?}: {outcome:?}"
            );
        }
        assert_eq!(etcd.get(KEY), "other");
    }
}

#[test]
fn a_cluster_that_keeps_its_id_and_goes_back_is_logged() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "");
        assert!(airlock.client().lock("default", "a").granted());
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("snapshot");
        etcd.save_snapshot(&snapshot).unwrap();
        assert!(airlock.client().unlock("default", "a").granted());
        etcd.restore_snapshot(&snapshot, "etcd-cluster");
        airlock.wait_for_log("etcd went back to an earlier revision");
    }
}

fn revision(etcd: &Etcd) -> i64 {
    eventually("etcd to tell its revision", || etcd.members[0].status()).revision
}
