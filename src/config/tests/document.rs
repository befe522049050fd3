//! The document: invalid TOML, wrong types, unknown and duplicate keys.

use super::{EMBEDDED, ETCD, assert_errors, assert_warnings, parsed, texts};

#[test]
fn invalid_toml_is_reported_with_its_line() {
    assert_errors(
        "[service\nport = 1\n",
        &["invalid TOML: unclosed table, expected `]`, in the line `[service` (c.toml:1)"],
    );
    assert_errors(
        "[lock]\ndefault_slots = two\n",
        &["\"two\" is not a TOML value; put it in quotes if it is a string (c.toml:2)"],
    );
    assert_errors(
        "[service]\ntls = Yes # as before\naddress = localhost\nservice tls = true\n",
        &[
            "\"Yes\" is not a TOML value; write true (c.toml:2)",
            "\"localhost\" is not a TOML value; put it in quotes if it is a string (c.toml:3)",
            "invalid TOML: key with no value, expected `=`, in the line `service tls = true` (c.toml:4)",
        ],
    );
    assert_errors(
        "[service]\nport = 0123\naddress = 127.0.0.1\n",
        &[
            "invalid TOML: unexpected leading zero, in the line `port = 0123` (c.toml:2)",
            "\"127.0.0.1\" is not a TOML value; put it in quotes if it is a string (c.toml:3)",
        ],
    );
    // One unclosed quote confuses the parser about the next lines as well.
    for unclosed in [
        "[service]\naddress = \"localhost\nport = 1\n[lock]\n",
        "[lock]\ndefault_users = [\"a\", \"b\n[service]\ntls = false\nport = 1\n",
    ] {
        assert_eq!(parsed(unclosed).map(drop).unwrap_err().errors.len(), 1);
    }
}

#[test]
fn a_key_of_another_table_may_be_a_misnamed_one_of_this_table() {
    assert_warnings(
        &format!(
            "{EMBEDDED}[lock]\nusers = [\"a\"]\n[[lock.windows]]\ndays = [\"Sat\"]\nstart_time = \"1:00\"\nlength_minutes = 1\nduration = 1\n"
        ),
        &[
            "unknown key \"users\" is ignored; did you mean \"default_users\"? \"users\" belongs under [[lock.groups]] \
             (c.toml:8, lock.users)",
            "unknown key \"duration\" is ignored; did you mean \"length_minutes\"? (c.toml:13, lock.windows[0].duration)",
        ],
    );
}

#[test]
fn the_name_of_a_key_is_escaped() {
    assert_warnings(
        &format!("{EMBEDDED}\"a\\u001b\" = 1\n"),
        &[
            "unknown key \"a\\u{1b}\" is ignored; the keys of [embedded] are: path, transaction_timeout_ms \
           (c.toml:7, embedded.a\\x1b)",
        ],
    );
    assert_errors(
        &format!("{EMBEDDED}[\"a\\u202e\"]\n[\"a\\u202e\"]\n"),
        &["table [a\\u202e] is defined twice, first on line 7; merge the two (c.toml:8, a\\u202e)"],
    );
}

#[test]
fn a_duplicate_key_is_reported_with_the_line_of_the_first_one() {
    assert_errors(
        &format!("{EMBEDDED}[status]\nport = 1\nport = 2\n"),
        &["duplicate key \"port\", first on line 8; remove one of the two (c.toml:9, status.port)"],
    );
    assert_errors(
        &format!(
            "{EMBEDDED}[[lock.groups]]\nname = \"a\"\n[[lock.groups]]\nname = \"b\"\n\"name\" = \"c\"\n"
        ),
        &[
            "duplicate key \"name\", first on line 10; remove one of the two (c.toml:11, lock.groups[1].name)",
        ],
    );
    assert_errors(
        &format!("{EMBEDDED}[lock]\ngroups = [{{ name = \"a\", slots = 1, slots = 2 }}]\n"),
        &[
            "duplicate key \"slots\", first on line 8; remove one of the two (c.toml:8, lock.groups[0].slots)",
        ],
    );
    assert_errors(
        "service.tls = false\nembedded.path = \"x\"\nservice.tls = true\n",
        &["duplicate key \"tls\", first on line 1; remove one of the two (c.toml:3, service.tls)"],
    );
}

#[test]
fn a_duplicate_table_is_reported_with_the_line_of_the_first_one() {
    assert_errors(
        &format!("{EMBEDDED}[lock]\n[service]\nport = 1\n"),
        &[
            "table [service] is defined twice, first on line 1; merge the two (c.toml:8, service)",
            "duplicate key \"port\", first on line 3; remove one of the two (c.toml:9, service.port)",
        ],
    );
}

#[test]
fn the_rest_of_a_file_with_a_duplicate_key_is_checked_too() {
    assert_errors(
        &format!("{EMBEDDED}path = \"/y\"\n[lock]\ndefault_slots = 0\n"),
        &[
            "duplicate key \"path\", first on line 6; remove one of the two (c.toml:7, embedded.path)",
            "expected a whole number, 1 or more, found 0; to stop all reboots of a group, use `airlock pause GROUP` \
             (c.toml:9, lock.default_slots)",
        ],
    );
}

#[test]
fn a_wrong_type_is_reported_once_with_the_value_and_the_expected_range() {
    assert_errors(
        &format!(
            "{EMBEDDED}[lock]\ndefault_slots = \"2\"\non_slots_mismatch = true\n[limits]\nmax_headers = 1.5\n\
             body_bytes = \"16 KiB\"\n[status]\nenabled = \"true\"\nport = \"a\"\n"
        ),
        &[
            "expected a whole number, 1 or more, found \"2\"; remove the quotes (c.toml:8, lock.default_slots)",
            "expected a string in quotes, found true (c.toml:9, lock.on_slots_mismatch)",
            "expected a whole number from 8 to 1000, found 1.5 (c.toml:11, limits.max_headers)",
            "expected a whole number from 1024 to 16777216, found \"16 KiB\" (c.toml:12, limits.body_bytes)",
            "expected true or false, found \"true\"; remove the quotes (c.toml:14, status.enabled)",
            "expected a whole number from 0 to 65535, found \"a\" (c.toml:15, status.port)",
        ],
    );
}

#[test]
fn a_wrong_type_is_not_reported_as_a_missing_key_too() {
    assert_errors(
        "[service]\ntls_cert_path = 1\n[etcd3]\nendpoints = \"a:1\"\nusername = \"u\"\npassword_path = 2\n\
         client_cert_pub_path = 3\nclient_cert_key_path = \"k\"\n[[lock.groups]]\nname = 4\n[[lock.groups.windows]]\n\
         days = 5\nstart_time = 6\nlength_minutes = \"4h\"\ntime_zone = 7\n",
        &[
            "expected a string in quotes, found 1 (c.toml:2, service.tls_cert_path)",
            "expected an array of strings such as [\"a\", \"b\"], found \"a:1\" (c.toml:4, etcd3.endpoints)",
            "expected a string in quotes, found 2 (c.toml:6, etcd3.password_path)",
            "expected a string in quotes, found 3 (c.toml:7, etcd3.client_cert_pub_path)",
            "expected a string in quotes, found 4 (c.toml:10, lock.groups[0].name)",
            "expected an array of strings such as [\"a\", \"b\"], found 5 (c.toml:12, lock.groups[0].windows[0].days)",
            "expected a string in quotes, found 6 (c.toml:13, lock.groups[0].windows[0].start_time)",
            "expected a whole number from 1 to 10080, found \"4h\" (c.toml:14, lock.groups[0].windows[0].length_minutes)",
            "expected a string in quotes, found 7 (c.toml:15, lock.groups[0].windows[0].time_zone)",
        ],
    );
}

#[test]
fn a_wrong_element_of_an_array_is_reported_with_its_own_line_and_index() {
    assert_errors(
        "[service]\ntls = false\n[etcd3]\nendpoints = [\n\"a:1\",\n2,\n[],\n]\n",
        &[
            "expected a string in quotes, found 2 (c.toml:6, etcd3.endpoints[1])",
            "expected a string in quotes, found an empty array (c.toml:7, etcd3.endpoints[2])",
        ],
    );
}

#[test]
fn a_section_that_is_not_a_table_is_reported_once() {
    assert_errors(
        "service = 1\netcd3 = [1]\nlock = 2\n[status]\nenabled = true\nport = 1\ntls = true\n",
        &[
            "expected a table, written as [service], found 1 (c.toml:1, service)",
            "expected a table, written as [etcd3], found an array (c.toml:2, etcd3)",
            "expected a table, written as [lock], found 2 (c.toml:3, lock)",
        ],
    );
    assert_errors(
        &format!("{ETCD}[lock.groups]\nname = \"a\"\n"),
        &[
            "expected tables, each written as [[lock.groups]], found a table (c.toml:5, lock.groups)",
        ],
    );
    assert_errors(
        &format!("{ETCD}[lock]\ngroups = [\"a\"]\n"),
        &["expected a table, written as [[lock.groups]], found \"a\" (c.toml:6, lock.groups[0])"],
    );
}

#[test]
fn a_long_value_is_cut_in_messages() {
    let long = "9".repeat(60);
    assert_errors(
        &format!("{ETCD}[lock]\ndefault_slots = {long}\n"),
        &[&format!(
            "expected a whole number, 1 or more, found {}… (c.toml:6, lock.default_slots)",
            &long[..40]
        )],
    );
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_known_one() {
    assert_warnings(
        &format!(
            "{ETCD}endpoint = \"x\"\n[locks]\n[lock]\nzzzzzz = 1\n[[lock.groups]]\nname = \"a\"\nslot = 1\n"
        ),
        &[
            "unknown key \"endpoint\" is ignored; did you mean \"endpoints\"? (c.toml:5, etcd3.endpoint)",
            "unknown key \"locks\" is ignored; did you mean \"lock\"? (c.toml:6, locks)",
            "unknown key \"zzzzzz\" is ignored; the keys of [lock] are: default_group_name, default_slots, \
             default_users, on_slots_mismatch, stall_after_minutes, settle_minutes, windows, freezes, gates, groups, \
             caps (c.toml:8, lock.zzzzzz)",
            "unknown key \"slot\" is ignored; did you mean \"slots\"? (c.toml:11, lock.groups[0].slot)",
        ],
    );
}

#[test]
fn a_key_in_the_wrong_table_is_a_warning_with_the_right_one() {
    assert_warnings(
        &format!(
            "port = 1\n{EMBEDDED}slots = 1\n[lock]\nhtpasswd_path = \"x\"\n[lock.limits]\n[[windows]]\n"
        ),
        &[
            "unknown key \"port\" is ignored; it belongs under [service] or [status] (c.toml:1, port)",
            "unknown key \"slots\" is ignored; it belongs under [[lock.groups]] (c.toml:8, embedded.slots)",
            "unknown key \"htpasswd_path\" is ignored; it belongs under [service] (c.toml:10, lock.htpasswd_path)",
            "unknown key \"limits\" is ignored; it belongs at the top level, as [limits] (c.toml:11, lock.limits)",
            "unknown key \"windows\" is ignored; it belongs under [lock] or [[lock.groups]] (c.toml:12, windows)",
        ],
    );
    let errors = parsed("[service]\ntls = false\nendpoints = [\"http://a:1\"]\n");
    assert_eq!(
        texts(&errors.unwrap_err().warnings),
        [
            "unknown key \"endpoints\" is ignored; it belongs under [etcd3] (c.toml:3, service.endpoints)"
        ]
    );
}

#[test]
fn an_old_name_of_a_limit_is_a_warning_with_the_new_one() {
    assert_warnings(
        &format!(
            "{EMBEDDED}[limits]\nheaders = 9\nconnections = 9\nconnections_per_peer = 9\nwaiting_passwords = 9\n"
        ),
        &[
            "unknown key \"headers\" is ignored; did you mean \"max_headers\"? (c.toml:8, limits.headers)",
            "unknown key \"connections\" is ignored; did you mean \"max_connections\"? (c.toml:9, limits.connections)",
            "unknown key \"connections_per_peer\" is ignored; did you mean \"max_connections_per_peer\"? \
             (c.toml:10, limits.connections_per_peer)",
            "unknown key \"waiting_passwords\" is ignored; did you mean \"max_pending_auth\"? \
             (c.toml:11, limits.waiting_passwords)",
        ],
    );
}

#[test]
fn of_two_spellings_of_a_key_the_exact_one_is_used() {
    assert_warnings(
        &format!("{EMBEDDED}Path = \"/y\"\n"),
        &[
            "key \"Path\" is ignored because \"path\" is present; remove one of the two (c.toml:7, embedded.Path)",
        ],
    );
}
