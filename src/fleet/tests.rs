use super::*;
use crate::logging::logged;
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
        gates: Vec::new(),
        foreign_writes: Vec::new(),
    }
}

fn server(host: &str, instance: &str, liveness: Liveness) -> FleetServer {
    FleetServer {
        name: format!("{host}:3333"),
        document: Arc::new(document(host, instance, vec![node("n", 5)])),
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

#[tokio::test]
async fn an_unknown_entry_hides_neither_the_others_nor_the_server() {
    let store = MemoryStore::default();
    let nodes = vec![node("n", 5), node("later", 6)];
    let mut later = serde_json::to_value(document("a", "1", nodes)).unwrap();
    later["groups"][0]["nodes"][1]["peer"] = "of a later version".into();
    for list in ["groups", "rejected"] {
        let list = later[list].as_array_mut().unwrap();
        list.push("of a later version".into());
    }
    store.publish("a:3333", &later.to_string()).await.unwrap();
    let fleet = Fleet::read(&store).await.unwrap();
    let waiting = fleet.waiting(&GroupName::new("workers").unwrap(), None);
    assert_eq!((waiting.count, waiting.nodes.len()), (3, 1));
    assert_eq!(fleet.rejected(None).count(), 0);
}

#[test]
fn a_document_is_decoded_once_and_an_unreadable_one_is_logged_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let messages = logged(|| {
        runtime.unwrap().block_on(async {
            let store = MemoryStore::default();
            let mut reader = FleetReader::default();
            let publish = async |name, document: String| {
                store.publish(name, &document).await.unwrap();
            };
            let json = |instance| serde_json::to_string(&document("a", instance, Vec::new()));
            publish("a:3333", json("1").unwrap()).await;
            publish("b:3333", "{}".into()).await;
            let first = reader.read(&store).await.unwrap();
            // The same document, read from the store again.
            publish("a:3333", json("1").unwrap()).await;
            let second = reader.read(&store).await.unwrap();
            assert!(Arc::ptr_eq(&first[0].document, &second[0].document));
            publish("a:3333", json("2").unwrap()).await;
            let third = reader.read(&store).await.unwrap();
            assert_eq!(third[0].document.id.instance, "2");
        });
    });
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[test]
fn a_server_that_was_replaced_is_not_gone() {
    let fleet = Fleet::new(vec![
        server("a", "1", GONE),
        server("a", "2", Liveness::Alive),
        server("b", "3", GONE),
    ]);
    let instances = fleet
        .servers
        .iter()
        .map(|server| &*server.document.id.instance);
    assert_eq!(instances.collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn the_nodes_of_running_servers_wait() {
    let group = GroupName::new("workers").unwrap();
    let fleet = Fleet::new(vec![
        server("a", "1", Liveness::Alive),
        server("b", "2", Liveness::Alive),
        server("c", "3", GONE),
    ]);
    let first = &fleet.servers[0].document.id;
    let waiting = fleet.waiting(&group, Some(first));
    assert_eq!((waiting.count, &*waiting.nodes[0].server), (2, "b"));
    assert_eq!(fleet.waiting(&group, None).count, 4);
    let other = GroupName::new("other").unwrap();
    assert_eq!(fleet.waiting(&other, None).count, 0);
}

#[test]
fn servers_are_named_by_host_and_by_port_only_where_several_run() {
    let second = |port| {
        let mut second = server("a", "3", Liveness::Alive);
        Arc::make_mut(&mut second.document).id.port = port;
        second
    };
    let servers = [
        server("b", "2", Liveness::Alive),
        server("a", "1", Liveness::Alive),
    ];
    let labels = |fleet: Fleet| -> Vec<String> {
        let ids = fleet.servers.iter().map(|server| &server.document.id);
        ids.map(|id| fleet.label(id)).collect()
    };
    assert_eq!(labels(Fleet::new(servers.to_vec())), ["a", "b"]);
    let with = |port| Fleet::new([&servers[..], &[second(port)]].concat());
    assert_eq!(labels(with(3333)), ["a", "a", "b"]);
    assert_eq!(labels(with(4444)), ["a:3333", "a:4444", "b"]);
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

#[test]
fn golden_the_gates_and_foreign_writes_of_a_document_in_json() {
    let gate = |name: &str, state| GateStatus {
        name: name.into(),
        state,
        reason: (state != GateState::Open).then(|| "2 series".into()),
        since: (state != GateState::Unknown).then(|| second(0)),
    };
    let document = ServerDocument {
        gates: vec![
            gate("a", GateState::Open),
            gate("b", GateState::Closed),
            gate("c", GateState::Unknown),
        ],
        foreign_writes: vec!["workers".into()],
        ..document("ops-1", "1", Vec::new())
    };
    let json = serde_json::to_string(&document).unwrap();
    assert!(
        json.ends_with(concat!(
            r#","gates":[{"name":"a","state":"open","since":"1970-01-01T00:00:00Z"},"#,
            r#"{"name":"b","state":"closed","reason":"2 series","since":"1970-01-01T00:00:00Z"},"#,
            r#"{"name":"c","state":"unknown","reason":"2 series"}],"foreign_writes":["workers"]}"#
        )),
        "{json}"
    );
    let later = json.replacen("open", "ajar", 1);
    let read: ServerDocument = serde_json::from_str(&later).unwrap();
    assert_eq!(read.gates, document.gates[1..]);
}

#[test]
fn invariant_8_all_gates_fit_into_a_document() {
    let gate = |number: usize| GateStatus {
        name: format!("{number:063}"),
        state: GateState::Failed,
        reason: Some("\"".repeat(400)),
        since: Some(second(0)),
    };
    let document = ServerDocument {
        gates: (0..64).map(|number| gate(number).published()).collect(),
        foreign_writes: (0..50).map(|_| "x".repeat(2000)).collect(),
        ..document("ops-1", "1", vec![node(&"x".repeat(253), 0); 200])
    };
    let json = document.clone().into_json();
    assert!(json.len() <= crate::store::presence::MAX_DOCUMENT);
    let read: ServerDocument = serde_json::from_str(&json).unwrap();
    assert_eq!(read.gates, document.gates);
    let reason = read.gates[0].reason.as_ref().unwrap();
    assert_eq!(*reason, "\"".repeat(200) + "…");
}
