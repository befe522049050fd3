//! The choice of the endpoint, the login, and the identity of the cluster.

use std::fs;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::fake::{FakeEtcd, Message, Reply, bytes, number};
use super::*;
use crate::config::EtcdUser;
use crate::lock::codec::LockTimes;
use crate::lock::codec::Revision;
use crate::reloadable::Reload as _;

const TIMEOUT: Duration = Duration::from_secs(60);

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

/// Replies with nothing but a header, which is an empty range, or a comparison that failed.
fn ok() -> Reply {
    Reply::Messages(vec![(9, Message::default())])
}

/// Replies that a comparison succeeded.
fn committed() -> Reply {
    Reply::Messages(vec![(9, number(2, 1))])
}

fn token(token: &str) -> Reply {
    Reply::Messages(vec![(9, bytes(2, token))])
}

fn status(message: &'static str) -> Reply {
    Reply::Status(message)
}

fn store(endpoints: &[&FakeEtcd]) -> EtcdStore {
    let urls = endpoints.iter().map(|etcd| etcd.url()).collect();
    EtcdStore::new(urls, fake::credentials(None), TIMEOUT)
}

/// Returns a store as the user `airlock`, and the folder of its password.
fn store_with_user(endpoints: &[&FakeEtcd]) -> (EtcdStore, TempDir) {
    let urls = endpoints.iter().map(|etcd| etcd.url()).collect();
    let folder = tempfile::tempdir().unwrap();
    let password_path = folder.path().join("password");
    fs::write(&password_path, "secret").unwrap();
    let name = "airlock".into();
    let user = EtcdUser {
        name,
        password_path,
    };
    let credentials = fake::credentials(Some(user));
    (EtcdStore::new(urls, credentials, TIMEOUT), folder)
}

fn absent() -> Stored {
    Stored::absent(Revision(9))
}

/// Writes a value where there is none.
async fn write(store: &EtcdStore) -> Result<CommitOutcome, StoreError> {
    let new = Value {
        semaphore: b"new".to_vec(),
        lock_times: LockTimes::Absent,
    };
    store.commit(&group(), &absent(), Some(&new), &[]).await
}

/// Names the class of an error.
fn class<T>(result: Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(StoreError::Rejected(_)) => "rejected",
        Err(StoreError::NoSpace(_)) => "no space",
        Err(StoreError::Unreachable(_)) => "unreachable",
        Err(StoreError::Unknown(_)) => "unknown",
    }
}

const TIMED_OUT: &str = "etcdserver: request timed out";
const NO_LEADER: &str = "etcdserver: no leader";
const LEARNER: &str = "etcdserver: rpc not supported for learner";
const TOO_LARGE: &str = "etcdserver: request is too large";
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
const DENIED: &str = "etcdserver: permission denied";
const NO_USER: &str = "etcdserver: user name is empty";
const WRONG_PASSWORD: &str = "etcdserver: authentication failed, invalid user ID or password";

#[tokio::test]
async fn a_write_goes_to_another_endpoint_only_if_it_provably_had_no_effect() {
    for (first, second, expected, calls_of_second) in [
        (TIMED_OUT, None, "unknown", 0),
        (TOO_LARGE, None, "rejected", 0),
        (NO_SPACE, None, "no space", 0),
        (NO_LEADER, None, "ok", 1),
        (LEARNER, None, "ok", 1),
        (LEARNER, Some(LEARNER), "rejected", 1),
        (LEARNER, Some(NO_LEADER), "unreachable", 1),
        (NO_LEADER, Some(NO_LEADER), "unreachable", 1),
        (NO_LEADER, Some(TIMED_OUT), "unknown", 1),
        (DENIED, None, "ok", 1),
        (DENIED, Some(DENIED), "rejected", 1),
        (DENIED, Some(NO_LEADER), "rejected", 1),
        (DENIED, Some(TIMED_OUT), "unknown", 1),
        (NO_USER, None, "ok", 1),
        (NO_USER, Some(TIMED_OUT), "unknown", 1),
    ] {
        let a = FakeEtcd::start([status(first)]).await;
        let b = FakeEtcd::start([second.map_or_else(committed, status)]).await;
        let outcome = write(&store(&[&a, &b])).await;
        assert_eq!(class(outcome), expected, "{first} {second:?}");
        let calls = (a.calls().len(), b.calls().len());
        assert_eq!(calls, (1, calls_of_second), "{first} {second:?}");
    }
}

#[tokio::test]
async fn a_write_goes_to_another_endpoint_if_the_login_to_the_first_one_fails() {
    for (login, expected_of_first) in [
        // The first login is that of the call which verifies the cluster.
        (
            vec![status(WRONG_PASSWORD), status(WRONG_PASSWORD)],
            vec!["Authenticate"; 2],
        ),
        // The user is refused after the login, and again after another one.
        (
            vec![token("old"), status(NO_USER), token("new"), status(NO_USER)],
            vec!["Authenticate", "Txn", "Authenticate", "Txn"],
        ),
        // A token that is denied permission is not replaced within the call.
        (
            vec![token("old"), status(DENIED)],
            vec!["Authenticate", "Txn"],
        ),
    ] {
        let a = FakeEtcd::start(login).await;
        let b = FakeEtcd::start([token("other"), committed()]).await;
        let (store, _folder) = store_with_user(&[&a, &b]);
        assert_eq!(class(write(&store).await), "ok");
        assert_eq!(a.calls(), expected_of_first);
        assert_eq!(b.calls(), ["Authenticate", "Txn"]);
    }
}

#[tokio::test]
async fn a_read_goes_to_every_other_endpoint_whatever_its_first_outcome_is() {
    let a = FakeEtcd::start([status(TIMED_OUT)]).await;
    let b = FakeEtcd::start([status(NO_LEADER)]).await;
    let c = FakeEtcd::start([ok(), ok()]).await;
    let store = store(&[&a, &b, &c]);
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    // The endpoint that replied is asked first from now on.
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    assert_eq!((a.calls().len(), c.calls().len()), (1, 2));
}

#[tokio::test]
async fn a_token_is_used_until_etcd_does_not_know_it_any_more() {
    let replies = [
        token("first"),
        ok(),
        ok(),
        status("etcdserver: invalid auth token"),
        token("second"),
        ok(),
    ];
    let etcd = FakeEtcd::start(replies).await;
    let (store, _folder) = store_with_user(&[&etcd]);
    for _ in 0..3 {
        assert_eq!(store.read(&group()).await.unwrap(), absent());
    }
    assert_eq!(etcd.tokens(), ["", "first", "first", "first", "", "second"]);
}

#[tokio::test]
async fn a_write_that_meets_a_change_of_the_users_is_sent_again_after_a_login() {
    for message in [
        "etcdserver: revision of auth store is old",
        "auth: revision in header is old",
    ] {
        let etcd = FakeEtcd::start([
            token("first"),
            status(message),
            token("second"),
            committed(),
        ]);
        let etcd = etcd.await;
        let (store, _folder) = store_with_user(&[&etcd]);
        assert_eq!(class(write(&store).await), "ok", "{message}");
        assert_eq!(etcd.tokens(), ["", "first", "", "second"]);
    }
}

#[tokio::test]
async fn a_denied_call_is_not_repeated_and_the_next_one_needs_no_login() {
    let denied = status("etcdserver: permission denied");
    let etcd = FakeEtcd::start([token("first"), denied, ok()]).await;
    let (store, _folder) = store_with_user(&[&etcd]);
    assert_eq!(class(store.read(&group()).await), "rejected");
    assert_eq!(etcd.tokens(), ["", "first"]);
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    assert_eq!(etcd.tokens(), ["", "first", "first"]);
}

#[tokio::test]
async fn a_connection_is_kept_after_a_request_that_etcd_rejects_for_another_reason() {
    for (message, expected) in [
        (TOO_LARGE, "rejected"),
        (NO_SPACE, "no space"),
        ("etcdserver: too many requests", "unreachable"),
    ] {
        let etcd = FakeEtcd::start([token("first"), status(message), ok()]).await;
        let (store, _folder) = store_with_user(&[&etcd]);
        assert_eq!(class(write(&store).await), expected);
        assert_eq!(store.read(&group()).await.unwrap(), absent());
        assert_eq!(etcd.tokens(), ["", "first", "first"]);
    }
}

#[tokio::test]
async fn a_reloaded_password_is_used_by_the_next_call() {
    let etcd = FakeEtcd::start([token("first"), ok(), token("second"), ok(), ok()]).await;
    let (store, _folder) = store_with_user(&[&etcd]);
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    store.credentials.reload().unwrap();
    for _ in 0..2 {
        assert_eq!(store.read(&group()).await.unwrap(), absent());
    }
    assert_eq!(etcd.tokens(), ["", "first", "", "second", "second"]);
}

#[tokio::test]
async fn without_authentication_the_user_is_not_used_until_it_is_enabled() {
    let disabled = status("etcdserver: authentication is not enabled");
    let etcd = FakeEtcd::start([disabled, ok()]).await;
    let (store, _folder) = store_with_user(&[&etcd]);
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    let user = "airlock".into();
    assert_eq!(store.notices(), [Notice::AuthDisabled { user }]);

    // etcd 3.5.30 and later deny permission to a client without a token.
    etcd.prepare(status("etcdserver: permission denied"));
    etcd.prepare(token("first"));
    etcd.prepare(ok());
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    assert_eq!(store.notices(), []);
    assert_eq!(etcd.tokens(), ["", "", "", "", "first"]);
}

#[tokio::test]
async fn without_a_user_the_store_does_not_log_in() {
    let etcd = FakeEtcd::start([status("etcdserver: user name is empty")]).await;
    assert_eq!(class(store(&[&etcd]).read(&group()).await), "rejected");
    assert_eq!(etcd.calls(), ["Range"]);
}

#[tokio::test]
async fn calls_that_wait_for_the_first_reply_share_one_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let store = EtcdStore::new(
        vec![url],
        fake::credentials(None),
        Duration::from_millis(250),
    );
    let mut silent = Vec::new();
    let connections = async {
        loop {
            silent.push(listener.accept().await.unwrap());
        }
    };
    let group = group();
    let calls = join_all((0..40).map(|_| store.read(&group)));
    tokio::select! {
        () = connections => unreachable!(),
        results = calls => assert!(results.iter().all(Result::is_err)),
    }
    assert_eq!(silent.len(), 1);
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_a_split_that_an_operator_can_end() {
    let (a, b) = (FakeEtcd::start([ok()]).await, FakeEtcd::start([]).await);
    b.move_to(2);
    let store = store(&[&a, &b]);
    let error = store.read(&group()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not all belong to the same etcd cluster"),
        "{error}"
    );
    assert_eq!(class(write(&store).await), "rejected");
    assert_eq!((a.calls().len(), b.calls().len()), (0, 0));

    b.move_to(1);
    assert_eq!(class(store.read(&group()).await), "rejected");
    store.accept_current();
    assert_eq!(store.read(&group()).await.unwrap(), absent());
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_found_although_it_is_not_needed() {
    let (a, b) = (FakeEtcd::start([ok()]).await, FakeEtcd::start([]).await);
    let store = store(&[&a, &b]);
    assert_eq!(store.read(&group()).await.unwrap(), absent());
    assert_eq!(store.notices(), []);
    b.move_to(2);
    store.verify().await;
    let notices = store.notices();
    assert!(
        matches!(&notices[..], [Notice::ForeignEndpoint { url, .. }] if *url == b.url()),
        "{notices:?}"
    );
}

#[tokio::test]
async fn a_proxy_must_tell_the_id_of_the_cluster_in_a_range_at_least() {
    let etcd = FakeEtcd::start([ok(), ok()]).await;
    etcd.become_proxy();
    assert_eq!(store(&[&etcd]).read(&group()).await.unwrap(), absent());
    assert_eq!(etcd.calls(), ["Range", "Range"]);

    let etcd = FakeEtcd::start([ok(), ok()]).await;
    etcd.move_to(0);
    let error = store(&[&etcd]).read(&group()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("does not return the id of its cluster"),
        "{text}"
    );
    assert!(!is_down(&error));
}

#[tokio::test]
async fn the_store_is_writable_unless_etcd_says_otherwise() {
    let denied = status("etcdserver: permission denied");
    let etcd = FakeEtcd::start([ok(), denied]).await;
    let store = store(&[&etcd]);
    assert_eq!(class(store.check_writable(&group()).await), "ok");
    assert_eq!(class(store.check_writable(&group()).await), "rejected");
    store.announce_contention(&group(), Duration::ZERO).await;
    assert_eq!(etcd.calls(), ["Txn", "Txn", "Put"]);
}

#[tokio::test]
async fn etcd_is_down_if_no_endpoint_accepts_a_connection() {
    let url = String::from("http://127.0.0.1:0");
    let store = EtcdStore::new(vec![url], fake::credentials(None), TIMEOUT);
    let error = store.read(&group()).await.unwrap_err();
    assert!(is_down(&error), "{error}");
}

#[test]
fn the_repair_command_connects_as_the_server_does() {
    let urls = vec!["http://a:2379".into(), "http://b:2379".into()];
    let store = EtcdStore::new(urls, fake::credentials(None), TIMEOUT);
    let location = store.location(&GroupName::new("a b").unwrap());
    assert_eq!(
        location.repair_command,
        "ETCDCTL_API=3 etcdctl --endpoints 'http://a:2379,http://b:2379' put \
         com.coreos.airlock/groups/a+b/v1/semaphore '{\"total_slots\":SLOTS,\"holders\":[\"ID\"]}'"
    );
    assert_eq!(
        location.description,
        "etcd key com.coreos.airlock/groups/a+b/v1/semaphore"
    );
}
