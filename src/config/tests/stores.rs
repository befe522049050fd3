//! `[etcd3]` and `[embedded]`.

use std::path::Path;
use std::time::Duration;

use super::{EMBEDDED, ETCD, StoreSettings, assert_errors, assert_warnings, valid};
use crate::config::{EtcdSettings, MAX_ETCD_SLOTS};

fn etcd(endpoints: &str, keys: &str) -> String {
    format!("[service]\ntls = false\n[etcd3]\nendpoints = [{endpoints}]\n{keys}\n")
}

fn etcd_settings(text: &str) -> EtcdSettings {
    match valid(text).settings.store {
        StoreSettings::Etcd(etcd) => etcd,
        other @ StoreSettings::Embedded { .. } => panic!("{other:?}"),
    }
}

#[test]
fn endpoints_use_tls_unless_they_start_with_http() {
    assert_eq!(
        etcd_settings(&etcd(
            "\"http://a:1/\", \"https://b:2\", \"c:3\", \"[::1]:4\"",
            ""
        ))
        .endpoints,
        [
            "http://a:1",
            "https://b:2",
            "https://c:3",
            "https://[::1]:4"
        ]
    );
}

#[test]
fn the_id_of_the_cluster_is_a_hexadecimal_number_other_than_0() {
    for (id, expected) in [("CDF8", 0xcdf8), ("ffffffffffffffff", u64::MAX)] {
        let settings = etcd_settings(&etcd("\"a:1\"", &format!("cluster_id = {id:?}")));
        assert_eq!(settings.cluster_id.map(|id| id.0), Some(expected));
    }
    // A template may leave an empty one behind, which would be no protection.
    for id in ["", "0", "0xcdf8", "+1", "10000000000000000"] {
        let errors = [format!(
            "{id:?} is not the id of an etcd cluster, which has 1 to 16 hexadecimal digits, such as \
             \"cdf818194e3a8c32\"; remove the key, and `airlock check-config --online` prints the id (c.toml:5, \
             etcd3.cluster_id)"
        )];
        let text = etcd("\"a:1\"", &format!("cluster_id = {id:?}"));
        assert_errors(&text, &[&errors[0]]);
    }
}

#[test]
fn an_invalid_endpoint_is_quoted_with_what_to_write_instead() {
    for (endpoint, expected) in [
        ("b", "endpoint \"b\" has no port; write \"https://b:2379\""),
        (
            "http://b/",
            "endpoint \"http://b/\" has no port; write \"http://b:2379\"",
        ),
        (
            "::1",
            "endpoint \"::1\" has no port; write \"https://[::1]:2379\"",
        ),
        (
            "https://b:1/v3",
            "endpoint \"https://b:1/v3\" has a path; write \"https://b:1\"",
        ),
        (
            "tcp://b:1",
            "endpoint \"tcp://b:1\" has the unknown scheme \"tcp\"; write http://host:port or https://host:port",
        ),
        (
            "b:99999",
            "endpoint \"b:99999\" is not valid; write a host and a port up to 65535, such as \"https://127.0.0.1:2379\"",
        ),
        (
            "",
            "endpoint \"\" is not valid; write a host and a port up to 65535, such as \"https://127.0.0.1:2379\"",
        ),
        (
            "https://user:secret@b:1",
            "endpoint \"https://user:***@b:1\" contains a user name or a password; remove them, and set \
             etcd3.username and etcd3.password_path",
        ),
    ] {
        assert_errors(
            &etcd(&format!("\"{endpoint}\""), ""),
            &[&format!("{expected} (c.toml:4, etcd3.endpoints[0])")],
        );
    }
}

#[test]
fn etcd_needs_endpoints_and_each_one_once() {
    assert_errors(
        "[service]\ntls = false\n[etcd3]\n",
        &[
            "[etcd3] has no endpoints; add at least one: endpoints = [\"http://127.0.0.1:2379\"] \
             (c.toml:3, etcd3.endpoints)",
        ],
    );
    assert_errors(
        &etcd("", ""),
        &[
            "the list is empty; add at least one endpoint, such as \"http://127.0.0.1:2379\" (c.toml:4, etcd3.endpoints)",
        ],
    );
    assert_warnings(
        &etcd("\"http://a:1\", \"http://a:1/\"", ""),
        &[
            "endpoint \"http://a:1/\" is listed twice; remove one of the two (c.toml:4, etcd3.endpoints[1])",
        ],
    );
}

#[test]
fn exactly_one_store_is_configured() {
    assert_errors(
        "[service]\ntls = false\n",
        &[
            "no store is configured; add [etcd3] with endpoints = [\"http://127.0.0.1:2379\"], or, for a single server, \
             [embedded] with path = \"/var/lib/airlock/airlock.db\" (c.toml, etcd3)",
        ],
    );
    assert_errors(
        &format!("{ETCD}[embedded]\npath = \"x\"\n"),
        &[
            "[etcd3] (line 3) and [embedded] are both configured; remove one of them, since a server uses one store \
             (c.toml:5, embedded)",
        ],
    );
}

#[test]
fn the_embedded_store_needs_a_path() {
    assert_errors(
        "[service]\ntls = false\n[embedded]\n",
        &[
            "[embedded] has no path; name the database file, for example path = \"/var/lib/airlock/airlock.db\" \
             (c.toml:3, embedded.path)",
        ],
    );
    assert_errors(
        "[service]\ntls = false\n[embedded]\npath = \"\"\n",
        &[
            "the path is empty; name the database file, for example path = \"/var/lib/airlock/airlock.db\" \
             (c.toml:4, embedded.path)",
        ],
    );
    for (path, problem) in [
        (
            ":memory:",
            "a database in memory loses all locks when the server ends",
        ),
        (
            "file:/x?mode=memory",
            "\"file:/x?mode=memory\" is a URI, whose parameters could make the database lose locks",
        ),
        (
            "FILE:x",
            "\"FILE:x\" is a URI, whose parameters could make the database lose locks",
        ),
    ] {
        assert_errors(
            &format!("[service]\ntls = false\n[embedded]\npath = {path:?}\n"),
            &[&format!(
                "{problem}; name the database file, for example path = \"/var/lib/airlock/airlock.db\" \
                 (c.toml:4, embedded.path)"
            )],
        );
    }
    let settings = valid(&format!("{EMBEDDED}transaction_timeout_ms = 50\n")).settings;
    assert!(
        matches!(&settings.store, StoreSettings::Embedded { path } if path == Path::new("/x")),
        "{settings:?}"
    );
    assert_eq!(settings.transaction_timeout, Duration::from_millis(50));
}

#[test]
fn more_slots_than_fit_into_etcd_are_an_error_for_etcd_only() {
    let slots = "[lock]\ndefault_slots = 12001\n[[lock.groups]]\nname = \"a\"\nslots = 12000\n";
    assert_errors(
        &format!("{ETCD}{slots}"),
        &[
            "12001 lock holders do not fit into one request to etcd, which is limited to 1.5 MiB; set 12000 slots or \
             fewer, and use more groups (c.toml:6, lock.default_slots)",
        ],
    );
    let embedded = valid(&format!("{EMBEDDED}{slots}")).settings.store;
    assert_eq!(embedded.max_slots(), None);
    assert_eq!(valid(ETCD).settings.store.max_slots(), Some(MAX_ETCD_SLOTS));
}

#[test]
fn a_client_certificate_without_a_tls_endpoint_is_a_warning() {
    assert_warnings(
        &etcd(
            "\"http://a:1\"",
            "client_cert_pub_path = \"/nowhere/a.pem\"\nclient_cert_key_path = \"/dev/null\"",
        ),
        &[
            "file \"/nowhere/a.pem\" is not used because all endpoints are plain http:// and does not exist; \
             write https://host:port in etcd3.endpoints, or remove this key (c.toml:5, etcd3.client_cert_pub_path)",
            "file \"/dev/null\" is not used because all endpoints are plain http://; \
             write https://host:port in etcd3.endpoints, or remove this key (c.toml:6, etcd3.client_cert_key_path)",
        ],
    );
}

#[test]
fn half_of_a_client_certificate_or_of_a_user_is_an_error_that_names_the_other_half() {
    for (keys, expected) in [
        (
            "client_cert_pub_path = \"x\"",
            "the client certificate has no private key; set etcd3.client_cert_key_path too \
             (c.toml:5, etcd3.client_cert_pub_path)",
        ),
        (
            "client_cert_key_path = \"x\"",
            "the private key has no client certificate; set etcd3.client_cert_pub_path too \
             (c.toml:5, etcd3.client_cert_key_path)",
        ),
        (
            "username = \"u\"",
            "user \"u\" has no password; set etcd3.password_path to a file that contains it (c.toml:5, etcd3.username)",
        ),
        (
            "password_path = \"p\"",
            "the password has no user; set etcd3.username, or remove this key (c.toml:5, etcd3.password_path)",
        ),
    ] {
        assert_errors(&etcd("\"a:1\"", keys), &[expected]);
    }
}

#[test]
fn a_ca_without_a_tls_endpoint_is_an_error() {
    assert_errors(
        &etcd("\"http://a:1\"", "ca_cert_path = \"x\""),
        &[
            "a CA has no use because all endpoints are plain http://; write https://host:port in etcd3.endpoints, or \
             remove this key (c.toml:5, etcd3.ca_cert_path)",
        ],
    );
}

#[test]
fn a_password_for_a_plain_endpoint_is_a_warning() {
    assert_warnings(
        &etcd("\"http://a:1\"", "username = \"u\"\npassword_path = \"p\""),
        &[
            "the password is sent to http:// endpoints in plain text; write https://host:port in etcd3.endpoints \
             (c.toml:5, etcd3.username)",
        ],
    );
}
