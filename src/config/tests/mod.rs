//! The configuration as a whole: from the text of a file to the settings, or to what the operator reads about it.

mod caps;
mod document;
pub(crate) mod every_key;
mod freezes;
mod gates;
mod generated;
mod groups;
mod listeners;
mod notify;
mod stores;
mod windows;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Diagnostic, Loaded, StoreSettings, load, parse};
use crate::fuzzing;
use crate::testing::mutated;

const ETCD: &str = "[service]\ntls = false\n[etcd3]\nendpoints = [\"http://127.0.0.1:2379\"]\n";

/// A valid file of six lines, to which tests add sections.
const EMBEDDED: &str =
    "[service]\ntls = false\nport = 9090\naddress = \"0.0.0.0\"\n[embedded]\npath = \"/x\"\n";

fn parsed(text: &str) -> Result<Loaded, super::ConfigErrors> {
    parse(Path::new("c.toml"), text)
}

fn valid(text: &str) -> Loaded {
    parsed(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn texts(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

/// Asserts that `text` is invalid, and has exactly these errors.
#[track_caller]
fn assert_errors(text: &str, expected: &[&str]) {
    let errors = parsed(text).map(drop).unwrap_err().errors;
    assert_eq!(texts(&errors), expected);
}

/// Asserts that `text` is valid, and has exactly these warnings.
#[track_caller]
fn assert_warnings(text: &str, expected: &[&str]) {
    assert_eq!(texts(&valid(text).warnings), expected);
}

#[test]
fn the_defaults_are_those_of_coreos_airlock() {
    let loaded = valid(ETCD);
    let settings = &loaded.settings;
    assert_eq!(
        (&*settings.service.address, settings.service.port),
        ("0.0.0.0", 9090)
    );
    assert_eq!(settings.status, None);
    assert_eq!(settings.transaction_timeout, Duration::from_millis(3000));
    assert_eq!(groups::slots(&loaded), [("default", 1)]);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn empty_strings_are_absent_and_case_is_ignored_as_in_coreos_airlock() {
    let loaded = valid(
        "[Service]\nTLS = false\ntls_cert_path = \"\"\n\
         [etcd3]\nEndpoints = [\"https://a:1\"]\nca_cert_path = \"\"\n\
         client_cert_pub_path = \"\"\nclient_cert_key_path = \"\"\nusername = \"\"\npassword_path = \"\"\n",
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.settings.service.tls, None);
    let StoreSettings::Etcd(etcd) = loaded.settings.store else {
        panic!("not etcd");
    };
    assert_eq!(etcd.endpoints, ["https://a:1"]);
    assert_eq!(
        (etcd.client_cert, etcd.ca_cert_path, etcd.user),
        (None, None, None)
    );
}

#[test]
fn all_errors_are_reported_together_in_the_order_of_their_lines() {
    assert_errors(
        "[service]\nport = 70000\ntls = \"no\"\n\
         [etcd3]\nendpoints = [\n\"ftp://a:1\",\n\"b\"]\ntransaction_timeout_ms = 0\n\
         [lock]\ndefault_slots = 0\n\
         [[lock.groups]]\nslots = 1\n\
         [[lock.groups]]\nname = \"\"\n\
         [[lock.groups]]\nname = \"a\"\n\
         [[lock.groups]]\nname = \"a\"\nslots = -1\n",
        &[
            "expected a whole number from 0 to 65535, found 70000 (c.toml:2, service.port)",
            "expected true or false, found \"no\" (c.toml:3, service.tls)",
            "endpoint \"ftp://a:1\" has the unknown scheme \"ftp\"; write http://host:port or https://host:port \
             (c.toml:6, etcd3.endpoints[0])",
            "endpoint \"b\" has no port; write \"https://b:2379\" (c.toml:7, etcd3.endpoints[1])",
            "expected a whole number from 10 to 600000, found 0 (c.toml:8, etcd3.transaction_timeout_ms)",
            "expected a whole number, 1 or more, found 0; to stop all reboots of a group, use `airlock pause GROUP` \
             (c.toml:10, lock.default_slots)",
            "the group has no name; add name = \"…\" (c.toml:11, lock.groups[0].name)",
            "the name is empty; a group needs a name (c.toml:14, lock.groups[1].name)",
            "group \"a\" is configured twice, first on line 16; merge the two [[lock.groups]] tables \
             (c.toml:18, lock.groups[3].name)",
            "expected a whole number, 1 or more, found -1 (c.toml:19, lock.groups[3].slots)",
        ],
    );
}

#[test]
fn an_invalid_file_has_warnings_too_which_may_name_the_cause() {
    let errors = parsed(&ETCD.replace("[service]", "[servise]"))
        .map(drop)
        .unwrap_err();
    assert_eq!(
        texts(&errors.warnings),
        ["unknown key \"servise\" is ignored; did you mean \"service\"? (c.toml:1, servise)"]
    );
    assert_eq!(
        errors.to_string(),
        "TLS is on by default, but tls_cert_path and tls_key_path are missing; set both, or set tls = false in \
         [service] to serve plain HTTP (c.toml, service.tls)"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_a_remedy() {
    let error = |path: &Path| load(path).map(drop).unwrap_err().to_string();
    assert_eq!(
        error(Path::new("/nowhere/c.toml")),
        "cannot read the configuration: No such file or directory (os error 2); name the file with -c/--config \
         (/nowhere/c.toml)"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, b"# one\n# \xff\n").unwrap();
    assert_eq!(
        error(&path),
        format!(
            "the line is not valid UTF-8; save the file with that encoding ({}:2)",
            path.display()
        )
    );
}

#[test]
fn the_example_files_are_valid_and_cause_no_warnings() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let loaded = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            count += 1;
        }
    }
    assert!(count >= 2);
}

const FILES: &[&str] = &[
    include_str!("../../../examples/config.toml"),
    include_str!("../../../examples/standalone.toml"),
    include_str!("../../../examples/fleet.toml"),
    include_str!("../../../examples/policies.toml"),
    include_str!("../../../examples/gates.toml"),
];

proptest! {
    #[test]
    fn any_text_is_valid_or_has_errors_with_a_place(text in mutated(FILES)) {
        fuzzing::config(text.as_bytes());
    }
}
