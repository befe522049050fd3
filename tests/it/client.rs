//! `airlock client`: a node without Zincati, with the real server and with servers that are none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use airlock_test_support::airlock::{Airlock, LISTEN, airlock};
use airlock_test_support::pki::{Ca, secret};
use airlock_test_support::process::Process;
use airlock_test_support::{eventually, free_port};

use crate::node_ids::with_machine_id;

const WORKERS: &str = "[[lock.groups]]\nname = \"workers\"\n";

/// Returns a command that asks a server, as the node `n`.
pub(crate) fn client(endpoint: &str, url: &str, arguments: &[&str]) -> Command {
    let mut command = airlock();
    command.args(["client", endpoint, "--url", url, "--id", "n"]);
    command.args(arguments);
    command
}

/// Runs a command, and returns its exit code, stdout, and stderr.
fn run(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn ask(endpoint: &str, url: &str, arguments: &[&str]) -> (i32, String, String) {
    run(client(endpoint, url, arguments))
}

#[track_caller]
fn assert_failure(result: &(i32, String, String), code: i32, expected: &[&str]) {
    let (found, stdout, stderr) = result;
    assert_eq!((*found, &**stdout), (code, ""), "{stderr}");
    for expected in expected {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

fn holders(server: &Airlock, group: &str) -> String {
    let output = server.command(&["get", "slots", group, "--json"]);
    let groups: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    groups["groups"][0]["lock"]["holders"].to_string()
}

/// Starts a server that answers each request with these bytes, if there are any, and keeps the connection open until the
/// client closes it. Returns its URL, and the requests.
fn answering(response: &[u8]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel();
    let response = response.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}}") {
                let mut chunk = [0; 1024];
                match stream.read(&mut chunk).unwrap_or(0) {
                    0 => break,
                    read => request.extend_from_slice(&chunk[..read]),
                }
            }
            let _ = sender.send(String::from_utf8(request).unwrap());
            let _ = stream.write_all(&response);
            let _ = stream.read(&mut [0]);
        }
    });
    (format!("http://{address}"), requests)
}

fn response(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

#[test]
fn a_slot_is_granted_denied_to_another_node_and_released() {
    let server = Airlock::embedded(WORKERS);
    let url = server.url();
    let workers = ["--group", "workers"];
    let granted = "the slot is granted: group \"workers\", id \"n\"\n".to_owned();
    // A holder that asks again keeps its slot.
    for _ in 0..2 {
        let result = ask("pre-reboot", &url, &workers);
        assert_eq!(result, (0, granted.clone(), String::new()));
    }
    assert!(holders(&server, "workers").contains("\"n\""));
    let other = ask("pre-reboot", &url, &["--group", "workers", "--id", "m"]);
    let expected = format!(
        "error: {url}/v1/pre-reboot: no slot is granted\n  \
         caused by: the server denies it: all 1 semaphore slots currently locked (failed_lock)\n"
    );
    assert_eq!(other, (1, String::new(), expected));
    for _ in 0..2 {
        let (code, stdout, _) = ask("steady-state", &url, &workers);
        assert_eq!(
            (code, &*stdout),
            (0, "the node holds no slot: group \"workers\", id \"n\"\n")
        );
    }
    assert_eq!(holders(&server, "workers"), "[]");
}

#[test]
fn a_node_that_waits_tells_each_reason_once_and_is_granted_the_slot_that_becomes_free() {
    let server = Airlock::embedded(WORKERS);
    let node = server.client();
    assert!(node.lock("workers", "m").granted());
    let command = client(
        "pre-reboot",
        &server.url(),
        &["--group", "workers", "--wait", "--interval", "1s"],
    );
    let mut waiting = Process::start(command, &server.folder().join("waiting.log"));
    let requests = "airlock_v1_pre_reboot_incoming_requests_total";
    eventually("three requests of the node", || {
        (server.metric(requests)? > 3.0).then_some(())
    });
    let full = "no slot is granted, waiting: the server denies it: all 1 semaphore slots currently locked (failed_lock)\n";
    assert_eq!(waiting.log(), full);
    assert!(
        server
            .command(&["pause", "workers", "--yes"])
            .status
            .success()
    );
    eventually("the second reason", || {
        waiting.log().contains("has paused group").then_some(())
    });
    assert!(
        server
            .command(&["resume", "workers", "--yes"])
            .status
            .success()
    );
    assert!(node.unlock("workers", "m").granted());
    assert_eq!(waiting.wait().code(), Some(0), "{}", waiting.log());
    let log = waiting.log();
    assert!(
        log.starts_with(full)
            && log.ends_with("the slot is granted: group \"workers\", id \"n\"\n"),
        "{log}"
    );
    assert!(holders(&server, "workers").contains("\"n\""));
}

#[test]
fn a_node_that_waits_gives_up_in_time_with_the_last_reason() {
    let server = Airlock::embedded("");
    assert!(server.client().lock("default", "m").granted());
    let started = Instant::now();
    let (code, stdout, stderr) = ask(
        "pre-reboot",
        &server.url(),
        &["--wait-at-most", "1500ms", "--interval", "1h"],
    );
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stderr.contains("(failed_lock)"), "{stderr}");
    assert!(started.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn a_node_whose_time_to_wait_ends_during_a_request_sends_no_other() {
    let (url, requests) = answering(b"");
    let times = ["--wait-at-most", "100ms", "--timeout", "500ms"];
    let result = ask("pre-reboot", &url, &times);
    assert_failure(&result, 69, &["no response within 500 ms"]);
    assert_eq!(requests.try_iter().count(), 1);
}

#[test]
fn a_node_that_waits_finds_a_server_that_starts_later() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let command = client("steady-state", &url, &["--wait", "--interval", "1s"]);
    let mut waiting = Process::start(command, &folder.path().join("log"));
    eventually("a failure", || {
        waiting.log().contains("Connection refused").then_some(())
    });
    let config = LISTEN.replacen("port = 0", &format!("port = {port}"), 1);
    let _server = Airlock::start_with(
        &format!("{config}[embedded]\npath = \"{{folder}}/airlock.db\"\n"),
        &[],
    );
    assert_eq!(waiting.wait().code(), Some(0), "{}", waiting.log());
    assert_eq!(waiting.log().lines().count(), 2, "{}", waiting.log());
}

#[test]
fn a_password_comes_from_a_file_or_the_url_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let hash = bcrypt::hash("s3cr:t", 4).unwrap();
    secret(path("htpasswd").as_ref(), &format!("node:{hash}\n"));
    secret(path("right").as_ref(), "s3cr:t\n");
    secret(path("wrong").as_ref(), "s3crX\n");
    let service = format!("[service]\nhtpasswd_path = {:?}", path("htpasswd"));
    let config = LISTEN.replace("[service]", &service);
    let server = Airlock::start_with(
        &format!("{config}[embedded]\npath = \"{{folder}}/airlock.db\"\n"),
        &["-vv"],
    );
    let url = server.url();
    let with_password =
        |password: &str| url.replace("http://", &format!("http://node:{password}@"));

    let file =
        |name: &str| ["--username", "node", "--password-file", &path(name)].map(str::to_owned);
    let ask_with = |name: &str, more: &[&str]| {
        let mut command = client("pre-reboot", &url, more);
        run({
            command.args(file(name));
            command
        })
    };
    assert_eq!(ask_with("right", &[]).0, 0);
    assert_eq!(ask("pre-reboot", &with_password("s3cr%3At"), &[]).0, 0);
    // As a unit does, without any argument.
    let mut command = airlock();
    command.args(["client", "steady-state"]);
    command.envs([
        ("AIRLOCK_URL", &*url),
        ("AIRLOCK_GROUP", "default"),
        ("AIRLOCK_ID", "n"),
        ("AIRLOCK_USERNAME", "node"),
        ("AIRLOCK_PASSWORD_FILE", &path("right")),
    ]);
    assert_eq!(run(command).0, 0);

    let rejected = [
        "no slot is granted",
        "wrong user or password (unauthorized)",
        "hint: check the user",
    ];
    for result in [
        ask("pre-reboot", &url, &[]),
        ask_with("wrong", &["--wait"]),
        ask("pre-reboot", &with_password("s3crX"), &["--wait"]),
    ] {
        assert!(!result.2.contains("s3cr"), "{}", result.2);
        assert_failure(
            &result,
            77,
            if result.2.contains("required") {
                &rejected[..1]
            } else {
                &rejected
            },
        );
    }
    let unreachable = format!("http://node:s3crX@127.0.0.1:{}/", free_port());
    for (result, code) in [
        (ask("pre-reboot", &unreachable, &[]), 69),
        (ask("pre-reboot", "http://node:s3crX@127.0.0.1:0/", &[]), 2),
        (ask_with("missing", &[]), 78),
    ] {
        assert!(!result.2.contains("s3cr"), "{}", result.2);
        assert_failure(&result, code, &[]);
    }
    let mut both = client("pre-reboot", &with_password("s3crX"), &[]);
    both.args(file("right"));
    assert_failure(&run(both), 2, &["there are two passwords"]);
}

#[test]
fn a_server_with_tls_has_to_be_trusted_and_may_require_a_certificate() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let (pair, node) = (
        ca.issue("server", &["127.0.0.1"]),
        ca.issue("node", &["node"]),
    );
    let config = format!(
        "[service]\naddress = \"127.0.0.1\"\nport = 0\ntls_cert_path = {:?}\ntls_key_path = {:?}\n\
         client_ca_path = {:?}\n[embedded]\npath = \"{{folder}}/airlock.db\"\n",
        pair.cert,
        pair.key,
        ca.path()
    );
    let server = Airlock::start_with(&config, &["-vv"]);
    let url = server.url().replace("http://", "https://");
    let text = |path: &std::path::Path| path.display().to_string();
    let (cert, key) = (text(&node.cert), text(&node.key));
    let certificate = ["--client-cert", &cert, "--client-key", &key];
    let (trusted, untrusted) = (text(&ca.path()), text(&other.path()));
    let (code, _, stderr) = ask(
        "pre-reboot",
        &url,
        &[&["--ca", &trusted], &certificate[..]].concat(),
    );
    assert_eq!((code, &*stderr), (0, ""));

    let result = ask(
        "pre-reboot",
        &url,
        &[&["--ca", &untrusted], &certificate[..]].concat(),
    );
    assert_failure(
        &result,
        69,
        &[
            "caused by: cannot connect",
            "UnknownIssuer",
            "hint: name the CA",
        ],
    );
    let result = ask("pre-reboot", &url, &["--ca", &trusted]);
    assert_failure(&result, 69, &["CertificateRequired"]);
    let result = ask("pre-reboot", &server.url(), &[]);
    assert_failure(&result, 69, &["has to begin with https://"]);
    let result = ask("pre-reboot", &url, &["--ca", &key]);
    assert_failure(&result, 78, &["contains no PEM certificate"]);
}

#[test]
fn the_request_is_that_of_zincati() {
    let (url, requests) = answering(&response("200 OK", ""));
    let arguments = ["--group", "wörkers", "--id", "it's"];
    assert_eq!(
        ask("steady-state", &format!("{url}/fleet/lock"), &arguments).0,
        0
    );
    let request = requests.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head
        .lines()
        .filter(|line| !line.starts_with("user-agent: airlock/"))
        .collect();
    assert_eq!(lines.remove(0), "POST /fleet/lock/v1/steady-state HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", url.trim_start_matches("http://"));
    let length = format!("content-length: {}", body.len());
    assert_eq!(
        lines,
        ["accept: */*", &length, "fleet-lock-protocol: true", &host]
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({ "client_params": { "id": "it's", "group": "wörkers" } });
    assert_eq!(body, expected);
}

#[test]
fn a_response_that_is_not_a_success_of_fleetlock_grants_nothing() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 20));
    let redirect =
        "307 Temporary Redirect\r\nlocation: https://other.example/\u{9b}2J?token=s3cret";
    for (bytes, code, expected) in [
        (
            response("202 Accepted", r#"{"kind":"draining","value":"not yet"}"#),
            1,
            "not yet (draining)",
        ),
        (
            response("204 No Content", ""),
            1,
            "the response is 204 No Content",
        ),
        (
            response("200 OK\r\ncontent-type: text/html", "<html>log in"),
            69,
            "but not one of a FleetLock server",
        ),
        (
            response("200 OK", r#"{"kind":"failed_lock","value":"all locked"}"#),
            1,
            "all locked (failed_lock)",
        ),
        (
            response("200 OK", r#"{"error":"unauthorized"}"#),
            69,
            "but not one of a FleetLock server",
        ),
        (
            response("200 OK", "\u{feff}<html>log in"),
            69,
            "but not one of a FleetLock server",
        ),
        (
            response("502 Bad Gateway", "<html>"),
            69,
            "502 Bad Gateway, but not one of a FleetLock server",
        ),
        (
            response(redirect, ""),
            77,
            r#"a redirect to "https://other.example/\u009b2J""#,
        ),
        (
            response("404 Not Found", "404 page not found"),
            77,
            "the response is 404 Not Found",
        ),
        (
            response(
                "500 Error",
                "{\"kind\":\"a\\u001b[2J\",\"value\":\"b\\nhint: \\u202e\"}",
            ),
            69,
            r"the server reports a failure: b\nhint: \u202e (a\x1b[2J)",
        ),
        (endless.into_bytes(), 69, "length limit exceeded"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec(),
            69,
            "no response within 500 ms",
        ),
        (b"HTTP/1.1 200".to_vec(), 69, "no response within 500 ms"),
        (b"220 smtp.example ESMTP\r\n".to_vec(), 69, "no response"),
        (b"".to_vec(), 69, "no response within 500 ms"),
    ] {
        let (url, _requests) = answering(&bytes);
        let result = ask("pre-reboot", &url, &["--timeout", "500ms"]);
        assert_failure(&result, code, &[expected, "no slot is granted"]);
        assert!(
            result.2.len() < 1000 && !result.2.contains("s3cret"),
            "{}",
            result.2
        );
    }
}

#[test]
fn without_an_id_the_node_has_that_of_zincati() {
    let server = Airlock::embedded("");
    let file = tempfile::NamedTempFile::new().unwrap();
    let ask = |content: &str| {
        fs::write(&file, content).unwrap();
        let mut command = airlock();
        command.args(["client", "pre-reboot", "--url", &server.url()]);
        with_machine_id(file.path(), &command)
    };
    let output = ask("0123456789abcdef0123456789abcdef\n");
    assert!(output.status.success(), "{output:?}");
    assert!(holders(&server, "default").contains("583627a932274834a8ebd99f4ed41c0d"));
    assert_eq!(ask("uninitialized\n").status.code(), Some(78));
}

#[test]
fn a_signal_ends_a_request_and_a_wait_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (response, signal, code) in [
        (vec![], Signal::TERM, 143),
        (response("503 Busy", ""), Signal::INT, 130),
    ] {
        let (url, requests) = answering(&response);
        let log = folder.path().join(code.to_string());
        let mut process = Process::start(client("pre-reboot", &url, &["--wait"]), &log);
        requests.recv().unwrap();
        if !response.is_empty() {
            eventually("the wait", || {
                process.log().contains("waiting").then_some(())
            });
        }
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(code));
        assert!(
            process
                .log()
                .contains("`airlock client steady-state` releases it"),
            "{}",
            process.log()
        );
    }
}

#[test]
fn an_invalid_command_line_is_no_denial() {
    for arguments in [
        &["--group", ""][..],
        &["--id", ""],
        &["--interval", "0s"],
        &["--interval", "999ms"],
        &["--timeout", "soon"],
        &["--username", "node"],
        &["--client-cert", "node.pem"],
        &["--password", "secret"],
    ] {
        let mut command = airlock();
        command
            .args(["client", "pre-reboot", "--url", "http://127.0.0.1:1/"])
            .args(arguments);
        assert_failure(&run(command), 2, &["error: "]);
    }
    for url in [None, Some("")] {
        let mut command = airlock();
        command.args(["client", "steady-state"]);
        command.envs(url.map(|url| ("AIRLOCK_URL", url)));
        assert_failure(&run(command), 2, &["--url <URL>"]);
    }
    for (variable, value) in [
        ("AIRLOCK_GROUP", "\u{9b}"),
        ("AIRLOCK_ID", "\u{9b}"),
        ("AIRLOCK_INTERVAL", "soon"),
        ("AIRLOCK_TIMEOUT", "soon"),
    ] {
        let mut command = airlock();
        command.args(["client", "pre-reboot", "--url", "http://127.0.0.1:1/"]);
        command.env(variable, value);
        assert_failure(&run(command), 2, &[&format!("for '{variable}': ")]);
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let (url, requests) = answering(&response("200 OK", ""));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let mut command = airlock();
    command.args(["client", "pre-reboot", "--url", &url]);
    for variable in [
        "AIRLOCK_GROUP",
        "AIRLOCK_ID",
        "AIRLOCK_INTERVAL",
        "AIRLOCK_TIMEOUT",
        "AIRLOCK_CA",
        "AIRLOCK_USERNAME",
        "AIRLOCK_PASSWORD_FILE",
        "AIRLOCK_CLIENT_CERT",
        "AIRLOCK_CLIENT_KEY",
    ] {
        command.env(variable, "");
    }
    let output = with_machine_id(file.path(), &command);
    assert!(output.status.success(), "{output:?}");
    let request = requests.recv().unwrap();
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let expected =
        r#"{"client_params":{"group":"default","id":"583627a932274834a8ebd99f4ed41c0d"}}"#;
    assert_eq!(body, expected);
}

#[test]
fn a_url_in_the_wrong_place_is_shown_without_its_password() {
    let mut command = airlock();
    command.args(["client", "pre-reboot", "https://u:topsecret@h/"]);
    let result = run(command);
    assert_failure(
        &result,
        2,
        &["unexpected argument 'https://u:***@h/' found"],
    );
    assert!(!result.2.contains("topsecret"), "{}", result.2);
}
