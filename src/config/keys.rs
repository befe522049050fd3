//! The known keys of each table, and the suggestions for unknown ones.

use super::diagnostic::{Diagnostics, Located, quote};
use super::suggest;
use super::toml::Table;

/// A kind of table and the keys that it may contain.
struct Section {
    /// The full name without array indices; empty for the document itself.
    name: &'static str,
    /// Whether there may be several such tables, written `[[name]]`.
    is_array: bool,
    keys: &'static [&'static str],
}

const SECTIONS: &[Section] = &[
    Section::table(
        "",
        &[
            "service", "status", "etcd3", "embedded", "lock", "limits", "notify",
        ],
    ),
    Section::table(
        "service",
        &[
            "address",
            "port",
            "tls",
            "tls_cert_path",
            "tls_key_path",
            "client_ca_path",
            "htpasswd_path",
            "path_prefix",
            "trusted_proxies",
            "node_names_path",
        ],
    ),
    Section::table(
        "status",
        &[
            "enabled",
            "address",
            "port",
            "tls",
            "tls_cert_path",
            "tls_key_path",
            "allowed_hosts",
        ],
    ),
    Section::table(
        "etcd3",
        &[
            "endpoints",
            "cluster_id",
            "transaction_timeout_ms",
            "client_cert_pub_path",
            "client_cert_key_path",
            "ca_cert_path",
            "username",
            "password_path",
        ],
    ),
    Section::table("embedded", &["path", "transaction_timeout_ms"]),
    Section::table(
        "lock",
        &[
            "default_group_name",
            "default_slots",
            "default_users",
            "on_slots_mismatch",
            "stall_after_minutes",
            "settle_minutes",
            "windows",
            "freezes",
            "gates",
            "groups",
            "caps",
        ],
    ),
    Section::array("lock.windows", WINDOW),
    Section::array("lock.freezes", FREEZE),
    Section::array("lock.gates", GATE),
    Section::array(
        "lock.groups",
        &[
            "name",
            "slots",
            "users",
            "stall_after_minutes",
            "settle_minutes",
            "windows",
            "freezes",
            "gates",
        ],
    ),
    Section::array("lock.groups.windows", WINDOW),
    Section::array("lock.groups.freezes", FREEZE),
    Section::array("lock.groups.gates", GATE),
    Section::array("lock.caps", &["name", "groups", "max_held", "max_groups"]),
    Section::table(
        "limits",
        &[
            "body_bytes",
            "header_bytes",
            "max_headers",
            "handshake_timeout_ms",
            "header_timeout_ms",
            "body_timeout_ms",
            "idle_timeout_ms",
            "response_timeout_ms",
            "max_connections",
            "max_connections_per_peer",
            "connection_bytes",
            "waiting_requests_per_group",
            "max_pending_auth",
        ],
    ),
    Section::table(
        "notify",
        &["url", "secret_path", "ca_cert_path", "events", "timeout_ms"],
    ),
];

const WINDOW: &[&str] = &["days", "weeks", "start_time", "length_minutes", "time_zone"];

const FREEZE: &[&str] = &["from", "until", "time_zone", "reason"];

const GATE: &[&str] = &[
    "name",
    "http",
    "prometheus",
    "query",
    "timeout_ms",
    "max_age_ms",
    "allows",
    "open_after_successes",
    "ca_cert_path",
    "client_cert_path",
    "client_key_path",
    "bearer_token_path",
    "username",
    "password_path",
];

/// Common mistakes: the table, the key in it, and the key that is meant.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("etcd3", "password", "password_path"),
    ("lock", "users", "default_users"),
    ("lock", "slots", "default_slots"),
    ("lock.windows", "start", "start_time"),
    ("lock.windows", "duration", "length_minutes"),
    ("lock.groups.windows", "start", "start_time"),
    ("lock.groups.windows", "duration", "length_minutes"),
    ("lock.freezes", "start", "from"),
    ("lock.freezes", "to", "until"),
    ("lock.freezes", "end", "until"),
    ("lock.groups.freezes", "start", "from"),
    ("lock.groups.freezes", "to", "until"),
    ("lock.groups.freezes", "end", "until"),
    ("lock.caps", "slots", "max_held"),
    ("lock.caps", "max_slots", "max_held"),
    ("lock.gates", "url", "http"),
    ("lock.gates", "password", "password_path"),
    ("lock.groups.gates", "url", "http"),
    ("lock.groups.gates", "password", "password_path"),
    ("notify", "secret", "secret_path"),
    // The names before version 1.0.0.
    ("limits", "headers", "max_headers"),
    ("limits", "connections", "max_connections"),
    ("limits", "connections_per_peer", "max_connections_per_peer"),
    ("limits", "waiting_passwords", "max_pending_auth"),
];

/// Warns of each key of the table that was not taken, most likely because it is misspelt or in the wrong table.
pub(super) fn warn_of_unknown(diagnostics: &mut Diagnostics, table: Table<'_>) {
    let header = table.header();
    let (unknown, asked) = table.finish();
    let section = SECTIONS.iter().find(|section| section.name == header);
    debug_assert!(
        section.is_some_and(|section| section.keys.iter().all(|key| asked.contains(key))
            && asked.len() == section.keys.len()),
        "the keys of [{header}] are {asked:?}"
    );
    for key in unknown {
        let text = message(section, &key);
        diagnostics.warning(&key, text);
    }
}

fn message(section: Option<&Section>, unknown: &Located<String>) -> String {
    let key = unknown.value.as_str();
    let quoted = quote(key);
    let own = section.map_or(&[][..], |section| section.keys);
    if let Some(same) = own.iter().find(|own| own.eq_ignore_ascii_case(key)) {
        return format!(
            "key {quoted} is ignored because \"{same}\" is present; remove one of the two"
        );
    }
    let table = section.map_or("", |section| section.name);
    let meant = MISTAKES
        .iter()
        .find(|(in_table, wrong, _)| *in_table == table && wrong.eq_ignore_ascii_case(key))
        .map(|(.., meant)| *meant);
    let near = || suggest::nearest(key, own.iter().copied(), key.chars().count().div_ceil(2));
    let suggestion = match (meant, tables_with(key)) {
        (Some(meant), None) => format!("did you mean \"{meant}\"?"),
        (Some(meant), Some(tables)) => {
            format!("did you mean \"{meant}\"? \"{key}\" belongs {tables}")
        }
        (None, Some(tables)) => format!("it belongs {tables}"),
        (None, None) => match (near(), section) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some(section)) if !section.name.is_empty() => {
                format!("the keys of {} are: {}", section.header(), own.join(", "))
            }
            (None, _) => {
                let tables = SECTIONS.iter().map(Section::header);
                let tables: Vec<String> = tables.filter(|header| !header.is_empty()).collect();
                format!("the tables are: {}", tables.join(", "))
            }
        },
    };
    format!("unknown key {quoted} is ignored; {suggestion}")
}

/// Returns where a key belongs; `None` for a key that no table has.
fn tables_with(key: &str) -> Option<String> {
    let tables: Vec<String> = SECTIONS
        .iter()
        .filter(|section| {
            section
                .keys
                .iter()
                .any(|known| known.eq_ignore_ascii_case(key))
        })
        .map(Section::header)
        .collect();
    if tables.is_empty() {
        None
    } else if tables.iter().any(String::is_empty) {
        Some(format!("at the top level, as [{}]", key.to_lowercase()))
    } else {
        Some(format!("under {}", tables.join(" or ")))
    }
}

// === impl Section ===

impl Section {
    const fn table(name: &'static str, keys: &'static [&'static str]) -> Self {
        Section {
            name,
            is_array: false,
            keys,
        }
    }

    const fn array(name: &'static str, keys: &'static [&'static str]) -> Self {
        Section {
            name,
            is_array: true,
            keys,
        }
    }

    /// Returns the line that starts such a table; empty for the document itself.
    fn header(&self) -> String {
        match (self.name, self.is_array) {
            ("", _) => String::new(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }
}
