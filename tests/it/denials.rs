//! The rejected clients: each of them is in `/v1/status`, in `airlock_denied_clients` and in the log, with its address and
//! the reason.

use reqwest::Method;
use reqwest::blocking::{Client as Http, RequestBuilder};
use serde_json::{Value, json};

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::client;
use airlock_test_support::eventually;
use airlock_test_support::pki::secret;

mod connections;
mod flood;

/// Starts a server with more keys in `[service]`, and more sections.
fn start(service: &str, more: &str) -> Airlock {
    let listen = LISTEN.replace("[service]\n", &format!("[service]\n{service}\n"));
    let config = format!("{listen}[embedded]\npath = \"{{folder}}/airlock.db\"\n{more}");
    Airlock::start_with(&config, &["-v"])
}

/// Returns the rejected clients in `/v1/status`.
fn denials(airlock: &Airlock) -> Vec<Value> {
    let (_, text) = airlock.status("/v1/status");
    let mut status: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(status["denials"].take()).unwrap()
}

fn denied_clients(airlock: &Airlock, reason: &str) -> Option<f64> {
    airlock.metric(&format!("airlock_denied_clients{{reason={reason:?}}}"))
}

/// Waits until the client at an address is listed with this reason, and returns its entry.
fn listed(airlock: &Airlock, reason: &str, peer: &str) -> Value {
    eventually(&format!("{peer} to be listed with {reason}"), || {
        let mut listed = denials(airlock).into_iter();
        listed.find(|denial| denial["reason"] == reason && denial["peer"] == peer)
    })
}

/// Waits until the log has a line with this text.
fn assert_logged(airlock: &Airlock, text: &str) {
    eventually(&format!("{text:?} in the log"), || {
        airlock
            .log()
            .lines()
            .any(|line| line.contains(text))
            .then_some(())
    });
}

/// A request of the node 192.0.2.`node` that is refused.
struct Refused {
    node: u8,
    request: fn(RequestBuilder) -> RequestBuilder,
    reason: &'static str,
    /// The configured group and the valid id that the request names.
    claims: [Option<&'static str>; 2],
    detail: Option<&'static str>,
    /// The line in the log, up to the address.
    logged: &'static str,
}

const NODE: [Option<&str>; 2] = [Some("workers"), Some("n")];

fn body(group: &str, id: &str) -> String {
    json!({ "client_params": { "id": id, "group": group } }).to_string()
}

fn authenticated(request: RequestBuilder) -> RequestBuilder {
    request.basic_auth("node", Some("secret"))
}

const REFUSED: [Refused; 8] = [
    Refused {
        node: 1,
        request: |request| authenticated(request).body(body("worker", "n")),
        reason: "unknown_group",
        claims: [None, Some("n")],
        detail: Some(r#""worker"; did you mean "workers"?"#),
        logged: r#"unknown group \"worker\"" group=worker id=n"#,
    },
    Refused {
        node: 2,
        request: |request| {
            request
                .basic_auth("node", Some("x"))
                .body(body("workers", "n"))
        },
        reason: "wrong_password",
        claims: NODE,
        detail: None,
        logged: r#"wrong user or password" group=workers id=n"#,
    },
    Refused {
        node: 3,
        request: |request| {
            request
                .basic_auth("node", Some(""))
                .body(body("workers", "n"))
        },
        reason: "wrong_password",
        claims: NODE,
        detail: Some("the password is empty"),
        logged: r#"the password is empty" group=workers id=n"#,
    },
    Refused {
        node: 4,
        request: |request| request.body("x"),
        reason: "no_credentials",
        claims: [None, None],
        detail: None,
        logged: r#"user and password required, as in base_url = \"https://user:password@…/\"""#,
    },
    Refused {
        node: 5,
        request: |request| {
            request
                .basic_auth("other", Some("secret"))
                .body(body("workers", "n"))
        },
        reason: "forbidden",
        claims: NODE,
        detail: None,
        logged: r#"user \"other\" may not lock group \"workers\"" group=workers id=n"#,
    },
    Refused {
        node: 6,
        request: |request| authenticated(request).body("{"),
        reason: "invalid_client_identity",
        claims: [None, None],
        detail: Some("EOF while parsing an object at line 1 column 1"),
        logged: r#"failed to validate client identity: EOF while parsing an object at line 1 column 1""#,
    },
    Refused {
        node: 7,
        request: |request| authenticated(request).body(body("workers", "a\nb")),
        reason: "invalid_client_identity",
        claims: [Some("workers"), None],
        detail: Some("client ID with the control or format character U+000A at byte 1"),
        logged: r#"format character U+000A at byte 1" group=workers id="a\nb""#,
    },
    Refused {
        node: 8,
        request: |request| authenticated(request).body("x".repeat(20_000)),
        reason: "body_too_large",
        claims: [None, None],
        detail: Some("request body larger than 16384 bytes"),
        logged: r#"request body larger than 16384 bytes""#,
    },
];

/// Starts a server behind a proxy, with a group for one of its two users.
fn behind_a_proxy(folder: &std::path::Path) -> Airlock {
    let users = folder.join("htpasswd");
    let hash = bcrypt::hash("secret", 4).unwrap();
    secret(&users, &format!("node:{hash}\nother:{hash}\n"));
    let service = format!("htpasswd_path = {users:?}\ntrusted_proxies = [\"127.0.0.1\"]");
    let groups = "[[lock.groups]]\nname = \"workers\"\nslots = 1\nusers = [\"node\"]\n";
    start(&service, groups)
}

#[test]
fn each_refused_request_is_listed_counted_and_logged_with_the_address_that_the_proxy_forwards() {
    let folder = tempfile::tempdir().unwrap();
    let airlock = behind_a_proxy(folder.path());
    let http = Http::new();
    for case in &REFUSED {
        let request = http.post(format!("{}/v1/pre-reboot", airlock.url()));
        let request = request
            .header("x-forwarded-for", format!("192.0.2.{}", case.node))
            .header("fleet-lock-protocol", "true");
        let response = client::send((case.request)(request));
        assert!((400..500).contains(&response.status), "{response:?}");
    }
    for case in &REFUSED {
        let Refused {
            reason,
            detail,
            claims: [group, id],
            logged,
            ..
        } = case;
        let peer = format!("192.0.2.{}", case.node);
        let denial = listed(&airlock, reason, &peer);
        let time = &denial["first"];
        let expected = json!({
            "reason": reason, "peer": peer, "group": group, "id": id, "detail": detail,
            "first": time, "last": time, "times": 1, "server": denial["server"], "name": null,
            "needs_attention": denial["needs_attention"],
        });
        assert_eq!(denial, expected);
        let counted = REFUSED.iter().filter(|other| other.reason == *reason);
        assert_eq!(
            denied_clients(&airlock, reason),
            Some(counted.count() as f64)
        );
        assert_logged(&airlock, &format!("{logged} peer={peer}"));
    }
    assert_eq!(denials(&airlock).len(), REFUSED.len());
    assert_eq!(denied_clients(&airlock, "tls_handshake"), Some(0.0));
}

#[test]
fn an_unknown_path_or_method_is_shown_without_its_query() {
    let airlock = Airlock::embedded("");
    for (method, path, reason, message) in [
        (
            Method::POST,
            "/fleet/v1/pre-reboot",
            "not_found",
            "no such path; the paths are /v1/pre-reboot and /v1/steady-state",
        ),
        (
            Method::GET,
            "/v1/pre-reboot",
            "method_not_allowed",
            "method not allowed, use POST",
        ),
    ] {
        let url = format!("{}{path}?token=secret", airlock.url());
        client::send(Http::new().request(method.clone(), url));
        let request = format!("{method} {path}");
        assert_eq!(listed(&airlock, reason, "127.0.0.1")["detail"], request);
        let line = format!("level=error msg={message:?} peer=127.0.0.1 request={request:?}");
        assert_logged(&airlock, &line);
        let responses =
            format!("airlock_responses_total{{endpoint=\"\",group=\"\",outcome={reason:?}}}");
        assert_eq!(airlock.metric(&responses), Some(1.0));
    }
    assert!(!airlock.log().contains("token"), "{}", airlock.log());
}

#[test]
fn a_node_that_waits_is_logged_and_is_not_a_rejected_client() {
    let airlock = start("", "[lock]\ndefault_slots = 1\n");
    let node = airlock.client();
    assert!(node.lock("default", "holder").granted());
    assert_eq!(node.lock("default", "n").status, 500);
    assert_logged(
        &airlock,
        "level=error msg=\"failed to lock semaphore: all 1 semaphore slots currently locked\" \
         group=default id=n peer=127.0.0.1",
    );
    assert_eq!(denials(&airlock), [Value::Null; 0]);
}

#[test]
fn requests_for_a_group_count_for_that_group_until_a_reload_removes_it() {
    let group = "[[lock.groups]]\nname = \"workers\"\n";
    let airlock = Airlock::embedded(group);
    assert_eq!(airlock.client().lock("workers", "a\nb").status, 400);
    let denial = listed(&airlock, "invalid_client_identity", "127.0.0.1");
    assert_eq!(denial["group"], "workers");
    airlock.reload("[embedded]\npath = \"{folder}/airlock.db\"\n");
    eventually("the removed group to have no clients", || {
        denials(&airlock).is_empty().then_some(())
    });
}
