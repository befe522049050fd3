//! `[service]` and `[status]`: addresses and TLS.

use std::path::PathBuf;

use ipnet::IpNet;

use super::{KeyPair, access};
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::{Field, Pair};
use crate::config::schema::{ServiceSection, StatusSection};
use crate::config::toml::PORT;

/// The address and the TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    /// An IP address or a host name. An empty one, `0.0.0.0` and `::` stand for all addresses of IPv4 and IPv6.
    pub(crate) address: String,
    /// The port; 0 stands for any free one.
    pub(crate) port: u16,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<TlsSettings>,
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// The certificate of the server.
    pub(crate) pair: KeyPair,
    /// The CAs of client certificates; `None`: clients need no certificate.
    pub(crate) client_ca_path: Option<PathBuf>,
}

/// The settings of `[service]`.
pub(super) struct Service {
    pub(super) listen: ListenSettings,
    pub(super) htpasswd_path: Option<PathBuf>,
    pub(super) path_prefix: Option<String>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) node_names_path: Option<PathBuf>,
    /// Whether clients need a password, also if the name of the file is invalid.
    pub(super) has_passwords: bool,
    /// Whether `listen.tls` is what the file asks for, and not the result of an error.
    tls_is_valid: bool,
}

pub(super) fn service(diagnostics: &mut Diagnostics, section: Field<ServiceSection>) -> Service {
    let section = section.or_missing_table("service", || ServiceSection {
        // A section that is not a table was reported; it must not look like one without TLS.
        tls: Field::Invalid,
        htpasswd_path: Field::Invalid,
        ..ServiceSection::default()
    });
    let place = section.with(());
    let section = section.value;
    let tls_wanted = section.tls.as_present().is_none_or(|tls| tls.value);
    check_paths(diagnostics, &section);
    check_client_access(diagnostics, &section, tls_wanted);
    let has_passwords = !section.htpasswd_path.is_absent();
    let tls = service_pair(diagnostics, &place, &section);
    Service {
        has_passwords,
        tls_is_valid: tls.is_ok(),
        path_prefix: access::path_prefix(diagnostics, section.path_prefix),
        trusted_proxies: access::trusted_proxies(diagnostics, section.trusted_proxies),
        htpasswd_path: section
            .htpasswd_path
            .present()
            .map(|path| path.value.into()),
        node_names_path: section
            .node_names_path
            .present()
            .map(|path| path.value.into()),
        listen: ListenSettings {
            address: address(diagnostics, section.address, "0.0.0.0"),
            port: port(diagnostics, &section.port, 9090),
            tls: tls.ok().flatten().map(|pair| TlsSettings {
                pair,
                client_ca_path: section
                    .client_ca_path
                    .present()
                    .map(|path| path.value.into()),
            }),
        },
    }
}

/// Checks the paths that coreos/airlock does not have. An empty one is not an absent one.
fn check_paths(diagnostics: &mut Diagnostics, section: &ServiceSection) {
    let paths = [
        &section.client_ca_path,
        &section.htpasswd_path,
        &section.node_names_path,
    ];
    for path in paths.into_iter().filter_map(Field::as_present) {
        if path.value.is_empty() {
            diagnostics.error(path, "the path is empty; name the file, or remove the key");
        }
    }
}

/// Checks the keys that restrict the access of clients. They must not be ignored silently.
fn check_client_access(diagnostics: &mut Diagnostics, section: &ServiceSection, tls_wanted: bool) {
    if tls_wanted {
        return;
    }
    if let Some(path) = section.client_ca_path.as_present() {
        diagnostics.error(
            path,
            "client certificates need TLS, but service.tls is false; set it to true, or remove this key",
        );
    }
    if let Some(path) = section.htpasswd_path.as_present() {
        diagnostics.warning(
            path,
            "clients send their passwords in plain text because service.tls is false; set it to true",
        );
    }
}

/// The reason why the TLS settings of a section are unknown: an error that was reported.
struct Reported;

/// Returns the certificate of `[service]`; `None`: TLS is off.
fn service_pair(
    diagnostics: &mut Diagnostics,
    place: &Located<()>,
    section: &ServiceSection,
) -> Result<Option<KeyPair>, Reported> {
    let (tls, by_default) = match &section.tls {
        Field::Invalid => return Err(Reported),
        Field::Present(tls) => (tls.with(()), ""),
        Field::Absent => (place.missing("tls"), " by default"),
    };
    if section.tls.as_present().is_some_and(|tls| !tls.value) {
        let paths = [&section.tls_cert_path, &section.tls_key_path];
        warn_of_unused(diagnostics, paths, "service");
        return Ok(None);
    }
    let missing = match pair(&section.tls_cert_path, &section.tls_key_path) {
        Pair::Both(cert, key) => return Ok(Some(KeyPair::new(cert, key))),
        Pair::Invalid => return Err(Reported),
        Pair::OnlyFirst(_) => "tls_key_path is missing; set it",
        Pair::OnlySecond(_) => "tls_cert_path is missing; set it",
        Pair::Neither => "tls_cert_path and tls_key_path are missing; set both",
    };
    let text = format!(
        "TLS is on{by_default}, but {missing}, or set tls = false in [service] to serve plain HTTP"
    );
    diagnostics.error(&tls, text);
    Err(Reported)
}

/// Returns the settings of the status listener and the place of its port. `None`: it is disabled.
pub(super) fn status(
    diagnostics: &mut Diagnostics,
    section: Field<StatusSection>,
    service: &Service,
) -> Option<Located<ListenSettings>> {
    let section = section.present()?.value;
    let enabled = section
        .enabled
        .as_present()
        .filter(|enabled| enabled.value)?;
    if section.port.is_absent() {
        diagnostics.warning(
            enabled,
            "port is missing in [status]: the listener uses any free port, which only the log shows; set port",
        );
    }
    let place = match section.port.as_present() {
        Some(port) => port.with(()),
        None => enabled.with(()),
    };
    let pair = status_pair(diagnostics, &section, service);
    Some(place.with(ListenSettings {
        address: address(diagnostics, section.address, ""),
        port: port(diagnostics, &section.port, 0),
        tls: pair.map(|pair| TlsSettings {
            pair,
            client_ca_path: None,
        }),
    }))
}

/// Returns the certificate of `[status]`, which is that of `[service]` unless it has its own. `None`: TLS is off, or
/// there was an error.
fn status_pair(
    diagnostics: &mut Diagnostics,
    section: &StatusSection,
    service: &Service,
) -> Option<KeyPair> {
    let tls = match &section.tls {
        Field::Present(tls) if tls.value => tls,
        Field::Invalid => return None,
        Field::Present(_) | Field::Absent => {
            let paths = [&section.tls_cert_path, &section.tls_key_path];
            warn_of_unused(diagnostics, paths, "status");
            return None;
        }
    };
    let missing = match pair(&section.tls_cert_path, &section.tls_key_path) {
        Pair::Both(cert, key) => return Some(KeyPair::new(cert, key)),
        Pair::Invalid => return None,
        Pair::Neither => {
            let shared = service.listen.tls.as_ref().map(|tls| tls.pair.clone());
            if shared.is_none() && service.tls_is_valid {
                diagnostics.error(
                    tls,
                    "TLS is on, but neither [status] nor [service] has a certificate; set tls_cert_path and \
                     tls_key_path in [status], or set tls = false to serve plain HTTP",
                );
            }
            return shared;
        }
        Pair::OnlyFirst(_) => "tls_key_path",
        Pair::OnlySecond(_) => "tls_cert_path",
    };
    let text = format!(
        "TLS is on, but {missing} is missing in [status]; set tls_cert_path and tls_key_path, or neither to use the \
         certificate of [service]"
    );
    diagnostics.error(tls, text);
    None
}

fn pair(cert: &Field<String>, key: &Field<String>) -> Pair<String, String> {
    cert.clone().with(key.clone())
}

fn warn_of_unused(diagnostics: &mut Diagnostics, paths: [&Field<String>; 2], name: &str) {
    for path in paths {
        if let Some(path) = path.as_present() {
            let text = format!(
                "the file is not used because TLS is off in [{name}]; set tls = true there, or remove this key"
            );
            diagnostics.warning(path, text);
        }
    }
}

/// Returns the address without the brackets that coreos/airlock needs around an IPv6 address.
fn address(diagnostics: &mut Diagnostics, field: Field<String>, default: &str) -> String {
    let Some(found) = field.present() else {
        return default.to_owned();
    };
    // Nothing else shows the value: it may contain a password.
    if found.value.contains(['/', '@']) {
        let text = format!(
            "address {} is not an address; write a host name or an IP address of this machine",
            quote(&found.value)
        );
        diagnostics.error(&found, text);
        return default.to_owned();
    }
    if let Some((host, port)) = with_port(&found.value) {
        let text = format!(
            "address {} contains a port; write address = \"{host}\" and port = {port}",
            quote(&found.value)
        );
        diagnostics.error(&found, text);
    }
    without_brackets(&found.value).to_owned()
}

/// Splits an address that contains a port. IPv6 addresses contain colons, but no port unless they are in brackets.
fn with_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let plain = without_brackets(host);
    if plain.contains(':') && plain == host {
        return None;
    }
    Some((if plain.is_empty() { "0.0.0.0" } else { plain }, port))
}

fn without_brackets(address: &str) -> &str {
    address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'))
        .unwrap_or(address)
}

/// Returns the port; `default` if it is absent, and 0 if it is invalid.
fn port(diagnostics: &mut Diagnostics, field: &Field<u64>, default: u16) -> u16 {
    let port = match field {
        Field::Absent => return default,
        Field::Invalid => return 0,
        Field::Present(port) => port,
    };
    u16::try_from(port.value).unwrap_or_else(|_| {
        let text = format!("expected {PORT}, found {}", port.value);
        diagnostics.error(port, text);
        0
    })
}
