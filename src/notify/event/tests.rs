//! The form of the events. docs/reference.md has one of each kind.

use std::collections::BTreeSet;

use super::*;

const ID: &str = "2204af7f41984cb19b8cde4edc06c142";
const SENT: &str = "2026-11-23T00:16:40Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns the events of docs/reference.md.
fn examples() -> [Event; 5] {
    let group = GroupName::new("workers").unwrap();
    let (id, name): (Arc<str>, Arc<str>) = (ID.into(), "worker7.example".into());
    let peer = Some("192.0.2.7".parse().unwrap());
    let since = time("2026-11-22T23:31:00Z");
    [
        Event::Granted {
            group: group.clone(),
            id: Arc::clone(&id),
            name: Some(Arc::clone(&name)),
            peer,
            at: since,
        },
        Event::Released {
            group: group.clone(),
            id: Arc::clone(&id),
            name: Some(Arc::clone(&name)),
            peer,
            since: Some(since),
            at: time("2026-11-22T23:35:12Z"),
            by: None,
        },
        Event::Overdue {
            group: group.clone(),
            id: Arc::clone(&id),
            name: Some(name),
            peer,
            since,
            usual: Some(Duration::from_secs(252)),
        },
        Event::Admin {
            group: group.clone(),
            by: "core@admin1".into(),
            action: "unlocked worker7.example".into(),
            at: time("2026-11-23T00:20:00Z"),
        },
        Event::Denied {
            group: Some(group),
            reason: "forbidden".into(),
            peer,
            id: Some(id),
            detail: "user \"web\" may not lock group workers".into(),
            times: 12,
        },
    ]
}

fn json(event: &Event) -> Value {
    let shared = event.shared_id();
    let id = shared.as_deref().unwrap_or("51f0b5e9c2d3a487-17");
    let text = event.json(id, "//airlock1/airlock", time(SENT));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn each_kind_and_each_field_is_documented() {
    let reference = include_str!("../../../docs/reference.md");
    let blocks = reference.split("```json\n").skip(1);
    let documented: Vec<Value> = blocks
        .map(|block| serde_json::from_str(block.split("```").next().unwrap()).unwrap())
        .collect();
    let events = examples().map(|event| json(&event));
    assert_eq!(documented, events);
    let kinds = examples().map(|event| event.kind());
    assert_eq!(kinds, EventKind::ALL);
    let fields: BTreeSet<&String> = events
        .iter()
        .flat_map(|event| event["data"].as_object().unwrap().keys())
        .collect();
    for field in fields {
        assert!(
            reference.contains(&format!("\n`data.{field}` | ")),
            "{field}"
        );
    }
}

#[test]
fn an_event_that_any_server_may_send_has_the_same_id_at_each_of_them() {
    let [granted, mut released, overdue, admin, denied] = examples();
    for event in [&granted, &released, &denied] {
        assert_eq!(event.shared_id(), None, "{event:?}");
    }
    if let Event::Released { by, .. } = &mut released {
        *by = Some("core@admin1".into());
    }
    // What another server knows of the node makes no difference.
    let (mut unnamed, mut later) = (overdue.clone(), overdue.clone());
    if let Event::Overdue {
        name, peer, usual, ..
    } = &mut unnamed
    {
        (*name, *peer, *usual) = (None, None, None);
    }
    assert_eq!(unnamed.shared_id(), overdue.shared_id());
    if let Event::Overdue { since, .. } = &mut later {
        *since += Duration::from_secs(1);
    }
    let ids = [released, overdue, later, admin].map(|event| event.shared_id().unwrap());
    assert_eq!(BTreeSet::from(ids.clone()).len(), ids.len());
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
}

#[test]
fn what_is_unknown_is_null_and_a_denial_may_have_no_subject() {
    let group = GroupName::new("workers").unwrap();
    let released = json(&Event::Released {
        group: group.clone(),
        id: "a".into(),
        name: None,
        peer: None,
        since: None,
        at: time(SENT),
        by: Some("core@admin1".into()),
    });
    for field in ["name", "address", "since", "held_seconds"] {
        assert_eq!(released["data"][field], Value::Null, "{field}");
    }
    assert_eq!(released["data"]["released_by"], "core@admin1");
    let denied = |group, id: Option<&str>| {
        let event = json(&Event::Denied {
            group,
            reason: "unauthorized".into(),
            peer: None,
            id: id.map(Into::into),
            detail: String::new(),
            times: 1,
        });
        assert_eq!(event["time"], SENT);
        event.get("subject").cloned()
    };
    assert_eq!(denied(None, Some("a")), None);
    assert_eq!(denied(Some(group.clone()), None), Some("workers".into()));
    assert_eq!(denied(Some(group), Some("a")), Some("workers/a".into()));
}

#[test]
fn the_text_is_printable_and_the_data_has_the_id_of_the_node_as_it_is() {
    let event = Event::Granted {
        group: GroupName::new("g").unwrap(),
        id: "a\n\u{202e}\u{e0001}é".into(),
        name: None,
        peer: None,
        at: time(SENT),
    };
    let text = event.json("id", "source", time(SENT));
    assert!(
        !text.contains(|c: char| c.is_control() || "\u{202e}\u{e0001}".contains(c)),
        "{text}"
    );
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["data"]["id"], "a\n\u{202e}\u{e0001}é");
    assert_eq!(event["subject"], r"g/a\n\u202e\U000e0001é");
}

#[test]
fn the_time_of_a_lock_is_never_negative() {
    let [granted, ..] = examples();
    let Event::Granted {
        group,
        id,
        name,
        peer,
        at,
    } = granted
    else {
        panic!("not the first kind");
    };
    let event = Event::Released {
        group,
        id,
        name,
        peer,
        since: Some(at + Duration::from_secs(5)),
        at,
        by: None,
    };
    assert_eq!(json(&event)["data"]["held_seconds"], 0);
}

#[test]
fn the_source_is_a_uri_reference_for_every_host() {
    assert_eq!(source("airlock-1.example"), "//airlock-1.example/airlock");
    assert_eq!(source("a_b~c é/"), "//a_b~c%20%C3%A9%2F/airlock");
}

#[test]
fn the_bytes_of_an_event_include_its_texts() {
    for event in examples() {
        let texts = format!("{event:?}");
        assert!(event.bytes() >= size_of::<Event>() + 25, "{texts}");
        assert!(event.bytes() <= size_of::<Event>() + texts.len(), "{texts}");
    }
}
