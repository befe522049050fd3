//! etcd with TLS, client certificates and users: what gets through, and what is said when nothing does.

use std::fs;
use std::path::Path;

use rcgen::date_time_ymd;

use airlock_test_support::airlock::{Airlock, refusal_to_start};
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, Pair, secret};

/// The server's configuration for these endpoints.
fn start(endpoint: &str, keys: &str) -> Airlock {
    Airlock::on_etcd(&[endpoint.to_owned()], keys)
}

fn client_cert(pair: &Pair) -> String {
    let (cert, key) = (&pair.cert, &pair.key);
    format!("client_cert_pub_path = {cert:?}\nclient_cert_key_path = {key:?}\n")
}

fn ca_cert(ca: &Ca) -> String {
    format!("ca_cert_path = {:?}\n", ca.path())
}

/// What a node reads when etcd cannot be used.
fn refused(airlock: &Airlock) -> String {
    let answer = airlock.client().lock("default", "n");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    answer.value()
}

#[test]
fn an_own_ca_is_enough_and_a_bare_endpoint_speaks_tls() {
    for version in [Version::V3_4, Version::V3_5] {
        let ca = Ca::new("ca");
        let etcd = Etcd::secure(version, &ca.issue("etcd", &["127.0.0.1"]), &[]);
        let bare = etcd.members[0].endpoint().replace("https://", "");
        let airlock = start(&bare, &ca_cert(&ca));
        assert!(airlock.client().lock("default", "n").granted());
        assert!(
            etcd.get("com.coreos.airlock/groups/default/v1/semaphore")
                .contains("\"n\"")
        );
    }
}

#[test]
fn etcd_can_ask_for_a_client_certificate_and_a_new_one_is_taken_while_running() {
    for version in [Version::V3_4, Version::V3_5] {
        let ca = Ca::new("ca");
        let pair = ca.issue("etcd", &["127.0.0.1"]);
        let trusted = ca.path();
        let etcd = Etcd::secure(
            version,
            &pair,
            &[
                "--client-cert-auth",
                "--trusted-ca-file",
                trusted.to_str().unwrap(),
            ],
        );
        let endpoint = etcd.members[0].endpoint();
        let bare = refused(&start(&endpoint, &ca_cert(&ca)));
        assert!(
            bare.contains("does not accept our client certificate"),
            "{bare}"
        );
        assert!(bare.contains("etcd3.client_cert_pub_path"), "{bare}");
        assert!(bare.contains(&endpoint), "{bare}");

        // One of another CA, until it is replaced.
        let own = tempfile::tempdir().unwrap();
        let own = Pair {
            cert: own.path().join("c.pem"),
            key: own.keep().join("k.pem"),
        };
        Ca::new("other").issue("airlock", &[]).replace(&own);
        let airlock = start(&endpoint, &(ca_cert(&ca) + &client_cert(&own)));
        let other = refused(&airlock);
        assert!(
            other.contains("does not accept our client certificate"),
            "{other}"
        );
        ca.issue("airlock", &[]).replace(&own);
        eventually("the new certificate to be used", || {
            airlock
                .client()
                .lock("default", "n")
                .granted()
                .then_some(())
        });
        fs::remove_dir_all(own.key.parent().unwrap()).unwrap();
    }
}

/// docs/security.md names this role as the one that suffices.
#[test]
fn a_user_with_a_role_on_the_prefix_is_enough_and_its_token_and_password_are_renewed() {
    for version in [Version::V3_4, Version::V3_5] {
        let mut etcd = Etcd::with(version, 1, &[]);
        for command in [
            "user add root:root-secret",
            "user grant-role root root",
            "role add airlock",
            "role grant-permission airlock --prefix=true readwrite com.coreos.airlock/groups/",
            "user add airlock:first-secret",
            "user grant-role airlock airlock",
            "auth enable",
        ] {
            etcd.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        secret(&path, "first-secret\n");
        let user = format!("username = \"airlock\"\npassword_path = {path:?}\n");
        let mut airlock = start(&etcd.members[0].endpoint(), &user);
        assert!(airlock.client().lock("default", "n").granted());
        // Following works with that role too.
        let holders = r#"airlock_database_semaphore_lock_holders{group="default"}"#;
        eventually("the lock to be seen", || {
            (airlock.metric(holders) == Some(1.0)).then_some(())
        });

        // A restarted etcd knows no token any more.
        etcd.members[0].kill();
        etcd.members[0].spawn();
        eventually("a lock with a new token", || {
            airlock
                .client()
                .unlock("default", "n")
                .granted()
                .then_some(())
        });

        let root = ["--user", "root:root-secret"];
        let ctl = |arguments: &[&str]| etcd.ctl(&[&root, arguments].concat());
        ctl(&["user", "delete", "airlock"]);
        ctl(&["user", "add", "airlock:second-secret"]);
        ctl(&["user", "grant-role", "airlock", "airlock"]);
        let said = eventually("the old password to be refused", || {
            let answer = airlock.client().lock("default", "n");
            (!answer.granted()).then(|| answer.value())
        });
        assert!(
            said.contains("check etcd3.username and the file etcd3.password_path"),
            "{said}"
        );
        fs::write(&path, "second-secret\n").unwrap();
        eventually("the new password to be used", || {
            airlock
                .client()
                .lock("default", "n")
                .granted()
                .then_some(())
        });

        // A user without the role is told what is missing.
        ctl(&["user", "revoke-role", "airlock", "airlock"]);
        let said = refused(&airlock);
        assert!(
            said.contains("needs read and write on the prefix com.coreos.airlock/groups/"),
            "{said}"
        );

        fs::write(&path, "").unwrap();
        airlock.wait_for_log("is empty; write the password of the etcd user into it");
        let id = airlock.process().id();
        let process = |what: &str| fs::read_to_string(format!("/proc/{id}/{what}")).unwrap();
        let (_, metrics) = airlock.status("/metrics");
        for place in [
            airlock.log(),
            metrics,
            process("cmdline"),
            process("environ"),
            said,
        ] {
            for password in ["first-secret", "second-secret"] {
                assert!(!place.contains(password), "{password}: {place}");
            }
        }
    }
}

#[test]
fn what_is_wrong_between_us_and_etcd_is_said_with_the_endpoint_and_the_remedy() {
    for version in [Version::V3_4, Version::V3_5] {
        let ca = Ca::new("ca");
        let etcd = |pair: Pair| Etcd::secure(version, &pair, &[]);
        let good = etcd(ca.issue("good", &["127.0.0.1"]));
        let misnamed = etcd(ca.issue("misnamed", &["etcd.example"]));
        let expired = etcd(ca.issue_with("expired", &["127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }));
        let plain = Etcd::with(version, 1, &[]);
        let endpoint = |etcd: &Etcd| etcd.members[0].endpoint();
        let other = Ca::new("ca");
        for (endpoint, keys, expected) in [
            (
                endpoint(&good),
                ca_cert(&other),
                "is not signed by a CA that is trusted here; name its CA in etcd3.ca_cert_path",
            ),
            (
                endpoint(&misnamed),
                ca_cert(&ca),
                "its certificate is for other names (etcd.example)",
            ),
            (
                endpoint(&expired),
                ca_cert(&ca),
                "its certificate expired at 2020-01-01T00:00:00Z",
            ),
            (
                endpoint(&plain).replace("http:", "https:"),
                ca_cert(&ca),
                "it does not speak TLS; write http:// in etcd3.endpoints",
            ),
            (
                endpoint(&good).replace("https:", "http:"),
                String::new(),
                "where it does so each time, it speaks TLS: write https:// in etcd3.endpoints",
            ),
        ] {
            let said = refused(&start(&endpoint, &keys));
            assert!(said.contains(expected), "{said}");
            assert!(said.contains(&endpoint), "{said}");
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start_with_their_keys() {
    let ca = Ca::new("ca");
    let (one, two) = (ca.issue("one", &[]), ca.issue("two", &[]));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "\n").unwrap();
    let password = |path: &Path| format!("username = \"u\"\npassword_path = {path:?}\n");
    for (keys, expected) in [
        (
            format!("ca_cert_path = {:?}\n", path("none")),
            "none: cannot be read: No such file or directory",
        ),
        (
            format!("ca_cert_path = {:?}\n", path("empty")),
            "empty: has no PEM certificate in it",
        ),
        (
            client_cert(&Pair {
                cert: one.cert.clone(),
                key: two.key.clone(),
            }),
            "do not go together: the key is not the one of the first certificate",
        ),
        (
            password(&path("none")),
            "none: cannot be read: No such file or directory",
        ),
        (
            password(&path("empty")),
            "empty: is empty; write the password of the etcd user into it",
        ),
    ] {
        let config = format!(
            "[service]\naddress = \"127.0.0.1\"\nport = 0\ntls = false\n[etcd3]\nendpoints = [\"127.0.0.1:1\"]\n{keys}"
        );
        let said = refusal_to_start(&config);
        assert!(said.contains(expected), "{said}");
        let key = keys.split(' ').next().unwrap();
        let key = if key == "username" {
            "password_path"
        } else {
            key
        };
        assert!(said.contains(&format!("etcd3.{key}")), "{said}");
    }
}
