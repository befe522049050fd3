//! `[etcd3]` and `[embedded]`, of which there is one.

use std::path::PathBuf;
use std::time::Duration;

use super::KeyPair;
use crate::config::document::{At, Notes};
use crate::config::file::{EmbeddedSection, Etcd3Section};

/// The one store that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    Etcd(EtcdSettings),
    Embedded { path: PathBuf },
}

/// The etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// URLs with their scheme, in the order of preference.
    pub endpoints: Vec<String>,
    /// The CAs that servers are checked against; `None`: the system's.
    pub ca_cert_path: Option<PathBuf>,
    pub client_cert: Option<KeyPair>,
    pub user: Option<EtcdUser>,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    pub name: String,
    /// The file that has nothing but the password in it.
    pub password_path: PathBuf,
}

const DEFAULT_TIMEOUT_MS: u64 = 3000;

/// The store, and how long a request may take with it.
pub(super) fn check(
    notes: &mut Notes<'_>,
    etcd3: Option<At<Etcd3Section>>,
    embedded: Option<At<EmbeddedSection>>,
) -> Option<(StoreSettings, Duration)> {
    match (etcd3, embedded) {
        (Some(etcd3), None) => {
            let timeout = timeout(notes, etcd3.value.transaction_timeout_ms.as_ref());
            let settings = etcd(notes, etcd3)?;
            Some((StoreSettings::Etcd(settings), timeout))
        }
        (None, Some(embedded)) => {
            let timeout = timeout(notes, embedded.value.transaction_timeout_ms.as_ref());
            match &embedded.value.path {
                Some(path) if !path.value.is_empty() => {
                    let path = path.value.clone().into();
                    Some((StoreSettings::Embedded { path }, timeout))
                }
                Some(path) => {
                    notes.error(path, "is empty; name the file that is to keep the locks");
                    None
                }
                None => {
                    notes.error(
                        &embedded,
                        "embedded.path is missing; name the file that is to keep the locks",
                    );
                    None
                }
            }
        }
        (Some(_), Some(embedded)) => {
            notes.error(
                &embedded,
                "there is [etcd3] too; keep the one store that this server is to use",
            );
            None
        }
        (None, None) => {
            notes.missing(
                "etcd3.endpoints",
                "missing; name the etcd cluster ([etcd3] endpoints = [\"http://127.0.0.1:2379\"]), \
                 or a file where one server is enough ([embedded] path = \"/var/lib/airlock/airlock.db\")",
            );
            None
        }
    }
}

fn timeout(notes: &mut Notes<'_>, timeout: Option<&At<u64>>) -> Duration {
    let ms = match timeout {
        Some(timeout) if !(10..=600_000).contains(&timeout.value) => {
            notes.error(timeout, "must be 10 to 600000 (milliseconds)");
            DEFAULT_TIMEOUT_MS
        }
        Some(timeout) => timeout.value,
        None => DEFAULT_TIMEOUT_MS,
    };
    Duration::from_millis(ms)
}

fn etcd(notes: &mut Notes<'_>, section: At<Etcd3Section>) -> Option<EtcdSettings> {
    let Etcd3Section {
        endpoints,
        client_cert_pub_path,
        client_cert_key_path,
        ca_cert_path,
        username,
        password_path,
        transaction_timeout_ms: _,
    } = section.value;
    let Some(configured) = endpoints else {
        notes.missing(
            "etcd3.endpoints",
            "missing; name at least one, such as \"http://127.0.0.1:2379\"",
        );
        return None;
    };
    if configured.value.is_empty() {
        notes.error(
            &configured,
            "is empty; name at least one, such as \"http://127.0.0.1:2379\"",
        );
    }
    let mut endpoints: Vec<String> = Vec::new();
    for text in &configured.value {
        match endpoint(text) {
            Ok(url) if endpoints.contains(&url) => {
                notes.warning(&configured, format!("{text:?} is named twice"));
            }
            Ok(url) => endpoints.push(url),
            Err(problem) => notes.error(&configured, format!("{text:?}: {problem}")),
        }
    }
    let tls_used = endpoints.iter().any(|url| url.starts_with("https://"));
    let client_cert = match (client_cert_pub_path, client_cert_key_path) {
        (Some(cert), Some(key)) if tls_used => Some(KeyPair::of(cert, key)),
        (Some(one), None) | (None, Some(one)) if tls_used => {
            notes.error(
                &one,
                "needs its other half: etcd3.client_cert_pub_path and etcd3.client_cert_key_path go together",
            );
            None
        }
        (cert, key) => {
            for unused in [cert, key].into_iter().flatten() {
                let missing = if PathBuf::from(&unused.value).exists() {
                    ""
                } else {
                    " (and the file does not exist)"
                };
                notes.warning(
                    &unused,
                    format!("not used, since all endpoints are plain http://{missing}"),
                );
            }
            None
        }
    };
    if let (Some(path), false) = (&ca_cert_path, tls_used || endpoints.is_empty()) {
        notes.error(
            path,
            "there is no server to check, since all endpoints are plain http://; write https://host:port, or remove this key",
        );
    }
    let plain = endpoints.iter().any(|url| url.starts_with("http://"));
    let user = user(notes, username, password_path, plain);
    Some(EtcdSettings {
        endpoints,
        ca_cert_path: ca_cert_path.map(|path| path.value.into()),
        client_cert,
        user,
    })
}

fn user(
    notes: &mut Notes<'_>,
    username: Option<At<String>>,
    password_path: Option<At<String>>,
    plain: bool,
) -> Option<EtcdUser> {
    match (username, password_path) {
        (Some(name), Some(path)) => {
            if plain {
                notes.warning(
                    &name,
                    "the password goes to http:// endpoints in plain text; write https://host:port where etcd speaks TLS",
                );
            }
            Some(EtcdUser {
                name: name.value,
                password_path: path.value.into(),
            })
        }
        (Some(one), None) | (None, Some(one)) => {
            notes.error(
                &one,
                "needs its other half: etcd3.username and etcd3.password_path go together",
            );
            None
        }
        (None, None) => None,
    }
}

/// An endpoint as a URL. A bare `host:port` speaks TLS, as with Airlock.
fn endpoint(text: &str) -> Result<String, String> {
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((scheme, _)) => {
            return Err(format!(
                "unknown scheme {scheme:?}; write http://host:port or https://host:port"
            ));
        }
        None => ("https", text),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let valid = authority
        .parse::<http::uri::Authority>()
        .is_ok_and(|authority| {
            authority.port_u16().is_some()
                && !authority.host().is_empty()
                && !authority.as_str().contains('@')
        });
    if valid {
        Ok(format!("{scheme}://{authority}"))
    } else {
        Err("is no endpoint; write http://host:port or https://host:port".into())
    }
}
