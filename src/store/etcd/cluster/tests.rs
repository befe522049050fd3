use super::super::fake::{FakeEtcd, Message, Reply, credentials};
use super::super::transaction::get;
use super::*;
use crate::logging::logged;

const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_cluster_that_goes_back_is_logged() {
    let revisions = [9, 9, 4, 4];
    let reads = async {
        let replies =
            revisions.map(|revision| Reply::Messages(vec![(revision, Message::default())]));
        let etcd = FakeEtcd::start(replies).await;
        let cluster = etcd.cluster();
        for _ in revisions {
            get(&cluster, "key", None).await.unwrap();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let messages = logged(|| runtime.block_on(reads));
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].starts_with("etcd went back"), "{messages:?}");
}

#[tokio::test]
async fn an_error_of_a_call_aside_leaves_the_connection_of_the_locks_alone() {
    let reply = || Reply::Messages(vec![(1, Message::default())]);
    let lost = Reply::Status("etcdserver: requested lease not found");
    let etcd = FakeEtcd::start([reply(), lost, reply()]).await;
    let cluster = etcd.cluster();
    get(&cluster, "key", None).await.unwrap();
    let put = |client: Client| async move { client.kv_client().put("key", "", None).await };
    cluster.call_aside(put).await.unwrap_err();
    // On a new connection, the endpoint would be refused before the call.
    etcd.move_to(2);
    get(&cluster, "key", None).await.unwrap_err();
    assert_eq!(etcd.calls(), ["Range", "Put", "Range"]);
}

#[tokio::test]
async fn a_split_names_the_endpoints_that_did_not_reply() {
    let (a, b) = (FakeEtcd::start([]).await, FakeEtcd::start([]).await);
    b.move_to(2);
    let unreachable = "http://127.0.0.1:1".to_owned();
    let urls = vec![a.url(), b.url(), unreachable.clone()];
    let cluster = Cluster::new(urls, &credentials(None), TIMEOUT);
    for id in [2, 1] {
        b.move_to(id);
        let error = get(&cluster, "key", None).await.unwrap_err().to_string();
        let b = b.url();
        for expected in [
            format!("{b} belongs to {id}"),
            format!("{unreachable} did not reply"),
        ] {
            assert!(error.contains(&expected), "{error}");
        }
        cluster.accept_current();
    }
}
