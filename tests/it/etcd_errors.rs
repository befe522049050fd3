//! etcd as it really behaves: learners, members without a quorum, exhausted space, and authentication that is switched
//! on and off while the server runs.

use std::thread;
use std::time::{Duration, Instant};

use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Value};
use airlock::store::Store as _;
use airlock_test_support::airlock::Airlock;
use airlock_test_support::etcd::{ALL_GROUPS, Etcd, ROOT, USER, Version, keys_of_user};
use airlock_test_support::eventually;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

/// The size of the database at which etcd runs out of space.
const QUOTA: [&str; 2] = ["--quota-backend-bytes", "1000000"];

#[test]
fn a_learner_as_the_first_endpoint_stops_no_request() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        etcd.add_member("learner", &["--learner"]).unwrap();
        let learner = &etcd.members[1];
        eventually("the learner to run", || learner.status());
        let endpoints = [learner.endpoint(), etcd.members[0].endpoint()];
        let airlock = Airlock::on_etcd(&endpoints, "");
        let client = airlock.client();
        for _ in 0..20 {
            let answer = client.lock("default", "a");
            assert!(answer.granted(), "{version:?}: {answer:?}");
            let answer = client.unlock("default", "a");
            assert!(answer.granted(), "{version:?}: {answer:?}");
        }
    }
}

#[test]
fn a_member_without_a_quorum_as_the_first_endpoint_stops_no_request() {
    let etcd = Etcd::partitionable(Version::V3_5, 3, &[]);
    let leader = etcd.leader();
    let alone = (leader + 1) % 3;
    let mut endpoints = etcd.endpoints();
    endpoints.rotate_left(alone);
    let airlock = Airlock::on_etcd(&endpoints, "");
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    for other in (0..3).filter(|other| *other != alone) {
        etcd.block(alone, other);
        etcd.block(other, alone);
    }
    for _ in 0..10 {
        let answer = client.lock("default", "a");
        assert!(answer.granted(), "{answer:?}");
        let answer = client.unlock("default", "a");
        assert!(answer.granted(), "{answer:?}");
    }
    assert!(etcd.heal() > 0, "nothing was held back");
}

/// Makes room, as docs/operations.md describes it.
fn make_room(etcd: &Etcd) {
    etcd.ctl(&["del", "filler"]);
    etcd.compact().unwrap();
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
}

#[test]
fn an_etcd_out_of_space_confirms_what_it_contains_and_refuses_new_locks() {
    Version::for_all(|version| {
        let etcd = Etcd::with(version, 1, &QUOTA);
        let mut airlock = Airlock::on_etcd(&etcd.endpoints(), "[lock]\ndefault_slots = 2\n");
        let client = airlock.client();
        assert!(client.lock("default", "holder").granted());
        etcd.exhaust_space();

        assert!(client.lock("default", "holder").granted(), "{version:?}");
        assert!(client.unlock("default", "other").granted(), "{version:?}");
        let refused = client.lock("default", "new");
        assert_eq!(&*refused.kind(), "failed_sem_init", "{refused:?}");
        let expected = format!(
            "{}: etcdserver: mvcc: database space exceeded; etcd is out of space: ",
            etcd.endpoints()[0]
        );
        assert!(refused.value().contains(&expected), "{refused:?}");
        assert!(!etcd.get(KEY).contains("new"));
        airlock.wait_for_log("the store refuses writes");
        let (status, text) = airlock.status("/readyz");
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("refused writes"), "{text}");
        assert_eq!(airlock.metric("airlock_store_writable"), Some(0.0));
        assert_eq!(airlock.metric("airlock_store_up"), Some(1.0));
        let (_, page) = airlock.status("/");
        assert!(page.contains("store refuses writes"), "{page}");
        let command = airlock.command(&["unlock", "default", "holder", "--yes"]);
        assert!(!command.status.success());
        let stderr = String::from_utf8(command.stderr).unwrap();
        assert!(stderr.contains("out of space"), "{stderr}");

        make_room(&etcd);
        // The server finds out by itself.
        airlock.wait_for_log("the store accepts writes again");
        assert_eq!(airlock.status("/readyz").0, 200);
        assert!(client.lock("default", "new").granted());
        assert!(client.unlock("default", "holder").granted());
    });
}

/// etcd checks the space when it receives a transaction and again when it has applied it. If it was used up in between,
/// by the transactions of other groups, etcd returns an error for a write that has happened.
#[test]
fn a_lock_is_refused_for_want_of_space_only_if_it_is_not_in_the_store() {
    const GROUPS: usize = 60;
    let names: Vec<String> = (0..GROUPS).map(|group| format!("g{group}")).collect();
    let tables: String = names
        .iter()
        .map(|name| format!("[[lock.groups]]\nname = {name:?}\nslots = 1000\n"))
        .collect();
    // How many writes are affected depends on the version, and on when etcd counts the space that it has used.
    let mut found_later = 0.0;
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &QUOTA);
        let airlock = Airlock::on_etcd(&etcd.endpoints(), &tables);
        let client = airlock.client();
        // Locks nodes until one is refused. Returns the others, and that one.
        let fill = |group: &str| {
            let mut granted = Vec::new();
            for id in (0..1000).map(|node| format!("{group}-{node:0>200}")) {
                let answer = client.lock(group, &id);
                if !answer.granted() {
                    assert!(answer.value().contains("out of space"), "{answer:?}");
                    return (granted, id);
                }
                granted.push(id);
            }
            panic!("etcd has taken more than its quota");
        };
        let filled: Vec<_> = thread::scope(|scope| {
            let fill = &fill;
            let nodes: Vec<_> = names
                .iter()
                .map(|group| scope.spawn(move || fill(group)))
                .collect();
            nodes.into_iter().map(|node| node.join().unwrap()).collect()
        });
        let stored = etcd.ctl(&["get", "--prefix", "com.coreos.airlock/groups/"]);
        let is_stored = |id: &str| stored.contains(&format!("\"{id}\""));
        for (group, (granted, refused)) in names.iter().zip(filled) {
            assert!(!is_stored(&refused), "{version:?}: {refused}");
            for id in &granted {
                assert!(is_stored(id), "{version:?}: {id}");
            }
            // Each node has asked once.
            let already_held = format!(
                "airlock_responses_total{{endpoint=\"pre_reboot\",group={group:?},outcome=\"already_held\"}}"
            );
            found_later += airlock.metric(&already_held).unwrap_or_default();
        }
        println!("{found_later} locks were in the store in spite of an error, up to {version:?}");
    }
    assert!(found_later > 0.0, "no write was applied without space");
}

#[test]
fn a_group_whose_value_is_too_large_does_not_make_the_server_unready() {
    let etcd = Etcd::with(Version::V3_4, 1, &["--max-request-bytes", "6000"]);
    let config = "[[lock.groups]]\nname = \"big\"\nslots = 1000\n";
    let airlock = Airlock::on_etcd(&etcd.endpoints(), config);
    let client = airlock.client();
    assert!(client.lock("default", "a").granted());
    eventually("the server to be ready", || {
        (airlock.status("/readyz").0 == 200).then_some(())
    });
    let nodes: Vec<String> = (0..100).map(|node| format!("{node:0>100}")).collect();
    let refused = nodes
        .iter()
        .map(|node| client.lock("big", node))
        .find(|answer| !answer.granted())
        .expect("the value of the group fits");
    assert!(refused.value().contains("too large"), "{refused:?}");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert!(!client.lock("big", &nodes[99]).granted());
        let (status, text) = airlock.status("/readyz");
        assert_eq!(status, 200, "{text}");
        assert!(client.lock("default", "a").granted());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(airlock.metric("airlock_store_writable"), Some(1.0));
}

/// docs/operations.md has these steps.
#[test]
fn authentication_is_enabled_and_disabled_without_an_outage() {
    Version::for_all(|version| {
        let etcd = Etcd::with(version, 1, &["--auth-token-ttl", "5"]);
        etcd.create_users(&[ALL_GROUPS]);
        let folder = tempfile::tempdir().unwrap();
        let mut airlock = Airlock::on_etcd(&etcd.endpoints(), &keys_of_user(folder.path(), USER.1));
        airlock.wait_for_log("etcd has authentication disabled");
        let root = ["--user", ROOT];
        // The time in which requests failed.
        let mut failing = Duration::ZERO;
        let mut serve = |airlock: &Airlock, seconds: u64| {
            let client = airlock.client();
            let until = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < until {
                let started = Instant::now();
                let answer = client.lock("default", "a");
                thread::sleep(Duration::from_millis(20));
                if !answer.granted() {
                    failing += started.elapsed();
                }
            }
        };
        serve(&airlock, 1);
        etcd.ctl(&["auth", "enable"]);
        // Longer than a token is valid.
        serve(&airlock, 7);
        etcd.ctl(&[&root[..], &["auth", "disable"]].concat());
        serve(&airlock, 7);
        airlock.restart();
        serve(&airlock, 1);
        assert!(
            failing < Duration::from_secs(1),
            "{version:?}: {failing:?} in {}",
            airlock.log()
        );
    });
}

/// The user of the server may not watch the prefix, only use the keys of its groups.
#[test]
fn a_role_on_exact_keys_suffices_and_costs_no_more_than_one_call_a_second() {
    const GROUPS: usize = 6;
    let etcd = Etcd::start();
    let groups: Vec<String> = (0..GROUPS).map(|group| format!("g{group}")).collect();
    let key = |group: &str, key: &str| format!("com.coreos.airlock/groups/{group}/v1/{key}");
    let keys: Vec<String> = groups
        .iter()
        .map(String::as_str)
        .chain(["default"])
        .flat_map(|group| [key(group, "semaphore"), key(group, "lock-times")])
        .collect();
    let permissions: Vec<String> = keys.iter().map(|key| format!("readwrite {key}")).collect();
    let permissions: Vec<&str> = permissions.iter().map(String::as_str).collect();
    etcd.create_users(&permissions);
    for group in groups.iter().map(String::as_str).chain(["default"]) {
        let free = r#"{"total_slots":1,"holders":[]}"#;
        etcd.put(&key(group, "semaphore"), free);
    }
    etcd.ctl(&["auth", "enable"]);
    let folder = tempfile::tempdir().unwrap();
    let tables: String = groups
        .iter()
        .map(|group| format!("[[lock.groups]]\nname = {group:?}\n"))
        .collect();
    let config = format!("{}{tables}", keys_of_user(folder.path(), USER.1));
    let mut airlock = Airlock::on_etcd(&etcd.endpoints(), &config);
    assert!(airlock.client().lock("g3", "a").granted());
    airlock.wait_for_log("the store refuses to be watched");
    // A change by another writer is noticed nevertheless.
    let (root, semaphore) = (["--user", ROOT, "put"], key("g5", "semaphore"));
    let held = r#"{"total_slots":1,"holders":["n"]}"#;
    etcd.ctl(&[&root[..], &[&semaphore, held]].concat());
    let (before, started) = (etcd.calls(), Instant::now());
    eventually("the change to be noticed", || {
        let holders = airlock.metric(r#"airlock_database_semaphore_lock_holders{group="g5"}"#);
        (holders == Some(1.0)).then_some(())
    });
    thread::sleep(Duration::from_secs(20).saturating_sub(started.elapsed()));
    let calls = etcd.calls_since(&before);
    let (number, seconds) = (calls.values().sum::<u64>(), started.elapsed().as_secs());
    // Two more, at both ends of the time.
    assert!(number <= seconds + 2, "in {seconds} s: {calls:?}");
    assert!(number > 0, "the groups are not read");
    let warnings = airlock.log().matches("refuses to be watched").count();
    assert_eq!(warnings, 1);
}

/// The values of all groups together exceed the default limit of a response in gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_are_read_and_watched() {
    let etcd = Etcd::start();
    let store = crate::conformance::etcd_store(etcd.endpoints(), Duration::from_secs(30));
    let groups: Vec<String> = (0..9).map(|group| format!("g{group}")).collect();
    let tables: String = groups
        .iter()
        .map(|group| format!("[[lock.groups]]\nname = {group:?}\n"))
        .collect();
    let write = async |holders: usize| {
        for group in &groups {
            let group = GroupName::new(group).unwrap();
            let ids: Vec<String> = (0..holders).map(|id| format!("\"{id:0>199}\"")).collect();
            let semaphore = format!(r#"{{"total_slots":1,"holders":[{}]}}"#, ids.join(","));
            let value = Value {
                semaphore: semaphore.into(),
                lock_times: LockTimes::Absent,
            };
            let expected = store.read(&group).await.unwrap();
            store
                .commit(&group, &expected, Some(&value), &[])
                .await
                .unwrap();
        }
    };
    write(3000).await;
    let airlock = tokio::task::spawn_blocking({
        let endpoints = etcd.endpoints();
        move || Airlock::on_etcd(&endpoints, &tables)
    });
    let airlock = airlock.await.unwrap();
    let held = |expected: f64| {
        tokio::task::block_in_place(|| {
            for group in &groups {
                let gauge = format!("airlock_database_semaphore_lock_holders{{group={group:?}}}");
                eventually("the holders to be counted", || {
                    (airlock.metric(&gauge) == Some(expected)).then_some(())
                });
            }
        });
    };
    held(3000.0);
    write(3100).await;
    held(3100.0);
    tokio::task::block_in_place(|| drop(airlock));
}
