//! The suggestions for unknown keys.

use super::diagnostic::{Diagnostics, quote};
use super::schema::{self, NamedSection};
use super::suggest;

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

/// Warns of each key that was not taken, most likely because it is misspelt or in the wrong table.
pub(super) fn warn_of_unknown(diagnostics: &mut Diagnostics) {
    let unknown = diagnostics.take_unknown();
    if unknown.is_empty() {
        return;
    }
    let tables = schema::tables();
    for (table, key) in unknown {
        let text = message(&tables, &table, key.value.as_str());
        diagnostics.warning(&key, text);
    }
}

fn message(tables: &[NamedSection], table: &str, key: &str) -> String {
    let quoted = quote(key);
    let own = tables.iter().find(|own| own.name == table);
    let own_keys: Vec<&str> = own.into_iter().flat_map(keys).collect();
    if let Some(same) = own_keys.iter().find(|own| own.eq_ignore_ascii_case(key)) {
        return format!(
            "key {quoted} is ignored because \"{same}\" is present; remove one of the two"
        );
    }
    let meant = MISTAKES
        .iter()
        .find(|(in_table, wrong, _)| *in_table == table && wrong.eq_ignore_ascii_case(key))
        .map(|(.., meant)| *meant);
    let near = || {
        suggest::nearest(
            key,
            own_keys.iter().copied(),
            key.chars().count().div_ceil(2),
        )
    };
    let suggestion = match (meant, tables_with(tables, key)) {
        (Some(meant), None) => format!("did you mean \"{meant}\"?"),
        (Some(meant), Some(tables)) => {
            format!("did you mean \"{meant}\"? \"{key}\" belongs {tables}")
        }
        (None, Some(tables)) => format!("it belongs {tables}"),
        (None, None) => match (near(), own) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some(own)) if !own.name.is_empty() => {
                format!("the keys of {} are: {}", own.header(), own_keys.join(", "))
            }
            (None, _) => {
                let tables = tables.iter().map(NamedSection::header);
                let tables: Vec<String> = tables.filter(|header| !header.is_empty()).collect();
                format!("the tables are: {}", tables.join(", "))
            }
        },
    };
    format!("unknown key {quoted} is ignored; {suggestion}")
}

/// Returns where a key belongs; `None` for a key that no table has.
fn tables_with(tables: &[NamedSection], key: &str) -> Option<String> {
    let tables: Vec<String> = tables
        .iter()
        .filter(|table| keys(table).any(|known| known.eq_ignore_ascii_case(key)))
        .map(NamedSection::header)
        .collect();
    if tables.is_empty() {
        None
    } else if tables.iter().any(String::is_empty) {
        Some(format!("at the top level, as [{}]", key.to_lowercase()))
    } else {
        Some(format!("under {}", tables.join(" or ")))
    }
}

fn keys(table: &NamedSection) -> impl Iterator<Item = &'static str> + use<> {
    table.section.keys.iter().map(|key| key.name)
}
