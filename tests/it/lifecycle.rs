//! Startup, an outage of the store, and shutdown.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use airlock_test_support::airlock::{Airlock, LISTEN, airlock};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::{eventually, free_port};
use rustix::process::Signal;

#[test]
fn the_server_starts_without_etcd_refuses_in_time_and_recovers() {
    let mut etcd = Etcd::start();
    etcd.members[0].kill();
    let endpoint = etcd.endpoints()[0].clone();
    let mut airlock = Airlock::start(&format!(
        "[etcd3]\nendpoints = [{endpoint:?}]\ntransaction_timeout_ms = 300"
    ));
    assert_eq!(airlock.status("/healthz"), (200, "ok\n".into()));
    let client = airlock.client();
    let refused = client.lock("default", "n");
    assert_eq!((refused.status, &*refused.kind()), (500, "failed_sem_init"));
    let value = refused.value();
    assert!(
        value.starts_with("failed to initialize semaphore manager: "),
        "{value}"
    );
    assert!(
        value.contains(&endpoint) && value.contains("refused"),
        "{value}"
    );
    eventually("not to be ready", || {
        let (status, reason) = airlock.status("/readyz");
        (status == 503 && reason.contains(&endpoint)).then_some(())
    });
    airlock
        .wait_for_log("the store is unavailable; requests are denied until it is available again");

    etcd.members[0].spawn();
    etcd.wait_until_ready();
    eventually("a grant", || {
        client.lock("default", "n").granted().then_some(())
    });
    eventually("to be ready", || {
        (airlock.status("/readyz").0 == 200).then_some(())
    });
    airlock.wait_for_log("the store is available again");
}

#[test]
fn sigterm_completes_requests_in_flight_and_exits_with_0() {
    let mut airlock = Airlock::embedded("");
    // A request with an incomplete body.
    let mut node = TcpStream::connect(airlock.url().trim_start_matches("http://")).unwrap();
    let body = r#"{"id":"n","group":"default"}"#;
    let head = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nfleet-lock-protocol: true\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    node.write_all(head.as_bytes()).unwrap();
    airlock.wait_for_log("got pre-reboot request");
    airlock.terminate();
    airlock.wait_for_log("shutting down");
    eventually("new connections to be refused", || {
        TcpStream::connect(airlock.url().trim_start_matches("http://")).err()
    });
    node.write_all(body.as_bytes()).unwrap();
    let mut response = String::new();
    node.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    assert_eq!(airlock.process().wait().code(), Some(0));
}

#[test]
fn a_second_signal_aborts_at_once_with_its_own_exit_code() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut airlock = Airlock::embedded("");
        let mut node = TcpStream::connect(airlock.url().trim_start_matches("http://")).unwrap();
        node.write_all(b"POST /v1/pre-reboot HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            .unwrap();
        airlock.wait_for_log("got pre-reboot request");
        airlock.terminate();
        airlock.wait_for_log("shutting down");
        airlock.process().signal(second);
        assert_eq!(airlock.process().wait().code(), Some(code));
    }
}

#[test]
fn an_address_in_use_is_reported_with_the_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let text = format!(
        "[service]\naddress = \"127.0.0.1\"\nport = {port}\ntls = false\n\
         [embedded]\npath = \"{}/airlock.db\"\n",
        folder.path().display()
    );
    fs::write(&config, text).unwrap();
    let output = airlock()
        .arg("serve")
        .arg("-c")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    let expected = format!("cannot listen on 127.0.0.1:{port}: Address already in use");
    assert!(log.contains(&expected), "{log}");
    let remedy = format!(
        "`ss -ltnp` shows which one ({}:3, service.port)",
        config.display()
    );
    assert!(log.contains(&remedy), "{log}");
    // The check may run beside the server that uses the port.
    let check = airlock().args(["check-config", "-c"]).arg(&config).output();
    assert_eq!(check.unwrap().status.code(), Some(0));
}

#[test]
fn the_wildcard_address_includes_ipv6_as_with_coreos_airlock() {
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let users = tempfile::NamedTempFile::new().unwrap();
    let hash = bcrypt::hash("password", 4).unwrap();
    fs::write(&users, format!("node:{hash}\n")).unwrap();
    for address in ["", "0.0.0.0", "[::]"] {
        let config = LISTEN.replacen("127.0.0.1", address, 1).replacen(
            "[status]",
            &format!("htpasswd_path = {:?}\n[status]", users.path()),
            1,
        );
        let mut airlock = Airlock::start_with(
            &format!("{config}[embedded]\npath = \"{{folder}}/airlock.db\"\n"),
            &["-vv"],
        );
        // The log contains the address of a rejected client in its IPv4 form.
        let url = airlock.url();
        assert_eq!(Client::new(url.clone()).lock("default", "n").status, 401);
        airlock.wait_for_log("peer=127.0.0.1");
        if has_ipv6 {
            let url = url.replace("127.0.0.1", "[::1]");
            assert_eq!(Client::new(url).lock("default", "n").status, 401);
            airlock.wait_for_log("peer=\"::1\"");
        }
        let health = airlock.command(&["check-config"]);
        assert!(health.status.success(), "{health:?}");
    }
}

#[test]
fn an_unread_log_does_not_block_requests() {
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let port = free_port();
    let text = format!(
        "{}[embedded]\npath = \"{}/airlock.db\"\n",
        LISTEN.replacen("port = 0", &format!("port = {port}"), 1),
        folder.path().display()
    );
    fs::write(&config, text).unwrap();
    let mut child = airlock()
        .args(["serve", "-vvv", "-c"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    eventually("the server to listen", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    // Some hundred bytes per request: far more than the capacity of a pipe.
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let client = airlock_test_support::client::Client::new(url.clone());
            thread::spawn(move || {
                for _ in 0..500 {
                    assert!(client.unlock("default", "n").granted());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
