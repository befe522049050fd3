//! `[notify]`.

use std::time::Duration;

use super::{EMBEDDED, assert_errors, assert_warnings, valid};
use crate::config::{EventKind, NotifySettings};

/// Returns a file of which line 8 is the first one of `keys`.
fn with(keys: &str) -> String {
    format!("{EMBEDDED}[notify]\n{keys}\n")
}

fn settings(keys: &str) -> NotifySettings {
    valid(&with(keys)).settings.notify.unwrap()
}

#[test]
fn without_the_section_there_is_no_receiver() {
    assert_eq!(valid(EMBEDDED).settings.notify, None);
}

#[test]
fn a_url_suffices_and_all_events_are_sent() {
    let all = settings("url = \"https://hooks.example:8443/a?b=c\"");
    assert_eq!(all.url, "https://hooks.example:8443/a?b=c");
    assert_eq!((&all.secret_path, &all.ca_cert_path), (&None, &None));
    assert_eq!(all.events, EventKind::ALL.into());
    assert_eq!(all.timeout, Duration::from_secs(5));

    let some = settings(
        "url = \"HTTP://localhost\"\nsecret_path = \"s\"\nca_cert_path = \"\"\nevents = [\"denied\", \"overdue\"]\n\
         timeout_ms = 100",
    );
    assert_eq!(some.url.scheme_str(), Some("http"));
    assert_eq!(some.secret_path, Some("s".into()));
    assert_eq!(some.events, [EventKind::Overdue, EventKind::Denied].into());
    assert_eq!(some.timeout, Duration::from_millis(100));
}

#[test]
fn the_url_of_a_message_has_no_path() {
    for (url, shown) in [
        (
            "https://hooks.example:8443/services/token",
            "https://hooks.example:8443/…",
        ),
        ("https://hooks.example?token", "https://hooks.example/…"),
        ("https://[::1]/", "https://[::1]"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ] {
        assert_eq!(settings(&format!("url = {url:?}")).receiver(), shown);
    }
}

#[test]
fn the_url_has_to_be_one_of_a_web_server() {
    for (url, expected) in [
        (
            "",
            "URL \"\" has neither http:// nor https:// in front of its host; write https://host/path",
        ),
        (
            "hooks.example/token",
            "URL \"hooks.example/…\" has neither http:// nor https://",
        ),
        (
            "ftp://hooks.example/token",
            "URL \"ftp://hooks.example/…\" has neither http:// nor https://",
        ),
        ("https://", "URL \"https://\" is not valid"),
        ("https:///token", "URL \"https:///…\" is not valid"),
        ("https://:443/token", "URL \"https://:443/…\" is not valid"),
        (
            "https://hooks:/token",
            "URL \"https://hooks:/…\" is not valid",
        ),
        ("https://hooks:0", "URL \"https://hooks:0\" is not valid"),
        (
            "https://hooks:65536",
            "URL \"https://hooks:65536\" is not valid",
        ),
        (
            "https://höoks/token",
            "URL \"https://höoks/…\" is not valid",
        ),
        ("https://hooks/a b", "URL \"https://hooks/…\" is not valid"),
        (
            "https://me:secret@hooks/token",
            "URL \"https://me:***@hooks/…\" contains a user name or a password",
        ),
        (
            "https://me@hooks?token",
            "URL \"https://me@hooks/…\" contains a user name or a password",
        ),
        (
            "https://me:se/cret@hooks",
            "URL \"https://me:***@hooks\" is not valid",
        ),
    ] {
        let errors = super::parsed(&with(&format!("url = {url:?}")));
        let errors = super::texts(&errors.map(drop).unwrap_err().errors);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{errors:?}");
        assert!(errors[0].ends_with(" (c.toml:8, notify.url)"), "{errors:?}");
    }
    assert_errors(
        &with("timeout_ms = 99"),
        &[
            "[notify] has no url; name the receiver: url = \"https://host/path\" (c.toml:7, notify.url)",
            "expected a whole number from 100 to 60000, found 99 (c.toml:8, notify.timeout_ms)",
        ],
    );
}

#[test]
fn plain_http_to_another_machine_is_a_warning_and_has_no_ca() {
    for loopback in ["localhost", "LOCALHOST:1", "127.0.0.2:80", "[::1]:80"] {
        assert_warnings(&with(&format!("url = \"http://{loopback}/x\"")), &[]);
    }
    assert_warnings(&with("url = \"https://hooks\""), &[]);
    assert_warnings(
        &with("url = \"http://hooks/token\""),
        &[
            "events are sent to \"http://hooks/…\" in plain text, so that others on the network can read them; write \
             https:// (c.toml:8, notify.url)",
        ],
    );
    assert_errors(
        &with("url = \"http://localhost/token\"\nca_cert_path = \"ca.pem\""),
        &[
            "a CA has no use because the receiver is plain http://; write https://host/path in notify.url, or remove \
             this key (c.toml:9, notify.ca_cert_path)",
        ],
    );
}

#[test]
fn events_are_known_and_listed_once() {
    let events = |list: &str| with(&format!("url = \"https://hooks\"\nevents = {list}"));
    assert_errors(
        &events("[\"grant\", \"Released\", \"reboot of a node\"]"),
        &[
            "unknown event \"grant\"; did you mean \"granted\"? (c.toml:9, notify.events[0])",
            "unknown event \"Released\"; did you mean \"released\"? (c.toml:9, notify.events[1])",
            "unknown event \"reboot of a node\"; the events are: granted, released, overdue, admin, denied \
             (c.toml:9, notify.events[2])",
        ],
    );
    assert_errors(
        &events("[]"),
        &[
            "the list is empty, so that no event is sent; remove the key to send all of them, or the section [notify] to \
             send none (c.toml:9, notify.events)",
        ],
    );
    assert_warnings(
        &events("[\"admin\", \"admin\"]"),
        &["event \"admin\" is listed twice; remove one of the two (c.toml:9, notify.events[1])"],
    );
}
