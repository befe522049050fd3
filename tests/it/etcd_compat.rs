//! Compatibility with the database of coreos/airlock: the same bytes, and concurrent use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use airlock::config::MAX_ETCD_SLOTS;
use airlock::lock::history::{CompletedHold, History};
use airlock::lock::semaphore::Semaphore;
use airlock::lock::{GroupName, codec};
use airlock::store::{CommitOutcome, Store as _, StoreError};
use jiff::Timestamp;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::coreos_airlock::{CoreosAirlock, Reply};
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::eventually;
use airlock_test_support::history::most_holders;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";
const TIMES: &str = "com.coreos.airlock/groups/default/v1/lock-times";

#[test]
fn keys_and_values_equal_those_of_coreos_airlock_byte_for_byte() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &[]);
        let airlock = Airlock::on_etcd(
            &etcd.endpoints(),
            "[lock]\ndefault_slots = 3\n[[lock.groups]]\nname = \"a b/é\"\n",
        );
        let client = airlock.client();
        for id in ["c", "a", "<b>"] {
            assert!(client.lock("default", id).granted());
        }
        assert_eq!(
            etcd.get(KEY),
            r#"{"total_slots":3,"holders":["\u003cb\u003e","a","c"]}"#
        );
        let times: serde_json::Value = serde_json::from_str(&etcd.get(TIMES)).unwrap();
        assert_eq!(times["holders"].as_object().unwrap().len(), 3);
        assert!(client.lock("a b/é", "n").granted());
        assert_eq!(
            etcd.get("com.coreos.airlock/groups/a+b%2F%C3%A9/v1/semaphore"),
            r#"{"total_slots":3,"holders":["n"]}"#
        );
        for id in ["c", "a", "<b>"] {
            assert!(client.unlock("default", id).granted());
        }
        assert_eq!(etcd.get(KEY), r#"{"total_slots":3,"holders":[]}"#);
    }
}

#[test]
fn the_stored_slots_take_precedence_and_a_difference_is_a_warning() {
    let etcd = Etcd::start();
    etcd.put(KEY, r#"{"total_slots":1,"holders":["z","a"]}"#);
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 5");
    let refused = airlock.client().lock("default", "n");
    assert_eq!(refused.value(), "all 1 semaphore slots currently locked");
    airlock.wait_for_log(
        "level=warning msg=\"semaphore max slots consistency check failed\" config=5 database=1 group=default",
    );
    airlock.wait_for_log(
        "level=warning msg=\"semaphore locks consistency check failed\" group=default holder=2 slots=1",
    );
}

#[test]
fn holders_are_read_in_any_order_and_written_sorted() {
    let etcd = Etcd::start();
    etcd.put(KEY, r#"{"total_slots":4,"holders":["z","b","m"]}"#);
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
    let client = airlock.client();
    assert!(
        client.lock("default", "b").granted(),
        "a holder of the unsorted list"
    );
    assert!(client.unlock("default", "z").granted());
    assert!(client.lock("default", "a").granted());
    assert_eq!(
        etcd.get(KEY),
        r#"{"total_slots":4,"holders":["a","b","m"]}"#
    );
}

#[test]
fn a_damaged_value_is_reported_never_overwritten_and_usable_once_repaired() {
    let etcd = Etcd::start();
    for damaged in ["{\"total_slots\":1,\"holders\":[7]}", "not json", ""] {
        etcd.put(KEY, damaged);
        let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
        let client = airlock.client();
        for answer in [client.lock("default", "n"), client.unlock("default", "n")] {
            assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
            let value = answer.value();
            assert!(value.contains(KEY), "{value}");
            let shows_value = !damaged.is_empty() && value.contains(damaged);
            assert!(!shows_value && !value.contains("[7]"), "{value}");
        }
        assert_eq!(etcd.get(KEY), damaged);
        etcd.put(KEY, r#"{"total_slots":1,"holders":[]}"#);
        assert!(client.lock("default", "n").granted(), "repaired");
        assert!(client.unlock("default", "n").granted());
    }
}

/// Returns the largest history that is stored.
fn full_history() -> History {
    let hold = CompletedHold {
        id: "f".repeat(32).into(),
        name: Some("node".into()),
        peer: Some([2001, 0xdb8, 0, 0, 0xffff, 0xffff, 0xffff, 0xffff].into()),
        from: Some(Timestamp::UNIX_EPOCH),
        until: Timestamp::UNIX_EPOCH,
        by: Some("administrator@operations".into()),
        after_gap: false,
    };
    let history = History::default().append(&vec![hold; History::MAX_HOLDS]);
    assert_eq!(history.holds().count(), History::MAX_HOLDS);
    history
}

#[test]
fn lock_times_are_ignored_after_a_write_by_coreos_airlock() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 5");
    let age = || airlock.metric("airlock_oldest_lock_age_seconds{group=\"default\"}");
    assert!(airlock.client().lock("default", "ours").granted());
    assert!(age().unwrap() > 0.0);
    etcd.put(KEY, r#"{"total_slots":5,"holders":["ours","theirs"]}"#);
    eventually("the age to be unknown", || {
        (age() == Some(0.0)).then_some(())
    });
    assert!(airlock.client().lock("default", "new").granted());
    let times = etcd.get(TIMES);
    assert!(
        times.contains("\"new\":") && !times.contains("ours"),
        "{times}"
    );
}

#[test]
fn the_gauges_show_changes_by_other_writers_and_survive_a_restart() {
    let etcd = Etcd::start();
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 2");
    let holders = |airlock: &Airlock| {
        airlock.metric("airlock_database_semaphore_lock_holders{group=\"default\"}")
    };
    let slots =
        |airlock: &Airlock| airlock.metric("airlock_database_semaphore_slots{group=\"default\"}");
    eventually("the first read", || {
        (holders(&airlock) == Some(0.0)).then_some(())
    });
    assert_eq!(
        slots(&airlock),
        Some(2.0),
        "an absent value counts as the value that its first use creates"
    );
    etcd.put(KEY, r#"{"total_slots":7,"holders":["a","b","c"]}"#);
    eventually("the change", || {
        (holders(&airlock) == Some(3.0)).then_some(())
    });
    assert_eq!(slots(&airlock), Some(7.0));
    etcd.ctl(&["del", KEY]);
    eventually("the deletion", || {
        (holders(&airlock) == Some(0.0)).then_some(())
    });
    etcd.put(KEY, r#"{"total_slots":7,"holders":["a"]}"#);
    airlock.restart();
    eventually("the value after the restart", || {
        (holders(&airlock) == Some(1.0)).then_some(())
    });
}

#[test]
fn the_gauges_show_changes_of_the_file_by_another_process() {
    let airlock = Airlock::embedded("[lock]\ndefault_slots = 5");
    let path = airlock.folder().join("airlock.db");
    let other = Airlock::start(&format!(
        "[embedded]\npath = {path:?}\n[lock]\ndefault_slots = 5"
    ));
    assert!(other.client().lock("default", "n").granted());
    eventually("the lock of the other server", || {
        let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        (airlock.metric(name) == Some(1.0)).then_some(())
    });
    assert!(airlock.client().unlock("default", "n").granted());
    assert!(other.client().lock("default", "m").granted());
}

/// Both kinds of server use one key, each with its own nodes. A node increments the counter right after a grant and
/// decrements it right before its steady-state request, so a counter above the slots is an over-grant. The values in
/// etcd show one even if no node observes it.
#[test]
fn invariant_2_coreos_airlock_and_airlock_together_never_over_grant() {
    const SLOTS: u64 = 2;
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 2");
    let away = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(3);

    let ours: Vec<_> = (0..8)
        .map(|node| {
            let (client, away) = (airlock.client(), Arc::clone(&away));
            std::thread::spawn(move || {
                let (id, mut attempts) = (format!("ours-{node}"), 0);
                while Instant::now() < until || attempts == 0 {
                    let answer = client.lock("default", &id);
                    if !answer.granted() {
                        assert!(answer.value().contains("currently locked"), "{answer:?}");
                        continue;
                    }
                    assert!(away.fetch_add(1, Ordering::SeqCst) < SLOTS, "over-granted");
                    away.fetch_sub(1, Ordering::SeqCst);
                    assert!(client.unlock("default", &id).granted());
                    attempts += 1;
                }
            })
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let theirs: Vec<_> = (0..4)
        .map(|node| {
            let (endpoints, away) = (etcd.endpoints(), Arc::clone(&away));
            runtime.spawn(async move {
                let id = format!("theirs-{node}");
                let mut group = CoreosAirlock::new(&endpoints, "default", SLOTS).await;
                while Instant::now() < until {
                    if group.lock(&id).await != Reply::Granted {
                        continue;
                    }
                    assert!(away.fetch_add(1, Ordering::SeqCst) < SLOTS, "over-granted");
                    away.fetch_sub(1, Ordering::SeqCst);
                    while group.unlock(&id).await != Reply::Granted {}
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for node in theirs {
            node.await.unwrap();
        }
    });
    for node in ours {
        node.join().unwrap();
    }
    assert_eq!(etcd.get(KEY), r#"{"total_slots":2,"holders":[]}"#);
    let most = runtime.block_on(most_holders(&etcd.endpoints(), KEY));
    assert_eq!(most as u64, SLOTS);
}

#[tokio::test]
async fn etcd_accepts_the_maximum_of_holders_and_an_error_names_the_remedy_for_more() {
    let etcd = Etcd::start();
    let store = crate::conformance::etcd_store(etcd.endpoints(), Duration::from_secs(30));
    let group = GroupName::new("full").unwrap();
    let write = async |holders: u64| {
        let mut semaphore = Semaphore::new(holders);
        for index in 0..holders {
            let id = format!("{index:032x}").into();
            semaphore
                .holders
                .insert(id, Some(Timestamp::UNIX_EPOCH).into());
        }
        let expected = store.read(&group).await.unwrap();
        let value = codec::encode(&semaphore, &[], &full_history());
        store.commit(&group, &expected, Some(&value), &[]).await
    };
    // The second commit also contains the value that it compares.
    for _ in 0..2 {
        assert!(matches!(
            write(MAX_ETCD_SLOTS).await,
            Ok(CommitOutcome::Committed(_))
        ));
    }
    let refused = write(MAX_ETCD_SLOTS * 12 / 10).await;
    let Err(StoreError::Rejected(reason)) = refused else {
        panic!("{refused:?}");
    };
    let reason = reason.to_string();
    assert!(
        reason.contains("too large") && reason.contains("fewer slots"),
        "{reason}"
    );
}
