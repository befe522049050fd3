//! The keys of the file: what may stand where. Whether it makes sense is for `settings` to say.

use super::document::{At, Notes, Table};

/// The whole file, section by section. Nothing has a default yet.
#[derive(Default)]
pub struct File {
    pub service: ListenSection,
    pub status: ListenSection,
    pub etcd3: Option<At<Etcd3Section>>,
    pub embedded: Option<At<EmbeddedSection>>,
    pub lock: LockSection,
    pub limits: LimitsSection,
}

/// `[service]` and `[status]`. `enabled` is for `[status]` alone, who may come in for `[service]`.
#[derive(Default)]
pub struct ListenSection {
    pub enabled: Option<At<bool>>,
    pub address: Option<At<String>>,
    pub port: Option<At<u64>>,
    pub tls: Option<At<bool>>,
    pub tls_cert_path: Option<At<String>>,
    pub tls_key_path: Option<At<String>>,
    pub client_ca_path: Option<At<String>>,
    pub htpasswd_path: Option<At<String>>,
}

#[derive(Default)]
pub struct Etcd3Section {
    pub endpoints: Option<At<Vec<String>>>,
    pub transaction_timeout_ms: Option<At<u64>>,
    pub client_cert_pub_path: Option<At<String>>,
    pub client_cert_key_path: Option<At<String>>,
    pub ca_cert_path: Option<At<String>>,
    pub username: Option<At<String>>,
    pub password_path: Option<At<String>>,
}

#[derive(Default)]
pub struct EmbeddedSection {
    pub path: Option<At<String>>,
    pub transaction_timeout_ms: Option<At<u64>>,
}

#[derive(Default)]
pub struct LockSection {
    pub default_group_name: Option<At<String>>,
    pub default_slots: Option<At<u64>>,
    pub default_users: Option<At<Vec<String>>>,
    pub on_slots_mismatch: Option<At<String>>,
    pub groups: Vec<At<GroupSection>>,
    pub windows: Option<Vec<At<WindowSection>>>,
}

#[derive(Default)]
pub struct GroupSection {
    pub name: Option<At<String>>,
    pub slots: Option<At<u64>>,
    pub users: Option<At<Vec<String>>>,
    /// Some and empty: none, where `[[lock.windows]]` has some.
    pub windows: Option<Vec<At<WindowSection>>>,
}

/// `[[lock.windows]]` and `[[lock.groups.windows]]`.
#[derive(Default)]
pub struct WindowSection {
    pub days: Option<At<Vec<String>>>,
    pub start_time: Option<At<String>>,
    pub length_minutes: Option<At<u64>>,
    pub time_zone: Option<At<String>>,
}

/// `[limits]`: what strangers may cost. All numbers.
#[derive(Default)]
pub struct LimitsSection {
    pub body_bytes: Option<At<u64>>,
    pub header_bytes: Option<At<u64>>,
    pub headers: Option<At<u64>>,
    pub handshake_timeout_ms: Option<At<u64>>,
    pub header_timeout_ms: Option<At<u64>>,
    pub body_timeout_ms: Option<At<u64>>,
    pub idle_timeout_ms: Option<At<u64>>,
    pub connections: Option<At<u64>>,
    pub connections_per_peer: Option<At<u64>>,
    pub waiting_requests_per_group: Option<At<u64>>,
    pub waiting_passwords: Option<At<u64>>,
}

// === impl File ===

impl File {
    /// `None` if it is no TOML at all.
    pub fn read(notes: &mut Notes<'_>) -> Option<Self> {
        let mut document = notes.document()?;
        let file = File {
            service: section(notes, &mut document, "service", |notes, table| {
                ListenSection {
                    client_ca_path: table.take(notes, "client_ca_path"),
                    htpasswd_path: table.take(notes, "htpasswd_path"),
                    ..listen(notes, table)
                }
            })
            .unwrap_or_default(),
            status: section(notes, &mut document, "status", |notes, table| {
                ListenSection {
                    enabled: table.take(notes, "enabled"),
                    ..listen(notes, table)
                }
            })
            .unwrap_or_default(),
            etcd3: section_at(notes, &mut document, "etcd3", |notes, table| Etcd3Section {
                endpoints: table.take(notes, "endpoints"),
                transaction_timeout_ms: table.take(notes, "transaction_timeout_ms"),
                client_cert_pub_path: table.take_unless_empty(notes, "client_cert_pub_path"),
                client_cert_key_path: table.take_unless_empty(notes, "client_cert_key_path"),
                ca_cert_path: table.take_unless_empty(notes, "ca_cert_path"),
                username: table.take_unless_empty(notes, "username"),
                password_path: table.take_unless_empty(notes, "password_path"),
            }),
            embedded: section_at(notes, &mut document, "embedded", |notes, table| {
                EmbeddedSection {
                    path: table.take(notes, "path"),
                    transaction_timeout_ms: table.take(notes, "transaction_timeout_ms"),
                }
            }),
            lock: section(notes, &mut document, "lock", lock).unwrap_or_default(),
            limits: section(notes, &mut document, "limits", limits).unwrap_or_default(),
        };
        document.finish(notes);
        Some(file)
    }
}

fn section<'t, T>(
    notes: &mut Notes<'_>,
    document: &mut Table<'t>,
    name: &'static str,
    read: impl FnOnce(&mut Notes<'_>, &mut Table<'t>) -> T,
) -> Option<T> {
    section_at(notes, document, name, read).map(|section| section.value)
}

fn section_at<'t, T>(
    notes: &mut Notes<'_>,
    document: &mut Table<'t>,
    name: &'static str,
    read: impl FnOnce(&mut Notes<'_>, &mut Table<'t>) -> T,
) -> Option<At<T>> {
    let mut table = document.take_table(notes, name)?;
    let value = read(notes, &mut table.value);
    table.value.finish(notes);
    Some(At {
        value,
        line: table.line,
        key: table.key,
    })
}

fn listen(notes: &mut Notes<'_>, table: &mut Table<'_>) -> ListenSection {
    ListenSection {
        enabled: None,
        address: table.take(notes, "address"),
        port: table.take(notes, "port"),
        tls: table.take(notes, "tls"),
        tls_cert_path: table.take_unless_empty(notes, "tls_cert_path"),
        tls_key_path: table.take_unless_empty(notes, "tls_key_path"),
        client_ca_path: None,
        htpasswd_path: None,
    }
}

fn lock(notes: &mut Notes<'_>, table: &mut Table<'_>) -> LockSection {
    LockSection {
        default_group_name: table.take(notes, "default_group_name"),
        default_slots: table.take(notes, "default_slots"),
        default_users: table.take(notes, "default_users"),
        on_slots_mismatch: table.take(notes, "on_slots_mismatch"),
        windows: windows(notes, table),
        groups: table
            .take_tables(notes, "groups")
            .map(|groups| groups.value)
            .unwrap_or_default()
            .into_iter()
            .map(|mut group| {
                let value = GroupSection {
                    name: group.value.take(notes, "name"),
                    slots: group.value.take(notes, "slots"),
                    users: group.value.take(notes, "users"),
                    windows: windows(notes, &mut group.value),
                };
                group.value.finish(notes);
                At {
                    value,
                    line: group.line,
                    key: group.key,
                }
            })
            .collect(),
    }
}

fn windows(notes: &mut Notes<'_>, table: &mut Table<'_>) -> Option<Vec<At<WindowSection>>> {
    let windows = table.take_tables(notes, "windows")?.value;
    let read = windows.into_iter().map(|mut window| {
        let value = WindowSection {
            days: window.value.take(notes, "days"),
            start_time: window.value.take(notes, "start_time"),
            length_minutes: window.value.take(notes, "length_minutes"),
            time_zone: window.value.take(notes, "time_zone"),
        };
        window.value.finish(notes);
        At {
            value,
            line: window.line,
            key: window.key,
        }
    });
    Some(read.collect())
}

fn limits(notes: &mut Notes<'_>, table: &mut Table<'_>) -> LimitsSection {
    LimitsSection {
        body_bytes: table.take(notes, "body_bytes"),
        header_bytes: table.take(notes, "header_bytes"),
        headers: table.take(notes, "headers"),
        handshake_timeout_ms: table.take(notes, "handshake_timeout_ms"),
        header_timeout_ms: table.take(notes, "header_timeout_ms"),
        body_timeout_ms: table.take(notes, "body_timeout_ms"),
        idle_timeout_ms: table.take(notes, "idle_timeout_ms"),
        connections: table.take(notes, "connections"),
        connections_per_peer: table.take(notes, "connections_per_peer"),
        waiting_requests_per_group: table.take(notes, "waiting_requests_per_group"),
        waiting_passwords: table.take(notes, "waiting_passwords"),
    }
}
