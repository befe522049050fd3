//! docs/operations.md: the sections of the alerts, and its walkthrough: a node dies holding a lock, the alert fires, the
//! page shows the holder, one command unlocks it, and the next node reboots.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::prometheus::{Prometheus, contrib};
use airlock_test_support::repository;

use crate::prometheus::rules;

const SEMAPHORE: &str = "com.coreos.airlock/groups/workers/v1/semaphore";
const LOCK_TIMES: &str = "com.coreos.airlock/groups/workers/v1/lock-times";

/// Returns the sections of docs/operations.md by the anchors that GitHub gives to their headings.
pub(crate) fn sections() -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let mut sections = BTreeMap::new();
    for section in text.split("\n#").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor = heading.chars().filter(kept).collect::<String>();
        let double = sections.insert(anchor.replace(' ', "-"), body.to_owned());
        assert!(double.is_none(), "{heading}");
    }
    sections
}

#[test]
fn the_runbook_url_of_each_alert_leads_to_a_section_that_names_it() {
    let sections = sections();
    for rule in rules() {
        let anchor = rule.runbook_url.strip_prefix("docs/operations.md#");
        let section = sections.get(anchor.expect(&rule.runbook_url));
        let section = section.expect(&rule.runbook_url).trim_start();
        let alerts = section.split('.').next().unwrap();
        assert!(alerts.starts_with("Alert"), "{}: {section}", rule.alert);
        assert!(alerts.contains(&rule.alert), "{}: {section}", rule.alert);
    }
}

#[test]
fn the_command_in_the_rules_makes_links_of_all_paths() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("airlock.rules.yml");
    let text = fs::read_to_string(contrib("prometheus/airlock.rules.yml")).unwrap();
    fs::write(&copy, &text).unwrap();
    let mut comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    let command = comments.find(|comment| comment.trim().starts_with("sed "));
    let mut sed = Command::new("sh");
    sed.args(["-c", command.unwrap()]).current_dir(&folder);
    assert!(sed.status().unwrap().success());
    let links = fs::read_to_string(copy).unwrap();
    let links = links.matches("runbook_url: https://").count();
    assert_eq!(links, rules().len());
}

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
        "<title>(1) workers: overdue - Airlock</title>",
        "<b>workers: node1 has held the only slot for 2 h.</b> 2 nodes waiting. <a href=\"#workers\">What to do</a>",
        "1 of 1",
        "<b class=\"old\">2 h</b>",
        "Waiting (2)",
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
