//! The contract of `airlock::store` for every backend: memory, SQLite, and each tested version of etcd.

mod backend;
mod contract;
mod members;
mod presence;

use std::thread;
use std::time::Duration;

use airlock::config::EtcdUser;
use airlock::lock::GroupName;
use airlock::lock::codec::{LockTimes, Revision, Stored, Value};
use airlock::store::{CommitOutcome, Store};
use etcd_client::{Client, Compare, CompareOp, Txn};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub(crate) use backend::etcd_store;

use backend::{EtcdBackend, Memory, Sqlite, etcd_store_of};
use contract::fulfils_the_contract;

use airlock_test_support::etcd::{Bug, Etcd, Member, ROOT, USER, Version};
use airlock_test_support::pki::secret;
use airlock_test_support::{MAX_WAIT, eventually};

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
fn etcd_3_5_1_fulfils_the_contract() {
    fulfils_the_contract(&EtcdBackend(Etcd::with(Version::V3_5_1, 1, &[])));
}

#[test]
fn etcd_3_5_fulfils_the_contract() {
    fulfils_the_contract(&EtcdBackend(Etcd::with(Version::V3_5, 1, &[])));
}

#[test]
fn servers_tell_each_other_through_etcd_that_they_lose() {
    for version in Version::ALL {
        let etcd = Etcd::with(version, 1, &[]);
        let told = contract::announcements_reach_other_servers(&etcd);
        Runtime::new().unwrap().block_on(told);
    }
}

#[test]
fn a_server_that_changes_its_name_is_published_again_and_large_documents_are_written_less_often() {
    let etcd = Etcd::start();
    let [own, other] = [(), ()].map(|()| etcd_store(etcd.endpoints(), MAX_WAIT));
    let large = "x".repeat(60_000);
    let documents = async || -> Vec<String> {
        let published = other.published().await.unwrap();
        let documents = published.into_iter().map(|found| found.document);
        documents.map(|document| document.to_string()).collect()
    };
    Runtime::new().unwrap().block_on(async {
        own.publish("a", "small").await.unwrap();
        own.publish("b", "small").await.unwrap();
        assert_eq!(documents().await, ["small", "small"]);
        own.publish("b", &large).await.unwrap();
        assert_eq!(documents().await, ["small", &large]);
        own.publish("b", "changed").await.unwrap();
        assert_eq!(documents().await, ["small", &large]);
    });
}

#[test]
fn a_user_of_single_keys_cannot_announce_that_it_loses_and_still_commits() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        let user = require_a_user(&mut etcd);
        let store = etcd_store_of(Some(user.settings()), etcd.endpoints(), MAX_WAIT);
        let group = group("g");
        Runtime::new().unwrap().block_on(async {
            let first = write(&store, &group, &NONE, &value("first")).await;
            for _ in 0..2 {
                let round_trip = Duration::from_millis(40);
                store.announce_contention(&group, round_trip).await;
            }
            write(&store, &group, &first, &value("second")).await;
        });
        assert_eq!(etcd.get("com.coreos.airlock/groups/g/v1/contention"), "");
    }
}

/// etcd prolongs a token at each use. One that is not used for a while expires, such as that of an endpoint that is not
/// the preferred one.
#[test]
fn after_its_token_has_expired_a_store_logs_in_again_before_it_commits() {
    let arguments = "--auth-token-ttl 1 --logger zap --log-level debug";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &arguments);
        let user = require_a_user(&mut etcd);
        let store = etcd_store_of(Some(user.settings()), etcd.endpoints(), MAX_WAIT);
        let group = group("g");
        let runtime = Runtime::new().unwrap();
        let first = runtime.block_on(write(&store, &group, &NONE, &value("first")));
        eventually("the token to expire", || {
            let log = etcd.members[0].log();
            let is_expired = |line: &str| {
                line.contains("deleted a simple token") && line.contains("\"airlock\"")
            };
            log.lines().any(is_expired).then_some(())
        });
        runtime.block_on(write(&store, &group, &first, &value("second")));
    }
}

/// A user `airlock`, and the file with its password.
struct User(TempDir);

impl User {
    fn settings(&self) -> EtcdUser {
        EtcdUser {
            name: USER.0.into(),
            password_path: self.0.path().join("password"),
        }
    }
}

/// Creates a user that may use the keys of group `g` only, and has etcd require a user from now on.
fn require_a_user(etcd: &mut Etcd) -> User {
    let keys = ["semaphore", "lock-times"]
        .map(|key| format!("readwrite com.coreos.airlock/groups/g/v1/{key}"));
    require_a_user_with(etcd, &keys.each_ref().map(String::as_str))
}

/// Creates a user with these permissions, and has etcd require a user from now on.
fn require_a_user_with(etcd: &mut Etcd, permissions: &[&str]) -> User {
    etcd.require_users(permissions);
    etcd.authenticate_as(ROOT);
    let folder = tempfile::tempdir().unwrap();
    secret(&folder.path().join("password"), USER.1);
    User(folder)
}

/// etcd evaluates a transaction without a linearizable range on the member's own state. A member without a quorum
/// cannot know whether its state is current.
#[test]
fn invariant_4_an_etcd_member_without_a_quorum_confirms_nothing() {
    thread::scope(|scope| {
        for version in Version::ALL {
            scope.spawn(move || confirms_nothing_without_a_quorum(version));
        }
    });
}

fn confirms_nothing_without_a_quorum(version: Version) {
    let etcd = Etcd::with(version, 3, &[]);
    let group = group("g");
    let alone = vec![etcd.members[0].endpoint()];
    let store = etcd_store(alone, Duration::from_secs(2));
    Runtime::new().unwrap().block_on(async {
        let known = write(&store, &group, &NONE, &value("one")).await;
        let revision = known.revision;
        let others = &etcd.members[1..];
        // Returns after every thread has stopped, so no other member can reply to what follows.
        others.iter().for_each(Member::freeze);
        // Without the ranges the member confirms its own state.
        let client = Client::connect([etcd.members[0].endpoint()], None).await;
        let mut client = client.unwrap().kv_client();
        let key = "com.coreos.airlock/groups/g/v1/semaphore";
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision.0);
        let baseline = client.txn(Txn::new().when([unchanged]));
        let baseline = timeout(MAX_WAIT, baseline).await.unwrap().unwrap();
        assert!(baseline.succeeded());

        let member = airlock::store::Member {
            group: &self::group("m"),
            stored: &NONE,
        };
        let confirmed = store.commit(&group, &known, None, &[]).await;
        let all_confirmed = store.commit(&group, &known, None, &[member]).await;
        let read = store.read(&group).await;
        let circumstances = circumstances(version, others);
        assert!(confirmed.is_err(), "{confirmed:?} {circumstances}");
        assert!(all_confirmed.is_err(), "{all_confirmed:?} {circumstances}");
        assert!(read.is_err(), "{read:?} {circumstances}");

        others.iter().for_each(Member::thaw);
        etcd.wait_until_ready();
        let confirmed = eventually_ok(&store, &group, &known).await;
        assert_eq!(confirmed, CommitOutcome::Committed(revision));
    });
}

/// Tells whether the test or etcd is to blame for a reply of a member without a quorum.
fn circumstances(version: Version, others: &[Member]) -> String {
    let frozen = others.iter().all(|member| member.process().is_frozen());
    let frozen = if frozen {
        "while all threads of the other members were stopped"
    } else {
        "but another member was not stopped: a defect of the test"
    };
    let release = version.release();
    let bug = if version.has(Bug::StaleReadAfterPause) {
        "has etcd-io/etcd #20418: its linearizable reads can be stale after a pause"
    } else {
        "has no known bug of this kind"
    };
    format!("{frozen}; etcd {release:?} {bug}")
}

/// Confirms a value as soon as etcd has a leader again.
async fn eventually_ok(store: &dyn Store, group: &GroupName, known: &Stored) -> CommitOutcome {
    let confirmed = async {
        loop {
            if let Ok(outcome) = store.commit(group, known, None, &[]).await {
                return outcome;
            }
        }
    };
    timeout(MAX_WAIT, confirmed).await.unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn value(semaphore: &str) -> Value {
    Value {
        semaphore: semaphore.into(),
        lock_times: LockTimes::Current(format!("times of {semaphore}").into()),
    }
}

/// A group without a value.
const NONE: Stored = Stored {
    revision: Revision::ABSENT,
    value: None,
    as_of: Revision(0),
};

/// Commits a value, returns it with its revision, and panics on a conflict.
async fn write(store: &dyn Store, group: &GroupName, expected: &Stored, new: &Value) -> Stored {
    match store.commit(group, expected, Some(new), &[]).await.unwrap() {
        CommitOutcome::Committed(revision) => Stored::written(new.clone(), revision),
        conflict @ CommitOutcome::Conflict(_) => panic!("{conflict:?}"),
    }
}
