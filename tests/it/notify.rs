//! `[notify]`: its check, the start of a server with it, and the reload of its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use airlock_test_support::airlock::Airlock;
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, secret};

use crate::check_config::{Config, EMBEDDED};

/// A receiver that is not running, since no program listens on the port.
const NOTIFY: &str =
    "[notify]\nurl = \"http://127.0.0.1:1/token\"\nsecret_path = \"{folder}/secret\"\n";

const SECRET: &str = "a secret of the receiver\n";

fn config(notify: &str) -> Config {
    let config = Config::new(&format!("[service]\ntls = false\n{EMBEDDED}{notify}"));
    secret(&config.folder.path().join("secret"), SECRET);
    config
}

#[test]
fn the_receiver_is_described_without_its_token() {
    let config = config(NOTIFY);
    let text = config.check(0, &["--strict"]);
    let expected = format!(
        "  sends events (granted, released, overdue, admin, denied) to http://127.0.0.1:1/…, signed with the secret in \
         {}/secret\n",
        config.folder.path().display()
    );
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains("token"), "{text}");
    let config = self::config("[notify]\nurl = \"https://hooks\"\nevents = [\"denied\"]\n");
    let text = config.check(0, &["--strict"]);
    let expected = "  sends events (denied) to https://hooks, without a signature\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn files_that_cannot_be_used_and_unknown_events_are_errors_with_their_keys() {
    let config = config(
        "[notify]\nurl = \"https://hooks\"\nsecret_path = \"{folder}/secret\"\nca_cert_path = \"{folder}/ca.pem\"\n\
         events = [\"grants\"]\n",
    );
    secret(&config.folder.path().join("secret"), "short\n");
    config.assert_errors(&[
        (
            ":7, notify.secret_path",
            "contains a secret of 5 bytes; at least 16 are needed",
        ),
        (
            ":8, notify.ca_cert_path",
            "/ca.pem: cannot be read: No such file",
        ),
        (":9, notify.events[0]", "did you mean \"granted\"?"),
    ]);
    fs::remove_file(config.folder.path().join("secret")).unwrap();
    fs::copy(Ca::new("ca").path(), config.folder.path().join("ca.pem")).unwrap();
    let text = fs::read_to_string(config.path())
        .unwrap()
        .replace("grants", "granted");
    fs::write(config.path(), text).unwrap();
    config.assert_errors(&[(
        ":7, notify.secret_path",
        "/secret: cannot be read: No such file",
    )]);
}

#[test]
fn a_secret_that_everyone_can_read_and_plain_http_are_warnings() {
    let config = config(&NOTIFY.replace("127.0.0.1:1", "192.0.2.1"));
    let path = config.folder.path().join("secret");
    fs::set_permissions(config.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = config.check(0, &[]);
    let chmod = format!("chmod o= {}", path.display());
    for expected in [
        &chmod,
        ":7, notify.secret_path)",
        "in plain text",
        ":6, notify.url)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains(": valid, 2 warnings\n"), "{text}");
}

#[test]
fn the_metrics_of_events_exist_only_with_a_receiver() {
    let names = [
        "airlock_notify_events_total{result=\"delivered\"}",
        "airlock_notify_events_total{result=\"dropped\"}",
        "airlock_notify_events_total{result=\"rejected\"}",
        "airlock_notify_queue_events",
        "airlock_notify_failures_total",
        "airlock_tls_reload_failures_total{target=\"notify\"}",
    ];
    let folder = tempfile::tempdir().unwrap();
    secret(&folder.path().join("secret"), SECRET);
    let notify = NOTIFY.replace("{folder}", folder.path().to_str().unwrap());
    let (with, without) = (Airlock::embedded(&notify), Airlock::embedded(""));
    for name in names {
        assert_eq!(with.metric(name), Some(0.0), "{name}");
        assert_eq!(without.metric(name), None, "{name}");
    }
    assert!(with.client().lock("default", "a").granted());
}

#[test]
fn a_secret_is_reloaded_and_a_changed_receiver_needs_a_restart() {
    let mut airlock = Airlock::embedded("");
    let path = airlock.folder().join("secret");
    secret(&path, SECRET);
    airlock.reload(&format!("{EMBEDDED}{NOTIFY}"));
    airlock.wait_for_log("[notify] has changed; restart the server to apply the change");

    airlock.restart();
    secret(&path, "short");
    let failures = "airlock_tls_reload_failures_total{target=\"notify\"}";
    eventually("the secret to be rejected", || {
        (airlock.metric(failures) == Some(1.0)).then_some(())
    });
    airlock.wait_for_log("contains a secret of 5 bytes; at least 16 are needed; write a new one");
    secret(&path, "another secret of the receiver");
    airlock.wait_for_log("level=info msg=\"files reloaded\" what=notify");
    airlock.terminate();
    assert_eq!(airlock.process().wait().code(), Some(0));
}
