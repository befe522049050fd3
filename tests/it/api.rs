//! The FleetLock protocol: every response of coreos/airlock, and the intended differences.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::Method;
use reqwest::blocking::Client as Http;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{self, Response};

const GOOD: &str = r#"{"client_params":{"id":"n","group":"default"}}"#;

/// Sends `request` over a raw connection and returns the bytes until it is closed.
fn raw(airlock: &Airlock, request: &str) -> String {
    let mut stream = TcpStream::connect(airlock.url().trim_start_matches("http://")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn send(airlock: &Airlock, header: Option<&str>, body: &str) -> Response {
    let mut request = Http::new().post(format!("{}/v1/pre-reboot", airlock.url()));
    if let Some(header) = header {
        request = request.header("Fleet-Lock-Protocol", header);
    }
    client::send(request.body(body.to_owned()))
}

#[test]
fn a_grant_is_an_empty_200() {
    let airlock = Airlock::embedded("");
    let client = airlock.client();
    for (endpoint, what) in [
        ("v1/pre-reboot", "granted"),
        ("v1/pre-reboot", "already held"),
        ("v1/steady-state", "unlocked"),
        ("v1/steady-state", "by a non-holder"),
    ] {
        let expected = Response {
            status: 200,
            body: String::new(),
        };
        assert_eq!(client.send(endpoint, GOOD), expected, "{what}");
    }
    let response = raw(
        &airlock,
        &format!(
            "POST /v1/steady-state?any=query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             FLEET-lock-protocol:  true \r\nContent-Length: {}\r\n\r\n{GOOD}",
            GOOD.len()
        ),
    );
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("content-length: 0\r\n"), "{response}");
}

#[test]
fn a_full_group_is_a_500_with_the_text_of_coreos_airlock() {
    let airlock = Airlock::embedded("[lock]\ndefault_slots = 2");
    let client = airlock.client();
    for id in ["a", "b"] {
        assert!(client.lock("default", id).granted());
    }
    let refused = client.lock("default", "c");
    assert_eq!(refused.status, 500);
    assert_eq!(
        refused.body.trim_end(),
        r#"{"kind":"failed_lock","value":"all 2 semaphore slots currently locked"}"#
    );
}

/// Requests without a valid identity: the header, the body, and the reason that the response states.
const WITHOUT_IDENTITY: [(Option<&str>, &str, &str); 17] = [
    (None, GOOD, "wrong 'fleet-lock-protocol' header"),
    (Some("TRUE"), GOOD, "wrong 'fleet-lock-protocol' header"),
    (Some("false"), "", "wrong 'fleet-lock-protocol' header"),
    (Some("true"), "", "EOF while parsing"),
    (Some("true"), "{", "EOF while parsing"),
    (
        Some("true"),
        "[]",
        "the body is an array where an object is expected",
    ),
    (
        Some("true"),
        r#""x""#,
        "the body is a string where an object is expected",
    ),
    (
        Some("true"),
        r#"{"id":7,"group":"default"}"#,
        "id is a number where a string is expected",
    ),
    (Some("true"), "{}", "empty client group"),
    (Some("true"), "null", "empty client group"),
    (
        Some("true"),
        r#"{"client_params":null}"#,
        "empty client group",
    ),
    (
        Some("true"),
        r#"{"client_params":{"group":"","id":"n"}}"#,
        "empty client group",
    ),
    (
        Some("true"),
        r#"{"client_params":{"group":"nope"}}"#,
        "empty client ID",
    ),
    (
        Some("true"),
        r#"{"client_params":{"group":"default","id":""}}"#,
        "empty client ID",
    ),
    (
        Some("true"),
        r#"{"id":"é\u202e","group":"default"}"#,
        "client ID with the control or format character U+202E at byte 2",
    ),
    (
        Some("true"),
        r#"{"id":"\u200b","group":"default"}"#,
        "client ID with the control or format character U+200B at byte 0",
    ),
    (
        Some("true"),
        r#"{"id":"a\nb","group":"default"}"#,
        "client ID with the control or format character U+000A at byte 1",
    ),
];

#[test]
fn a_request_without_identity_is_a_400_with_a_reason() {
    let airlock = Airlock::embedded("");
    let identity = "failed to validate client identity: ";
    let long = format!(r#"{{"id":"{}","group":"default"}}"#, "x".repeat(254));
    let long = (Some("true"), &*long, "client ID of 254 bytes");
    for (header, body, value) in WITHOUT_IDENTITY.into_iter().chain([long]) {
        let answer = send(&airlock, header, body);
        assert_eq!(
            (answer.status, &*answer.kind()),
            (400, "invalid_client_identity"),
            "{body}"
        );
        let expected = format!("{identity}{value}");
        assert!(
            answer.value().starts_with(&expected),
            "{body}: {}",
            answer.value()
        );
    }
}

#[test]
fn a_long_group_or_id_is_refused_and_neither_sent_back_nor_logged() {
    let airlock = Airlock::embedded("");
    let long = "x\u{7f}".repeat(4000);
    for (group, id) in [(long.as_str(), "n"), ("default", &long)] {
        let refused = airlock.client().lock(group, id);
        assert_eq!(
            (refused.status, &*refused.kind()),
            (400, "invalid_client_identity")
        );
        assert!(
            refused
                .value()
                .contains("of 8000 bytes; the maximum is 253"),
            "{refused:?}"
        );
        assert!(refused.body.len() < 300, "{refused:?}");
    }
    let longest = airlock.log().lines().map(str::len).max().unwrap();
    assert!(longest < 1000, "{longest}");
}

#[test]
fn a_malformed_chunk_is_a_400() {
    let airlock = Airlock::embedded("");
    let response = raw(
        &airlock,
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nconnection: close\r\nfleet-lock-protocol: true\r\n\
         transfer-encoding: chunked\r\n\r\nnot hexadecimal\r\n",
    );
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(
        response.contains(r#""kind":"invalid_client_identity""#),
        "{response}"
    );
}

#[test]
fn http_1_1_requires_one_host() {
    let airlock = Airlock::embedded("");
    let head =
        "POST /v1/steady-state HTTP/1.1\r\nconnection: close\r\nfleet-lock-protocol: true\r\n";
    for (hosts, status) in [
        ("", 400),
        ("host: x\r\n", 200),
        ("host: x\r\nHost: x\r\n", 400),
    ] {
        let length = format!("content-length: {}\r\n\r\n", GOOD.len());
        let response = raw(&airlock, &format!("{head}{hosts}{length}{GOOD}"));
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
        let is_error = response.contains(r#""kind":"invalid_request""#);
        assert_eq!(is_error, status == 400, "{response}");
    }
    let old = head.replace("1.1", "1.0");
    let response = raw(
        &airlock,
        &format!("{old}content-length: {}\r\n\r\n{GOOD}", GOOD.len()),
    );
    assert!(response.starts_with("HTTP/1.0 200 "), "{response}");
}

/// The bodies of which coreos/airlock reads the group "default" and an id.
#[test]
fn a_body_that_coreos_airlock_accepts_is_accepted() {
    let airlock = Airlock::embedded("");
    for body in [
        r#"{"client_params":{"id":"n","group":"x","GROUP":"default"}}"#,
        r#"{"client_params":{"id":"n"},"client_params":{"group":"default"}}"#,
        r#"{"client_params":{"id":"n","id":null,"group":"default"}}"#,
        r#"{"client_params":{"id":"n","group":"default"},"x":1e999,"y":"\ud800","z":[[[[[]]]]]}"#,
    ] {
        assert!(send(&airlock, Some("true"), body).granted(), "{body}");
    }
    let invalid = b"{\"\xff\":\"\xfe\",\"client_params\":{\"id\":\"n\",\"group\":\"default\"}}";
    assert!(
        airlock
            .client()
            .send("v1/pre-reboot", invalid.to_vec())
            .granted()
    );
}

#[test]
fn an_unknown_group_is_a_400_and_names_are_case_sensitive() {
    let airlock = Airlock::embedded("");
    let client = airlock.client();
    for (group, value) in [
        ("nope", r#"unknown group "nope""#),
        ("Default", r#"unknown group "Default""#),
        ("a\"b", r#"unknown group "a\"b""#),
    ] {
        let answer = client.lock(group, "n");
        assert_eq!((answer.status, &*answer.kind()), (400, "unknown_group"));
        assert_eq!(answer.value(), value);
    }
}

#[test]
fn any_content_type_is_accepted() {
    let airlock = Airlock::embedded("");
    for content_type in [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/html",
        "x",
    ] {
        let request = Http::new()
            .post(format!("{}/v1/pre-reboot", airlock.url()))
            .header("fleet-lock-protocol", "true")
            .header("content-type", content_type)
            .body(GOOD);
        assert!(client::send(request).granted(), "{content_type}");
    }
}

#[test]
fn other_paths_and_methods_are_json_errors_and_never_a_2xx_or_3xx() {
    let airlock = Airlock::embedded("");
    let http = Http::new();
    for path in [
        "/",
        "/v1",
        "/v1/pre-reboot/",
        "//v1/pre-reboot",
        "/v1/steady-state/x",
        "/metrics",
    ] {
        let answer = client::send(http.post(format!("{}{path}", airlock.url())).body(GOOD));
        assert_eq!(
            (answer.status, &*answer.kind()),
            (404, "not_found"),
            "{path}"
        );
    }
    for method in [
        Method::GET,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ] {
        let request = http
            .request(method.clone(), format!("{}/v1/pre-reboot", airlock.url()))
            .header("fleet-lock-protocol", "true")
            .body(GOOD);
        let response = request.send().unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(response.text().unwrap().contains("method_not_allowed"));
    }
    let head = http
        .head(format!("{}/v1/pre-reboot", airlock.url()))
        .send()
        .unwrap();
    assert_eq!(head.status(), 405);
}

#[test]
fn the_error_for_a_megabyte_of_body_is_one_line() {
    let airlock = Airlock::embedded("");
    let answer = airlock.client().send("v1/pre-reboot", "x".repeat(1 << 20));
    assert_eq!((answer.status, &*answer.kind()), (413, "body_too_large"));
    assert_eq!(answer.value(), "request body larger than 16384 bytes");
    assert_eq!(answer.body.trim_end().lines().count(), 1);
}

#[test]
fn invariant_9_steady_state_of_a_non_holder_succeeds_and_writes_nothing() {
    let airlock = Airlock::embedded("");
    let client = airlock.client();
    assert!(client.unlock("default", "never-held").granted());
    assert_eq!(
        airlock.metric("airlock_store_duration_seconds_count{call=\"write\"}"),
        None
    );
    // The first lock of a group also creates its value.
    assert!(client.lock("default", "a").granted());
    assert!(client.unlock("default", "never-held").granted());
    assert_eq!(
        airlock.metric("airlock_store_duration_seconds_count{call=\"write\"}"),
        Some(2.0)
    );
}
