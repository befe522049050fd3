use std::time::Duration;

use super::super::cluster::Cluster;
use super::super::contention::Announcer;
use super::super::fake::{FakeEtcd, Message, Reply};
use super::super::transaction::{check_writable, read};
use crate::lock::GroupName;
use crate::store::Notice;

/// Makes one call of each kind.
async fn call(kind: &str, cluster: &Cluster) {
    let group = GroupName::new("g").unwrap();
    let round_trip = Duration::from_millis(1);
    match kind {
        "Range" => drop(read(cluster, &group).await),
        "Txn" => drop(check_writable(cluster, &group).await),
        "Put" => {
            let announcer = Announcer::new(Duration::from_secs(1));
            announcer.announce(cluster, &group, round_trip).await;
        }
        "MemberList" => drop(cluster.verify_endpoints().await),
        _ => panic!("{kind}"),
    }
}

#[tokio::test]
async fn every_response_tells_whether_the_connection_leads_to_another_cluster() {
    for kind in ["Range", "Txn", "Put", "MemberList"] {
        let replies = [1, 2].map(|revision| Reply::Messages(vec![(revision, Message::default())]));
        let etcd = FakeEtcd::start(replies).await;
        let cluster = etcd.cluster();
        call("Range", &cluster).await;
        assert_eq!(cluster.notices(None), []);

        etcd.move_to(2);
        call(kind, &cluster).await;
        let notices = cluster.notices(None);
        assert!(
            matches!(&notices[..], [Notice::ForeignEndpoint { found, .. }] if found.ends_with('2')),
            "{kind}: {notices:?}"
        );
    }
}
