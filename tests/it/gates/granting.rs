//! Servers that ask a gate before they grant a lock.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::Response;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const HANGING: u8 = 2;

/// A web server that a test opens and closes, and that counts the requests.
#[derive(Clone)]
struct Switch {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
}

impl Switch {
    fn start(mode: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let switch = Switch {
            address: listener.local_addr().unwrap(),
            mode: Arc::new(AtomicU8::new(mode)),
            asked: Arc::default(),
        };
        let served = switch.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = served.clone();
                thread::spawn(move || served.answer(&stream.unwrap()));
            }
        });
        switch
    }

    fn answer(&self, mut stream: &TcpStream) {
        let head = BufReader::new(stream).lines().map_while(Result::ok);
        if head.take_while(|line| !line.is_empty()).count() == 0 {
            return;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = match self.mode.load(Ordering::SeqCst) {
            OPEN => "204 No Content",
            CLOSED => "503 Service Unavailable",
            // Until the client gives up.
            _ => return drop(BufReader::new(stream).read_line(&mut String::new())),
        };
        let response =
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(response.as_bytes());
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns the configuration of groups with this gate.
    fn config(&self, slots: u64, more: &str) -> String {
        format!(
            "[lock]\ndefault_slots = {slots}\n[[lock.gates]]\nname = \"db\"\nhttp = \"http://{}/\"\n{more}",
            self.address
        )
    }
}

#[track_caller]
fn closed(response: &Response) -> String {
    let found = (response.status, response.kind());
    assert_eq!(
        found,
        (423, "gate_closed".to_owned()),
        "{}",
        response.value()
    );
    response.value()
}

/// Waits until the gate was asked for display, so that a test can count the other requests.
fn displayed(switch: &Switch) {
    eventually("the gate to be asked for display", || {
        (switch.asked() > 0).then_some(())
    });
}

#[test]
fn a_closed_gate_refuses_new_locks_only_and_is_not_asked_for_anything_else() {
    let switch = Switch::start(CLOSED);
    let mut airlock = Airlock::embedded(&switch.config(2, ""));
    let client = airlock.client();
    let value = closed(&client.lock("default", "a"));
    let reason = "no lock is granted in group \"default\" until gate \"db\" is open: the response is 503 Service Unavailable";
    assert!(value.starts_with(reason), "{value}");
    switch.set(OPEN);
    eventually("the gate to be asked again", || {
        client.lock("default", "a").granted().then_some(())
    });
    switch.set(CLOSED);
    let asked = switch.asked();
    assert!(client.lock("default", "a").granted(), "a holder asks again");
    assert!(
        client.unlock("default", "b").granted(),
        "a non-holder is back"
    );
    assert!(client.unlock("default", "a").granted(), "a holder is back");
    assert_eq!(switch.asked(), asked);
    let overridden = airlock.command(&["override", "default", "--for", "1h", "--yes"]);
    assert!(overridden.status.success());
    airlock.wait_for_log("has started an override of reboot windows, freezes and gates");
    assert!(client.lock("default", "a").granted());
    assert_eq!(switch.asked(), asked);
}

#[test]
fn each_grant_needs_an_answer_of_its_own_and_a_full_group_needs_none() {
    let switch = Switch::start(OPEN);
    let airlock = Airlock::embedded(&switch.config(3, "max_age_ms = 60000\n"));
    displayed(&switch);
    let client = airlock.client();
    let before = switch.asked();
    for id in ["1", "2", "3"] {
        assert!(client.lock("default", id).granted());
    }
    // The first grant can use the answer for display.
    let asked = switch.asked() - before;
    assert!((2..=3).contains(&asked), "{asked}");
    let nodes = (0..30).map(|node| {
        let client = airlock.client();
        thread::spawn(move || client.lock("default", &format!("n{node}")).kind())
    });
    for node in nodes.collect::<Vec<_>>() {
        assert_eq!(node.join().unwrap(), "failed_lock");
    }
    assert_eq!(switch.asked() - before, asked);
    // Many nodes at once for one slot: after the grant, those that wait for their turn do not ask.
    assert!(client.unlock("default", "1").granted());
    let nodes = (0..30).map(|node| {
        let client = airlock.client();
        thread::spawn(move || client.lock("default", &format!("n{node}")).granted())
    });
    let granted = nodes.collect::<Vec<_>>().into_iter();
    let granted = granted
        .filter_map(|node| node.join().unwrap().then_some(()))
        .count();
    assert_eq!(granted, 1);
    let asked = switch.asked() - before - asked;
    assert!(asked <= 3, "{asked}");
}

#[test]
fn an_answer_from_before_a_grant_of_another_server_allows_no_lock() {
    let etcd = Etcd::start();
    let [first, second] = [(); 2].map(|()| Switch::start(OPEN));
    let config = |switch: &Switch| switch.config(5, "max_age_ms = 60000\n");
    let servers =
        [&first, &second].map(|switch| Airlock::on_etcd(&etcd.endpoints(), &config(switch)));
    displayed(&first);
    displayed(&second);
    assert!(servers[0].client().lock("default", "a").granted());
    eventually("the grant to reach the other server", || {
        let held = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        (servers[1].metric(held) == Some(1.0)).then_some(())
    });
    // Its latest answer is young, and was not used; but the world has changed since.
    second.set(CLOSED);
    let before = second.asked();
    closed(&servers[1].client().lock("default", "b"));
    assert_eq!(second.asked(), before + 1);
}

#[test]
fn a_gate_without_an_answer_is_closed_within_the_time_of_the_request() {
    let switch = Switch::start(HANGING);
    let more = "timeout_ms = 30000\nmax_age_ms = 30000\n";
    let airlock = Airlock::embedded(&switch.config(2, more));
    let value = closed(&airlock.client().lock("default", "a"));
    assert!(value.contains("within the time of the request"), "{value}");
    let quick = Switch::start(HANGING);
    let airlock = Airlock::embedded(&quick.config(2, "timeout_ms = 100\n"));
    let value = closed(&airlock.client().lock("default", "a"));
    assert!(value.contains("no answer within 100 ms"), "{value}");
    assert!(airlock.client().unlock("default", "a").granted());
}
