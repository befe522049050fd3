//! Servers without requests: how often they call etcd.

use std::thread;
use std::time::{Duration, Instant};

use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, USER, keys_of_user};
use airlock_test_support::eventually;

const GROUPS: usize = 500;

/// The time for which the calls are counted.
const DURATION: Duration = Duration::from_secs(20);

/// The calls that may be made beside one a second: those at both ends of the time.
const SLACK: u64 = 2;

/// The value of each group. A read of a group with a value is two calls.
const SEMAPHORE: &str = r#"{"total_slots":1,"holders":[]}"#;

/// The number of keys that are put in one transaction. etcd allows 128.
const PUTS: usize = 100;

/// The beginning of the message of a server that may not write its document.
const NO_PRESENCE: &str = "the servers cannot exchange what they know";

/// Permission to read all groups only.
const READ_ONLY: [&str; 1] = ["read com.coreos.airlock/ com.coreos.airlock0"];

/// Permissions for all groups, but not for the prefix, which the server watches.
const NO_PREFIX: [&str; 2] = [
    "readwrite com.coreos.airlock/groups/default/ com.coreos.airlock/groups/default0",
    "readwrite com.coreos.airlock/groups/g com.coreos.airlock/groups/h",
];

#[test]
fn a_server_of_500_idle_groups_makes_no_more_than_one_call_a_second() {
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_quiet("a watch", &[ALL_GROUPS], |airlock| {
                let last = GROUPS - 1;
                let slots = format!("airlock_database_semaphore_slots{{group=\"g{last}\"}}");
                eventually("the last group", || airlock.metric(&slots));
                wait_until_writable(airlock);
            });
        });
        scope.spawn(|| {
            assert_quiet("no watch", &NO_PREFIX, |airlock| {
                airlock.wait_for_log("the store refuses to be watched");
                airlock.wait_for_log(NO_PRESENCE);
                wait_until_writable(airlock);
            });
        });
        scope.spawn(|| {
            assert_quiet("no writes", &READ_ONLY, |airlock| {
                airlock.wait_for_log("the store refuses writes");
                airlock.wait_for_log(NO_PRESENCE);
            });
        });
        scope.spawn(|| {
            assert_quiet("no permission", &["read other"], |airlock| {
                airlock.wait_for_log("the store is unavailable");
                airlock.wait_for_log(NO_PRESENCE);
            });
        });
    });
}

/// Asserts that a server makes few calls from when it has `begun`. The permissions of its role decide whether it has a
/// watch.
fn assert_quiet(case: &str, permissions: &[&str], begun: impl FnOnce(&mut Airlock)) {
    let etcd = Etcd::start();
    put_values(&etcd);
    etcd.require_users(permissions);
    let folder = tempfile::tempdir().unwrap();
    let tables: String = (0..GROUPS)
        .map(|group| format!("[[lock.groups]]\nname = \"g{group}\"\n"))
        .collect();
    let config = format!("{}{tables}", keys_of_user(folder.path(), USER.1));
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), &config);
    begun(&mut airlock);
    let (before, started) = (etcd.calls(), Instant::now());
    thread::sleep(DURATION);
    let calls = etcd.calls_since(&before);
    let (number, seconds) = (calls.values().sum::<u64>(), started.elapsed().as_secs());
    assert!(
        number <= seconds + SLACK,
        "{case}: {number} calls in {seconds} s: {calls:?}"
    );
    assert!(number > 0, "{case}: the probe makes no call");
}

/// Waits for the first calls of the probe.
fn wait_until_writable(airlock: &Airlock) {
    eventually("the first calls of the probe", || {
        (airlock.metric("airlock_store_writable") == Some(1.0)).then_some(())
    });
}

/// Writes a value of each group.
fn put_values(etcd: &Etcd) {
    let groups = (0..GROUPS).map(|group| format!("g{group}"));
    let keys: Vec<String> = groups
        .chain(["default".to_owned()])
        .map(|group| format!("com.coreos.airlock/groups/{group}/v1/semaphore"))
        .collect();
    for keys in keys.chunks(PUTS) {
        let puts: Vec<(&str, &str)> = keys.iter().map(|key| (&**key, SEMAPHORE)).collect();
        etcd.ctl_txn(&puts);
    }
}
