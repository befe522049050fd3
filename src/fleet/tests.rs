use super::*;
use crate::store::memory::MemoryStore;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(id: &str, first_asked: i64) -> WaitingNode {
    WaitingNode {
        id: id.into(),
        name: None,
        peer: None,
        first_asked: second(first_asked),
        reason: "all slots held".into(),
    }
}

fn document(host: &str, instance: &str, nodes: Vec<WaitingNode>) -> ServerDocument {
    ServerDocument {
        id: ServerId {
            host: host.into(),
            port: 3333,
            instance: instance.into(),
        },
        version: "1.0.0".into(),
        started: second(0),
        configuration: "3f9c".into(),
        notifies: false,
        groups: vec![GroupWaiting {
            name: "workers".into(),
            count: nodes.len() + 1,
            may_be_more: false,
            nodes,
        }],
        rejected: Vec::new(),
        more_rejected: false,
    }
}

fn server(host: &str, instance: &str, liveness: Liveness) -> FleetServer {
    FleetServer {
        name: format!("{host}:3333"),
        document: document(host, instance, vec![node("n", 5)]),
        liveness,
    }
}

const GONE: Liveness = Liveness::Gone { last_seen: None };

#[test]
fn golden_a_document_in_json() {
    let waiting = WaitingNode {
        name: Some("db-1".into()),
        peer: Some([192, 0, 2, 1].into()),
        ..node("n", 0)
    };
    let json = serde_json::to_string(&document("ops-1", "1", vec![waiting])).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"host":"ops-1","port":3333,"instance":"1","version":"1.0.0","started":"1970-01-01T00:00:00Z","#,
            r#""configuration":"3f9c","groups":[{"name":"workers","count":2,"may_be_more":false,"nodes":["#,
            r#"{"id":"n","name":"db-1","peer":"192.0.2.1","first_asked":"1970-01-01T00:00:00Z","#,
            r#""reason":"all slots held"}]}],"rejected":[],"more_rejected":false}"#
        )
    );
}

#[test]
fn a_document_is_bounded_and_keeps_its_groups_as_long_as_it_can() {
    let rejected = RejectedClient {
        reason: "unknown_group".into(),
        peer: [192, 0, 2, 1].into(),
        group: None,
        id: None,
        detail: Some("x".repeat(500)),
        first: second(0),
        repeated: false,
    };
    let groups = |count, nodes, id: &str| ServerDocument {
        groups: (0..count)
            .map(|number| GroupWaiting {
                name: format!("group-{number}"),
                count: 7,
                may_be_more: false,
                nodes: vec![node(id, 0); nodes],
            })
            .collect(),
        rejected: vec![rejected.clone(); 50],
        ..document("a", "1", Vec::new())
    };
    let sizes = |document: ServerDocument| {
        let json = document.into_json();
        assert!(json.len() <= 64 << 10, "{}", json.len());
        let read: ServerDocument = serde_json::from_str(&json).unwrap();
        let listed = read.groups.iter().map(|group| group.nodes.len());
        (
            read.groups.len(),
            listed.sum::<usize>(),
            read.rejected.len(),
        )
    };
    assert_eq!(sizes(groups(20, 10, "n")), (20, 200, 50));
    assert_eq!(sizes(groups(500, 1, &"n".repeat(250))), (500, 62, 6));
    assert_eq!(sizes(groups(4000, 0, "n")), (1000, 0, 0));
}

#[tokio::test]
async fn documents_of_later_versions_are_read_as_far_as_they_are_known() {
    let store = MemoryStore::default();
    let mut later = serde_json::to_value(document("a", "1", Vec::new())).unwrap();
    later["gates"] = serde_json::json!([1]);
    store.publish("a:3333", &later.to_string()).await.unwrap();
    store.publish("b:3333", "{}").await.unwrap();
    let fleet = Fleet::read(&store).await.unwrap();
    let names: Vec<_> = fleet.servers.iter().map(|server| &*server.name).collect();
    assert_eq!(names, ["a:3333"]);
}

#[test]
fn a_server_that_was_replaced_is_not_gone() {
    let mut fleet = Fleet {
        servers: vec![
            server("a", "1", GONE),
            server("a", "2", Liveness::Alive),
            server("b", "3", GONE),
        ],
    };
    fleet.forget_replaced();
    let instances = fleet
        .servers
        .iter()
        .map(|server| &*server.document.id.instance);
    assert_eq!(instances.collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn the_nodes_of_running_servers_wait() {
    let group = GroupName::new("workers").unwrap();
    let fleet = Fleet {
        servers: vec![
            server("a", "1", Liveness::Alive),
            server("b", "2", Liveness::Alive),
            server("c", "3", GONE),
        ],
    };
    let first = &fleet.servers[0].document.id;
    let waiting = fleet.waiting(&group, Some(first));
    assert_eq!((waiting.count, &*waiting.nodes[0].server), (2, "b"));
    assert_eq!(fleet.waiting(&group, None).count, 4);
    let other = GroupName::new("other").unwrap();
    assert_eq!(fleet.waiting(&other, None).count, 0);
}

#[test]
fn a_node_that_asked_several_servers_counts_once() {
    let waiter = |id: &str, first, server: &str, latest| FleetWaiter {
        node: node(id, first),
        server: server.into(),
        latest,
    };
    let own = Waiting {
        nodes: vec![waiter("n", 7, "own", Some((second(9), 2)))],
        count: 1,
        may_be_more: false,
    };
    let others = Waiting {
        nodes: vec![waiter("n", 5, "other", None), waiter("m", 6, "other", None)],
        count: 3,
        may_be_more: true,
    };
    for merged in [
        own.clone().merge(others.clone()),
        others.clone().merge(own.clone()),
    ] {
        let found = merged.nodes.iter().map(|waiter| {
            let first = waiter.node.first_asked.as_second();
            (&*waiter.node.id, first, &*waiter.server, waiter.latest)
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("n", 5, "own", Some((second(9), 2))),
                ("m", 6, "other", None)
            ]
        );
        assert_eq!((merged.count, merged.may_be_more), (3, true));
    }
    let left = own.merge(others).without(|node| node.id == "n");
    assert_eq!((left.count, left.nodes.len()), (2, 1));
}
