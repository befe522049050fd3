//! Receivers that are slow, down, or refuse events.

use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime;

use super::*;
use crate::logging::logged;

/// Runs a test, and returns the warnings and errors that it logs.
fn logged_by(test: impl Future<Output = ()>) -> Vec<String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    logged(|| runtime.unwrap().block_on(test))
}

const FAILS: &str = "events cannot be delivered; each is tried again for an hour";
const REJECTS: &str = "the receiver rejects events, which are lost";
const AGAIN: &str = "events are delivered again";

#[test]
fn a_failure_that_may_pass_is_tried_again_with_the_same_id_until_it_succeeds() {
    let log = logged_by(async {
        let receiver = TestReceiver::start().await;
        let failures = [500, 503, 599, 408, 425, 429].map(Reply::status);
        receiver.script(failures);
        receiver.script([Reply::Disconnect]);
        let notifier = start(settings(&receiver.url));
        notifier.send(granted(1));
        notifier.send(granted(2));
        let received = receiver.wait_for(9).await;
        settle(&notifier).await;
        let ids: Vec<&str> = received
            .iter()
            .map(|request| request.header("webhook-id"))
            .collect();
        assert_eq!(ids[..8], [ids[0]; 8]);
        assert_ne!(ids[8], ids[0]);
        let bodies: Vec<&String> = received.iter().map(|request| &request.body).collect();
        assert_eq!(bodies[..8], [bodies[0]; 8]);
        assert_eq!(receiver.count(), 9);
        assert_eq!(counts(&notifier), [2, 0, 0, 7]);
    });
    assert_eq!(log, [FAILS, AGAIN]);
}

#[test]
fn an_event_that_the_receiver_cannot_process_stops_no_other_one() {
    let log = logged_by(async {
        let receiver = TestReceiver::start().await;
        receiver.poison(Some("workers/node1"));
        let notifier = start(settings(&receiver.url));
        for number in 1..=3 {
            notifier.send(granted(number));
        }
        let received = receiver.wait_for(8).await;
        let nodes: Vec<bool> = received
            .iter()
            .map(|request| request.body.contains("workers/node1"))
            .collect();
        // Three attempts, then those of the others, then again and again.
        let expected = [true, true, true, false, false, true, true, true];
        assert_eq!(nodes[..8], expected);
        notifier.send(granted(4));
        let delivered = async {
            while counts(&notifier)[0] < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(receiver::MAX_WAIT, delivered)
            .await
            .expect("the new event to be delivered");
        receiver.poison(None);
        settle(&notifier).await;
        let counts = counts(&notifier);
        assert_eq!(counts[..3], [4, 0, 0]);
        assert!(counts[3] >= 6, "{counts:?}");
    });
    assert_eq!(log, [FAILS, AGAIN], "one event is no repeated outage");
}

#[tokio::test]
async fn a_deferred_event_is_dropped_when_it_is_too_old() {
    let receiver = TestReceiver::start().await;
    receiver.poison(Some("workers/node1"));
    let policy = RetryPolicy {
        give_up: Duration::from_millis(100),
        ..FAST
    };
    let notifier = load(settings(&receiver.url), policy);
    notifier.send(granted(1));
    tokio::spawn(notifier.clone().deliver());
    settle(&notifier).await;
    assert_eq!(counts(&notifier)[..3], [0, 0, 1]);
}

#[tokio::test]
async fn a_receiver_that_is_unavailable_gets_the_events_in_their_order() {
    let receiver = TestReceiver::start().await;
    receiver.script([(); 5].map(|()| Reply::status(503)));
    let notifier = start(settings(&receiver.url));
    notifier.send(granted(1));
    notifier.send(granted(2));
    let received = receiver.wait_for(7).await;
    for (index, request) in received.iter().enumerate() {
        let is_first = request.body.contains("workers/node1");
        assert_eq!(is_first, index < 6, "{index}");
    }
}

#[test]
fn a_refusal_is_final_and_logged_once_until_the_next_success() {
    let log = logged_by(async {
        let (receiver, other) = (TestReceiver::start().await, TestReceiver::start().await);
        receiver.script([400, 401, 404, 410, 501].map(Reply::status));
        receiver.script([Reply::Status(307, "location", other.url.clone())]);
        let notifier = start(settings(&receiver.url));
        for number in 0..6 {
            notifier.send(granted(number));
        }
        let received = receiver.wait_for(7).await;
        settle(&notifier).await;
        // 501 may pass.
        assert_eq!(
            received[4].header("webhook-id"),
            received[5].header("webhook-id")
        );
        assert_eq!(counts(&notifier), [1, 5, 0, 6]);
        assert_eq!(other.count(), 0, "a redirect was followed");
    });
    assert_eq!(log, [REJECTS, FAILS, AGAIN]);
}

#[tokio::test]
async fn a_receiver_that_has_too_many_requests_gets_the_next_one_when_it_says() {
    let receiver = TestReceiver::start().await;
    receiver.script([429, 503].map(|status| Reply::Status(status, "retry-after", "1".into())));
    let notifier = start(settings(&receiver.url));
    notifier.send(granted(1));
    let received = receiver.wait_for(3).await;
    for attempts in received.windows(2) {
        let pause = attempts[1].at - attempts[0].at;
        assert!(pause >= Duration::from_secs(1), "{pause:?}");
    }
}

#[test]
fn a_receiver_that_starts_late_gets_every_event() {
    let log = logged_by(async {
        // The port is taken, and refuses connections.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let notifier = start(settings(&format!("http://{address}")));
        notifier.send(granted(1));
        notifier.send(granted(2));
        wait_for_failures(&notifier, 3).await;
        let receiver = TestReceiver::serve(socket.listen(16).unwrap(), None);
        receiver.wait_for(2).await;
        settle(&notifier).await;
        assert_eq!(receiver.count(), 2);
        assert_eq!(counts(&notifier)[..3], [2, 0, 0]);
    });
    assert_eq!(log, [FAILS, AGAIN]);
}

#[tokio::test]
async fn an_attempt_ends_after_the_timeout() {
    let receiver = TestReceiver::start().await;
    receiver.script([Reply::Hang]);
    let notifier = start(NotifySettings {
        timeout: Duration::from_millis(100),
        ..settings(&receiver.url)
    });
    notifier.send(granted(1));
    receiver.wait_for(2).await;
    settle(&notifier).await;
    assert_eq!(counts(&notifier), [1, 0, 0, 1]);
}

#[tokio::test]
async fn the_body_of_a_response_is_not_read_to_its_end() {
    let receiver = TestReceiver::start().await;
    receiver.script([Reply::Endless]);
    let notifier = start(settings(&receiver.url));
    notifier.send(granted(1));
    notifier.send(granted(2));
    receiver.wait_for(2).await;
    settle(&notifier).await;
    assert_eq!(counts(&notifier), [2, 0, 0, 0]);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn events_that_are_too_old_are_dropped_when_an_attempt_fails() {
    let receiver = TestReceiver::start().await;
    receiver.script([Reply::status(500)]);
    let policy = RetryPolicy {
        give_up: Duration::ZERO,
        ..FAST
    };
    let notifier = load(settings(&receiver.url), policy);
    for number in 0..3 {
        notifier.send(granted(number));
    }
    tokio::spawn(notifier.clone().deliver());
    receiver.wait_for(1).await;
    settle(&notifier).await;
    assert_eq!(counts(&notifier), [0, 0, 3, 1]);
    notifier.send(granted(3));
    assert!(receiver.wait_for(2).await[1].body.contains("workers/node3"));
}
