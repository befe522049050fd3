//! `[service]` and `[status]`.

use std::path::Path;

use super::{EMBEDDED, ETCD, assert_errors, assert_warnings, valid};

const PAIR: &str =
    "[service]\ntls_cert_path = \"c\"\ntls_key_path = \"k\"\n[embedded]\npath = \"/x\"\n";

fn with_status(file: &str, keys: &str) -> String {
    format!("{file}[status]\nenabled = true\n{keys}\n")
}

#[test]
fn service_tls_needs_a_certificate_and_a_key() {
    let file = |keys: &str| format!("[service]\n{keys}\n[embedded]\npath = \"/x\"\n");
    for (keys, expected) in [
        (
            "",
            "TLS is on by default, but tls_cert_path and tls_key_path are missing; set both, or set tls = false in \
             [service] to serve plain HTTP (c.toml:1, service.tls)",
        ),
        (
            "tls = true\ntls_cert_path = \"c\"",
            "TLS is on, but tls_key_path is missing; set it, or set tls = false in [service] to serve plain HTTP \
             (c.toml:2, service.tls)",
        ),
        (
            "tls_key_path = \"k\"",
            "TLS is on by default, but tls_cert_path is missing; set it, or set tls = false in [service] to serve plain \
             HTTP (c.toml:1, service.tls)",
        ),
    ] {
        assert_errors(&file(keys), &[expected]);
    }
}

#[test]
fn a_certificate_is_not_used_while_tls_is_off() {
    assert_warnings(
        &with_status(EMBEDDED, "port = 1\ntls_key_path = \"k\""),
        &[
            "the file is not used because TLS is off in [status]; set tls = true there, or remove this key \
             (c.toml:10, status.tls_key_path)",
        ],
    );
    assert_warnings(
        &ETCD.replace("[etcd3]", "tls_cert_path = \"c\"\n[etcd3]"),
        &[
            "the file is not used because TLS is off in [service]; set tls = true there, or remove this key \
             (c.toml:3, service.tls_cert_path)",
        ],
    );
}

#[test]
fn the_status_listener_uses_the_certificate_of_the_service_or_its_own() {
    let tls = |keys: &str| {
        let text = with_status(PAIR, &format!("port = 1\n{keys}"));
        valid(&text).settings.status.unwrap().tls
    };
    assert_eq!(tls(""), None);
    assert_eq!(tls("tls = true").unwrap().pair.cert_path, Path::new("c"));
    let own = tls("tls = true\ntls_cert_path = \"c2\"\ntls_key_path = \"k2\"");
    assert_eq!(own.unwrap().pair.cert_path, Path::new("c2"));
}

#[test]
fn status_tls_without_a_whole_certificate_is_an_error() {
    assert_errors(
        &with_status(PAIR, "port = 1\ntls = true\ntls_key_path = \"k\""),
        &[
            "TLS is on, but tls_cert_path is missing in [status]; set tls_cert_path and tls_key_path, or neither to use \
             the certificate of [service] (c.toml:9, status.tls)",
        ],
    );
    assert_errors(
        &with_status(EMBEDDED, "port = 1\ntls = true"),
        &[
            "TLS is on, but neither [status] nor [service] has a certificate; set tls_cert_path and tls_key_path in \
             [status], or set tls = false to serve plain HTTP (c.toml:10, status.tls)",
        ],
    );
}

#[test]
fn an_error_in_the_tls_settings_of_the_service_is_not_reported_for_the_status_listener_too() {
    assert_errors(
        &with_status(
            "[service]\n[embedded]\npath = \"/x\"\n",
            "port = 1\ntls = true",
        ),
        &[
            "TLS is on by default, but tls_cert_path and tls_key_path are missing; set both, or set tls = false in \
             [service] to serve plain HTTP (c.toml:1, service.tls)",
        ],
    );
}

#[test]
fn an_empty_path_of_a_key_that_coreos_airlock_does_not_have_is_an_error() {
    for key in ["client_ca_path", "htpasswd_path", "node_names_path"] {
        assert_errors(
            &PAIR.replace("[embedded]", &format!("{key} = \"\"\n[embedded]")),
            &[&format!(
                "the path is empty; name the file, or remove the key (c.toml:4, service.{key})"
            )],
        );
    }
}

#[test]
fn keys_that_restrict_access_are_never_ignored() {
    assert_errors(
        &EMBEDDED.replace("[embedded]", "client_ca_path = \"x\"\n[embedded]"),
        &[
            "client certificates need TLS, but service.tls is false; set it to true, or remove this key \
             (c.toml:5, service.client_ca_path)",
        ],
    );
    assert_warnings(
        &EMBEDDED.replace("[embedded]", "htpasswd_path = \"x\"\n[embedded]"),
        &[
            "clients send their passwords in plain text because service.tls is false; set it to true \
             (c.toml:5, service.htpasswd_path)",
        ],
    );
}

#[test]
fn a_status_listener_without_a_port_starts_as_in_coreos_airlock_with_a_warning() {
    let text = with_status(EMBEDDED, "");
    assert_eq!(valid(&text).settings.status.unwrap().port, 0);
    assert_warnings(
        &text,
        &[
            "port is missing in [status]: the listener uses any free port, which only the log shows; set port \
             (c.toml:8, status.enabled)",
        ],
    );
}

#[test]
fn a_port_out_of_range_is_an_error_unless_the_listener_is_disabled() {
    assert_errors(
        &with_status(EMBEDDED, "port = 70000"),
        &["expected a whole number from 0 to 65535, found 70000 (c.toml:9, status.port)"],
    );
    assert_warnings(&format!("{EMBEDDED}[status]\nport = 70000\n"), &[]);
}

#[test]
fn an_address_with_a_port_is_an_error() {
    for (address, host, port) in [
        ("0.0.0.0:9090", "0.0.0.0", 9090),
        ("node-1.example:80", "node-1.example", 80),
        ("[::1]:9090", "::1", 9090),
        (":2222", "0.0.0.0", 2222),
    ] {
        assert_errors(
            &EMBEDDED.replace("0.0.0.0", address),
            &[&format!(
                "address \"{address}\" contains a port; write address = \"{host}\" and port = {port} \
                 (c.toml:4, service.address)"
            )],
        );
    }
    assert_errors(
        &with_status(EMBEDDED, "port = 1\naddress = \"127.0.0.1:2222\""),
        &[
            "address \"127.0.0.1:2222\" contains a port; write address = \"127.0.0.1\" and port = 2222 \
             (c.toml:10, status.address)",
        ],
    );
    for address in ["::1", "[::1]", "fe80::1:9090", "localhost", ""] {
        valid(&EMBEDDED.replace("0.0.0.0", address));
    }
    // The address of a disabled listener may be anything.
    valid(&format!("{EMBEDDED}[status]\naddress = \"a:1\"\n"));
}

#[test]
fn an_address_that_is_a_url_is_an_error_and_its_password_is_not_shown() {
    assert_errors(
        &with_status(
            EMBEDDED,
            "port = 1\naddress = \"https://root:secret@host:9090\"",
        ),
        &[
            "address \"https://root:***@host:9090\" is not an address; write a host name or an IP address of this \
             machine (c.toml:10, status.address)",
        ],
    );
}

#[test]
fn two_listeners_on_one_port_are_an_error_if_their_addresses_overlap() {
    let with = |service: &str, status: &str| {
        let service = EMBEDDED.replace("0.0.0.0", service);
        with_status(&service, &format!("port = 9090\naddress = \"{status}\""))
    };
    for (service, status) in [
        ("0.0.0.0", "127.0.0.1"),
        ("::1", ""),
        ("127.0.0.1", "::"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("::1", "[0:0::1]"),
        ("Node", "node"),
    ] {
        assert_errors(
            &with(service, status),
            &[
                "[service] and [status] both listen on port 9090; set a different port in [status], such as port = 2222 \
                 (c.toml:9, status.port)",
            ],
        );
    }
    for (service, status) in [
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "::1"),
        ("one", "other"),
        ("one", "10.0.0.1"),
    ] {
        valid(&with(service, status));
    }
    // Any free port is a different one, and a disabled listener has none.
    let any = with("127.0.0.1", "127.0.0.1").replace("9090", "0");
    valid(&any);
    valid(&with("0.0.0.0", "").replace("enabled = true", "enabled = false"));
}

#[test]
fn the_hosts_of_the_status_listener_are_names_with_or_without_a_final_dot() {
    let file = |hosts: &str| with_status(EMBEDDED, &format!("port = 1\nallowed_hosts = [{hosts}]"));
    let hosts = valid(&file(r#""A.example", "b.example.""#))
        .settings
        .allowed_hosts;
    assert_eq!(hosts.unwrap(), ["a.example", "b.example"]);
    for name in ["", ".", "a:1"] {
        let expected = format!(
            "expected a host name without a port, found {name:?}; IP addresses and \"localhost\" are always allowed \
             (c.toml:10, status.allowed_hosts[0])"
        );
        assert_errors(&file(&format!("{name:?}")), &[&expected]);
    }
}
