//! The limits of the listeners, each with a client that exceeds it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::blocking::Client as Http;

use airlock_test_support::MAX_WAIT;
use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;
use airlock_test_support::pki::Ca;

/// Timeouts that are short enough to wait for and long enough for the requests of the tests.
const SHORT: &str = "[limits]\nheader_timeout_ms = 1000\nbody_timeout_ms = 1000\nidle_timeout_ms = 1000\n\
                     handshake_timeout_ms = 1000\n";

/// Long enough for a slow machine, and shorter than any timeout that is not configured here.
const SOON: Duration = Duration::from_secs(20);

fn connect(airlock: &Airlock) -> TcpStream {
    let stream = TcpStream::connect(airlock.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Reads until the server closes the connection. Panics if it does not.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is still open: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tls(more: &str) -> (Airlock, Ca) {
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let (cert, key) = (pair.cert, pair.key);
    let tls = format!("tls = true\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}");
    let listen = LISTEN.replacen("tls = false", &tls, 1);
    let config = format!("{listen}[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}");
    (Airlock::start_with(&config, &["-vv"]), ca)
}

/// The requests follow each other, as those of Zincati do.
#[test]
fn an_http_2_connection_ends_after_64_kib_and_no_request_fails() {
    const REQUESTS: usize = 600;
    let (airlock, ca) = tls("");
    let url = format!(
        "{}/v1/steady-state",
        airlock.url().replace("http:", "https:")
    );
    let id = "n".repeat(250);
    let body = format!(r#"{{"client_params":{{"id":"{id}","group":"default"}}}}"#);
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "--http2",
        "-H",
        "fleet-lock-protocol: true",
        "-d",
        &body,
    ]);
    curl.args(["-w", "%{http_version} %{http_code} %{num_connects}\n"]);
    curl.arg("--cacert")
        .arg(ca.path())
        .args(vec![&url; REQUESTS]);
    let lines = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let connects = lines.lines().map(|line| {
        let connects = line
            .strip_prefix("2 200 ")
            .unwrap_or_else(|| panic!("{line}"));
        connects.parse::<usize>().unwrap()
    });
    let connects: Vec<usize> = connects.collect();
    assert_eq!(connects.len(), REQUESTS);
    let connections: usize = connects.iter().sum();
    assert!((3..20).contains(&connections), "{connections} connections");
}

#[test]
fn too_large_or_too_many_headers_are_a_431_in_http_1_and_2() {
    let (airlock, ca) = tls("");
    let url = format!("{}/v1/pre-reboot", airlock.url().replace("http:", "https:"));
    let large = |size| vec![format!("x: {}", "x".repeat(size))];
    let many = || (0..100).map(|number| format!("x-{number}: x")).collect();
    for (version, headers) in [
        ("1.1", large(40_000)),
        ("1.1", large(100_000)),
        ("1.1", many()),
        ("2", large(40_000)),
        ("2", many()),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-d", "{}", "-w", " %{http_code} %{http_version}"]);
        curl.arg(format!("--http{version}"))
            .arg("--cacert")
            .arg(ca.path());
        for header in &headers {
            curl.args(["-H", header]);
        }
        curl.arg(&url);
        let mut is_refused = || {
            let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
            let body = output.strip_suffix(&format!(" 431 {version}"));
            body.is_some_and(|body| body.contains(r#""kind":"headers_too_large""#))
        };
        let size = headers[0].len();
        match version {
            // A client that is still sending does not lose the response.
            "1.1" => (0..10).for_each(|_| assert!(is_refused(), "{size} bytes")),
            // Some versions of curl lose a response that does not wait for the body of the request.
            _ => eventually("431 with HTTP/2", || is_refused().then_some(())),
        }
    }
}

#[test]
fn a_silent_client_and_a_slow_request_head_are_disconnected() {
    let airlock = Airlock::embedded(SHORT);
    assert_eq!(rest(&mut connect(&airlock)), "");
    // Single bytes do not extend the timeout: the head never becomes complete.
    let mut slow = connect(&airlock);
    let started = Instant::now();
    let head = "POST /v1/pre-reboot HTTP/1.1\r\nx: "
        .bytes()
        .chain(std::iter::repeat(b'x'));
    let pause = Duration::from_millis(50);
    slow.set_read_timeout(Some(pause)).unwrap();
    let disconnected = head.into_iter().any(|byte| {
        assert!(started.elapsed() < SOON, "still connected");
        if slow.write_all(&[byte]).is_err() {
            return true;
        }
        // Waits for the end of the connection until the next byte is due.
        match slow.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    });
    assert!(disconnected);
}

#[test]
fn a_missing_body_is_a_408() {
    let airlock = Airlock::embedded(SHORT);
    let mut slow = connect(&airlock);
    slow.write_all(b"POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\ncontent-length: 100\r\n\r\n{")
        .unwrap();
    let answer = rest(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""kind":"request_timeout""#), "{answer}");
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let airlock = Airlock::embedded(SHORT);
    let request = "POST /v1/steady-state HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\ncontent-length: 28\r\n\r\n\
                   {\"id\":\"n\",\"group\":\"default\"}";
    let mut kept = connect(&airlock);
    let mut buffer = [0; 1000];
    let started = Instant::now();
    // Longer than any of the timeouts, with a request before any of them expires.
    while started.elapsed() < Duration::from_millis(2500) {
        kept.write_all(request.as_bytes()).unwrap();
        let size = kept.read(&mut buffer).unwrap();
        assert!(buffer[..size].starts_with(b"HTTP/1.1 200 OK"));
    }
    assert_eq!(rest(&mut kept), "", "an idle connection is closed");
}

#[test]
fn an_idle_http_2_connection_and_a_handshake_that_never_ends_are_closed() {
    let (airlock, ca) = tls(SHORT);
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca.path()).unwrap()).unwrap();
    let http = Http::builder().tls_certs_only([ca]);
    let node = Client::over(airlock.url().replace("http:", "https:"), http);
    let connections = r#"airlock_connections{listener="service"}"#;
    // On a busy machine the client itself may exceed such short timeouts.
    let granted = || {
        eventually("a grant", || {
            let answer = node.try_post("v1/steady-state", "default", "n").ok()?;
            answer.granted().then_some(())
        });
    };
    granted();
    eventually("the idle connection to end", || {
        (airlock.metric(connections) == Some(0.0)).then_some(())
    });
    granted();

    let mut silent = connect(&airlock);
    assert_eq!(rest(&mut silent), "");
    let rejected =
        r#"airlock_rejected_connections_total{listener="service",reason="tls_handshake"}"#;
    eventually("the handshake to be counted", || {
        (airlock.metric(rejected)? >= 1.0).then_some(())
    });
}

/// Sends requests until their responses fill all buffers, or the server closes the connection.
fn send_without_reading(deaf: &mut TcpStream, path: &str) {
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(1000);
    let started = Instant::now();
    while deaf.write_all(request.as_bytes()).is_ok() {
        assert!(
            started.elapsed() < MAX_WAIT,
            "the server accepts all requests"
        );
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected() {
    let airlock = Airlock::embedded(SHORT);
    let mut deaf = connect(&airlock);
    send_without_reading(&mut deaf, "/");
    let connections = r#"airlock_connections{listener="service"}"#;
    eventually("the connection to end", || {
        (airlock.metric(connections) == Some(0.0)).then_some(())
    });
}

#[test]
fn connections_beyond_a_limit_replace_the_longest_idle_ones() {
    let airlock =
        Airlock::embedded("[limits]\nmax_connections = 8\nmax_connections_per_peer = 5\n");
    let address: SocketAddr = airlock.url().trim_start_matches("http://").parse().unwrap();
    let from = |last: u8| connect_from(Ipv4Addr::new(127, 0, 0, last), address);
    let metric = r#"airlock_connections{listener="service"}"#;
    let wait_for = |count: f64| {
        eventually(&format!("{count} connections"), || {
            (airlock.metric(metric) == Some(count)).then_some(())
        });
    };
    let mut open: Vec<TcpStream> = Vec::new();
    for count in 1..=5 {
        open.push(from(2));
        wait_for(f64::from(count));
    }
    let sixth = from(2);
    assert_eq!(
        rest(&mut open.remove(0)),
        "",
        "the longest idle one of this peer"
    );
    let others: Vec<TcpStream> = (0..3).map(|_| from(3)).collect();
    wait_for(8.0);
    // The ninth connection belongs to an honest node.
    let mut node = from(4);
    assert_eq!(
        rest(&mut open.remove(0)),
        "",
        "one of the peer with the most"
    );
    let body = r#"{"id":"n","group":"default"}"#;
    write!(
        node,
        "POST /v1/steady-state HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let answer = rest(&mut node);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    for reason in ["connections_per_peer", "connections"] {
        let evicted = format!(
            "airlock_evicted_connections_total{{listener=\"service\",reason=\"{reason}\"}}"
        );
        assert_eq!(airlock.metric(&evicted), Some(1.0), "{reason}");
    }
    drop((open, sixth, others));
}

#[test]
fn a_response_that_is_not_read_closes_the_connection() {
    let airlock =
        Airlock::embedded("[limits]\nresponse_timeout_ms = 1000\nidle_timeout_ms = 3600000\n");
    let mut deaf = TcpStream::connect(airlock.status_url().trim_start_matches("http://")).unwrap();
    send_without_reading(&mut deaf, "/metrics");
    for open in [2.0, 1.0] {
        eventually(&format!("{open} connections"), || {
            let name = r#"airlock_connections{listener="status"}"#;
            // One of them belongs to this request.
            (airlock.metric(name) == Some(open)).then_some(())
        });
    }
}

#[test]
fn requests_beyond_the_queue_limit_of_a_group_are_a_503() {
    let etcd = Etcd::start();
    let airlock = Airlock::on_etcd(
        &etcd.endpoints(),
        "transaction_timeout_ms = 20000\n[limits]\nwaiting_requests_per_group = 2\n",
    );
    assert!(airlock.client().unlock("default", "n").granted());
    etcd.members[0].freeze();
    std::thread::scope(|scope| {
        let mut nodes = Vec::new();
        let busy = r#"airlock_responses_total{endpoint="steady_state",group="default",outcome="server_busy"}"#;
        // Some requests are in a batch in flight, two wait in the queue, and the others are refused.
        eventually("the queue to be full", || {
            nodes.push(scope.spawn(|| airlock.client().unlock("default", "n")));
            (airlock.metric(busy)? >= 1.0).then_some(())
        });
        etcd.members[0].thaw();
        let answers: Vec<_> = nodes.into_iter().map(|node| node.join().unwrap()).collect();
        for answer in answers.iter().filter(|answer| !answer.granted()) {
            assert_eq!((answer.status, &*answer.kind()), (503, "server_busy"));
        }
        assert!(answers.iter().any(|answer| answer.granted()));
        let denied = airlock.metric(r#"airlock_denied_clients{reason="server_busy"}"#);
        assert_eq!(denied, Some(1.0));
    });
}

/// Each client sends one byte per second to stay connected.
#[test]
fn five_thousand_slow_clients_do_not_keep_a_node_from_its_lock() {
    const CLIENTS: usize = 5000;
    airlock_test_support::raise_open_files(CLIENTS as u64 + 500);
    let airlock =
        Airlock::embedded("[limits]\nheader_timeout_ms = 60000\nmax_connections_per_peer = 1000\n");
    let address: SocketAddr = airlock.url().trim_start_matches("http://").parse().unwrap();
    let mut slow: Vec<TcpStream> = (0..CLIENTS)
        .map(|number| {
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number / 1000).unwrap());
            let mut stream = connect_from(from, address);
            stream
                .write_all(b"POST /v1/pre-reboot HTTP/1.1\r\n")
                .unwrap();
            stream
        })
        .collect();
    let metric = r#"airlock_connections{listener="service"}"#;
    eventually("all of them to be connected", || {
        (airlock.metric(metric) == Some(CLIENTS as f64)).then_some(())
    });
    let mut slowest = Duration::ZERO;
    for second in 0..5 {
        let next = Instant::now() + Duration::from_secs(1);
        for stream in &mut slow {
            stream.write_all(b"x").unwrap();
        }
        while Instant::now() < next {
            let started = Instant::now();
            let id = format!("n{second}");
            let node = airlock.client();
            assert!(node.lock("default", &id).granted());
            assert!(node.unlock("default", &id).granted());
            slowest = slowest.max(started.elapsed());
        }
    }
    assert_eq!(
        airlock.metric(metric).map(|open| open >= CLIENTS as f64),
        Some(true)
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

/// Connects from a given loopback address, since the limit applies to each peer.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}
