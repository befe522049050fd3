//! The contract of `airlock::store` for every backend: memory, SQLite, etcd 3.4 and 3.5.

mod backend;
mod contract;

use std::time::Duration;

use airlock::lock::GroupName;
use airlock::lock::codec::{Revision, Stored, Value};
use airlock::store::{CommitOutcome, Store};
use etcd_client::{Client, Compare, CompareOp, Txn};
use tokio::runtime::Runtime;
use tokio::time::timeout;

pub(crate) use backend::etcd_store;

use backend::{EtcdBackend, Memory, Sqlite};
use contract::fulfils_the_contract;

use airlock_test_support::MAX_WAIT;
use airlock_test_support::etcd::{Etcd, Version};

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

/// etcd evaluates a transaction without a linearizable range on the member's own state. A member without a quorum
/// cannot know whether its state is current.
#[test]
fn invariant_4_an_etcd_member_without_a_quorum_confirms_nothing() {
    for version in [Version::V3_4, Version::V3_5] {
        let etcd = Etcd::with(version, 3, &[]);
        let group = group("g");
        let alone = vec![etcd.members[0].endpoint()];
        let store = etcd_store(alone, Duration::from_secs(2));
        Runtime::new().unwrap().block_on(async {
            let known = write(&store, &group, &NONE, &value("one")).await;
            let revision = known.revision;
            for member in &etcd.members[1..] {
                member.freeze();
            }
            // Without the ranges the member confirms its own state.
            let client = Client::connect([etcd.members[0].endpoint()], None).await;
            let mut client = client.unwrap().kv_client();
            let key = "com.coreos.airlock/groups/g/v1/semaphore";
            let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision.0);
            let baseline = client.txn(Txn::new().when([unchanged]));
            let baseline = timeout(MAX_WAIT, baseline).await.unwrap().unwrap();
            assert!(baseline.succeeded());

            let confirmed = store.commit(&group, &known, None).await;
            assert!(confirmed.is_err(), "{version:?}: {confirmed:?}");
            let read = store.read(&group).await;
            assert!(read.is_err(), "{version:?}: {read:?}");

            for member in &etcd.members[1..] {
                member.thaw();
            }
            etcd.wait_until_ready();
            let confirmed = store.commit(&group, &known, None).await.unwrap();
            assert_eq!(confirmed, CommitOutcome::Committed(revision));
        });
    }
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

/// A group without a value.
const NONE: Stored = Stored {
    revision: Revision::ABSENT,
    value: None,
    as_of: Revision(0),
};

/// Commits a value, returns it with its revision, and panics on a conflict.
async fn write(store: &dyn Store, group: &GroupName, expected: &Stored, new: &Value) -> Stored {
    match store.commit(group, expected, Some(new)).await.unwrap() {
        CommitOutcome::Committed(revision) => Stored::written(new.clone(), revision),
        conflict @ CommitOutcome::Conflict(_) => panic!("{conflict:?}"),
    }
}
