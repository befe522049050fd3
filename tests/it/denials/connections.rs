//! Clients that are rejected before a request.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use reqwest::blocking::{Client as Http, ClientBuilder};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client::Client;
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, Pair, secret};

use super::{assert_logged, denials, denied_clients, listed, start};

/// Long enough for a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// Timeouts that are short enough to wait for.
const SHORT: &str =
    "[limits]\nheader_timeout_ms = 1000\nbody_timeout_ms = 1000\nhandshake_timeout_ms = 1000\n";

/// A server with TLS that requires certificates of clients.
struct WithTls {
    airlock: Airlock,
    ca: Ca,
    clients: Ca,
}

impl WithTls {
    fn start(more: &str) -> Self {
        let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
        let Pair { cert, key } = ca.issue("server", &["127.0.0.1"]);
        let client_ca = clients.path();
        let tls = format!(
            "tls = true\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}\nclient_ca_path = {client_ca:?}"
        );
        let listen = LISTEN.replacen("tls = false", &tls, 1);
        let config = format!("{listen}[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}");
        let airlock = Airlock::start_with(&config, &["-v"]);
        WithTls {
            airlock,
            ca,
            clients,
        }
    }

    /// Returns a client that trusts the server, with a certificate.
    fn client(&self, pair: &Pair) -> ClientBuilder {
        let pem = [&pair.cert, &pair.key].map(|path| fs::read(path).unwrap());
        let identity = reqwest::Identity::from_pem(&pem.concat()).unwrap();
        trusting(&self.ca).identity(identity)
    }

    /// Sends a request that the handshake prevents.
    fn fail(&self, http: ClientBuilder) {
        let url = self.airlock.url().replace("http:", "https:");
        let sent = Client::over(url, http).try_post("v1/pre-reboot", "default", "n");
        assert!(sent.is_err(), "{sent:?}");
    }

    /// Waits until a handshake has failed for this reason.
    fn assert_failed(&self, reason: &str, detail: &str) {
        eventually(&format!("{detail:?} to be listed"), || {
            let denial = listed(&self.airlock, reason, "127.0.0.1");
            (denial["detail"] == detail).then_some(())
        });
        assert_logged(
            &self.airlock,
            &format!(
                "level=info msg=\"TLS handshake failed\" peer=127.0.0.1 reason={detail:?} listener=service"
            ),
        );
    }
}

fn trusting(ca: &Ca) -> ClientBuilder {
    let ca = reqwest::Certificate::from_pem(&fs::read(ca.path()).unwrap()).unwrap();
    Http::builder().tls_certs_only([ca])
}

fn connect(airlock: &Airlock) -> TcpStream {
    let stream = TcpStream::connect(airlock.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends bytes, and reads until the server closes the connection.
fn exchange(airlock: &Airlock, bytes: &[u8]) -> String {
    let mut stream = connect(airlock);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_failed_handshake_tells_which_side_rejects_the_other_one_and_why() {
    let server = WithTls::start(SHORT);
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let good = server.clients.issue("good", &[]);
    assert!(
        Client::over(
            server.airlock.url().replace("http:", "https:"),
            server.client(&good)
        )
        .unlock("default", "n")
        .granted()
    );
    for (http, detail) in [
        (
            server.client(&Ca::new("clients").issue("of another CA", &[])),
            "the client's certificate is not signed by a CA in client_ca_path",
        ),
        (
            server.client(&server.clients.issue_with("expired", &[], expired)),
            "the client's certificate has expired",
        ),
        (
            trusting(&server.ca),
            "the client sent no certificate, but client_ca_path requires one",
        ),
        (
            trusting(&Ca::new("unknown")),
            "the client does not trust the CA of the server's certificate (alert unknown_ca)",
        ),
    ] {
        server.fail(http);
        server.assert_failed("tls_certificate", detail);
    }
    assert_eq!(
        denied_clients(&server.airlock, "tls_certificate"),
        Some(1.0)
    );

    let not_tls =
        "the client does not speak TLS; its URL may begin with http:// instead of https://";
    exchange(&server.airlock, b"POST /v1/pre-reboot HTTP/1.1\r\n\r\n");
    server.assert_failed("tls_handshake", not_tls);
    // The start of a handshake, and its end.
    let mut closed = connect(&server.airlock);
    closed.write_all(&[22, 3, 1, 2]).unwrap();
    drop(closed);
    server.assert_failed(
        "tls_handshake",
        "the client closed the connection during the handshake",
    );
    exchange(&server.airlock, &[22, 3, 1, 2]);
    server.assert_failed(
        "tls_handshake",
        "the client did not complete the handshake in time",
    );
}

#[test]
fn a_client_that_supports_an_old_version_of_tls_only_is_told_apart() {
    let server = WithTls::start("");
    let url = server.airlock.url().replace("http:", "https:");
    let mut curl = Command::new("curl");
    curl.args(["-s", "--tlsv1.0", "--tls-max", "1.1"]);
    curl.args(["--ciphers", "DEFAULT@SECLEVEL=0", &url]);
    let output = curl.output().unwrap();
    assert_eq!(output.status.code(), Some(35), "{output:?}");
    let detail = "the client supports neither TLS 1.2 nor TLS 1.3";
    server.assert_failed("tls_handshake", detail);
}

#[test]
fn a_health_check_that_only_connects_is_no_rejected_client() {
    let server = WithTls::start(SHORT);
    drop(connect(&server.airlock));
    // Silent until the timeout.
    assert_eq!(exchange(&server.airlock, b""), "");
    let rejected =
        r#"airlock_rejected_connections_total{listener="service",reason="tls_handshake"}"#;
    eventually("both handshakes to be counted", || {
        (server.airlock.metric(rejected) == Some(2.0)).then_some(())
    });
    let plain = Airlock::embedded(SHORT);
    drop(connect(&plain));
    assert_eq!(exchange(&plain, b""), "");
    for airlock in [&server.airlock, &plain] {
        assert!(denials(airlock).is_empty(), "{:?}", denials(airlock));
    }
    assert!(!server.airlock.log().contains("TLS handshake failed"));
}

#[test]
fn what_is_no_http_or_no_complete_request_is_listed() {
    let airlock = Airlock::embedded(SHORT);
    let head = "POST /v1/pre-reboot HTTP/1.1\r\nfleet-lock-protocol: true\r\n";
    for (bytes, reason, detail) in [
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".to_owned(),
            "tls_handshake",
            "the client speaks TLS, but the listener does not; its URL may begin with https:// instead of http://",
        ),
        (
            "\0\0\0\n\n".to_owned(),
            "invalid_request",
            "invalid HTTP method parsed",
        ),
        (
            format!("{head}connection: close\r\n\r\n"),
            "invalid_request",
            "request with 0 Host fields; HTTP/1.1 requires one",
        ),
        (
            head.to_owned(),
            "request_timeout",
            "request head not received completely and in time",
        ),
        (
            format!("{head}host: x\r\ncontent-length: 100\r\n\r\n{{"),
            "request_timeout",
            "request body not received completely and in time",
        ),
        (
            format!("{head}x: {}\r\n\r\n", "x".repeat(40_000)),
            "headers_too_large",
            "request head larger than 16384 bytes, or with more than 64 fields",
        ),
    ] {
        exchange(&airlock, bytes.as_bytes());
        eventually(&format!("{detail:?} to be listed"), || {
            (listed(&airlock, reason, "127.0.0.1")["detail"] == detail).then_some(())
        });
        assert_logged(&airlock, detail);
    }
}

#[test]
fn a_node_with_https_is_told_at_once_that_the_server_does_not_speak_tls() {
    let airlock = Airlock::embedded("");
    let url = format!("{}/v1/pre-reboot", airlock.url().replace("http:", "https:"));
    let curl = Command::new("curl")
        .args(["-sS", "-d", "{}", &url])
        .output()
        .unwrap();
    assert_eq!(curl.status.code(), Some(35), "{curl:?}");
    listed(&airlock, "tls_handshake", "127.0.0.1");
}

/// The password is verified for many seconds.
const COSTLY: &str = "node:$2y$14$.....................................................\n";

#[test]
fn a_connection_that_a_limit_rejects_is_listed_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    secret(&users, COSTLY);
    let service = format!("htpasswd_path = {users:?}");
    let airlock = start(&service, "[limits]\nmax_connections_per_peer = 1\n");
    let mut busy = connect(&airlock);
    busy.write_all(
        b"POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nauthorization: Basic bm9kZTp4\r\n\r\n",
    )
    .unwrap();
    eventually("the request to be processed", || {
        let requests = airlock.metric("airlock_v1_pre_reboot_incoming_requests_total");
        (requests == Some(1.0)).then_some(())
    });
    assert_eq!(exchange(&airlock, b""), "");
    let denial = listed(&airlock, "connection_limit", "127.0.0.1");
    assert_eq!(
        denial["detail"],
        "limits.max_connections_per_peer is reached"
    );
}

#[test]
fn a_connection_that_a_limit_closes_is_listed_unless_it_is_idle() {
    let airlock = Airlock::embedded("[limits]\nmax_connections_per_peer = 2\n");
    let request = "POST /v1/steady-state HTTP/1.1\r\nhost: x\r\nfleet-lock-protocol: true\r\ncontent-length: 28\r\n\r\n\
                   {\"id\":\"n\",\"group\":\"default\"}";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&airlock);
        stream.write_all(request.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
        open.push(stream);
    }
    // It replaces an idle connection, which loses nothing.
    open.push(connect(&airlock));
    assert_eq!(open[0].read(&mut [0]).unwrap(), 0);
    // So does this one; the next one replaces a connection on which a request is awaited.
    open.push(connect(&airlock));
    open.push(connect(&airlock));
    let denial = listed(&airlock, "connection_limit", "127.0.0.1");
    assert_eq!(denial["detail"], "closed in favor of another connection");
    assert_eq!(denial["times"], 1);
    assert_eq!(denied_clients(&airlock, "connection_limit"), Some(1.0));
}
