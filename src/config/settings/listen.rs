//! `[service]` and `[status]`.

use std::path::PathBuf;

use super::KeyPair;
use crate::config::document::{At, Notes};
use crate::config::file::ListenSection;

/// Where a listener listens. The address may be a name; empty, `0.0.0.0` and `::` mean all, of IPv4 and IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    pub address: String,
    pub port: u16,
    pub tls: Option<TlsSettings>,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub pair: KeyPair,
    /// Lets in only clients with a certificate of one of these CAs.
    pub client_ca_path: Option<PathBuf>,
}

/// What `[service]` comes to.
pub(super) struct Service {
    pub listen: ListenSettings,
    pub htpasswd_path: Option<PathBuf>,
}

pub(super) fn service(notes: &mut Notes<'_>, mut section: ListenSection) -> Option<Service> {
    let port = match section.port {
        Some(configured) => port(notes, &configured),
        None => Some(9090),
    };
    let client_ca_path = section.client_ca_path.take();
    let htpasswd_path = section.htpasswd_path.take();
    for path in [&client_ca_path, &htpasswd_path].into_iter().flatten() {
        if path.value.is_empty() {
            notes.error(path, "is empty; name the file, or remove the key");
        }
    }
    let tls_wanted = section.tls.as_ref().is_none_or(|tls| tls.value);
    if let (Some(path), false) = (&client_ca_path, tls_wanted) {
        notes.error(
            path,
            "client certificates need TLS, and service.tls is false; set it to true, or remove this key",
        );
    }
    if let (Some(path), false) = (&htpasswd_path, tls_wanted) {
        notes.warning(
            path,
            "passwords come in plain text, since service.tls is false; whoever listens on the network can use them",
        );
    }
    let pair = match (tls_wanted, section.tls_cert_path, section.tls_key_path) {
        (true, Some(cert), Some(key)) => Some(KeyPair::of(cert, key)),
        (true, cert, key) => {
            let by_default = if section.tls.is_none() {
                " by default"
            } else {
                ""
            };
            let text = format!(
                "TLS is on{by_default}, but {}; name both files, or set service.tls = false to speak plain HTTP",
                lacking("service", cert.is_some(), key.is_some()),
            );
            match &section.tls {
                Some(tls) => notes.error(tls, text),
                None => notes.missing("service.tls", text),
            }
            None
        }
        (false, cert, key) => {
            unused(notes, "service", [cert, key]);
            None
        }
    };
    Some(Service {
        listen: ListenSettings {
            address: address(section.address, "0.0.0.0"),
            port: port?,
            tls: pair.map(|pair| TlsSettings {
                pair,
                client_ca_path: client_ca_path.map(|path| path.value.into()),
            }),
        },
        htpasswd_path: htpasswd_path.map(|path| path.value.into()),
    })
}

/// `None` is an error, `Some(None)` no status listener.
///
/// Without a pair of its own it speaks TLS with the service's. It asks nobody for a certificate.
pub(super) fn status(
    notes: &mut Notes<'_>,
    section: ListenSection,
    services_pair: Option<&KeyPair>,
) -> Option<Option<ListenSettings>> {
    let Some(enabled) = section.enabled.filter(|enabled| enabled.value) else {
        return Some(None);
    };
    let port = match section.port {
        Some(configured) => port(notes, &configured),
        None => {
            notes.warning(
                &enabled,
                "status.port is missing: any port that is free is taken, which only the log says; name one",
            );
            Some(0)
        }
    };
    let pair = match (section.tls, section.tls_cert_path, section.tls_key_path) {
        (Some(At { value: true, .. }), Some(cert), Some(key)) => Some(KeyPair::of(cert, key)),
        (Some(tls @ At { value: true, .. }), None, None) => {
            if services_pair.is_none() {
                notes.error(
                    &tls,
                    "TLS is on, but neither status.tls_cert_path and status.tls_key_path nor the pair of \
                     [service] are there; name both files, or set status.tls = false to speak plain HTTP",
                );
            }
            services_pair.cloned()
        }
        (Some(tls @ At { value: true, .. }), cert, key) => {
            notes.error(
                &tls,
                format!(
                    "TLS is on, but {}; name both files, or neither to use the pair of [service]",
                    lacking("status", cert.is_some(), key.is_some()),
                ),
            );
            None
        }
        (Some(At { value: false, .. }) | None, cert, key) => {
            unused(notes, "status", [cert, key]);
            None
        }
    };
    Some(Some(ListenSettings {
        address: address(section.address, ""),
        port: port?,
        tls: pair.map(|pair| TlsSettings {
            pair,
            client_ca_path: None,
        }),
    }))
}

/// Without the brackets that Airlock needs around an address of IPv6.
fn address(configured: Option<At<String>>, default: &str) -> String {
    let address = configured.map_or_else(|| default.to_owned(), |at| at.value);
    match address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner.to_owned(),
        None => address,
    }
}

fn port(notes: &mut Notes<'_>, port: &At<u64>) -> Option<u16> {
    let value = u16::try_from(port.value).ok();
    if value.is_none() {
        notes.error(port, "must be a port, 0 to 65535 (0: any that is free)");
    }
    value
}

/// Which of the two files nobody named. One of them at least.
fn lacking(section: &str, cert: bool, key: bool) -> String {
    match (cert, key) {
        (false, false) => {
            format!("{section}.tls_cert_path and {section}.tls_key_path are missing")
        }
        (false, true) => format!("{section}.tls_cert_path is missing"),
        (true, _) => format!("{section}.tls_key_path is missing"),
    }
}

fn unused(notes: &mut Notes<'_>, section: &str, paths: [Option<At<String>>; 2]) {
    for path in paths.into_iter().flatten() {
        notes.warning(&path, format!("not used, since {section}.tls is false"));
    }
}
