//! `[service]` and `[status]`.

use std::path::PathBuf;

use crate::config::document::Notes;
use crate::config::file::ListenSection;

/// Where a listener listens. The address may be a name; empty means all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    pub address: String,
    pub port: u16,
    pub tls: Option<TlsSettings>,
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
}

struct ListenDefaults {
    address: &'static str,
    port: Option<u64>,
    tls: bool,
}

impl ListenDefaults {
    const SERVICE: Self = ListenDefaults {
        address: "0.0.0.0",
        port: Some(9090),
        tls: true,
    };
    const STATUS: Self = ListenDefaults {
        address: "",
        port: None,
        tls: false,
    };
}

pub(super) fn service(notes: &mut Notes<'_>, section: ListenSection) -> Option<ListenSettings> {
    listen(notes, section, "service", ListenDefaults::SERVICE)
}

/// `None` is an error, `Some(None)` no status listener.
pub(super) fn status(
    notes: &mut Notes<'_>,
    section: ListenSection,
) -> Option<Option<ListenSettings>> {
    if section
        .enabled
        .as_ref()
        .is_some_and(|enabled| enabled.value)
    {
        listen(notes, section, "status", ListenDefaults::STATUS).map(Some)
    } else {
        Some(None)
    }
}

fn listen(
    notes: &mut Notes<'_>,
    section: ListenSection,
    name: &str,
    defaults: ListenDefaults,
) -> Option<ListenSettings> {
    let port = match (section.port, defaults.port) {
        (Some(port), _) => match u16::try_from(port.value) {
            Ok(value) => Some(value),
            Err(_) => {
                notes.error(&port, "must be a port, 0 to 65535 (0: any that is free)");
                None
            }
        },
        (None, Some(port)) => u16::try_from(port).ok(),
        (None, None) => {
            let key = format!("{name}.port");
            notes.missing(&key, format!("missing; {name}.enabled needs a port"));
            None
        }
    };
    let tls_wanted = section.tls.as_ref().map_or(defaults.tls, |tls| tls.value);
    let tls = match (tls_wanted, section.tls_cert_path, section.tls_key_path) {
        (true, Some(cert), Some(key)) => Some(TlsSettings {
            cert_path: cert.value.into(),
            key_path: key.value.into(),
        }),
        (true, cert, key) => {
            let lacking = match (cert, key) {
                (None, None) => format!("{name}.tls_cert_path and {name}.tls_key_path are missing"),
                (None, _) => format!("{name}.tls_cert_path is missing"),
                (_, _) => format!("{name}.tls_key_path is missing"),
            };
            let text = format!(
                "TLS is on{}, but {lacking}; name both files, or set {name}.tls = false to speak plain HTTP",
                if section.tls.is_none() {
                    " by default"
                } else {
                    ""
                }
            );
            match &section.tls {
                Some(tls) => notes.error(tls, text),
                None => notes.missing(&format!("{name}.tls"), text),
            }
            None
        }
        (false, cert, key) => {
            for unused in [cert, key].into_iter().flatten() {
                notes.warning(&unused, format!("not used, since {name}.tls is false"));
            }
            None
        }
    };
    Some(ListenSettings {
        address: section
            .address
            .map_or_else(|| defaults.address.to_owned(), |address| address.value),
        port: port?,
        tls,
    })
}
