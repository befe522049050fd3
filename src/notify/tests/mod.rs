//! The webhook as a whole, with real receivers on the loopback interface.

mod example;
mod failures;
mod files;
mod receiver;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::Registry;
use serde_json::Value;
use tokio::{task, time};

use super::queue::MAX_EVENTS;
use super::retry::RetryPolicy;
use super::{Event, Notifier, NotifyMetrics};
use crate::config::{EventKind, NotifySettings};
use crate::lock::GroupName;
use receiver::{MAX_WAIT, Reply, TestReceiver};

/// A policy without long pauses.
const FAST: RetryPolicy = RetryPolicy {
    min: Duration::from_millis(1),
    max: Duration::from_millis(4),
    give_up: Duration::from_secs(600),
};

/// Returns the settings of a receiver that gets all events without a signature.
fn settings(url: &str) -> NotifySettings {
    NotifySettings {
        url: url.parse().unwrap(),
        secret_path: None,
        ca_cert_path: None,
        events: EventKind::ALL.into(),
        timeout: Duration::from_secs(60),
    }
}

/// Returns a notifier whose events are not delivered yet.
fn load(settings: NotifySettings, policy: RetryPolicy) -> Notifier {
    let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
    Notifier::with_policy(settings, "server1", metrics, policy).unwrap()
}

/// Returns a notifier whose events are delivered.
fn start(settings: NotifySettings) -> Notifier {
    let notifier = load(settings, FAST);
    tokio::spawn(notifier.clone().deliver());
    notifier
}

fn granted(number: usize) -> Event {
    Event::Granted {
        group: GroupName::new("workers").unwrap(),
        id: format!("node{number}").into(),
        name: None,
        peer: None,
        at: Timestamp::UNIX_EPOCH,
    }
}

/// Waits until no event is left.
async fn settle(notifier: &Notifier) {
    let idle = time::timeout(MAX_WAIT, notifier.delivery.queue.idle()).await;
    idle.expect("no event to be left");
}

/// Waits until this many attempts have failed.
async fn wait_for_failures(notifier: &Notifier, count: u64) {
    let failed = async {
        while counts(notifier)[3] < count {
            task::yield_now().await;
        }
    };
    let failed = time::timeout(MAX_WAIT, failed).await;
    failed.expect("attempts to fail");
}

/// Returns the numbers of delivered, rejected, and dropped events, and of failed attempts.
fn counts(notifier: &Notifier) -> [u64; 4] {
    let metrics = &notifier.delivery.metrics;
    [
        &metrics.delivered,
        &metrics.rejected,
        &metrics.dropped,
        &metrics.failures,
    ]
    .map(|counter| counter.get())
}

#[tokio::test]
async fn events_arrive_in_order_and_each_once() {
    let receiver = TestReceiver::start().await;
    let notifier = start(settings(&format!("{}/hook?token=a", receiver.url)));
    for number in 0..200 {
        notifier.send(granted(number));
    }
    let received = receiver.wait_for(200).await;
    settle(&notifier).await;
    assert_eq!(receiver.count(), 200);
    for (number, request) in received.iter().enumerate() {
        assert_eq!(request.line, "POST /hook?token=a");
        assert_eq!(
            request.header("content-type"),
            "application/cloudevents+json; charset=UTF-8"
        );
        assert!(request.header("user-agent").starts_with("airlock/"));
        assert_eq!(request.headers.get("webhook-signature"), None);
        let event: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(event["subject"], format!("workers/node{number}"));
        assert_eq!(event["source"], "//server1/airlock");
        assert_eq!(event["id"], request.header("webhook-id"));
    }
    let ids: BTreeSet<_> = received
        .iter()
        .map(|request| request.header("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(counts(&notifier), [200, 0, 0, 0]);
    assert_eq!(notifier.delivery.metrics.queued.get(), 0);
    assert_eq!(receiver.connections(), 1, "one connection serves all");
}

#[tokio::test]
async fn only_the_configured_kinds_are_sent() {
    let receiver = TestReceiver::start().await;
    let notifier = start(NotifySettings {
        events: [EventKind::Admin].into(),
        ..settings(&receiver.url)
    });
    notifier.send(granted(1));
    notifier.send(Event::Admin {
        group: GroupName::new("workers").unwrap(),
        by: "core@admin".into(),
        action: "paused the group".into(),
        at: Timestamp::UNIX_EPOCH,
    });
    assert!(
        receiver.wait_for(1).await[0]
            .body
            .contains("airlock.lock.admin")
    );
    settle(&notifier).await;
    assert_eq!(counts(&notifier), [1, 0, 0, 0]);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_sender_and_the_newest_events_are_kept() {
    let receiver = TestReceiver::start().await;
    receiver.script([Reply::Hold]);
    let notifier = start(settings(&receiver.url));
    notifier.send(granted(0));
    receiver.wait_for(1).await;
    // No task but this one runs between the calls: `send` does not wait.
    for number in 1..=10_000 {
        notifier.send(granted(number));
    }
    assert_eq!(counts(&notifier), [0, 0, 10_000 - MAX_EVENTS as u64, 0]);
    assert_eq!(
        notifier.delivery.metrics.queued.get(),
        1 + MAX_EVENTS as i64
    );

    receiver.release();
    let received = receiver.wait_for(1 + MAX_EVENTS).await;
    for (expected, request) in (10_001 - MAX_EVENTS..).zip(&received[1..]) {
        assert!(
            request
                .body
                .contains(&format!("\"workers/node{expected}\""))
        );
    }
    settle(&notifier).await;
    assert_eq!(receiver.count(), 1 + MAX_EVENTS);
}

#[tokio::test]
async fn at_the_end_pending_events_have_a_second() {
    let receiver = TestReceiver::start().await;
    let notifier = start(settings(&receiver.url));
    notifier.flush().await;
    for number in 0..10 {
        notifier.send(granted(number));
    }
    notifier.flush().await;
    assert_eq!(receiver.count(), 10);

    receiver.script([Reply::Hold]);
    notifier.send(granted(10));
    let started = Instant::now();
    notifier.flush().await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert_eq!(counts(&notifier), [10, 0, 0, 0]);
}
