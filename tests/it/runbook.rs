//! The walkthrough of docs/operations.md: a node dies holding a lock, the alert fires, the page shows the holder,
//! one command unlocks it, and the next node reboots.

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::prometheus::Prometheus;

const SEMAPHORE: &str = "com.coreos.airlock/groups/workers/v1/semaphore";
const LOCK_TIMES: &str = "com.coreos.airlock/groups/workers/v1/lock-times";

#[test]
fn one_unlock_resolves_a_node_that_died_holding_the_lock() {
    let etcd = Etcd::start();
    let mut airlock = Airlock::on_etcd(
        &etcd.endpoints(),
        "[[lock.groups]]\nname = \"workers\"\nslots = 1\n",
    );
    let prometheus = Prometheus::start(&[airlock.status_url().replace("http://", "")]);
    let nodes = airlock.client();
    let alert = ("AirlockLockHeldTooLong".to_owned(), "workers".to_owned());

    // 23:00. Three nodes have an update. The first one reboots and never comes back.
    assert!(nodes.lock("workers", "node1").granted());
    for waiting in ["node2", "node3"] {
        assert_eq!(nodes.lock("workers", waiting).kind(), "failed_lock");
    }
    assert!(!prometheus.firing().contains(&alert));

    let_two_hours_pass(&etcd);
    for waiting in ["node2", "node3"] {
        assert!(!nodes.lock("workers", waiting).granted());
    }

    // 01:00. The alert fires.
    eventually("the alert to fire", || {
        prometheus.firing().contains(&alert).then_some(())
    });

    assert_the_page_shows_the_holder_and_the_command(&airlock);
    assert_the_terminal_shows_the_age(&airlock);

    // One command unlocks the holder.
    let unlocked = airlock.command(&["unlock", "workers", "node1", "--yes"]);
    assert!(unlocked.status.success(), "{unlocked:?}");
    airlock.wait_for_log("msg=\"an administrator has unlocked node1\" group=workers by=");

    // The second node reboots, the alert ends, and the third node reboots.
    assert!(nodes.lock("workers", "node2").granted());
    eventually("the alert to end", || {
        (!prometheus.firing().contains(&alert)).then_some(())
    });
    assert!(nodes.unlock("workers", "node2").granted());
    assert!(nodes.lock("workers", "node3").granted());
    assert_eq!(
        airlock.metric("airlock_waiting_nodes{group=\"workers\"}"),
        Some(0.0)
    );
    // node1 comes back after all. It holds no slot, and its steady-state request succeeds.
    assert!(nodes.unlock("workers", "node1").granted());
}

/// Dates the lock of node1 back by two hours.
fn let_two_hours_pass(etcd: &Etcd) {
    let two_hours_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    etcd.ctl_txn(&[
        (SEMAPHORE, &etcd.get(SEMAPHORE)),
        (
            LOCK_TIMES,
            &format!(r#"{{"holders":{{"node1":"{two_hours_ago:.0}"}}}}"#),
        ),
    ]);
}

/// The page also shows the age of the lock and the waiting nodes.
fn assert_the_page_shows_the_holder_and_the_command(airlock: &Airlock) {
    let (status, page) = airlock.status("/");
    assert_eq!(status, 200);
    for expected in [
        "1 of 1 held",
        "node1",
        "<strong class=\"old\">2 h</strong>",
        "1 slot held, the longest for 2 h in workers; 2 nodes waiting at this server.",
        "Waiting (2, at this server)",
        "node2",
        "node3",
        &airlock.suggested("unlock workers node1"),
    ] {
        assert!(
            page.contains(expected),
            "{expected} is not on the page: {page}"
        );
    }
}

fn assert_the_terminal_shows_the_age(airlock: &Airlock) {
    let table = airlock.command(&["get", "slots", "workers"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("  2 h ago"), "{table}");
}
