//! The asks for display, and what a reload replaces.

use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use super::{Fake, SECOND, Server, acquire, settings};
use crate::config::GateSettings;
use crate::gate::Answer;

#[tokio::test(start_paused = true)]
async fn a_gate_is_asked_every_30_seconds_unless_a_node_has_asked() {
    let fake = Fake::new();
    let server = Server::new(&fake);
    let gate = server.replace(&[settings(1)]).remove(0);
    time::sleep(SECOND).await;
    let latest = gate.latest().unwrap();
    assert_eq!((latest.answer, latest.age), (Answer::Open, SECOND));
    assert!(server.scrape().contains("airlock_gate_open{gate=\"a\"} 1"));
    time::sleep(28 * SECOND).await;
    assert_eq!(fake.asks(), 1);
    drop(acquire(&gate).await.unwrap());
    time::sleep(29 * SECOND).await;
    assert_eq!(fake.asks(), 2);
    time::sleep(300 * SECOND).await;
    let asked = fake.0.lock().asked.clone();
    let pauses: Vec<Duration> = asked[1..]
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(pauses.len() >= 8, "{pauses:?}");
    let expected = 30 * SECOND..34 * SECOND;
    assert!(
        pauses.iter().all(|pause| expected.contains(pause)),
        "{pauses:?}"
    );
    assert_ne!(pauses[1], pauses[2]);
    drop(gate);
    drop(server);
    time::sleep(100 * SECOND).await;
    assert_eq!(fake.asks(), asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_gates_that_are_the_same() {
    let fake = Fake::new();
    let server = Server::new(&fake);
    let named = |name: &str, allows| GateSettings {
        name: name.into(),
        ..settings(allows)
    };
    // One gate that several groups use is asked once.
    let old = server.replace(&[named("b", 1), named("a", 1), named("b", 1)]);
    let names: Vec<_> = old.iter().map(|gate| gate.name().to_string()).collect();
    assert_eq!(names, ["a", "b", "b"]);
    time::sleep(SECOND).await;
    assert_eq!(fake.asks(), 2);
    let new = server.replace(&[named("b", 1), named("c", 1)]);
    assert!(Arc::ptr_eq(&old[1], &new[0]));
    assert_eq!(new[1].latest(), None);
    let text = server.scrape();
    assert!(!text.contains("gate=\"a\""), "{text}");
    for metric in ["open", "failures_total", "duration_seconds_count"] {
        for gate in ["b", "c"] {
            let metric = format!("airlock_gate_{metric}{{gate=\"{gate}\"}}");
            assert!(text.contains(&metric), "{metric}: {text}");
        }
    }
    let changed = server.replace(&[named("b", 2)]);
    assert_eq!(changed[0].latest(), None);
    assert!(server.scrape().contains("airlock_gate_open{gate=\"b\"} 0"));
    server.replace(&[]);
    assert_eq!(server.scrape(), "");
}
