//! The keys of the file with their types and ranges. `settings` gives them their meaning.

use super::diagnostic::{Diagnostics, Located};
use super::field::{Field, NumberRange};
use super::keys::warn_of_unknown;
use super::toml::Table;
use crate::lock::window::Window;

/// The whole file, section by section. Defaults are not applied yet.
pub(super) struct File {
    pub(super) service: Field<ListenSection>,
    pub(super) status: Field<ListenSection>,
    pub(super) etcd3: Field<Etcd3Section>,
    pub(super) embedded: Field<EmbeddedSection>,
    pub(super) lock: LockSection,
    pub(super) limits: LimitsSection,
    pub(super) notify: Field<NotifySection>,
}

/// `[service]` and `[status]`. Only `[status]` has `enabled` and `allowed_hosts`; only `[service]` has `client_ca_path`,
/// `htpasswd_path`, `path_prefix`, `trusted_proxies`, and `node_names_path`.
#[derive(Default)]
pub(super) struct ListenSection {
    pub(super) enabled: Field<bool>,
    pub(super) address: Field<String>,
    pub(super) port: Field<u64>,
    pub(super) tls: Field<bool>,
    pub(super) tls_cert_path: Field<String>,
    pub(super) tls_key_path: Field<String>,
    pub(super) client_ca_path: Field<String>,
    pub(super) htpasswd_path: Field<String>,
    pub(super) path_prefix: Field<String>,
    pub(super) trusted_proxies: Field<Vec<Located<String>>>,
    pub(super) node_names_path: Field<String>,
    pub(super) allowed_hosts: Field<Vec<Located<String>>>,
}

/// `[etcd3]`.
pub(super) struct Etcd3Section {
    pub(super) endpoints: Field<Vec<Located<String>>>,
    pub(super) cluster_id: Field<String>,
    pub(super) transaction_timeout_ms: Field<u64>,
    pub(super) client_cert_pub_path: Field<String>,
    pub(super) client_cert_key_path: Field<String>,
    pub(super) ca_cert_path: Field<String>,
    pub(super) username: Field<String>,
    pub(super) password_path: Field<String>,
}

/// `[embedded]`.
pub(super) struct EmbeddedSection {
    pub(super) path: Field<String>,
    pub(super) transaction_timeout_ms: Field<u64>,
}

/// `[lock]`.
#[derive(Default)]
pub(super) struct LockSection {
    pub(super) default_group_name: Field<String>,
    pub(super) default_slots: Field<u64>,
    pub(super) default_users: Field<Vec<Located<String>>>,
    pub(super) on_slots_mismatch: Field<String>,
    pub(super) stall_after_minutes: Field<u64>,
    pub(super) settle_minutes: Field<u64>,
    pub(super) groups: Vec<Located<GroupSection>>,
    pub(super) windows: Field<Vec<Located<WindowSection>>>,
    pub(super) freezes: Field<Vec<Located<FreezeSection>>>,
    pub(super) caps: Vec<Located<CapSection>>,
    pub(super) gates: Field<Vec<Located<GateSection>>>,
}

/// `[[lock.groups]]`.
pub(super) struct GroupSection {
    pub(super) name: Field<String>,
    pub(super) slots: Field<u64>,
    pub(super) users: Field<Vec<Located<String>>>,
    pub(super) stall_after_minutes: Field<u64>,
    pub(super) settle_minutes: Field<u64>,
    /// An empty array is not an absent one: it replaces the windows of `[[lock.windows]]` with none.
    pub(super) windows: Field<Vec<Located<WindowSection>>>,
    /// The same as for windows.
    pub(super) freezes: Field<Vec<Located<FreezeSection>>>,
    /// The same holds for the gates of `[[lock.gates]]`.
    pub(super) gates: Field<Vec<Located<GateSection>>>,
}

/// `[[lock.windows]]` and `[[lock.groups.windows]]`.
pub(super) struct WindowSection {
    pub(super) days: Field<Vec<Located<String>>>,
    pub(super) weeks: Field<Vec<Located<i8>>>,
    pub(super) start_time: Field<String>,
    pub(super) length_minutes: Field<u64>,
    pub(super) time_zone: Field<String>,
}

/// `[[lock.freezes]]` and `[[lock.groups.freezes]]`.
pub(super) struct FreezeSection {
    pub(super) from: Field<String>,
    pub(super) until: Field<String>,
    pub(super) time_zone: Field<String>,
    pub(super) reason: Field<String>,
}

/// `[[lock.caps]]`.
pub(super) struct CapSection {
    pub(super) name: Field<String>,
    pub(super) groups: Field<Vec<Located<String>>>,
    pub(super) max_held: Field<u64>,
    pub(super) max_groups: Field<u64>,
}

/// `[[lock.gates]]` and `[[lock.groups.gates]]`.
pub(super) struct GateSection {
    pub(super) name: Field<String>,
    pub(super) http: Field<String>,
    pub(super) prometheus: Field<String>,
    pub(super) query: Field<String>,
    pub(super) timeout_ms: Field<u64>,
    pub(super) max_age_ms: Field<u64>,
    pub(super) allows: Field<u64>,
    pub(super) open_after_successes: Field<u64>,
    pub(super) ca_cert_path: Field<String>,
    pub(super) client_cert_path: Field<String>,
    pub(super) client_key_path: Field<String>,
    pub(super) bearer_token_path: Field<String>,
    pub(super) username: Field<String>,
    pub(super) password_path: Field<String>,
}

/// `[limits]`.
#[derive(Default)]
pub(super) struct LimitsSection {
    pub(super) body_bytes: Field<u64>,
    pub(super) header_bytes: Field<u64>,
    pub(super) max_headers: Field<u64>,
    pub(super) handshake_timeout_ms: Field<u64>,
    pub(super) header_timeout_ms: Field<u64>,
    pub(super) body_timeout_ms: Field<u64>,
    pub(super) idle_timeout_ms: Field<u64>,
    pub(super) response_timeout_ms: Field<u64>,
    pub(super) max_connections: Field<u64>,
    pub(super) max_connections_per_peer: Field<u64>,
    pub(super) connection_bytes: Field<u64>,
    pub(super) waiting_requests_per_group: Field<u64>,
    pub(super) max_pending_auth: Field<u64>,
}

/// `[notify]`.
pub(super) struct NotifySection {
    pub(super) url: Field<String>,
    pub(super) secret_path: Field<String>,
    pub(super) ca_cert_path: Field<String>,
    pub(super) events: Field<Vec<Located<String>>>,
    pub(super) timeout_ms: Field<u64>,
}

const ANY: NumberRange = NumberRange::new(0, u64::MAX);
const PORT: NumberRange = NumberRange::new(0, u16::MAX as u64);
const TRANSACTION_TIMEOUT_MS: NumberRange = NumberRange::new(10, 600_000);
const NOTIFY_TIMEOUT_MS: NumberRange = NumberRange::new(100, 60_000);
const GATE_TIMEOUT_MS: NumberRange = NumberRange::new(10, 60_000);
const GATE_MAX_AGE_MS: NumberRange = NumberRange::new(100, 3_600_000);
const GATE_ALLOWS: NumberRange = NumberRange::new(1, 100);
const GATE_SUCCESSES: NumberRange = NumberRange::new(1, 100);
/// The maximum depends on the store.
const SLOTS: NumberRange = NumberRange {
    min: 1,
    max: u64::MAX,
    instead_of_zero: Some("to stop all reboots of a group, use `airlock pause GROUP`"),
};
/// The maximum is a week.
const LENGTH_MINUTES: NumberRange = NumberRange::new(1, Window::MAX_MINUTES);
/// The maximum is a week. In a group, 0 means no limit.
const STALL_MINUTES: NumberRange = NumberRange {
    min: 1,
    max: 7 * 24 * 60,
    instead_of_zero: Some("to grant locks however long a node holds one, remove this key"),
};
/// The maximum is a day. In a group, 0 means no time.
const SETTLE_MINUTES: NumberRange = NumberRange {
    min: 1,
    max: 24 * 60,
    instead_of_zero: Some("to grant locks right after a release, remove this key"),
};
/// The maximum of what a cap allows. The number of its groups limits it further.
const CAP: NumberRange = NumberRange {
    min: 1,
    max: u64::MAX,
    instead_of_zero: Some("to stop all reboots of a group, use `airlock pause GROUP`"),
};

// === impl File ===

impl File {
    /// Reads the keys of a document. Returns `None` if it is not TOML.
    pub(super) fn read(diagnostics: &mut Diagnostics, text: &str) -> Option<Self> {
        let mut document = Table::document(diagnostics, text)?;
        let file = File {
            service: section(diagnostics, &mut document, "service", service),
            status: section(diagnostics, &mut document, "status", status),
            etcd3: section(diagnostics, &mut document, "etcd3", etcd3),
            embedded: section(diagnostics, &mut document, "embedded", embedded),
            lock: section(diagnostics, &mut document, "lock", lock).value_or_default(),
            limits: section(diagnostics, &mut document, "limits", limits).value_or_default(),
            notify: section(diagnostics, &mut document, "notify", notify),
        };
        warn_of_unknown(diagnostics, document);
        Some(file)
    }
}

fn section<'t, T>(
    diagnostics: &mut Diagnostics,
    document: &mut Table<'t>,
    name: &'static str,
    read: impl FnOnce(&mut Diagnostics, &mut Table<'t>) -> T,
) -> Field<T> {
    document
        .take_table(diagnostics, name)
        .map(|table| whole(diagnostics, table, read))
}

/// Reads each table of an array.
fn sections<'t, T>(
    diagnostics: &mut Diagnostics,
    parent: &mut Table<'t>,
    name: &'static str,
    read: impl Fn(&mut Diagnostics, &mut Table<'t>) -> T,
) -> Field<Vec<Located<T>>> {
    parent.take_tables(diagnostics, name).map(|tables| {
        let read = tables.into_iter().map(|table| {
            let Located { value, line, key } = table;
            let value = whole(diagnostics, value, &read);
            Located { value, line, key }
        });
        read.collect()
    })
}

fn whole<'t, T>(
    diagnostics: &mut Diagnostics,
    mut table: Table<'t>,
    read: impl FnOnce(&mut Diagnostics, &mut Table<'t>) -> T,
) -> T {
    let value = read(diagnostics, &mut table);
    warn_of_unknown(diagnostics, table);
    value
}

fn service(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> ListenSection {
    ListenSection {
        client_ca_path: table.take_string(diagnostics, "client_ca_path"),
        htpasswd_path: table.take_string(diagnostics, "htpasswd_path"),
        path_prefix: table.take_string(diagnostics, "path_prefix"),
        trusted_proxies: table.take_strings(diagnostics, "trusted_proxies"),
        node_names_path: table.take_string(diagnostics, "node_names_path"),
        ..listen(diagnostics, table, &PORT)
    }
}

fn status(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> ListenSection {
    let enabled = table.take_bool(diagnostics, "enabled");
    // The port of a disabled listener may be anything.
    let is_enabled = enabled.as_present().is_some_and(|enabled| enabled.value);
    let ports = if is_enabled { &PORT } else { &ANY };
    ListenSection {
        enabled,
        allowed_hosts: table.take_strings(diagnostics, "allowed_hosts"),
        ..listen(diagnostics, table, ports)
    }
}

fn listen(
    diagnostics: &mut Diagnostics,
    table: &mut Table<'_>,
    ports: &NumberRange,
) -> ListenSection {
    ListenSection {
        address: table.take_string(diagnostics, "address"),
        port: table.take_number(diagnostics, "port", ports),
        tls: table.take_bool(diagnostics, "tls"),
        tls_cert_path: table.take_unless_empty(diagnostics, "tls_cert_path"),
        tls_key_path: table.take_unless_empty(diagnostics, "tls_key_path"),
        ..ListenSection::default()
    }
}

fn etcd3(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> Etcd3Section {
    Etcd3Section {
        endpoints: table.take_strings(diagnostics, "endpoints"),
        // An empty id protects nothing, so it is an error even if a template left it.
        cluster_id: table.take_string(diagnostics, "cluster_id"),
        transaction_timeout_ms: transaction_timeout(diagnostics, table),
        client_cert_pub_path: table.take_unless_empty(diagnostics, "client_cert_pub_path"),
        client_cert_key_path: table.take_unless_empty(diagnostics, "client_cert_key_path"),
        ca_cert_path: table.take_unless_empty(diagnostics, "ca_cert_path"),
        username: table.take_unless_empty(diagnostics, "username"),
        password_path: table.take_unless_empty(diagnostics, "password_path"),
    }
}

fn embedded(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> EmbeddedSection {
    EmbeddedSection {
        path: table.take_string(diagnostics, "path"),
        transaction_timeout_ms: transaction_timeout(diagnostics, table),
    }
}

fn transaction_timeout(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> Field<u64> {
    table.take_number(
        diagnostics,
        "transaction_timeout_ms",
        &TRANSACTION_TIMEOUT_MS,
    )
}

fn lock(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> LockSection {
    LockSection {
        default_group_name: table.take_string(diagnostics, "default_group_name"),
        default_slots: table.take_number(diagnostics, "default_slots", &SLOTS),
        default_users: table.take_strings(diagnostics, "default_users"),
        on_slots_mismatch: table.take_string(diagnostics, "on_slots_mismatch"),
        stall_after_minutes: table.take_number(diagnostics, "stall_after_minutes", &STALL_MINUTES),
        settle_minutes: table.take_number(diagnostics, "settle_minutes", &SETTLE_MINUTES),
        windows: sections(diagnostics, table, "windows", window),
        freezes: sections(diagnostics, table, "freezes", freeze),
        gates: sections(diagnostics, table, "gates", gate),
        groups: sections(diagnostics, table, "groups", group).value_or_default(),
        caps: sections(diagnostics, table, "caps", cap).value_or_default(),
    }
}

fn group(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> GroupSection {
    GroupSection {
        name: table.take_string(diagnostics, "name"),
        slots: table.take_number(diagnostics, "slots", &SLOTS),
        users: table.take_strings(diagnostics, "users"),
        stall_after_minutes: table.take_number(
            diagnostics,
            "stall_after_minutes",
            &STALL_MINUTES.or_zero(),
        ),
        settle_minutes: table.take_number(diagnostics, "settle_minutes", &SETTLE_MINUTES.or_zero()),
        windows: sections(diagnostics, table, "windows", window),
        freezes: sections(diagnostics, table, "freezes", freeze),
        gates: sections(diagnostics, table, "gates", gate),
    }
}

fn window(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> WindowSection {
    WindowSection {
        days: table.take_strings(diagnostics, "days"),
        weeks: table.take_nonzero_numbers(diagnostics, "weeks", Window::MAX_WEEK),
        start_time: table.take_string(diagnostics, "start_time"),
        length_minutes: table.take_number(diagnostics, "length_minutes", &LENGTH_MINUTES),
        time_zone: table.take_string(diagnostics, "time_zone"),
    }
}

fn freeze(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> FreezeSection {
    FreezeSection {
        from: table.take_date_time(diagnostics, "from"),
        until: table.take_date_time(diagnostics, "until"),
        time_zone: table.take_string(diagnostics, "time_zone"),
        reason: table.take_string(diagnostics, "reason"),
    }
}

fn cap(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> CapSection {
    CapSection {
        name: table.take_string(diagnostics, "name"),
        groups: table.take_strings(diagnostics, "groups"),
        max_held: table.take_number(diagnostics, "max_held", &CAP),
        max_groups: table.take_number(diagnostics, "max_groups", &CAP),
    }
}

fn gate(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> GateSection {
    let successes = &GATE_SUCCESSES;
    GateSection {
        name: table.take_string(diagnostics, "name"),
        http: table.take_string(diagnostics, "http"),
        prometheus: table.take_string(diagnostics, "prometheus"),
        query: table.take_string(diagnostics, "query"),
        timeout_ms: table.take_number(diagnostics, "timeout_ms", &GATE_TIMEOUT_MS),
        max_age_ms: table.take_number(diagnostics, "max_age_ms", &GATE_MAX_AGE_MS),
        allows: table.take_number(diagnostics, "allows", &GATE_ALLOWS),
        open_after_successes: table.take_number(diagnostics, "open_after_successes", successes),
        ca_cert_path: table.take_unless_empty(diagnostics, "ca_cert_path"),
        client_cert_path: table.take_unless_empty(diagnostics, "client_cert_path"),
        client_key_path: table.take_unless_empty(diagnostics, "client_key_path"),
        bearer_token_path: table.take_unless_empty(diagnostics, "bearer_token_path"),
        username: table.take_unless_empty(diagnostics, "username"),
        password_path: table.take_unless_empty(diagnostics, "password_path"),
    }
}

fn limits(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> LimitsSection {
    let mut take = |key, min, max| table.take_number(diagnostics, key, &NumberRange::new(min, max));
    LimitsSection {
        body_bytes: take("body_bytes", 1 << 10, 16 << 20),
        header_bytes: take("header_bytes", 8 << 10, 1 << 20),
        max_headers: take("max_headers", 8, 1000),
        handshake_timeout_ms: take("handshake_timeout_ms", 100, 3_600_000),
        header_timeout_ms: take("header_timeout_ms", 100, 3_600_000),
        body_timeout_ms: take("body_timeout_ms", 100, 3_600_000),
        idle_timeout_ms: take("idle_timeout_ms", 100, 3_600_000),
        response_timeout_ms: take("response_timeout_ms", 100, 3_600_000),
        max_connections: take("max_connections", 1, 10_000_000),
        max_connections_per_peer: take("max_connections_per_peer", 1, 10_000_000),
        connection_bytes: take("connection_bytes", 1 << 20, 1 << 40),
        waiting_requests_per_group: take("waiting_requests_per_group", 1, 10_000_000),
        max_pending_auth: take("max_pending_auth", 1, 10_000),
    }
}

fn notify(diagnostics: &mut Diagnostics, table: &mut Table<'_>) -> NotifySection {
    NotifySection {
        url: table.take_string(diagnostics, "url"),
        secret_path: table.take_unless_empty(diagnostics, "secret_path"),
        ca_cert_path: table.take_unless_empty(diagnostics, "ca_cert_path"),
        events: table.take_strings(diagnostics, "events"),
        timeout_ms: table.take_number(diagnostics, "timeout_ms", &NOTIFY_TIMEOUT_MS),
    }
}
