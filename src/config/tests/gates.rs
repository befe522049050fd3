//! `[[lock.gates]]` and `[[lock.groups.gates]]`.

use std::sync::Arc;
use std::time::Duration;

use super::{EMBEDDED, assert_errors, assert_warnings, valid};
use crate::config::{GateCredentials, GateSettings, GateTarget, KeyPair};

/// Returns a file with one gate, of which line 8 is the first one of `keys`.
fn with(keys: &str) -> String {
    format!("{EMBEDDED}[[lock.gates]]\n{keys}\n")
}

fn gate(keys: &str) -> Arc<GateSettings> {
    let settings = valid(&with(keys)).settings;
    let [gate] = &settings.groups.values().next().unwrap().gates[..] else {
        panic!("not one gate");
    };
    Arc::clone(gate)
}

const PROMETHEUS: &str = "name = \"alerts\"\nprometheus = \"https://p:9090/x\"\nquery = \"ALERTS\"";

#[test]
fn a_name_and_a_target_suffice() {
    let gate = gate("name = \"db.main_1-a\"\nhttp = \"http://localhost/health?x\"");
    let expected = GateSettings {
        name: "db.main_1-a".into(),
        target: GateTarget::Http("http://localhost/health?x".parse().unwrap()),
        timeout: Duration::from_secs(2),
        max_age: Duration::from_secs(5),
        allows: 1,
        open_after_successes: 1,
        ca_cert_path: None,
        client_cert: None,
        credentials: None,
    };
    assert_eq!(*gate, expected);
    assert_eq!(gate.target.shown(), "http://localhost/…");
}

#[test]
fn all_keys_have_their_meaning() {
    let keys = format!(
        "{PROMETHEUS}\ntimeout_ms = 10\nmax_age_ms = 100\nallows = 3\nopen_after_successes = 4\nca_cert_path = \"ca\"\n\
         client_cert_path = \"cert\"\nclient_key_path = \"key\"\nusername = \"me\"\npassword_path = \"password\"\n\
         bearer_token_path = \"\""
    );
    let expected = GateSettings {
        name: "alerts".into(),
        target: GateTarget::Prometheus {
            url: "https://p:9090/x".parse().unwrap(),
            query: "ALERTS".into(),
        },
        timeout: Duration::from_millis(10),
        max_age: Duration::from_millis(100),
        allows: 3,
        open_after_successes: 4,
        ca_cert_path: Some("ca".into()),
        client_cert: Some(KeyPair {
            cert_path: "cert".into(),
            key_path: "key".into(),
        }),
        credentials: Some(GateCredentials::Basic {
            username: "me".into(),
            password_path: "password".into(),
        }),
    };
    assert_eq!(*gate(&keys), expected);
    // An answer that takes longer than it counts is of no use.
    let short = gate(&format!("{PROMETHEUS}\nmax_age_ms = 700"));
    assert_eq!(short.timeout, short.max_age);
}

#[test]
fn a_list_of_a_group_replaces_that_of_all_and_the_same_gate_is_shared() {
    let list = |table: &str, name: &str| {
        format!("[[lock.{table}]]\nname = \"{name}\"\nhttp = \"http://localhost/{name}\"\n")
    };
    let own = list("groups.gates", "a") + &list("groups.gates", "c");
    let text = format!(
        "{EMBEDDED}{}{}[[lock.groups]]\nname = \"none\"\ngates = []\n[[lock.groups]]\nname = \"own\"\n{own}",
        list("gates", "a"),
        list("gates", "b"),
    );
    let loaded = valid(&text);
    let groups = loaded.settings.groups.values();
    let gates = groups.map(|group| group.gates.clone());
    let [default, none, own] = gates.collect::<Vec<_>>().try_into().unwrap();
    let names = |gates: &[Arc<GateSettings>]| {
        let names: Vec<_> = gates.iter().map(|gate| gate.name.to_string()).collect();
        names.join(" ")
    };
    assert_eq!(
        [&default, &none, &own].map(|gates| names(gates)),
        ["a b", "", "a c"]
    );
    assert!(Arc::ptr_eq(&default[0], &own[0]));
    let tables: Vec<_> = loaded
        .settings
        .gates
        .iter()
        .map(|gate| &*gate.table)
        .collect();
    assert_eq!(
        tables,
        ["lock.gates[0]", "lock.gates[1]", "lock.groups[1].gates[1]"]
    );
    assert_errors(
        &text.replace(
            "groups.gates]]\nname = \"a\"",
            "groups.gates]]\nname = \"b\"",
        ),
        &[
            "gate \"b\" differs from the one of the same name on line 10; rename one of them, since a name stands for \
             one gate, or give both the same keys to share it (c.toml:18, lock.groups[1].gates[0].name)",
        ],
    );
    assert_errors(
        &text.replace("name = \"b\"", "name = \"a\""),
        &[
            "gate \"a\" is in the list twice; remove or rename one of the two (c.toml:10, lock.gates[1].name)",
        ],
    );
}

#[test]
fn a_gate_asks_one_server() {
    assert_errors(
        &with("timeout_ms = 9"),
        &[
            "the gate has no name; add name = \"…\" (c.toml:7, lock.gates[0].name)",
            "the gate asks no server; add http = \"https://host/path\", or prometheus = \"http://host:9090\" with query \
             = \"…\" (c.toml:7, lock.gates[0].http)",
            "expected a whole number from 10 to 60000, found 9 (c.toml:8, lock.gates[0].timeout_ms)",
        ],
    );
    assert_errors(
        &with(&format!("{PROMETHEUS}\nhttp = \"https://h\"")),
        &[
            "the gate has both http (line 11) and prometheus; remove one of them, and use a second gate if both have to \
             be open (c.toml:9, lock.gates[0].prometheus)",
        ],
    );
    assert_errors(
        &with("name = \"a\"\nhttp = \"https://h\"\nquery = \"up\""),
        &[
            "a query has no use without prometheus; write prometheus = instead of http =, or remove this key (c.toml:10, \
             lock.gates[0].query)",
        ],
    );
    assert_errors(
        &with("name = \"a\"\nprometheus = \"https://p/api/v1/query\""),
        &[
            "the gate has no query; add one whose result is empty while nodes may reboot: query = \
             'ALERTS{alertstate=\"firing\", severity=\"critical\"}' (c.toml:7, lock.gates[0].query)",
            "remove /api/v1/query from the URL, since the server appends it itself (c.toml:9, lock.gates[0].prometheus)",
        ],
    );
    let empty = PROMETHEUS.replace("\"ALERTS\"", "\" \"");
    let long = PROMETHEUS.replace("ALERTS", &"x".repeat(4097));
    for (keys, expected) in [
        (empty, "the query is empty; write one such as"),
        (long, "the query has 4097 bytes; shorten it to 4096"),
    ] {
        let errors = super::parsed(&with(&keys)).map(drop).unwrap_err().errors;
        assert!(errors[0].text.starts_with(expected), "{errors:?}");
    }
}

#[test]
fn a_url_has_no_user_and_no_fragment_and_a_name_fits_into_a_label() {
    assert_errors(
        &with("name = \"a b\"\nhttp = \"http://me:secret@h/token#x\""),
        &[
            "\"a b\" is not the name of a gate, which has 1 to 63 letters, digits, '.', '-' and '_' (c.toml:8, \
             lock.gates[0].name)",
            "URL \"http://me:***@h/…\" contains a user name or a password, which others could read in it; remove them, \
             and set username and password_path (c.toml:9, lock.gates[0].http)",
        ],
    );
    assert_errors(
        &with("name = \"a\"\nhttp = \"http://h/token#x\""),
        &[
            "URL \"http://h/…\" has a fragment (#), which is never sent; remove it (c.toml:9, lock.gates[0].http)",
        ],
    );
    let longest = "x".repeat(63);
    let keys = |name: &str| format!("name = \"{name}\"\nhttp = \"http://h\"");
    assert_eq!(*gate(&keys(&longest)).name, *longest);
    for name in ["", &"x".repeat(64)] {
        assert_eq!(
            super::parsed(&with(&keys(name)))
                .map(drop)
                .unwrap_err()
                .errors
                .len(),
            1
        );
    }
}

#[test]
fn numbers_that_cannot_open_a_gate_are_errors() {
    assert_errors(
        &with(&format!(
            "{PROMETHEUS}\ntimeout_ms = 1001\nmax_age_ms = 1000\nallows = 0\nopen_after_successes = 101"
        )),
        &[
            "an answer that takes longer than max_age_ms, 1000, is too old to be used; set a lower timeout, or raise \
             max_age_ms (c.toml:11, lock.gates[0].timeout_ms)",
            "expected a whole number from 1 to 100, found 0 (c.toml:13, lock.gates[0].allows)",
            "expected a whole number from 1 to 100, found 101 (c.toml:14, lock.gates[0].open_after_successes)",
        ],
    );
    let many = |count: usize| {
        let gate = |n| format!("[[lock.gates]]\nname = \"{n}\"\nhttp = \"http://h/{n}\"\n");
        EMBEDDED.to_owned() + &(0..count).map(gate).collect::<String>()
    };
    valid(&many(64));
    let errors = super::parsed(&many(65)).map(drop).unwrap_err().errors;
    assert!(
        errors[0]
            .text
            .starts_with("the file has more than 64 gates"),
        "{errors:?}"
    );
}

#[test]
fn files_belong_together_and_need_tls() {
    assert_errors(
        &with(&format!(
            "{PROMETHEUS}\nclient_cert_path = \"c\"\nusername = \"me\""
        )),
        &[
            "the client certificate has no private key; set client_key_path too (c.toml:11, \
             lock.gates[0].client_cert_path)",
            "user \"me\" has no password; set password_path to a file that contains it (c.toml:12, \
             lock.gates[0].username)",
        ],
    );
    assert_errors(
        &with(&format!(
            "{PROMETHEUS}\nclient_key_path = \"k\"\nbearer_token_path = \"t\"\nusername = \"me\"\npassword_path = \"p\""
        )),
        &[
            "the private key has no client certificate; set client_cert_path too (c.toml:11, \
             lock.gates[0].client_key_path)",
            "the gate has both a bearer token and a password, of which a request can contain one; remove \
             bearer_token_path, or username and password_path (c.toml:13, lock.gates[0].username)",
        ],
    );
    let plain =
        |host: &str, keys: &str| with(&format!("name = \"a\"\nhttp = \"http://{host}/x\"\n{keys}"));
    assert_errors(
        &plain("localhost", "ca_cert_path = \"ca\""),
        &[
            "the file has no use because the gate is plain http://; write https:// in its URL, or remove this key \
             (c.toml:10, lock.gates[0].ca_cert_path)",
        ],
    );
    assert_warnings(&plain("localhost", "bearer_token_path = \"t\""), &[]);
    assert_warnings(
        &plain("gate", "bearer_token_path = \"t\""),
        &[
            "the secret in this file is sent in plain text, so that others on the network can read it; write https:// \
             in the URL of the gate (c.toml:10, lock.gates[0].bearer_token_path)",
        ],
    );
}

#[test]
fn gates_are_part_of_what_all_servers_have_in_common() {
    let digest = |text: &str| valid(text).settings.digest();
    let with = |query: &str| digest(&with(&PROMETHEUS.replace("ALERTS", query)));
    assert_ne!(digest(EMBEDDED), with("up"));
    assert_ne!(with("up"), with("down"));
}
