//! etcd with TLS, client certificates and users: working configurations, and the errors of the others.

use std::fs;
use std::path::Path;

use rcgen::date_time_ymd;

use airlock_test_support::airlock::{Airlock, refusal_to_start};
use airlock_test_support::etcd::{Etcd, Version};
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, Pair, secret};

/// Starts a server with this endpoint; `keys` are the other keys of `[etcd3]`.
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

/// Returns the error that a node receives while etcd is unusable.
fn refused(airlock: &Airlock) -> String {
    let answer = airlock.client().lock("default", "n");
    assert_eq!((answer.status, &*answer.kind()), (500, "failed_sem_init"));
    answer.value()
}

#[test]
fn a_private_ca_suffices_and_an_endpoint_without_scheme_uses_tls() {
    for version in Version::ALL {
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
fn etcd_may_require_a_client_certificate_and_a_new_one_is_loaded_while_running() {
    for version in Version::ALL {
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
            bare.contains("etcd rejected the client certificate"),
            "{bare}"
        );
        assert!(bare.contains("etcd3.client_cert_pub_path"), "{bare}");
        assert!(bare.contains(&endpoint), "{bare}");

        // A certificate of another CA, until it is replaced.
        let own = tempfile::tempdir().unwrap();
        let own = Pair {
            cert: own.path().join("c.pem"),
            key: own.keep().join("k.pem"),
        };
        Ca::new("other").issue("airlock", &[]).replace(&own);
        let airlock = start(&endpoint, &(ca_cert(&ca) + &client_cert(&own)));
        let other = refused(&airlock);
        assert!(
            other.contains("etcd rejected the client certificate"),
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

/// docs/security.md documents this role as sufficient.
#[test]
fn a_user_with_a_role_on_the_prefix_suffices_and_its_token_and_password_are_renewed() {
    for version in Version::ALL {
        let mut etcd = Etcd::with(version, 1, &[]);
        require_a_user(&etcd);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        secret(&path, "first-secret\n");
        let user = format!("username = \"airlock\"\npassword_path = {path:?}\n");
        let mut airlock = start(&etcd.members[0].endpoint(), &user);
        assert!(airlock.client().lock("default", "n").granted());
        // The watch works with this role, too.
        let holders = r#"airlock_database_semaphore_lock_holders{group="default"}"#;
        eventually("the lock to be counted", || {
            (airlock.metric(holders) == Some(1.0)).then_some(())
        });

        // A restarted etcd has forgotten all tokens.
        etcd.members[0].kill();
        etcd.members[0].spawn();
        eventually("a lock with a new token", || {
            airlock
                .client()
                .unlock("default", "n")
                .granted()
                .then_some(())
        });

        change_the_password(&etcd, &airlock, &path);

        // The error for a user without the role names the missing permission.
        ctl_as_root(&etcd, "user revoke-role airlock airlock");
        let error = refused(&airlock);
        let grant = "etcdctl --user root role grant-permission ROLE --prefix=true readwrite \
                     com.coreos.airlock/groups/";
        assert!(error.contains(grant), "{error}");

        fs::write(&path, "").unwrap();
        airlock.wait_for_log("is empty; write the password of the etcd user into it");
        assert_no_password_is_exposed(&mut airlock, error);
    }
}

/// Creates a user with the documented role, and has etcd require a user from now on.
fn require_a_user(etcd: &Etcd) {
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
}

fn ctl_as_root(etcd: &Etcd, command: &str) {
    let root = ["--user", "root:root-secret"];
    let arguments: Vec<&str> = root.into_iter().chain(command.split(' ')).collect();
    etcd.ctl(&arguments);
}

/// Changes the user's password in etcd first and in the server's file second.
fn change_the_password(etcd: &Etcd, airlock: &Airlock, path: &Path) {
    ctl_as_root(etcd, "user delete airlock");
    ctl_as_root(etcd, "user add airlock:second-secret");
    ctl_as_root(etcd, "user grant-role airlock airlock");
    let error = eventually("the old password to be refused", || {
        let answer = airlock.client().lock("default", "n");
        (!answer.granted()).then(|| answer.value())
    });
    assert!(
        error.contains(
            "check etcd3.username, and the password in the file that etcd3.password_path names"
        ),
        "{error}"
    );
    fs::write(path, "second-secret\n").unwrap();
    eventually("the new password to be used", || {
        airlock
            .client()
            .lock("default", "n")
            .granted()
            .then_some(())
    });
}

fn assert_no_password_is_exposed(airlock: &mut Airlock, error: String) {
    let id = airlock.process().id();
    let process = |what: &str| fs::read_to_string(format!("/proc/{id}/{what}")).unwrap();
    let (_, metrics) = airlock.status("/metrics");
    for place in [
        airlock.log(),
        metrics,
        process("cmdline"),
        process("environ"),
        error,
    ] {
        for password in ["first-secret", "second-secret"] {
            assert!(!place.contains(password), "{password}: {place}");
        }
    }
}

#[test]
fn connection_errors_name_the_endpoint_and_the_remedy() {
    for version in Version::ALL {
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
                "the certificate of etcd is not signed by a trusted CA; set etcd3.ca_cert_path",
            ),
            (
                endpoint(&misnamed),
                ca_cert(&ca),
                "the certificate of etcd is only valid for other names (etcd.example)",
            ),
            (
                endpoint(&expired),
                ca_cert(&ca),
                "the certificate of etcd expired at 2020-01-01T00:00:00Z",
            ),
            (
                endpoint(&plain).replace("http:", "https:"),
                ca_cert(&ca),
                "the endpoint does not use TLS; write http:// in etcd3.endpoints",
            ),
            (
                endpoint(&good).replace("https:", "http:"),
                String::new(),
                "if this happens every time: the endpoint uses TLS; write https:// in etcd3.endpoints",
            ),
        ] {
            let error = refused(&start(&endpoint, &keys));
            assert!(error.contains(expected), "{error}");
            assert!(error.contains(&endpoint), "{error}");
        }
    }
}

#[test]
fn unusable_files_are_reported_at_startup_with_their_keys() {
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
            "empty: contains no PEM certificate",
        ),
        (
            client_cert(&Pair {
                cert: one.cert.clone(),
                key: two.key.clone(),
            }),
            "do not belong together; name the key of the first certificate in the file",
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
        let error = refusal_to_start(&config);
        assert!(error.contains(expected), "{error}");
        let key = keys.split(' ').next().unwrap();
        let key = if key == "username" {
            "password_path"
        } else {
            key
        };
        assert!(error.contains(&format!("etcd3.{key}")), "{error}");
    }
}

/// With `--client-cert-auth`, the common name of a client certificate is the user.
#[test]
fn a_client_certificate_whose_user_lacks_the_permission_is_named_by_its_common_name() {
    for version in Version::ALL {
        let ca = Ca::new("ca");
        let trusted = ca.path();
        let more = [
            "--client-cert-auth",
            "--trusted-ca-file",
            trusted.to_str().unwrap(),
        ];
        // etcdctl uses this certificate too.
        let etcd = Etcd::secure(version, &ca.issue("root", &["127.0.0.1"]), &more);
        for command in [
            "user add root:root-secret",
            "user grant-role root root",
            "auth enable",
        ] {
            etcd.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        let keys = ca_cert(&ca) + &client_cert(&ca.issue("rack-7", &[]));
        let airlock = start(&etcd.members[0].endpoint(), &keys);
        let error = refused(&airlock);
        assert!(
            error.contains("permission denied to the user \"rack-7\""),
            "{error}"
        );
        for command in [
            "role add airlock",
            "role grant-permission airlock --prefix=true readwrite com.coreos.airlock/groups/",
            "user add rack-7 --no-password",
            "user grant-role rack-7 airlock",
        ] {
            etcd.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        eventually("the user to be accepted", || {
            airlock
                .client()
                .lock("default", "n")
                .granted()
                .then_some(())
        });
    }
}
