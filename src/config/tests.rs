//! The whole configuration from text: what an operator would write, and what they are told.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Loaded, StoreSettings, parse};
use crate::mutation::mutated;
use crate::store::GroupName;

const ETCD: &str = "[service]\ntls = false\n[etcd3]\nendpoints = [\"http://127.0.0.1:2379\"]\n";

fn good(text: &str) -> Loaded {
    parse(Path::new("c.toml"), text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(Path::new("c.toml"), text).map(drop).unwrap_err();
    problems.errors.iter().map(ToString::to_string).collect()
}

fn warnings(text: &str) -> Vec<String> {
    good(text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Asserts one problem for each expected beginning, in order.
fn assert_problems(text: &str, expected: &[&str]) {
    let found = problems(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
}

fn slots(loaded: &Loaded) -> Vec<(&str, u64)> {
    let groups = loaded.settings.groups.iter();
    groups
        .map(|(name, group)| (name.as_str(), group.slots))
        .collect()
}

#[test]
fn the_defaults_are_airlocks() {
    let loaded = good(ETCD);
    let settings = &loaded.settings;
    assert_eq!(
        (&*settings.service.address, settings.service.port),
        ("0.0.0.0", 9090)
    );
    assert_eq!(settings.status, None);
    assert_eq!(settings.transaction_timeout, Duration::from_millis(3000));
    assert_eq!(slots(&loaded), [("default", 1)]);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_group_has_its_own_slots_or_the_default_ones() {
    let loaded = good(&format!(
        "{ETCD}[lock]\ndefault_group_name = \"base\"\ndefault_slots = 3\n\
         [[lock.groups]]\nname = \"workers\"\n[[lock.groups]]\nname = \"db\"\nslots = 2\n"
    ));
    assert_eq!(slots(&loaded), [("base", 3), ("db", 2), ("workers", 3)]);
}

#[test]
fn of_an_entry_for_the_default_group_all_but_the_slots_counts() {
    let text = format!(
        "{ETCD}[lock]\ndefault_slots = 3\n[[lock.windows]]\ndays = [\"Sat\"]\nstart_time = \"01:00\"\nlength_minutes = 1\n\
         [[lock.groups]]\nname = \"default\"\nslots = 7\nwindows = []\n[[lock.groups]]\nname = \"g\"\n"
    );
    let loaded = good(&text);
    assert_eq!(slots(&loaded), [("default", 3), ("g", 3)]);
    let windows = loaded
        .settings
        .groups
        .values()
        .map(|group| group.windows.0.len());
    assert_eq!(windows.collect::<Vec<_>>(), [0, 1]);
    let warnings = warnings(&text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("lock.groups.slots: \"default\" is the default group"),
        "{warnings:?}"
    );
}

#[test]
fn endpoints_speak_tls_unless_they_say_http() {
    let loaded = good(
        "[service]\ntls = false\n[etcd3]\nendpoints = [\"http://a:1/\", \"https://b:2\", \"c:3\", \"[::1]:4\"]\n",
    );
    let StoreSettings::Etcd(etcd) = &loaded.settings.store else {
        panic!("{loaded:?}");
    };
    assert_eq!(
        etcd.endpoints,
        [
            "http://a:1",
            "https://b:2",
            "https://c:3",
            "https://[::1]:4"
        ]
    );
}

#[test]
fn all_problems_are_reported_together_each_with_line_key_and_remedy() {
    assert_problems(
        "[service]\nport = 70000\ntls = \"no\"\n\
         [status]\nenabled = true\n\
         [etcd3]\nendpoints = [\"ftp://a:1\", \"b\"]\ntransaction_timeout_ms = 0\n\
         [lock]\ndefault_slots = 0\n\
         [[lock.groups]]\nslots = 1\n\
         [[lock.groups]]\nname = \"\"\n\
         [[lock.groups]]\nname = \"a\"\n\
         [[lock.groups]]\nname = \"a\"\nslots = -1\n",
        &[
            "c.toml:3: service.tls: must be true or false, not \"no\"",
            "c.toml:19: lock.groups.slots: must be a whole number, 0 or more, not -1",
            "c.toml:2: service.port: must be a port, 0 to 65535",
            "c.toml: service.tls: TLS is on by default, but service.tls_cert_path and service.tls_key_path are missing; \
             name both files, or set service.tls = false",
            "c.toml:8: etcd3.transaction_timeout_ms: must be 10 to 600000",
            "c.toml:7: etcd3.endpoints: \"ftp://a:1\": unknown scheme \"ftp\"; write http://host:port",
            "c.toml:7: etcd3.endpoints: \"b\": is no endpoint; write http://host:port",
            "c.toml:10: lock.default_slots: must be at least 1",
            "c.toml:11: lock.groups: a group without a name",
            "c.toml:14: lock.groups.name: is empty",
            "c.toml:18: lock.groups.name: \"a\" is configured twice",
        ],
    );
}

#[test]
fn more_holders_than_fit_into_etcd_are_an_error() {
    let slots = "[lock]\ndefault_slots = 16001\n";
    assert_problems(
        &format!("{ETCD}{slots}"),
        &[
            "c.toml:6: lock.default_slots: so many holders do not fit into one value of etcd, \
           of which a request has at most 1.5 MiB; set 16000 or less",
        ],
    );
    good(&format!(
        "[service]\ntls = false\n[embedded]\npath = \"x\"\n{slots}"
    ));
}

#[test]
fn there_is_exactly_one_store() {
    assert_problems(
        "[service]\ntls = false\n",
        &["c.toml: etcd3.endpoints: missing; name the etcd cluster"],
    );
    assert_problems(
        &format!("{ETCD}[embedded]\npath = \"x\"\n"),
        &["c.toml:5: embedded: there is [etcd3] too"],
    );
    assert_problems(
        "[service]\ntls = false\n[embedded]\n",
        &["c.toml:3: embedded: embedded.path is missing"],
    );
    assert_problems(
        "[service]\ntls = false\n[etcd3]\n",
        &["c.toml: etcd3.endpoints: missing"],
    );
    let embedded =
        good("[service]\ntls = false\n[embedded]\npath = \"/x\"\ntransaction_timeout_ms = 50\n");
    assert!(
        matches!(&embedded.settings.store, StoreSettings::Embedded { path } if path == Path::new("/x"))
    );
    assert_eq!(
        embedded.settings.transaction_timeout,
        Duration::from_millis(50)
    );
}

#[test]
fn unknown_keys_are_warnings_with_the_nearest_known_one() {
    let text = format!(
        "{ETCD}endpoint = \"x\"\n[locks]\n[lock]\nzzzzzz = 1\n[[lock.groups]]\nname = \"a\"\nslot = 1\n"
    );
    assert_eq!(
        warnings(&text),
        [
            "c.toml:5: etcd3.endpoint: unknown key, ignored; did you mean etcd3.endpoints?",
            "c.toml:11: lock.groups.slot: unknown key, ignored; did you mean lock.groups.slots?",
            "c.toml:8: lock.zzzzzz: unknown key, ignored",
            "c.toml:6: locks: unknown key, ignored; did you mean lock?",
        ]
    );
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    assert_problems("[service\nport = 1\n", &["c.toml:1: not valid TOML: "]);
    assert_problems(
        "a = 1\na = 2\n",
        &["c.toml:2: not valid TOML: duplicate key"],
    );
}

#[test]
fn sections_of_a_wrong_shape_are_named() {
    let found = problems(&format!("lock = 1\n{ETCD}"));
    assert_eq!(
        found,
        ["c.toml:1: lock: must be a table, written [lock], not of type integer"]
    );
    let found = problems(&format!("{ETCD}[lock]\ngroups = \"a\"\n"));
    assert_eq!(
        found,
        ["c.toml:6: lock.groups: must be tables, written [[lock.groups]]"]
    );
}

#[test]
fn a_client_certificate_that_no_endpoint_uses_is_a_warning() {
    let text = format!(
        "{ETCD}client_cert_pub_path = \"/nowhere/a.pem\"\nclient_cert_key_path = \"/nowhere/a.key\"\n"
    );
    assert_eq!(
        warnings(&text),
        [
            "c.toml:5: etcd3.client_cert_pub_path: not used, since all endpoints are plain http:// (and the file does not exist)",
            "c.toml:6: etcd3.client_cert_key_path: not used, since all endpoints are plain http:// (and the file does not exist)",
        ]
    );
    assert_problems(
        "[service]\ntls = false\n[etcd3]\nendpoints = [\"a:1\"]\nclient_cert_pub_path = \"x\"\n",
        &["c.toml:5: etcd3.client_cert_pub_path: needs its other half"],
    );
}

#[test]
fn a_group_that_zincati_cannot_name_is_a_warning() {
    let text = format!("{ETCD}[[lock.groups]]\nname = \"a b\"\n");
    assert_eq!(warnings(&text).len(), 1);
    assert!(
        good(&text)
            .settings
            .groups
            .contains_key(&GroupName::new("a b").unwrap())
    );
}

#[test]
fn every_shipped_example_is_good_and_has_nothing_odd() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let loaded = super::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            count += 1;
        }
    }
    assert!(count >= 2);
}

#[test]
fn the_status_listener_speaks_tls_with_the_services_pair_or_its_own() {
    let pair =
        "[service]\ntls_cert_path = \"c\"\ntls_key_path = \"k\"\n[embedded]\npath = \"/x\"\n";
    let with = |status: &str| {
        let status = format!("{pair}[status]\nenabled = true\nport = 1\n{status}");
        good(&status).settings.status.unwrap().tls
    };
    assert_eq!(with(""), None);
    assert_eq!(with("tls = true").unwrap().pair.cert_path, Path::new("c"));
    let own = with("tls = true\ntls_cert_path = \"c2\"\ntls_key_path = \"k2\"");
    assert_eq!(own.unwrap().pair.cert_path, Path::new("c2"));
    assert_problems(
        &format!("{pair}[status]\nenabled = true\nport = 1\ntls = true\ntls_key_path = \"k\"\n"),
        &[
            "c.toml:9: status.tls: TLS is on, but status.tls_cert_path is missing; \
             name both files, or neither to use the pair of [service]",
        ],
    );
}

#[test]
fn who_may_lock_is_never_ignored_silently() {
    let service = "[service]\ntls = false\nclient_ca_path = \"x\"\n[embedded]\npath = \"/x\"\n";
    assert_problems(
        &format!(
            "{service}[lock]\ndefault_users = []\n\
             [[lock.groups]]\nname = \"default\"\nusers = [\"a:b\"]\n"
        ),
        &[
            "c.toml:3: service.client_ca_path: client certificates need TLS, and service.tls is false",
            "c.toml:7: lock.default_users: users are told apart by their passwords; set service.htpasswd_path too",
            "c.toml:7: lock.default_users: is empty, so nobody could lock",
            "c.toml:10: lock.groups.users: users are told apart by their passwords",
            "c.toml:10: lock.groups.users: \"a:b\" is no user's name",
        ],
    );
}

#[test]
fn default_users_hold_for_every_group_without_users_of_its_own() {
    let text = "[service]\ntls = false\nhtpasswd_path = \"p\"\n[embedded]\npath = \"/x\"\n\
         [lock]\ndefault_users = [\"a\"]\n\
         [[lock.groups]]\nname = \"g\"\n\
         [[lock.groups]]\nname = \"h\"\nusers = [\"b\", \"c\"]\n";
    let settings = good(text).settings;
    let users: Vec<String> = settings
        .groups
        .values()
        .map(|group| format!("{:?}", group.users.as_ref().unwrap()))
        .collect();
    assert_eq!(users, [r#"{"a"}"#, r#"{"a"}"#, r#"{"b", "c"}"#]);
    let warnings = warnings(text);
    assert!(
        warnings[0].starts_with("c.toml:3: service.htpasswd_path: passwords come in plain text"),
        "{warnings:?}"
    );
}

#[test]
fn the_credentials_for_etcd_are_whole_and_are_used() {
    let etcd = |more: &str| {
        format!("[service]\ntls = false\n[etcd3]\nendpoints = [\"http://a:1\"]\n{more}\n")
    };
    assert_problems(
        &etcd("ca_cert_path = \"x\"\nusername = \"u\""),
        &[
            "c.toml:5: etcd3.ca_cert_path: there is no server to check, since all endpoints are plain http://",
            "c.toml:6: etcd3.username: needs its other half: etcd3.username and etcd3.password_path go together",
        ],
    );
    let warnings = warnings(&etcd("username = \"u\"\npassword_path = \"p\""));
    assert!(
        warnings[0].starts_with(
            "c.toml:5: etcd3.username: the password goes to http:// endpoints in plain text"
        ),
        "{warnings:?}"
    );
}

const FILES: &[&str] = &[
    include_str!("../../examples/config.toml"),
    include_str!("../../examples/standalone.toml"),
    include_str!("../../examples/fleet.toml"),
];

proptest! {
    #[test]
    fn any_text_is_settings_or_problems_that_say_where(text in mutated(FILES)) {
        let diagnostics = match parse(Path::new("c.toml"), &text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => {
                prop_assert!(!problems.errors.is_empty());
                problems.errors
            }
        };
        let lines = text.lines().count() + 1;
        for found in diagnostics {
            prop_assert_eq!(&found.file, Path::new("c.toml"));
            prop_assert!(found.line.is_some() || !found.key.is_empty(), "{}", found);
            prop_assert!(found.line.is_none_or(|line| (1..=lines).contains(&line)), "{}", found);
            prop_assert!(!found.text.is_empty());
        }
    }
}

#[test]
fn what_templates_leave_empty_is_not_there_and_case_does_not_count_as_with_airlock() {
    let loaded = good(
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
    // Those that keep somebody out have no meaning when they are empty.
    for key in ["client_ca_path", "htpasswd_path"] {
        let text = ETCD.replace("[etcd3]", &format!("{key} = \"\"\n[etcd3]"));
        let found = problems(&text).join("\n");
        assert!(
            found.contains(&format!("service.{key}: is empty")),
            "{found}"
        );
    }
}

#[test]
fn a_status_listener_without_a_port_starts_as_with_airlock_and_is_a_warning() {
    let text = format!("{ETCD}[status]\nenabled = true\n");
    assert_eq!(good(&text).settings.status.unwrap().port, 0);
    let warnings = warnings(&text);
    assert!(warnings[0].starts_with("c.toml:6: status.enabled: status.port is missing"));
}

#[test]
fn a_wrong_file_has_its_warnings_too_which_may_say_why() {
    let text = ETCD.replace("[service]", "[servise]");
    let problems = parse(Path::new("c.toml"), &text).map(drop).unwrap_err();
    let warnings: Vec<_> = problems.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["c.toml:1: servise: unknown key, ignored; did you mean service?"]
    );
}
