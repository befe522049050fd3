//! The addresses, paths and hosts that requests are accepted for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::blocking::Client as Http;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::pki::secret;

/// Starts a server with more keys in the two sections for listeners, and more sections.
fn start(service: &str, status: &str, more: &str) -> Airlock {
    let listen = LISTEN
        .replace("[service]\n", &format!("[service]\n{service}\n"))
        .replace("[status]\n", &format!("[status]\n{status}\n"));
    let config = format!("{listen}[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}");
    Airlock::start_with(&config, &["-vv"])
}

/// Sends a request with these headers to the status listener.
fn get(airlock: &Airlock, path: &str, headers: &str) -> String {
    let address = airlock.status_url();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn a_base_url_with_a_path_is_served_beside_one_without() {
    let airlock = start("path_prefix = \"/fleet/lock/\"", "", "");
    let client = airlock.client();
    for prefix in ["fleet/lock/", ""] {
        for endpoint in ["v1/pre-reboot", "v1/steady-state"] {
            let answer = client.try_post(&format!("{prefix}{endpoint}"), "default", "n");
            assert!(answer.unwrap().granted(), "{prefix}{endpoint}");
        }
    }
    let other = client
        .try_post("fleet/v1/pre-reboot", "default", "n")
        .unwrap();
    assert_eq!((other.status, &*other.kind()), (404, "not_found"));
}

#[test]
fn only_a_trusted_proxy_says_which_client_it_forwards() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    secret(&users, &format!("node:{}\n", bcrypt::hash("x", 4).unwrap()));
    for (trusted, expected) in [("127.0.0.0/8", "192.0.2.7"), ("192.0.2.0/24", "127.0.0.1")] {
        let service = format!("htpasswd_path = {users:?}\ntrusted_proxies = [\"{trusted}\"]");
        let mut airlock = start(&service, "", "");
        for header in [
            "x-forwarded-for: 198.51.100.1, 192.0.2.7",
            "forwarded: for=192.0.2.7",
        ] {
            let (name, value) = header.split_once(": ").unwrap();
            let url = format!("{}/v1/pre-reboot", airlock.url());
            let answer = Http::new().post(url).header(name, value).send().unwrap();
            assert_eq!(answer.status(), 401);
            airlock.wait_for_log(&format!("peer={expected}"));
            assert_eq!(
                airlock.log().contains("192.0.2.7"),
                trusted == "127.0.0.0/8",
                "{header}"
            );
        }
    }
}

#[test]
fn the_connections_of_a_trusted_proxy_are_not_those_of_one_peer() {
    for (trusted, open) in [("", 2.0), ("\"127.0.0.1\"", 5.0)] {
        let service = format!("trusted_proxies = [{trusted}]");
        let airlock = start(&service, "", "[limits]\nmax_connections_per_peer = 2\n");
        let address = airlock.url();
        let address = address.trim_start_matches("http://");
        let connections: Vec<TcpStream> = (0..5)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        airlock_test_support::eventually(&format!("{open} connections"), || {
            let name = r#"airlock_connections{listener="service"}"#;
            (airlock.metric(name) == Some(open)).then_some(())
        });
        drop(connections);
    }
}

#[test]
fn the_status_listener_answers_for_its_hosts_only() {
    let airlock = start(
        "",
        "allowed_hosts = [\"Airlock.example\", \"b.example.\"]",
        "",
    );
    for host in [
        "airlock.example:2222",
        "b.example",
        "b.example.:2222",
        "127.0.0.1",
        "localhost:1",
    ] {
        let response = get(&airlock, "/", &format!("host: {host}\r\n"));
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    for path in ["/", "/metrics", "/v1/status", "/runbook", "/readyz"] {
        let response = get(&airlock, path, "host: evil.example\r\n");
        assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
        assert!(
            response.ends_with("the host \"evil.example\" is not in status.allowed_hosts\n"),
            "{response}"
        );
    }
    let any = start("", "", "");
    let response = get(&any, "/", "host: evil.example\r\n");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn documents_are_compressed_for_clients_that_accept_it() {
    let airlock = start("", "", "");
    for path in ["/", "/v1/status", "/runbook", "/metrics"] {
        let plain = get(&airlock, path, "host: x\r\n");
        assert!(
            plain.contains("x-content-type-options: nosniff\r\n"),
            "{plain}"
        );
        assert!(!plain.contains("content-encoding"), "{plain}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("document");
        let output = std::process::Command::new("curl")
            .args(["-s", "--compressed", "-D", "-", "-o"])
            .arg(&file)
            .arg(format!("{}{path}", airlock.status_url()))
            .output()
            .unwrap();
        let head = String::from_utf8(output.stdout).unwrap();
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
        let document = fs::read_to_string(file).unwrap();
        let (_, body) = plain.split_once("\r\n\r\n").unwrap();
        // The times in them differ.
        assert_eq!(document.lines().next(), body.lines().next(), "{path}");
    }
}
