//! SIGHUP: groups, slots and limits change while the server runs, and a bad file changes nothing.

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

const EMBEDDED: &str = "[embedded]\npath = \"{folder}/airlock.db\"\n";

#[test]
fn groups_are_added_and_removed_without_a_restart_and_without_losing_a_lock() {
    let mut airlock = Airlock::start(EMBEDDED);
    let client = airlock.client();
    assert!(client.lock("default", "holder").granted());
    assert_eq!(client.lock("workers", "a").kind(), "unknown_group");

    airlock.reload(&format!("{EMBEDDED}[[lock.groups]]\nname = \"workers\"\n"));
    airlock.wait_for_log("msg=\"configuration reloaded\" changes=\"group workers added\"");
    assert!(client.lock("workers", "a").granted());
    assert!(client.lock("default", "holder").granted());
    assert_eq!(client.lock("default", "other").kind(), "failed_lock");

    airlock.reload(EMBEDDED);
    airlock.wait_for_log("changes=\"group workers removed\"");
    assert_eq!(client.lock("workers", "a").kind(), "unknown_group");
    assert_eq!(airlock.metric("airlock_config_groups"), Some(1.0));
    let series = "airlock_config_semaphore_slots{group=\"workers\"}";
    assert_eq!(airlock.metric(series), None);
    // The lock stays in the store and counts when the group is added again.
    airlock.reload(&format!("{EMBEDDED}[[lock.groups]]\nname = \"workers\"\n"));
    eventually("the group to be back", || {
        (client.lock("workers", "b").kind() == "failed_lock").then_some(())
    });
    assert!(airlock.process().exit_status().is_none());
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let mut airlock = Airlock::start(EMBEDDED);
    airlock.reload("[lock]\ndefault_slots = 0\n");
    airlock.wait_for_log("configuration not reloaded, the previous one stays in effect");
    let log = airlock.log();
    assert!(
        log.contains("expected a whole number, 1 or more, found 0")
            && log.contains("config.toml:11, lock.default_slots)"),
        "{log}"
    );
    assert!(log.contains("no store is configured"), "{log}");
    let good = "airlock_config_last_reload_successful";
    eventually("the failure to be shown", || {
        (airlock.metric(good) == Some(0.0)).then_some(())
    });
    assert!(airlock.client().lock("default", "a").granted());
    let problem = "the configuration file was not reloaded, and the previous configuration stays in effect: 2 errors, \
                   the first at line 11, lock.default_slots; see the log";
    let shown = |airlock: &Airlock| {
        let ready = airlock
            .status("/readyz")
            .1
            .contains(&format!("ok\nwarning: {problem}"));
        let json = airlock.status("/v1/status").1.contains(problem);
        let page = airlock
            .status("/")
            .1
            .contains("The configuration file was not reloaded.");
        [ready, json, page]
    };
    eventually("the reason to be shown", || {
        (shown(&airlock) == [true; 3]).then_some(())
    });
    // Anybody may read these, and a value may be a secret.
    for path in ["/readyz", "/", "/v1/status"] {
        assert!(!airlock.status(path).1.contains("found 0"), "{path}");
    }

    airlock.reload(EMBEDDED);
    airlock.wait_for_log("changes=\"no group or limit has changed\"");
    eventually("the reason to be gone", || {
        (shown(&airlock) == [false; 3]).then_some(())
    });
    assert_eq!(airlock.metric(good), Some(1.0));
    let failures = "airlock_config_reloads_total{result=\"failure\"}";
    assert_eq!(airlock.metric(failures), Some(1.0));
}

#[test]
fn settings_that_need_a_restart_are_named() {
    let mut airlock = Airlock::start(EMBEDDED);
    airlock.reload("[embedded]\npath = \"{folder}/other.db\"\n");
    airlock
        .wait_for_log("[etcd3] or [embedded] has changed; restart the server to apply the change");
    airlock.wait_for_log("configuration reloaded");
    assert!(!airlock.folder().join("other.db").exists());
}

#[test]
fn a_changed_limit_applies_to_the_next_request() {
    let mut airlock = Airlock::start(EMBEDDED);
    let body = format!(
        r#"{{"client_params":{{"id":"a","group":"default"}},"more":"{}"}}"#,
        "x".repeat(5000)
    );
    let client = airlock.client();
    assert!(client.send("v1/pre-reboot", body.clone()).granted());
    airlock.reload(&format!("{EMBEDDED}[limits]\nbody_bytes = 1024\n"));
    airlock.wait_for_log("changes=limits");
    assert_eq!(client.send("v1/pre-reboot", body).status, 413);
}

#[test]
fn changed_slots_cause_a_warning_with_a_remedy_unless_the_file_takes_precedence() {
    let etcd = Etcd::start();
    let key = "com.coreos.airlock/groups/default/v1/semaphore";
    let config = |lock: &str| {
        format!(
            "[etcd3]\nendpoints = {:?}\n[lock]\n{lock}",
            etcd.endpoints()
        )
    };
    let mut airlock = Airlock::start(&config("default_slots = 2"));
    assert!(airlock.client().lock("default", "a").granted());

    airlock.reload(&config("default_slots = 3"));
    let remedy = airlock.suggested("set slots default 3");
    airlock.wait_for_log(&format!(
        "msg=\"semaphore max slots consistency check failed\" config=3 database=2 group=default remedy=\"{remedy}\"",
    ));
    assert_eq!(etcd.get(key), r#"{"total_slots":2,"holders":["a"]}"#);

    airlock.reload(&config("default_slots = 3\non_slots_mismatch = \"update\""));
    eventually("the slots to be updated", || {
        (etcd.get(key) == r#"{"total_slots":3,"holders":["a"]}"#).then_some(())
    });
    airlock.wait_for_log(
        "msg=\"an administrator has set the slots to 3\" group=default by=on_slots_mismatch@",
    );
}

#[test]
fn the_file_never_overrides_a_pause() {
    let etcd = Etcd::start();
    let key = "com.coreos.airlock/groups/default/v1/semaphore";
    let paused = r#"{"total_slots":0,"holders":["a"]}"#;
    etcd.put(key, paused);
    let config = "[lock]\non_slots_mismatch = \"update\"\ndefault_slots = 3\n[[lock.groups]]\nname = \"other\"\nslots = 1\n";
    etcd.put(
        "com.coreos.airlock/groups/other/v1/semaphore",
        r#"{"total_slots":2,"holders":["x","y"]}"#,
    );
    let airlock = Airlock::on_etcd(&etcd.endpoints(), config);
    // Groups are updated in order: after the second one, the first one has been checked.
    eventually("the other group to be updated", || {
        (etcd.get("com.coreos.airlock/groups/other/v1/semaphore")
            == r#"{"total_slots":1,"holders":["x","y"]}"#)
            .then_some(())
    });
    assert_eq!(etcd.get(key), paused);
    assert_eq!(airlock.client().lock("default", "b").kind(), "failed_lock");
}
